"""The commands put together, and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from basis_pipeline import __version__
from basis_pipeline.cli import exits
from basis_pipeline.cli.commands import alerts, care, decide, events, journal, live, look, project, start, watch
from basis_pipeline.cli.options import HOME_HELP, given_home
from basis_pipeline.cli.output import complain, note
from basis_pipeline.domain.errors import BasisError

LOG_VARIABLE = "BASIS_LOG"
LOG_LEVELS = ("debug", "info", "warning", "error")

_log = logging.getLogger("basis_pipeline.cli")


class Commands(TyperGroup):
    """Runs a command and turns what it raises on purpose into a message and an exit code; a defect keeps its trace."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BasisError as error:
            _log.debug("where it happened", exc_info=True)
            complain(str(error))
            raise typer.Exit(exits.ERROR) from error
        except BrokenPipeError as error:
            # The interpreter flushes standard output once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(exits.READER_GONE) from error
        except OSError as error:
            _log.debug("where it happened", exc_info=True)
            complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
            raise typer.Exit(exits.ERROR) from error
        except KeyboardInterrupt as error:
            note("interrupted; what was accepted or published before is there, and running it again goes on from there")
            raise typer.Exit(exits.INTERRUPTED) from error
        return result


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 it did not work, 2 wrong usage, 3 it ran and found problems, 130 interrupted.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"basis {__version__}")
        raise typer.Exit


@app.callback()
def basis(
    home: Annotated[
        Path | None, typer.Option("--home", help=f"{HOME_HELP} Also after the command.", metavar="DIR")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help=f"Log what happens, with traces of errors (or {LOG_VARIABLE}).")
    ] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The books of a crypto basis-trading fund: journals in, equity by hour, venue and asset out."""
    given_home.set(home)
    _configure_logging(verbose)


def _configure_logging(verbose: bool) -> None:
    """Once, for everything: to standard error, warnings and worse unless asked for more."""
    level = "debug" if verbose else os.environ.get(LOG_VARIABLE, "warning").lower()
    if level not in LOG_LEVELS:
        raise typer.BadParameter(f"{level!r} is not a log level; use {', '.join(LOG_LEVELS)}", param_hint=LOG_VARIABLE)
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True
    )
    logging.getLogger("basis_pipeline").setLevel(level.upper())
    # Its trace of a connection that Ctrl-C interrupted; every failure that matters is raised as well.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


_BEGIN, _BOOKS, _EQUITY, _LIVE, _CARE = "Begin", "The ledger", "Equity", "Live", "Care"

app.command("init", rich_help_panel=_BEGIN)(start.init)
app.command("demo", rich_help_panel=_BEGIN)(start.demo)
app.command("ui", rich_help_panel=_BEGIN)(start.ui)

app.command("import", rich_help_panel=_BOOKS)(journal.import_)
app.command("record", rich_help_panel=_BOOKS)(journal.record)
app.command("reverse", rich_help_panel=_BOOKS)(journal.reverse)
app.command("export", rich_help_panel=_BOOKS)(journal.export)
app.command("positions", rich_help_panel=_BOOKS)(look.positions)
app.command("events", rich_help_panel=_BOOKS)(events.events)

app.command("materialize", rich_help_panel=_EQUITY)(project.materialize)
app.command("rebuild", rich_help_panel=_EQUITY)(project.rebuild)
app.command("equity", rich_help_panel=_EQUITY)(look.equity)
app.command("watch", rich_help_panel=_EQUITY)(watch.watch)
app.command("sql", rich_help_panel=_EQUITY)(look.sql)
app.command("decide", rich_help_panel=_EQUITY)(decide.decide)

app.command("doctor", rich_help_panel=_LIVE)(live.doctor)
app.command("reconcile", rich_help_panel=_LIVE)(live.reconcile)
app.command("status", rich_help_panel=_LIVE)(live.status)
app.command("alerts", rich_help_panel=_LIVE)(alerts.alerts)

app.command("verify", rich_help_panel=_CARE)(care.verify)
app.command("backup", rich_help_panel=_CARE)(care.backup)
