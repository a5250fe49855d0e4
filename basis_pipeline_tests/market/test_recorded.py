"""The recorded market answers as history files with the same numbers would, whenever somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Engine

from basis_pipeline.domain.errors import InputError, MarketDataError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.observations import MarketObservation
from basis_pipeline.domain.quotes import Quote, Rate, Unavailable
from basis_pipeline.ledger.database import open_engine, prepare, sqlite_url, writing
from basis_pipeline.ledger.market_observations import MarketObservations, record
from basis_pipeline.ledger.schema import market_observations
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.market.recorded import FILLED_WITHIN, RecordedMarket
from basis_pipeline.market.routing import Routing, SeriesRef
from basis_pipeline.market.window import from_us
from basis_pipeline_tests.domain.conftest import IN_CI
from basis_pipeline_tests.market.builders import Build, Price, Reserve, hour, price, prices

ETH, USDT = "binance ETHUSDT spot", "aave_oracle USDTUSD oracle"
DAY = date(2024, 5, 12)
TOKENS = ("ETH", "WETH", "BTC", "USDT", "EIGEN", "KING", "USDC")
MARKS = (("binance", "ETHUSDT-PERP"), ("bybit", "ETHUSDT-PERP:SHORT"), ("okx", "BTCUSDC-PERP"))
RATES = ("lst:weETH", "lst:stETH", "aave:WETH:liquidity", "aave:WETH:debt", "aave:USDT:debt")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_engine(sqlite_url(tmp_path / "recorded.db"))
    prepare(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def market(engine: Engine) -> RecordedMarket:
    return RecordedMarket(MarketObservations(engine))


def seen(name: str, at: float, value: str, fetched: float | None = None) -> MarketObservation:
    return MarketObservation(*name.split(), Decimal(value), hour(at), hour(at if fetched is None else fetched))


def observations(history: MarketHistory) -> Iterator[MarketObservation]:
    """Everything the files hold, as live sources would have told it."""
    for ref, stored in history.store().series.items():
        for us, value in zip(stored.times.tolist(), stored.values.to_pylist(), strict=True):
            moment = from_us(us)
            yield MarketObservation(ref.venue, ref.symbol or "", ref.kind or "", value, moment, moment)


def value(answer: Quote | Rate | Unavailable) -> object:
    """The answer without the reasons for having none: a history has no series that began later."""
    return "unavailable" if isinstance(answer, Unavailable) else answer


def everything(market: MarketHistory | RecordedMarket, instants: list[datetime]) -> dict[str, object]:
    """All that can be asked, one by one and by the column."""
    window = market.window(instants[0], instants[-1])
    found: dict[str, object] = {}
    for at in instants:
        found |= {f"{at} {token}": value(window.price(token, at)) for token in TOKENS}
        found |= {f"{at} {mark}": value(window.mark(*mark, at)) for mark in MARKS}
        found |= {f"{at} {name}": value(window.rate(name, at)) for name in RATES}
        found[f"{at} all"] = ([*window.all_quotes(at)], [*window.all_rates(at)])
    found |= {token: window.prices(token, instants) for token in TOKENS}
    found |= {str(mark): window.marks(*mark, instants) for mark in MARKS}
    found |= {name: window.rates(name, instants) for name in RATES}
    return found


@pytest.mark.acceptance
def test_real_history_recorded_hour_by_hour_reads_back_the_same_at_every_hour(shared: Path, engine: Engine) -> None:
    history = MarketHistory(shared / "market_data")
    first = datetime(2025, 3, 30, 5, tzinfo=UTC)
    instants = [first + HOUR * n for n in range(72)]
    known = [each for each in observations(history) if first - timedelta(hours=3) <= each.observed_at <= instants[-1]]
    # Candles arrive out of order when holes are filled in; that must not matter.
    assert record(engine, known[1::2]) + record(engine, known[::2]) == len(known)
    assert everything(RecordedMarket(MarketObservations(engine)), instants) == everything(history, instants)


series_names = st.sampled_from(
    [
        ETH,
        USDT,
        "bybit ETHUSDC spot",
        "okx USDCUSDT spot",
        "bybit BTCUSDT spot",
        "binance ETHUSDT perp",
        "okx BTCUSDC perp",
        "modelled KINGUSD oracle",
        "aave_oracle weETHETH oracle",
        "lido weETHETH oracle",
    ]
)
rows = st.dictionaries(
    st.tuples(series_names, st.integers(0, 40)), st.decimals("0.0001", 100_000, places=4), min_size=1, max_size=60
)
index_rows = st.dictionaries(st.integers(0, 40), st.decimals(1, 2, places=18), min_size=1, max_size=8)


@settings(
    deadline=None,
    derandomize=IN_CI,
    max_examples=40,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows, index_rows)
def test_any_series_with_holes_and_at_odd_times_answer_the_same_recorded_as_from_files(
    build: Build, engine: Engine, quotes: dict[tuple[str, int], Decimal], indices: dict[int, Decimal]
) -> None:
    """A quarter of an hour is the unit, so that some values come between the hours that are asked for."""
    with writing(engine) as connection:
        connection.execute(market_observations.delete())
    history = build(
        [price(quarter / 4, name, format(close, "f")) for (name, quarter), close in sorted(quotes.items())],
        [
            Reserve(hour(at / 4), "WETH", format(index, "f"), format(index, "f"))
            for at, index in sorted(indices.items())
        ],
    )
    record(engine, observations(history))
    instants = [hour(n / 2) for n in range(24)]
    recorded = RecordedMarket(MarketObservations(engine))
    assert everything(recorded, instants) == everything(history, instants)
    assert everything(recorded, instants[3:9]) == everything(history, instants[3:9])


def test_a_candle_that_is_fetched_late_still_closes_its_own_hour(engine: Engine, market: RecordedMarket) -> None:
    record(engine, [seen(USDT, 9, "1"), seen("bybit ETHUSDT spot", 10, "2990"), seen(ETH, 9.99, "2999")])
    before = market.window(hour(10), hour(10)).price("ETH", hour(10))
    record(engine, [seen(ETH, 10, "3000", fetched=13)])
    after = market.window(hour(10), hour(10)).price("ETH", hour(10))
    assert isinstance(before, Quote)
    assert (before.price, before.observed_at) == (Decimal(2999), hour(9))  # as old as the price of USDT beneath it
    assert isinstance(after, Quote)
    assert after.price == Decimal(3000)


def test_what_becomes_known_after_an_instant_never_changes_its_answers(engine: Engine, market: RecordedMarket) -> None:
    record(engine, [seen(USDT, 9.8, "1"), seen("bybit ETHUSDT spot", 9.9, "2990")])
    before = market.window(hour(10), hour(10)).price("ETH", hour(10))
    record(engine, [seen(ETH, 10.001, "3000"), seen(USDT, 11, "0.5"), seen("kraken USDTUSD spot", 11, "9")])
    assert market.window(hour(10), hour(10)).price("ETH", hour(10)) == before
    assert RecordedMarket(MarketObservations(engine)).window(hour(8), hour(12)).price("ETH", hour(10)) == before


def test_routing_and_its_limits_of_age_hold_for_recorded_values_too(engine: Engine) -> None:
    routing = Routing(
        routes={"ETH": (SeriesRef.parse("okx:ETHUSDT:spot"),)}, max_age_by_name={"USDT": timedelta(hours=26)}
    )
    record(engine, [seen(USDT, 0, "1"), seen(ETH, 20, "3000"), seen("okx ETHUSDT spot", 20, "3001")])
    window = RecordedMarket(MarketObservations(engine), routing).window(hour(20), hour(25))
    answer = window.price("ETH", hour(22))
    assert isinstance(answer, Quote)
    assert (answer.price, answer.source) == (Decimal(3001), "okx ETHUSDT spot")
    assert value(window.price("ETH", hour(23))) == "unavailable"


def test_a_series_without_value_in_the_window_is_named_with_what_is_wrong(
    engine: Engine, market: RecordedMarket
) -> None:
    record(engine, [seen(USDT, 0, "1"), seen(ETH, 20, "3000")])
    answer = market.window(hour(20), hour(20)).price("USDT", hour(20))
    assert isinstance(answer, Unavailable)
    assert "aave_oracle USDTUSD oracle: no observation" in answer.tried


def test_before_anything_is_recorded_no_day_has_instants_and_the_span_says_what_to_do(market: RecordedMarket) -> None:
    assert {day: (*known,) for day, known in market.days(DAY, DAY).items()} == {DAY: ([], 0)}
    with pytest.raises(MarketDataError, match="basis reconcile"):
        market.span()
    assert value(market.window(hour(0), hour(1)).price("ETH", hour(0))) == "unavailable"


@pytest.mark.parametrize(
    ("began", "newest", "expected"),
    [
        (0, 2.4, [0, 1, 2, 2.4]),
        (0, 2, [0, 1, 2]),
        (1.5, 3.75, [2, 3, 3.75]),
        (1.5, 1.75, [1.75]),
        (0, 23.5, [*range(24), 23.5]),
        (0, 24, [*range(24)]),
        (22.5, 500, [23]),
        (-3, 300, [*range(24)]),
        (-3, -1, []),
        (24, 30, []),
    ],
)
def test_a_day_has_the_hours_known_by_now_and_the_current_one_its_latest_instant(
    engine: Engine, market: RecordedMarket, began: float, newest: float, expected: list[float]
) -> None:
    record(engine, [seen(ETH, began - 30, "1", fetched=began), seen(ETH, newest, "2")])
    assert market.days(DAY, DAY)[DAY].instants == [hour(n) for n in expected]
    assert market.span() == (hour(began), hour(newest))


def test_a_day_has_more_facts_as_soon_as_anything_is_recorded_that_may_bear_on_it(
    engine: Engine, market: RecordedMarket
) -> None:
    days = [DAY + timedelta(days=n) for n in range(4)]
    for at in (0.5, 25, 47.99, 48, 71):
        before = {day: known.facts for day, known in market.days(days[0], days[-1]).items()}
        record(engine, [seen(ETH, at, "1")])
        after = {day: known.facts for day, known in market.days(days[0], days[-1]).items()}
        own = days[int(at // 24)]
        assert [day for day in days if after[day] > before[day]] == [
            day for day in days if own <= day <= own + FILLED_WITHIN
        ]
        assert after == {day: market.days(day, day)[day].facts for day in days}


def test_a_window_must_be_two_utc_instants_in_order(market: RecordedMarket) -> None:
    with pytest.raises(InputError, match="in order"):
        market.window(hour(2), hour(1))
    with pytest.raises(InputError, match="UTC"):
        market.window(datetime(2024, 5, 12), hour(1))  # noqa: DTZ001


def test_history_files_have_every_hour_of_every_day_and_no_latest_instant(build: Build) -> None:
    rows: list[Price] = prices(USDT, ["1"])
    history = build(rows)
    known = history.days(DAY, DAY + timedelta(days=1))
    assert [len(day.instants) for day in known.values()] == [24, 24]
    assert [day.facts for day in known.values()] == [0, 0]
