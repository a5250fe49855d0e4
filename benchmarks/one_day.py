"""A day materialized alone: the work of a day does not grow with the history before it.

One portfolio with the same number of entries every day over all the market's days. The last day against day 31: each
into an empty warehouse, each into one that holds every day before it (no bound: its catalogue lists every file), and
through Dagster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from basis_pipeline.domain.instants import day_start, iso
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.home import open_home
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.publications import withdraw_all
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.steps.importing import BATCH
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.rebuild import rebuild
from benchmarks.data import Data, write_home
from benchmarks.measure import Figure, in_turns

TIMES_MAX = 1.2
ENTRIES_PER_DAY = 30
PORTFOLIO = "steady"
EARLY_DAY = 31


def payloads(start: datetime, days: DayRange) -> Iterator[dict[str, Any]]:
    """Two perpetuals opened at the start, and the same number of funding payments every day."""
    yield _payload("transfer", start, "VENUE_TRANSFER", [_leg("wallet", "-500000"), _leg("binance", "500000")])
    for instrument, size, price in (("ETHUSDT-PERP", "-50", "3000"), ("BTCUSDT-PERP", "-3", "60000")):
        data = {"size": size, "entry_price": price}
        opened = {"venue": "binance", "instrument": instrument, "action": "OPEN", "data": data}
        yield _payload(f"open-{instrument}", start, "PERP_OPENED", [], [opened])
    for day in days:
        for number in range(ENTRIES_PER_DAY):
            moment = day_start(day) + timedelta(hours=1) + (number + 1) * timedelta(minutes=45)
            yield _payload(f"{day}-{number}", moment, "FUNDING_PAYMENT", [_leg("binance", f"0.{number + 1:08d}")])


def _payload(
    name: str, moment: datetime, trigger: str, tokens: list[Any], perps: list[Any] | None = None
) -> dict[str, Any]:
    return {
        "id": name,
        "timestamp": iso(moment),
        "trigger": trigger,
        "token_changes": tokens,
        "derivative_changes": perps or [],
    }


def _leg(venue: str, delta: str) -> dict[str, str]:
    return {"venue": venue, "token": "USDT", "delta": delta}


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    early, last = data.days.first + timedelta(days=EARLY_DAY - 1), data.days.last
    start = min(terms.start for terms in data.terms)
    grown = _home(folder / "grown", data, start, data.days)
    young = _home(folder / "young", data, start, DayRange(data.days.first, early))
    with open_home(grown) as old, open_home(young) as new:
        yield _alone(old.ledger, old.market, folder, early, last, 5 if quick else 15)
        yield _in_their_time(old.ports(), new.ports(), data.days, early, 3 if quick else 9)
    if not quick:
        yield _through_dagster(grown, early, last)


def _home(home: Path, data: Data, start: datetime, days: DayRange) -> Path:
    """A home with the portfolio's entries on these days, nothing published."""
    write_home(home, data.market_data, [Terms(PORTFOLIO, "USDT", Decimal(1_000_000), start)])
    updates = [parse_update(payload) for payload in payloads(start, days)]
    with open_home(home) as opened:
        for position in range(0, len(updates), BATCH):
            opened.ledger.append_many(PORTFOLIO, updates[position : position + BATCH])
    return home


def _alone(ledger: Ledger, market: MarketHistory, folder: Path, early: date, last: date, pairs: int) -> Figure:
    fresh = (folder / f"alone-{number}" for number in count())

    def alone(day: date) -> Callable[[], object]:
        def run() -> object:
            withdraw_all(ledger.engine)
            home = next(fresh)
            home.mkdir()
            return rebuild(Ports(home, ledger, market, DEFAULT_REGISTRY), DayRange(day, day))

        return run

    in_turns(alone(last), alone(early), 1)
    found = in_turns(alone(last), alone(early), pairs)
    ratio = 1 / found.times_faster("wall")
    detail = f"{_medians(found)}; in CPU {1 / found.times_faster('cpu'):.2f} ×"
    return Figure(f"the last day, over day {EARLY_DAY}", ratio, "×", detail, at_most=TIMES_MAX)


def _in_their_time(grown: Ports, young: Ports, days: DayRange, early: date, pairs: int) -> Figure:
    """Each in a home where the days up to it are published: the catalogue of the one lists many more files."""
    rebuild(grown, days)
    rebuild(young, DayRange(days.first, early))
    found = in_turns(
        lambda: rebuild(grown, DayRange(days.last, days.last)), lambda: rebuild(young, DayRange(early, early)), pairs
    )
    detail = f"{_medians(found)}; in CPU {1 / found.times_faster('cpu'):.2f} ×"
    return Figure("again, each after all days before it", 1 / found.times_faster("wall"), "×", detail)


def _through_dagster(home: Path, early: date, last: date) -> Figure:
    from basis_pipeline.orchestration.runs import materialize

    def through_dagster(day: date) -> Callable[[], object]:
        def run() -> object:
            outcome = materialize(home, day, day)
            if not outcome.success:
                raise RuntimeError(f"{day}: {outcome.errors} {outcome.failed_checks}")
            return outcome

        return run

    in_turns(through_dagster(last), through_dagster(early), 1)
    found = in_turns(through_dagster(last), through_dagster(early), 3)
    ratio = 1 / found.times_faster("wall")
    return Figure("the same through Dagster, all days published", ratio, "×", _medians(found), at_most=TIMES_MAX)


def _medians(pairs: Any) -> str:
    last, early = (median(took.wall for took in side) * 1e3 for side in pairs)
    return f"last day {last:.0f} ms, day {EARLY_DAY} {early:.0f} ms"
