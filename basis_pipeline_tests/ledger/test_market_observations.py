"""Recorded market observations: append-only, exact, and the same on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.observations import MarketObservation
from basis_pipeline.ledger.database import open_engine, prepare, writing
from basis_pipeline.ledger.market_observations import (
    MarketObservations,
    SeriesName,
    between,
    bounds,
    count,
    latest,
    record,
    refusal,
    series,
)
from basis_pipeline.ledger.schema import market_observations
from basis_pipeline_tests.market.builders import hour

ETH = "binance ETHUSDT spot"


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    opened = open_engine(ledger_url)
    prepare(opened)
    yield opened
    opened.dispose()


def seen(name: str, at: float, value: str, fetched: float | None = None) -> MarketObservation:
    return MarketObservation(*name.split(), Decimal(value), hour(at), hour(at if fetched is None else fetched))


def test_what_is_recorded_reads_back_exactly_by_series_and_time(engine: Engine) -> None:
    index = seen("aave_reserve WETH liquidity_index", 1, "1.045678901234567890123456789")
    price, newer = seen(ETH, 1, "3000.10"), seen(ETH, 2.5, "3001")
    assert record(engine, [newer, price, index]) == 3
    assert between(engine, hour(0), hour(9)) == [index, price, newer]
    assert between(engine, hour(1), hour(1)) == [index, price]


def test_the_first_value_of_a_series_at_a_time_stays(engine: Engine) -> None:
    assert record(engine, [seen(ETH, 1, "3000"), seen(ETH, 1, "3999")]) == 1
    assert record(engine, [seen(ETH, 1, "3999", fetched=2), seen(ETH, 2, "3001")]) == 1
    assert [each.value for each in between(engine, hour(0), hour(9))] == [Decimal(3000), Decimal(3001)]


def test_times_in_another_zone_are_the_same_instants(engine: Engine) -> None:
    given_at = seen(ETH, 1, "3000")
    east = timezone(timedelta(hours=2))
    moved = given_at._replace(observed_at=given_at.observed_at.astimezone(east), value=Decimal(1))
    assert (record(engine, [given_at]), record(engine, [moved])) == (1, 0)
    assert between(engine, hour(1), hour(1)) == [given_at]


def test_recording_nothing_is_no_transaction_and_no_error(engine: Engine) -> None:
    assert record(engine, []) == 0
    assert (bounds(engine), series(engine), latest(engine, hour(0)), count(engine, hour(0), hour(9))) == (
        None,
        [],
        {},
        0,
    )


def test_each_series_is_listed_once_however_many_values_it_has(engine: Engine) -> None:
    names = ["okx ETHUSDT spot", ETH, "binance ETHUSDT perp", "aave_oracle USDTUSD oracle"]
    record(engine, [seen(name, at, "1") for name in names for at in range(5)])
    assert series(engine) == [SeriesName(*name.split()) for name in sorted(names)]


def test_the_latest_of_each_series_leaves_out_those_that_fell_silent(engine: Engine) -> None:
    record(engine, [seen(ETH, 1, "1"), seen(ETH, 2, "2"), seen("okx ETHUSDT spot", 0, "3")])
    assert latest(engine, hour(1)) == {SeriesName(*ETH.split()): seen(ETH, 2, "2")}


def test_recording_began_when_the_oldest_observation_was_fetched(engine: Engine) -> None:
    record(engine, [seen(ETH, 1, "1", fetched=6), seen(ETH, 7, "1", fetched=7)])
    record(engine, [seen("okx ETHUSDT spot", 5, "1", fetched=8)])
    assert bounds(engine) == (hour(6), hour(7))


def test_counting_takes_the_start_and_leaves_the_end(engine: Engine) -> None:
    record(engine, [seen(ETH, at, "1") for at in range(5)])
    assert count(engine, hour(1), hour(3)) == 2


def test_more_than_a_batch_is_recorded_at_once_and_counted(engine: Engine) -> None:
    many = [seen(ETH, at / 60, str(at + 1)) for at in range(2_500)]
    assert record(engine, many[::2]) == 1_250
    assert record(engine, many) == 1_250
    assert between(engine, hour(0), hour(99)) == many


def test_two_writers_with_the_same_observations_record_each_once(engine: Engine) -> None:
    many = [seen(f"{venue} ETHUSDT spot", at / 60, "1") for venue in ("okx", "bybit") for at in range(1_500)]
    with ThreadPoolExecutor(2) as pool:
        new = list(pool.map(lambda part: record(engine, part), [many, many[::-1]]))
    assert sum(new) == len(many)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"value": Decimal(0)}, "binance ETHUSDT spot: 0 is not positive"),
        ({"value": Decimal("-1.5")}, "-1.5 is not positive"),
        ({"value": Decimal("NaN")}, "not a finite number"),
        ({"value": Decimal("1e25")}, "too large"),
        ({"value": 3000.5}, "is a float, which is not exact"),
        ({"value": Decimal(1).scaleb(-28)}, "more than 27 decimal places"),
        ({"symbol": ""}, "must not be empty"),
        ({"observed_at": hour(2.1)}, "its time 2024-05-12T02:06:00Z has not come yet"),
        ({"observed_at": datetime(2024, 5, 12)}, "observed_at 2024-05-12 00:00:00 has no time zone"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_an_observation_is_refused_and_nothing_of_its_batch_is_recorded(
    engine: Engine, changed: dict[str, object], complaint: str
) -> None:
    bad = seen(ETH, 2, "1")._replace(**changed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=complaint):
        record(engine, [seen(ETH, 1, "1"), bad])
    assert complaint in (refusal(bad) or "")
    assert bounds(engine) is None


values = st.decimals(min_value="1e-27", max_value="99999999999999999999", places=27)


@settings(settings.get_profile("ledger"))
@given(st.lists(st.tuples(st.sampled_from([ETH, "okx ETHUSDT perp"]), st.integers(0, 9), values), max_size=30))
def test_any_order_of_recording_keeps_the_first_of_each_time(
    engine: Engine, rows: list[tuple[str, int, Decimal]]
) -> None:
    with writing(engine) as connection:
        connection.execute(market_observations.delete())
    expected: dict[tuple[str, int], Decimal] = {}
    for name, at, value in rows:
        record(engine, [seen(name, at, format(value, "f"))])
        expected.setdefault((name, at), value)
    found = between(engine, hour(0), hour(9))
    assert {(" ".join(each[:3]), each.observed_at): each.value for each in found} == {
        (name, hour(at)): value for (name, at), value in expected.items()
    }


def test_a_market_reads_the_same_through_the_ledgers_observations(engine: Engine) -> None:
    record(engine, [seen(ETH, 1, "1")])
    facts = MarketObservations(engine)
    assert facts.between(hour(0), hour(2)) == [seen(ETH, 1, "1")]
    assert (facts.series(), facts.bounds(), facts.count(hour(0), hour(2))) == (
        [SeriesName(*ETH.split())],
        (hour(1), hour(1)),
        1,
    )
