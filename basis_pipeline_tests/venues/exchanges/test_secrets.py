"""Keys, secrets, passphrases and signatures show nowhere: readings, findings, errors, reprs, logs."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.venues.exchanges import Connection, open_exchange
from basis_pipeline_tests.rigs.exchanges import FAULTS, Answer, ExchangeVenues
from basis_pipeline_tests.venues.exchanges.builders import (
    ALL_PARTS,
    CREDENTIALS,
    KEY,
    MAIN_PART,
    PASSPHRASE,
    SECRET,
    check,
    fund,
    read,
    reader,
)

PLANTED = [
    form
    for secret in (KEY, SECRET, PASSPHRASE)
    for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret))
]
ECHO = json.dumps({"code": 1, "msg": f"you sent {' '.join(PLANTED)} ?signature=abcdef0123 apiKey={KEY}"})


def assert_clean(text: str) -> None:
    assert not [secret for secret in PLANTED if secret in text]
    assert "signature=" not in text.replace("signature=***", "")
    assert "recvWindow=" not in text


@pytest.mark.parametrize("venue", list(ALL_PARTS))
def test_no_secret_shows_however_a_reading_fails(
    venues: ExchangeVenues, venue: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    fund(venues, venue)
    echoes = [
        Answer(status, ECHO, kind) for status in (200, 400, 401, 500) for kind in ("application/json", "text/html")
    ]
    for fault in [*sorted(set(FAULTS) - {"timeout"}), *echoes]:
        venues.heal()
        venues.fail("*", fault)
        reading = read(venues, venue, MAIN_PART[venue])
        assert not reading.available
        assert_clean(repr(reading) + str(reading.error) + reading.raw)
    assert "account unavailable" in caplog.text
    assert_clean(caplog.text)
    captured = capfd.readouterr()
    assert_clean(captured.out + captured.err)


@pytest.mark.parametrize("venue", list(ALL_PARTS))
def test_no_secret_shows_in_findings_or_in_what_is_kept(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue).set_balance("funding", "USDT", "1")
    assert_clean(repr(check(venues, venue)) + repr(read(venues, venue)))
    venues.fail("*", Answer(400, ECHO))
    assert_clean(repr(check(venues, venue)))


@pytest.mark.parametrize("venue", list(ALL_PARTS))
def test_no_secret_is_kept_when_a_good_answer_repeats_it(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue).set_balance("funding", "USDT", "1")

    def with_echo(payload: Any) -> Any:
        return (
            [{**row, "note": PLANTED} for row in payload] if isinstance(payload, list) else {**payload, "note": PLANTED}
        )

    venues.alter("*", with_echo)
    reading = read(venues, venue)
    assert reading.available
    assert '"note":["***"' in reading.raw
    json.loads(reading.raw)
    assert_clean(reading.raw)


@pytest.mark.parametrize("venue", list(ALL_PARTS))
def test_no_secret_shows_in_a_repr_or_in_the_error_s_context(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue)
    venues.fail("*", Answer(400, ECHO))
    made = reader(venues, venue)
    method = {"binance": "privateGetAccount", "bybit": "privateGetV5UserQueryApi", "okx": "privateGetAccountConfig"}[
        venue
    ]

    async def ask() -> str:
        connection = Connection(open_exchange(venue, CREDENTIALS, venues.url), CREDENTIALS)
        try:
            with pytest.raises(VenueError) as caught:
                await connection.ask("GET something", method)
            assert caught.value.__suppress_context__
            return str(caught.value) + repr(caught.value) + repr(connection)
        finally:
            await connection.close()

    assert_clean(asyncio.run(ask()) + repr(made) + repr(CREDENTIALS) + str(CREDENTIALS))
