"""Where to begin: init, demo, ui."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from basis_pipeline.cli import exits
from basis_pipeline.cli.commands.project import run_in_dagster, stale_runs
from basis_pipeline.cli.homes import published
from basis_pipeline.cli.options import HomeOption, examples
from basis_pipeline.cli.output import Format, counted, emit, say
from basis_pipeline.cli.progress import update_progress
from basis_pipeline.cli.template import TEMPLATE
from basis_pipeline.domain.errors import ConfigError, InputError
from basis_pipeline.reports.equity import By

if TYPE_CHECKING:
    from collections.abc import Iterable

    from basis_pipeline.home import Home
    from basis_pipeline.sample.generate import Sample

SAMPLE_FOLDER = "sample"
SAMPLE_DAYS = 30
_DEMO_HEAD = """\
# The sample of `basis demo`: SYNTHETIC data, observed on no market and no account.
# Begin books of your own in another home: basis --home DIR init

"""


@examples(
    "init",
    "basis init",
    "basis --home books init",
)
def init(*, home: HomeOption) -> None:
    """Begin a set of books: write a commented basis.yaml into the home. An existing one is never touched."""
    from basis_pipeline.settings import config_path

    path = config_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise ConfigError(f"{path} exists already and is left as it is; edit it, or choose another --home") from None
    say(f"Wrote {path}. Name the market data and the portfolios in it, then run `basis import`.")


@examples(
    "ui",
    "basis ui",
    "basis ui --port 3333",
)
def ui(
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)] = 3000,
    home: HomeOption,
) -> None:
    """Serve the Dagster UI and its daemon on this home until Ctrl-C: lineage, partitions, checks, runs."""
    from basis_pipeline.orchestration.ui import serve_ui
    from basis_pipeline.settings import load_settings

    load_settings(home)
    say("Starting Dagster on this home; Ctrl-C ends it ...")
    raise typer.Exit(serve_ui(home.resolve(), host, port, on_ready=lambda url: say(f"The UI is at {url}")))


@examples(
    "demo",
    "basis demo --days 3",
    "basis --home elsewhere demo --days 3",
)
def demo(
    *,
    days: Annotated[
        int | None,
        typer.Option("--days", help="Days of synthetic data, 30 if not given; fixed by the first run.", min=1, max=366),
    ] = None,
    home: HomeOption,
) -> None:
    """Try everything on synthetic data: make it, import it, materialize it through Dagster, show equity.

    The data comes from a random generator and was observed nowhere. It goes into the home, beside its basis.yaml;
    a home with other portfolios is refused. Running it again does only what is left to do.
    """
    from basis_pipeline.home import open_home

    _prepare_sample(home, days)
    with open_home(home) as opened:
        _refuse_other_books(opened)
        _check_length(opened, days)
        _import_sample(opened)
        runs = stale_runs(opened, opened.all_days())
    if not runs:
        say("Every day is materialized and current.")
    complete = [run_in_dagster(home.resolve(), *run) for run in runs]
    with open_home(home) as opened:
        _print_equity(opened)
    _print_what_next(home)
    if not all(complete):
        raise typer.Exit(exits.FINDINGS)


def _prepare_sample(home: Path, days: int | None) -> None:
    """Generate the sample and its configuration where there is none; the configuration last, as the sign of the end."""
    from basis_pipeline.sample.generate import default_config, generate
    from basis_pipeline.settings import config_path

    config = config_path(home)
    if config.exists():
        return
    say("Making SYNTHETIC market data and journals (random walks; observed on no market and no account) ...")
    sample = generate(home / SAMPLE_FOLDER, days=days or SAMPLE_DAYS)
    config.parent.mkdir(parents=True, exist_ok=True)
    _write_config(config, default_config(sample))
    _print_sample(sample)


def _write_config(path: Path, content: dict[str, Any]) -> None:
    import yaml

    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(_DEMO_HEAD + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    partial.replace(path)


def _print_sample(sample: Sample) -> None:
    names = ", ".join(portfolio.name for portfolio in sample.portfolios)
    say(f"{sample.directory}: {names}; {sample.first_day} to {sample.last_day}")


def _journals(home: Home) -> dict[str, Path]:
    folder = home.path / SAMPLE_FOLDER / "journals"
    return {name: folder / f"{name}.jsonl.gz" for name in home.settings.portfolios}


def _refuse_other_books(home: Home) -> None:
    from basis_pipeline.settings import market_directory

    journals = _journals(home)
    own_market = home.settings.market_data and market_directory(home.settings, home.path).resolve().is_relative_to(
        home.path / SAMPLE_FOLDER
    )
    ours = own_market and journals and all(path.is_file() for path in journals.values())
    strangers = sorted(set(home.ledger.snapshot().portfolios).difference(journals))
    if not ours or strangers:
        what = f"portfolios of its own ({', '.join(strangers)})" if strangers else "a basis.yaml that is not the demo's"
        raise InputError(f"demo: {home.path} has {what}; give the demo a home to itself: basis --home DIR demo")


def _check_length(home: Home, days: int | None) -> None:
    there = len(home.all_days())
    if days not in (None, there):
        raise InputError(
            f"demo: --days {days}, but {home.path} holds a sample of {counted(there, 'day')} already; "
            "leave --days out, or give another --home"
        )


def _import_sample(home: Home) -> None:
    from basis_pipeline.steps.importing import import_journal, open_journal

    for name, path in _journals(home).items():
        with open_journal(path) as lines, update_progress(name) as progress:
            imported = import_journal(home.ledger, name, lines, str(path), progress)
        say(f"{name}: {counted(imported.new, 'update')} imported, {imported.duplicates:,} there already")


def _print_equity(home: Home) -> None:
    from basis_pipeline.reports.equity import read_equity

    reader = published(home)
    for by in (By.PORTFOLIO, By.VENUE, By.ASSET):
        say()
        say(f"Equity by {by} (synthetic)", bold=True)
        emit(read_equity(reader, by), Format.TABLE)


def _print_what_next(home: Path) -> None:
    from basis_pipeline.settings import home_path

    basis = _as_typed() if home == home_path() else f"{_as_typed()} --home {home}"
    say()
    say("What next", bold=True)
    for line in _aligned(
        (
            (f"{basis} ui", "lineage, partitions and checks in the browser"),
            (f"{basis} positions", "what is held, straight from the ledger"),
            (f"{basis} decide", "what its strategies would do now"),
            (f'{basis} sql "SHOW TABLES"', "any question in SQL; or open basis.duckdb read-only in DuckDB"),
            (f"{basis} equity --by underlying", "what equity depends on"),
            (f"{basis} verify", "that no entry and no file was changed"),
        )
    ):
        say(f"  {line}")


def _as_typed() -> str:
    """The command as this reader can type it: by its path where the virtual environment is not activated."""
    program = Path(sys.argv[0])
    if program.name != "basis" or shutil.which("basis"):
        return "basis"
    return os.path.relpath(program)


def _aligned(pairs: Iterable[tuple[str, str]]) -> list[str]:
    pairs = list(pairs)
    width = max(len(command) for command, _ in pairs)
    return [f"{command:{width}}  {meaning}" for command, meaning in pairs]
