"""Options that several commands share, and how a command carries its examples."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from basis_pipeline.cli.output import Format
from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import parse_instant

given_home: ContextVar[Path | None] = ContextVar("given_home", default=None)
"""What `--home` before the command's name said."""

EXAMPLES: dict[str, tuple[str, ...]] = {}
"""The examples in each command's help; a test runs every one of them."""

_Function = TypeVar("_Function", bound=Callable[..., object])


def examples(command: str, *lines: str) -> Callable[[_Function], _Function]:
    """Put examples below a command's description, and on record. Only the examples keep their lines."""

    def add(function: _Function) -> _Function:
        EXAMPLES[command] = lines
        paragraphs = [" ".join(text.split()) for text in inspect.cleandoc(function.__doc__ or "").split("\n\n")]
        listed = "\n".join(f"  {line}" for line in lines)
        function.__doc__ = "\n\n".join([*paragraphs, f"\b\nExamples:\n{listed}"])
        return function

    return add


def _chosen_home() -> Path:
    from basis_pipeline.settings import home_path

    return home_path(given_home.get())


def parse_day(text: str) -> date:
    """A day written YYYY-MM-DD."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; write it as 2024-05-12") from None


def parse_moment(text: str) -> datetime:
    """An instant with its time zone, as everywhere in the product."""
    try:
        return parse_instant(text, "time")
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


HOME_HELP = "Directory that holds everything of one set of books (else BASIS_HOME, else ./data)."
HomeOption = Annotated[
    Path, typer.Option("--home", help=HOME_HELP, default_factory=_chosen_home, show_default=False, metavar="DIR")
]
PortfolioOption = Annotated[
    str | None, typer.Option("--portfolio", "-p", help="Portfolio; not needed where there is only one.", metavar="NAME")
]
OnlyPortfolioOption = Annotated[
    str | None, typer.Option("--portfolio", "-p", help="Only this portfolio.", metavar="NAME")
]
AtOption = Annotated[
    datetime | None,
    typer.Option("--at", help="As of this instant, e.g. 2024-05-12T13:00:00Z.", parser=parse_moment, metavar="TIME"),
]
FromOption = Annotated[
    date | None, typer.Option("--from", help="First day (UTC).", parser=parse_day, metavar="YYYY-MM-DD")
]
ToOption = Annotated[
    date | None, typer.Option("--to", help="Last day (UTC), included.", parser=parse_day, metavar="YYYY-MM-DD")
]
FormatOption = Annotated[
    Format, typer.Option("--format", "-f", help="table is rounded for reading; csv and json are exact.")
]
