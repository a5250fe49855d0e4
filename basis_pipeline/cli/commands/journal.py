"""What goes into the ledger and what comes out of it: import, record, reverse, export."""

from __future__ import annotations

import gzip
import sys
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from basis_pipeline.cli.homes import chosen_portfolio, tell_subscribers
from basis_pipeline.cli.legs import parse_legs
from basis_pipeline.cli.options import (
    AtOption,
    FormatOption,
    FromOption,
    HomeOption,
    PortfolioOption,
    ToOption,
    examples,
)
from basis_pipeline.cli.output import Format, counted, emit, note, say
from basis_pipeline.cli.progress import update_progress
from basis_pipeline.domain.instants import DAY, day_start, iso

if TYPE_CHECKING:
    from basis_pipeline.domain.changes import BalanceUpdate
    from basis_pipeline.home import Home
    from basis_pipeline.ledger.ledger import Receipt
    from basis_pipeline.steps.importing import Imported

STANDARD = Path("-")
_GZIP = b"\x1f\x8b"
_INSTANT = timedelta(microseconds=1)


@examples(
    "import",
    "basis import journal.jsonl --portfolio lending",
    "basis import january.jsonl.gz february.jsonl.gz --portfolio lending",
    "zcat january.jsonl.gz | basis import - --portfolio lending",
)
def import_(
    files: Annotated[list[Path], typer.Argument(help="Journals (JSON lines, gzipped or not); - is standard input.")],
    *,
    portfolio: PortfolioOption = None,
    home: HomeOption,
) -> None:
    """Import journals: one balance update per line.

    An update that is in the ledger already counts as a duplicate, so importing again is safe. A bad line stops the
    import with its file and number: everything before it is accepted, nothing of it is.
    """
    from basis_pipeline.home import open_home
    from basis_pipeline.steps.importing import ImportFailed, import_journal

    with open_home(home) as opened:
        name = chosen_portfolio(opened, portfolio)
        for file in files:
            source = "standard input" if file == STANDARD else str(file)
            try:
                with _journal(file) as lines, update_progress(source) as progress:
                    imported = import_journal(opened.ledger, name, lines, source, progress)
            except ImportFailed as error:
                note(f"{source}: {_counts(error.imported)} before the error")
                raise
            say(f"{source}: {_counts(imported)}")
        tell_subscribers(opened)


def _counts(imported: Imported) -> str:
    return f"{imported.new:,} new, {imported.duplicates:,} there already"


@contextmanager
def _journal(file: Path) -> Iterator[Iterable[bytes]]:
    from basis_pipeline.steps.importing import bounded_lines, open_journal

    if file != STANDARD:
        with open_journal(file) as lines:
            yield lines
        return
    raw: Any = sys.stdin.buffer
    if raw.peek(len(_GZIP))[: len(_GZIP)] == _GZIP:
        with gzip.open(raw) as unpacked:
            yield bounded_lines(unpacked)
    else:
        yield bounded_lines(raw)


@examples(
    "record",
    "basis record GAS_FEE_PAID wallet:ETH=-0.0035",
    "basis record VENUE_TRANSFER wallet:USDT=-5000 binance:USDT=4999",
    "basis record FUNDING_PAYMENT binance:USDT=+12.5:FUNDING_PAYMENT",
    "basis record PERP_OPENED okx:ETHUSDT-PERP=OPEN,size=-1,entry_price=3000",
    "basis record PERP_CLOSED okx:ETHUSDT-PERP=CLOSE okx:USDT=-1.2:FEE",
    "basis record DEPOSIT wallet:ETH=2 --id desk-0042 --at 2024-05-12T09:30:00Z",
)
def record(
    trigger: Annotated[str, typer.Argument(help="Why balances changed, e.g. GAS_FEE_PAID.")],
    legs: Annotated[list[str] | None, typer.Argument(help="What changed, in order; see below.", metavar="LEG")] = None,
    *,
    portfolio: PortfolioOption = None,
    update_id: Annotated[
        str | None, typer.Option("--id", help="Id of the entry; made up if missing.", metavar="ID")
    ] = None,
    at: AtOption = None,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """Record one balance update by hand: all its legs or none.

    A leg on a token is VENUE:TOKEN=AMOUNT, with :REASON behind it if there is one. A leg on a perpetual is
    VENUE:INSTRUMENT=ACTION, where ACTION is OPEN, ADJUST or CLOSE, with ,field=value behind it: size (the new
    signed size), entry_price, entry_timestamp, notional_usd, fill_size, fill_price, fee, realized_pnl.

    Without --at the update happened at the time of the portfolio's last entry (in live mode: now). Give an id of
    your own to make repeating the command harmless.
    """
    from basis_pipeline.domain.intake import parse_update
    from basis_pipeline.home import open_home

    with open_home(home) as opened:
        name = chosen_portfolio(opened, portfolio)
        payload = {
            "id": update_id or f"manual-{uuid.uuid4()}",
            "timestamp": at or _moment(opened, name),
            "trigger": trigger.upper(),
            **parse_legs(legs or []),
        }
        update = parse_update(payload, opened.registry)
        receipt = opened.ledger.append(name, update)
        tell_subscribers(opened)
        _print_receipt(opened, name, update, receipt, form)


@examples(
    "reverse",
    "basis reverse desk-0042",
    "basis reverse desk-0042 --portfolio lending",
)
def reverse(
    entry_id: Annotated[str, typer.Argument(help="Id of the entry to take back.", metavar="ID")],
    *,
    portfolio: PortfolioOption = None,
    at: AtOption = None,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """Take back an entry by posting its mirror image; history itself never changes.

    By default at the entry's own time, as if it had never been. Reversing an entry twice changes nothing.
    """
    from basis_pipeline.home import open_home

    with open_home(home) as opened:
        name = chosen_portfolio(opened, portfolio)
        receipt = opened.ledger.reverse(name, entry_id, at)
        tell_subscribers(opened)
        _print_receipt(opened, name, opened.ledger.entry(name, receipt.entry_id).update, receipt, form)


def _moment(home: Home, portfolio: str) -> datetime:
    mode: str = home.settings.mode
    if mode == "backtest":
        return home.ledger.snapshot().state(portfolio).last_timestamp
    return datetime.now(UTC)


def _print_receipt(home: Home, portfolio: str, update: BalanceUpdate, receipt: Receipt, form: Format) -> None:
    """The receipt as a remark, and as the result what the entry left behind."""
    from basis_pipeline.reports.positions import touched

    what = "is already" if receipt.duplicate else "is now"
    note(f"{receipt.entry_id} {what} entry {receipt.sequence} of {portfolio}, at {iso(update.timestamp)}")
    book = home.ledger.snapshot().book_at(portfolio, update.timestamp).book
    tokens = {(c.venue, c.token) for c in update.token_changes}
    perps = {(c.venue, c.instrument) for c in update.derivative_changes}
    if tokens or perps:
        emit(touched(portfolio, update.timestamp, book, tokens, perps), form)


@examples(
    "export",
    "basis export --portfolio lending > lending.jsonl",
    "basis export --from 2024-05-12 --to 2024-05-12 -o day.jsonl.gz",
)
def export(
    *,
    portfolio: PortfolioOption = None,
    first: FromOption = None,
    last: ToOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write, gzipped if it ends in .gz; - is standard output.")
    ] = STANDARD,
    home: HomeOption,
) -> None:
    """Write a portfolio's entries as a journal that `basis import` reads again.

    The initial capital is left out: it comes from the portfolio's terms in basis.yaml.
    """
    from basis_pipeline.home import open_home
    from basis_pipeline.steps.importing import export_journal

    after = None if first is None else day_start(first) - _INSTANT
    until = None if last is None else day_start(last) + DAY - _INSTANT
    with open_home(home) as opened:
        lines = export_journal(opened.ledger.snapshot(), chosen_portfolio(opened, portfolio), after, until)
        if output == STANDARD:
            for line in lines:
                sys.stdout.write(f"{line}\n")
            return
        count = _write_journal(output, lines)
        note(f"{output}: {counted(count, 'update')}")


def _write_journal(path: Path, lines: Iterator[str]) -> int:
    """Write beside the file and put it in place when it is whole."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    count = 0
    try:
        with gzip.open(partial, "wb") if path.suffix == ".gz" else partial.open("wb") as file:
            for line in lines:
                file.write(f"{line}\n".encode())
                count += 1
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count
