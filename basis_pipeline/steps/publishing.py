"""Making day files current: one transaction in the ledger database, then a new catalogue.

A crash between the two leaves the old catalogue, whose files are still there; ``ensure_catalogue`` finishes the job.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from basis_pipeline.domain.equity import Equity
from basis_pipeline.ledger import publications
from basis_pipeline.ledger.publications import CurrentFiles, MarketMark, Publication
from basis_pipeline.ledger.snapshot import Head
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.proofs import prove
from basis_pipeline.warehouse.catalogue import Since, catalogue_is_current, publish_catalogue
from basis_pipeline.warehouse.dayfiles import DayFile, warehouse_root
from basis_pipeline.warehouse.garbage import remove_unreferenced
from basis_pipeline.warehouse.lock import writer_lock


class Closing(NamedTuple):
    """A portfolio's equity at the last hour of a day, in its share-class currency."""

    share_class: str
    equity: Equity


@dataclass(frozen=True)
class StepReport:
    """What a step published: rows per table and day, and the ledger heads it was built from.

    ``closings`` holds each day's last equity by portfolio, from the equity step only.
    """

    tables: tuple[str, ...]
    rows: Mapping[tuple[str, date], int]
    heads: Mapping[str, Head]
    closings: Mapping[date, Mapping[str, Closing]]

    def row_count(self, table: str) -> int:
        return sum(count for (name, _), count in self.rows.items() if name == table)


def publish(
    ports: Ports,
    files: Sequence[DayFile],
    heads: Mapping[str, Head],
    left_out: Collection[tuple[str, date]] = (),
    marks: Mapping[date, MarketMark] | None = None,
) -> None:
    """Publish files built from these heads, and from the recorded markets of ``marks``, all together, to readers.

    ``left_out`` names the (portfolio, day) that have no rows because they could not be built: their days say so by
    not naming the portfolio's head, and stay due.

    ``ProofFailed`` before anything is published when their rows contradict each other.
    """
    prove(ports.home, files)
    heads_of_day = {
        day: {name: head for name, head in heads.items() if (name, day) not in left_out} for _, day in left_out
    }
    with writer_lock(ports.home):
        since = Since(publications.generation(ports.ledger.engine), frozenset(f.table for f in files))
        current = publications.publish(
            ports.ledger.engine,
            [
                Publication(f.table, f.day, f.file, f.rows, heads_of_day.get(f.day, heads), (marks or {}).get(f.day))
                for f in files
            ],
            ports.clock(),
        )
        _show(ports, current, since)


def ensure_catalogue(ports: Ports) -> bool:
    """Publish the catalogue again if the home has moved or a crash left an old one; True if it did."""
    if catalogue_is_current(ports.home, publications.generation(ports.ledger.engine)):
        return False
    with writer_lock(ports.home):
        _show(ports, publications.current_files(ports.ledger.engine))
    return True


def _show(ports: Ports, current: CurrentFiles, since: Since | None = None) -> None:
    """Show these files to readers; files that somebody deleted are forgotten, so that their days count as missing."""
    gone = publish_catalogue(ports.home, day_files(current), current.generation, since)
    if gone:
        publications.withdraw(ports.ledger.engine, [file.file for file in gone])
        current = publications.current_files(ports.ledger.engine)
        publish_catalogue(ports.home, day_files(current), current.generation)


def current_day_files(ports: Ports, days: DayRange | None = None) -> list[DayFile]:
    """The day files that are current now, of all days or of these."""
    first, last = (None, None) if days is None else (days.first, days.last)
    return day_files(publications.current_files(ports.ledger.engine, first, last))


def day_files(current: CurrentFiles) -> list[DayFile]:
    """The warehouse's view of the current publications."""
    return [DayFile(p.table, p.day, p.file, p.rows) for p in current.files]


def collect_garbage(ports: Ports) -> list[str]:
    """Remove day files that were superseded longer than the grace period ago, or left behind by a killed run."""
    engine = ports.ledger.engine
    now = ports.clock()
    with writer_lock(ports.home):
        removed = remove_unreferenced(
            warehouse_root(ports.home),
            {p.file for p in publications.current_files(engine).files},
            publications.superseded(engine),
            now,
            ports.superseded_files_kept,
        )
        publications.forget(engine, removed)
    return removed


def report(
    files: Iterable[DayFile],
    tables: tuple[str, ...],
    heads: Mapping[str, Head],
    closings: Mapping[date, Mapping[str, Closing]] | None = None,
) -> StepReport:
    """The report on published files."""
    return StepReport(tables, {(f.table, f.day): f.rows for f in files}, dict(heads), closings or {})
