"""What is measured on: the shared journals over 502 days of market data, else a synthetic sample."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import yaml

from basis_pipeline.domain.instants import iso
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.settings import CONFIG_NAME
from basis_pipeline.steps.importing import import_journal, open_journal
from basis_pipeline.steps.ports import DayRange
from benchmarks.measure import ROOT

SAMPLE_DAYS = 62


@dataclass(frozen=True)
class Data:
    """Market data and the journals of some portfolios, all over the same days.

    The bounds are about the shared data (``is_shared``): fixed costs weigh more on a small sample.
    """

    name: str
    is_shared: bool
    market_data: Path
    terms: tuple[Terms, ...]
    journals: dict[str, Path]
    days: DayRange

    def ledger(self, path: Path) -> Ledger:
        """A new ledger with the portfolios registered and nothing imported."""
        ledger = Ledger(sqlite_url(path))
        for terms in self.terms:
            ledger.register(terms)
        return ledger

    def import_all(self, ledger: Ledger) -> int:
        """Import every journal; returns the number of updates."""
        count = 0
        for name, journal in self.journals.items():
            with open_journal(journal) as lines:
                count += import_journal(ledger, name, lines, journal.name).new
        return count


def find_data(scratch: Path) -> Data:
    """The shared data at ``BASIS_SHARED``, else ``../shared``; where absent, a sample generated into ``scratch``."""
    shared = Path(os.environ.get("BASIS_SHARED") or ROOT.parent / "shared")
    if (shared / "journals" / "manifest.json").is_file():
        return _shared(shared)
    return sample_data(scratch / "sample", SAMPLE_DAYS)


def sample_data(directory: Path, days: int) -> Data:
    """Synthetic portfolios over some days."""
    from basis_pipeline.sample.generate import generate

    sample = generate(directory, days=days)
    return Data(
        f"a synthetic sample of {days} days",
        False,
        sample.market_data,
        tuple(Terms(p.name, p.share_class, p.initial_capital, p.start) for p in sample.portfolios),
        {p.name: p.journal for p in sample.portfolios},
        DayRange(sample.first_day, sample.last_day),
    )


def _shared(shared: Path) -> Data:
    manifest = json.loads((shared / "journals" / "manifest.json").read_text(encoding="utf-8"))
    terms = [
        Terms(name, p["share_class"], Decimal(p["initial_capital"]), datetime.fromisoformat(p["start"]))
        for name, p in manifest.items()
    ]
    last: date = max(datetime.fromisoformat(p["end"]) for p in manifest.values()).date()
    days = DayRange(min(t.start for t in terms).date(), last)
    journals = {name: shared / "journals" / p["file"] for name, p in manifest.items()}
    name = f"the shared journals, {len(days)} days"
    return Data(name, True, shared / "market_data", tuple(terms), journals, days)


def write_home(home: Path, market_data: Path, terms: Sequence[Terms]) -> Path:
    """A home with nothing in it but its configuration."""
    home.mkdir(parents=True)
    portfolios = {
        t.portfolio: {"share_class": t.share_class, "initial_capital": str(t.initial_capital), "start": iso(t.start)}
        for t in terms
    }
    config = {"mode": "backtest", "market_data": str(market_data.resolve()), "portfolios": portfolios}
    (home / CONFIG_NAME).write_text(yaml.safe_dump(config), encoding="utf-8")
    return home
