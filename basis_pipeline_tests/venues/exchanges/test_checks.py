"""`basis doctor` learns what a key may do, how far the clocks are apart, and whether each part can be read."""

from __future__ import annotations

import pytest

from basis_pipeline.domain.observations import Finding, Verdict
from basis_pipeline.venues.exchanges import Credentials
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues
from basis_pipeline_tests.venues.exchanges.builders import ALL_PARTS, KEY, MAIN_PART, PASSPHRASE, check, fund

VENUES = list(ALL_PARTS)


def finding(found: list[Finding], what: str) -> Finding:
    [one] = [finding for finding in found if finding.subject.endswith(f" {what}")]
    return one


@pytest.mark.parametrize("venue", VENUES)
def test_a_read_only_key_of_a_readable_account_is_all_green(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue).set_balance("funding", "USDT", "1")
    found = list(check(venues, venue))
    assert {line.verdict for line in found} == {Verdict.OK}, found
    assert [line.subject for line in found] == [
        f"{venue}_main ({venue}) {what}" for what in ("key", "clock", *ALL_PARTS[venue])
    ]
    assert not any(line.remedy for line in found)


@pytest.mark.parametrize("power", ["trade", "withdraw"])
@pytest.mark.parametrize("venue", VENUES)
def test_a_key_that_may_do_more_than_read_is_warned_of(venues: ExchangeVenues, venue: str, power: str) -> None:
    fund(venues, venue).permissions.add(power)
    key = finding(list(check(venues, venue, "funding")), "key")
    assert key.verdict is Verdict.WARNING
    assert "may do more than read: " in key.message
    assert "may only read" in key.remedy


@pytest.mark.parametrize("venue", VENUES)
def test_a_key_that_does_not_work_is_red_with_what_to_do(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue)
    found = list(check(venues, venue, "funding", credentials=Credentials(KEY, "wrong", PASSPHRASE)))
    assert finding(found, "key").verdict is Verdict.FAILED
    assert finding(found, "funding").verdict is Verdict.FAILED
    assert finding(found, "clock").verdict is Verdict.OK
    assert all(line.remedy for line in found if line.verdict is Verdict.FAILED)


def test_a_key_without_the_right_to_read_is_red(venues: ExchangeVenues) -> None:
    fund(venues, "binance").permissions.clear()
    assert finding(list(check(venues, "binance", "funding")), "key").verdict is Verdict.FAILED


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(("skew", "verdict"), [(2.0, Verdict.WARNING), (-2.0, Verdict.WARNING), (60.0, Verdict.FAILED)])
def test_a_clock_that_is_off_is_told(venues: ExchangeVenues, venue: str, skew: float, verdict: Verdict) -> None:
    fund(venues, venue)
    venues.clock_skew = skew
    clock = finding(list(check(venues, venue, "funding")), "clock")
    assert clock.verdict is verdict
    assert ("behind" if skew > 0 else "ahead of") in clock.message
    assert "NTP" in clock.remedy


@pytest.mark.parametrize("venue", VENUES)
def test_a_venue_that_is_down_is_red_on_every_line(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue)
    venues.fail("*", "503")
    found = check(venues, venue)
    assert {line.verdict for line in found} == {Verdict.FAILED}
    assert all(line.remedy for line in found)


@pytest.mark.parametrize("venue", VENUES)
def test_a_part_that_cannot_be_read_is_named(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue)
    path = {"binance": "/fapi/v3/account", "bybit": "/v5/position/list", "okx": "/api/v5/account/balance"}[venue]
    venues.fail(path, "500")
    found = list(check(venues, venue))
    assert finding(found, MAIN_PART[venue]).verdict is Verdict.FAILED
    assert finding(found, "funding").verdict is Verdict.OK


@pytest.mark.parametrize("venue", VENUES)
def test_holdings_the_registry_does_not_know_are_warned_of(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue).set_balance("funding", "NEWCOIN", "1")
    part = finding(list(check(venues, venue, "funding")), "funding")
    assert part.verdict is Verdict.WARNING
    assert "NEWCOIN" in part.message
