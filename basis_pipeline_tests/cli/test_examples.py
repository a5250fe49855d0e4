"""The examples in the help of each command are run as they stand there."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from basis_pipeline.cli.app import app
from basis_pipeline.cli.options import EXAMPLES
from basis_pipeline.domain.alerts import Alert, AlertKind, Severity
from basis_pipeline.home import open_home
from basis_pipeline.ledger.alerts import raise_alerts
from basis_pipeline_tests.cli.builders import (
    JOURNAL,
    ROOT,
    Basis,
    environment,
    funding,
    needs_dagster_runs,
    write_journal,
)
from basis_pipeline_tests.live_homes import live_home
from basis_pipeline_tests.rigs.receivers import webhook

SERVES = "ui"
BEGINS = ("init", "demo")
NEEDS_DAGSTER = ("materialize", "demo")
NEEDS_VENUES = ("reconcile",)
"""Their examples are run on a live home of their own, whose portfolio is the one that examples speak of."""
COMMANDS = [command.name for command in app.registered_commands]


def test_every_command_has_examples() -> None:
    assert sorted(EXAMPLES) == sorted(str(name) for name in COMMANDS)


@pytest.mark.parametrize("command", sorted(EXAMPLES))
def test_help_shows_each_example_on_a_line_of_its_own(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert shown.exit_code == 0
    lines = [line.strip() for line in shown.output.splitlines()]
    assert [example for example in EXAMPLES[command] if example not in lines] == []


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(name, marks=[needs_dagster_runs, pytest.mark.slow] if name in NEEDS_DAGSTER else [])
        for name in sorted(EXAMPLES)
        if name not in (SERVES, *NEEDS_VENUES)
    ],
)
def test_every_example_works(command: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    directory: Path = request.getfixturevalue("tmp_path")
    if command not in BEGINS:
        books: Basis = request.getfixturevalue("books")
        if command in ("equity", "sql"):
            books("rebuild")
        if command == "alerts":
            request.getfixturevalue("alerting")
    monkeypatch.chdir(directory)
    write_journal(directory / "january.jsonl.gz", JOURNAL)
    write_journal(directory / "february.jsonl.gz", funding(3))
    for example in EXAMPLES[command]:
        run_example(example, directory)


@pytest.fixture
def alerting(books: Basis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The books have four alerts that stand, and a channel that works."""
    found = [Alert(AlertKind.FAILED_RUN, Severity.ERROR, f"job-{n}", f"job-{n} failed", "") for n in range(4)]
    with webhook() as hook, open_home(books.home) as home:
        monkeypatch.setenv("BASIS_ALERTS__CHANNELS__CHAT__URL", hook.url())
        raise_alerts(home.ledger.engine, found, home.clock())
        yield


@pytest.mark.parametrize("command", NEEDS_VENUES)
def test_every_example_works_on_venues(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with live_home(tmp_path / "data", monkeypatch, portfolio="lending"):
        monkeypatch.chdir(tmp_path)
        for example in EXAMPLES[command]:
            run_example(example, tmp_path)


def run_example(example: str, directory: Path) -> None:
    words = shlex.split(example)
    if words[0] == "basis" and not {"|", ">"} & set(words):
        done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert done.exit_code == 0, f"{example}: {done.output}"
        return
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "basis").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m basis_pipeline "$@"\n')
    (programs / "basis").chmod(0o755)
    variables = environment(PYTHONPATH=str(ROOT))
    variables["PATH"] = f"{programs}:{variables['PATH']}"
    shell = subprocess.run(
        ["bash", "-o", "pipefail", "-c", example], cwd=directory, env=variables, capture_output=True, check=False
    )
    assert shell.returncode == 0, f"{example}: {shell.stderr.decode()}"


def test_the_examples_of_ui_are_understood(empty_books: Basis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = []
    ui = pytest.importorskip("basis_pipeline.orchestration.ui")
    monkeypatch.setattr(ui, "serve_ui", lambda home, host, port, on_ready: served.append((home, host, port)) or 0)
    monkeypatch.chdir(tmp_path)
    for example in EXAMPLES[SERVES]:
        run_example(example, tmp_path)
    assert served == [(empty_books.home, "127.0.0.1", 3000), (empty_books.home, "127.0.0.1", 3333)]
