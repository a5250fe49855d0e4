"""Standard output is for results, standard error for messages about them. Colour only on a terminal."""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from basis_pipeline.domain.observations import Finding, Verdict

if TYPE_CHECKING:
    from basis_pipeline.reports.report import Report


class Format(StrEnum):
    """How rows are printed: rounded for people, or exact for machines."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def say(text: str = "", *, bold: bool = False) -> None:
    """A line of the result."""
    typer.echo(typer.style(text, bold=True) if bold else text, color=_colour())


def note(text: str) -> None:
    """A remark that is not part of the result."""
    typer.secho(text, err=True, dim=True, color=_colour())


def warn(text: str) -> None:
    """Something the reader must know although the command goes on."""
    typer.secho(text, err=True, fg=typer.colors.YELLOW, color=_colour())


def complain(text: str) -> None:
    """The error that ends the command."""
    typer.secho(f"error: {text}", err=True, fg=typer.colors.RED, color=_colour())


@contextmanager
def told_here(*rooms: str) -> Iterator[None]:
    """For a command that says itself what these rooms log as warnings, for where nobody would say it."""
    loggers = [logging.getLogger(f"basis_pipeline.{room}") for room in rooms]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        if logger.getEffectiveLevel() >= logging.WARNING:
            logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


_VERDICTS = {
    Verdict.OK: ("ok  ", typer.colors.GREEN),
    Verdict.WARNING: ("warn", typer.colors.YELLOW),
    Verdict.FAILED: ("FAIL", typer.colors.RED),
}


def finding(found: Finding) -> None:
    """A line of a check-up: how something stands and, unless it is fine, what to do."""
    mark, colour = _VERDICTS[found.verdict]
    advice = f" -> {found.remedy}" if found.remedy else ""
    text = " ".join(f"{found.subject}: {found.message}{advice}".split())
    typer.echo(f"{typer.style(mark, fg=colour, bold=True)}  {text}", color=_colour())


def counted(count: int, noun: str) -> str:
    """``1 day``, ``1,234 days``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def emit(report: Report, form: Format) -> None:
    """Print a report. CSV and JSON carry every digit, decimals as text; a table is rounded for the eye."""
    {Format.TABLE: _emit_table, Format.CSV: _emit_csv, Format.JSON: _emit_json}[form](report)


def _emit_table(report: Report) -> None:
    from basis_pipeline.reports.text import to_text

    head, *lines = to_text(report)
    say(head, bold=True)
    for line in lines:
        say(line)


def _emit_csv(report: Report) -> None:
    from basis_pipeline.reports.report import exact

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(report.names)
    for row in report.rows:
        writer.writerow([_csv_cell(exact(value)) for value in row])


def _csv_cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value


def _emit_json(report: Report) -> None:
    """One array, one line for each row, so that it can be read as it comes."""
    from basis_pipeline.reports.report import exact

    names = report.names
    sys.stdout.write("[")
    start = "\n"
    for row in report.rows:
        fields = {name: exact(value) for name, value in zip(names, row, strict=True)}
        sys.stdout.write(start + json.dumps(fields, ensure_ascii=False))
        start = ",\n"
    sys.stdout.write("\n]\n")


def _colour() -> bool | None:
    """None lets the terminal decide."""
    return False if os.environ.get("NO_COLOR") else None
