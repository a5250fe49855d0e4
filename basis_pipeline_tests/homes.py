"""Whole homes for tests: written configuration, imported journals, and what is published in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import yaml

from basis_pipeline.domain.errors import InputError
from basis_pipeline.home import open_home
from basis_pipeline.ledger import publications
from basis_pipeline.ledger.verification import verify
from basis_pipeline.sample.generate import Sample, default_config, generate
from basis_pipeline.settings import CONFIG_NAME
from basis_pipeline.steps.importing import Imported, import_journal, open_journal
from basis_pipeline.steps.ports import DayRange
from basis_pipeline.steps.publishing import day_files
from basis_pipeline.steps.rebuild import rebuild
from basis_pipeline.steps.staleness import stale_days
from basis_pipeline.warehouse.catalogue import CATALOGUE_NAME
from basis_pipeline.warehouse.dayfiles import check_files, warehouse_root

Rows = list[tuple[Any, ...]]


def terms(share_class: str, capital: object, start: datetime) -> dict[str, str]:
    """A portfolio's terms as ``basis.yaml`` has them."""
    return {"share_class": share_class, "initial_capital": str(capital), "start": start.isoformat()}


def write_home(home: Path, market_data: Path, portfolios: Mapping[str, Mapping[str, str]], **more: Any) -> Path:
    """A home with nothing in it but its configuration."""
    home.mkdir(parents=True, exist_ok=True)
    config = {"mode": "backtest", "market_data": str(market_data), "portfolios": dict(portfolios), **more}
    (home / CONFIG_NAME).write_text(yaml.safe_dump(config), encoding="utf-8")
    return home


def write_sample_home(home: Path, days: int) -> Sample:
    """A home over synthetic data, nothing imported yet."""
    sample = generate(home / "sample", days=days)
    (home / CONFIG_NAME).write_text(yaml.safe_dump(default_config(sample)), encoding="utf-8")
    return sample


def import_sample(home: Path, sample: Sample) -> None:
    for portfolio in sample.portfolios:
        import_file(home, portfolio.name, portfolio.journal)


def sample_range(home: Path) -> DayRange:
    """Every day of a sample home."""
    with open_home(home) as opened:
        return opened.all_days()


def copy_home(source: Path, target: Path) -> Path:
    """The same home at another place; its configuration must name the market data absolutely."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    return target


def write_journal(path: Path, payloads: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(payload)}\n" for payload in payloads), encoding="utf-8")
    return path


def import_file(home: Path, portfolio: str, file: Path) -> Imported:
    """What ``basis import`` does with one file."""
    with open_home(home) as opened, open_journal(file) as lines:
        return import_journal(opened.ledger, portfolio, lines, str(file))


def rebuild_days(home: Path, days: DayRange | None = None) -> None:
    """What ``basis rebuild`` does."""
    with open_home(home) as opened:
        rebuild(opened.ports(), opened.all_days() if days is None else days)


def rebuild_stale(home: Path, days: DayRange | None = None) -> list[date]:
    """Rebuild the days that need it, in unbroken stretches; returns them."""
    with open_home(home) as opened:
        ports = opened.ports()
        stale = stale_days(ports, opened.all_days() if days is None else days)
        for stretch in _stretches(stale):
            rebuild(ports, stretch)
    return stale


def _stretches(days: list[date]) -> list[DayRange]:
    ends: list[list[date]] = []
    for day in days:
        if ends and (day - ends[-1][1]).days == 1:
            ends[-1][1] = day
        else:
            ends.append([day, day])
    return [DayRange(first, last) for first, last in ends]


def problems(home: Path) -> list[str]:
    """Everything wrong with the ledger and with the published files; empty when both are sound."""
    with open_home(home) as opened:
        found = [str(problem) for problem in verify(opened.ledger.engine).problems]
        current = publications.current_files(opened.ledger.engine)
        return found + check_files(warehouse_root(home), day_files(current))


def published(home: Path, days: DayRange | None = None) -> dict[tuple[str, date], str]:
    """The current file of each table and day; its name holds the hash of its content."""
    with open_home(home) as opened:
        files = publications.current_files(opened.ledger.engine).files
    return {(p.table, p.day): p.file for p in files if days is None or days.first <= p.day <= days.last}


def entries(home: Path, portfolio: str) -> list[tuple[int, str]]:
    """(sequence, id) of every entry, as recorded."""
    with open_home(home) as opened:
        found = opened.ledger.snapshot().entries(portfolio, None, None)
        return sorted((entry.sequence, entry.update.id) for entry in found)


def heads(home: Path) -> dict[str, Any]:
    with open_home(home) as opened:
        return dict(opened.ledger.snapshot().heads())


def ask(home: Path, sql: str) -> Rows:
    """A query from a plain DuckDB client on the catalogue."""
    with duckdb.connect(str(home / CATALOGUE_NAME), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def refusal(home: Path, portfolio: str, file: Path) -> InputError:
    """The error that importing the file ends in."""
    try:
        import_file(home, portfolio, file)
    except InputError as error:
        return error
    raise AssertionError(f"{file} was accepted")
