"""Watching balance changes: what the ledger took last, and what it takes from now on."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from basis_pipeline.cli.homes import chosen_portfolios
from basis_pipeline.cli.options import FormatOption, HomeOption, OnlyPortfolioOption, examples
from basis_pipeline.cli.output import Format, emit, note, say
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.reports.report import Column, Kind, Report, exact

if TYPE_CHECKING:
    from basis_pipeline.home import Home
    from basis_pipeline.ledger.entries import Entry

COLUMNS = (
    Column("recorded_at"),
    Column("portfolio"),
    Column("sequence", Kind.NUMBER),
    Column("timestamp"),
    Column("entry_id"),
    Column("trigger"),
    Column("venue"),
    Column("name"),
    Column("delta", Kind.QUANTITY),
    Column("action"),
    Column("size", Kind.QUANTITY),
    Column("entry_price", Kind.QUANTITY),
    Column("reason"),
)
"""One row a leg: ``delta`` of a token, or what became of a perpetual."""


@examples(
    "events",
    "basis events",
    "basis events --portfolio lending --last 100 --format csv",
)
def events(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what is told on Redis (live), until Ctrl-C.")
    ] = False,
    last: Annotated[int, typer.Option("--last", help="How many entries to begin with.", min=0)] = 20,
    portfolio: OnlyPortfolioOption = None,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """Balance changes in the order in which the ledger took them.

    With --follow also those to come, as live monitors tell of them: one line a leg, in JSON one object a line. What
    did not arrive, as its sequence shows, is read from the ledger.
    """
    from basis_pipeline.home import open_home
    from basis_pipeline.monitors import events as logger

    with open_home(home) as opened:
        names = chosen_portfolios(opened, portfolio)
        found = logger.recent(opened.ledger, names, last)
        if not follow:
            emit(Report(COLUMNS, [row for entry in found for row in _rows(entry)]), form)
            return
        _write_header(form)
        _write(found, form)
        asyncio.run(_follow(opened, names, form))


async def _follow(home: Home, portfolios: list[str], form: Format) -> None:
    from basis_pipeline.monitors.events import follow
    from basis_pipeline.settings import config_path
    from basis_pipeline.settings.secrets import reveal

    given = home.settings
    url = reveal(given.redis_url, given.redis_url_file, "redis_url", config_path(home.path).parent)
    async for entry in follow(url, home.ledger, portfolios, note):
        _write([entry], form)


def _rows(entry: Entry) -> Iterator[tuple[Any, ...]]:
    update = entry.update
    head = (entry.recorded_at, entry.portfolio, entry.sequence, update.timestamp, update.id, update.trigger.value)
    for change in update.token_changes:
        yield (*head, change.venue, change.token, change.delta, None, None, None, change.reason)
    for leg in update.derivative_changes:
        data = leg.data
        yield (*head, leg.venue, leg.instrument, None, leg.action.value, data.size, data.entry_price, None)
    if not update.token_changes and not update.derivative_changes:
        yield (*head, *(None,) * 7)


def _write_header(form: Format) -> None:
    if form is Format.CSV:
        csv.writer(sys.stdout, lineterminator="\n").writerow([column.name for column in COLUMNS])


def _write(found: Iterable[Entry], form: Format) -> None:
    """Entries as they come, flushed, so that whoever reads the output has them at once."""
    for entry in found:
        for row in _rows(entry):
            if form is Format.CSV:
                csv.writer(sys.stdout, lineterminator="\n").writerow([exact(value) for value in row])
            elif form is Format.JSON:
                fields = zip((column.name for column in COLUMNS), map(exact, row), strict=True)
                say(json.dumps(dict(fields), ensure_ascii=False))
            else:
                say(_line(row))
    sys.stdout.flush()


def _line(row: tuple[Any, ...]) -> str:
    _, portfolio, sequence, timestamp, _, trigger, venue, name, delta, action, size, entry_price, reason = row
    parts = [iso(timestamp), portfolio, f"#{sequence}", trigger, venue, name, action]
    if delta is not None:
        parts.append(f"{'+' if delta > 0 else ''}{canonical(delta)}")
    if size is not None:
        parts.append(f"size {canonical(size)}")
    if entry_price is not None:
        parts.append(f"at {canonical(entry_price)}")
    if reason is not None and reason != trigger:
        parts.append(f"({reason})")
    return " ".join(part for part in parts if part)
