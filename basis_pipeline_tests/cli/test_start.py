"""init, demo, ui, and the options before a command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from basis_pipeline import __version__
from basis_pipeline.cli.app import app
from basis_pipeline.cli.template import TEMPLATE
from basis_pipeline.settings import Settings, load_settings
from basis_pipeline_tests.cli.builders import Basis, needs_dagster_runs


def test_init_writes_a_configuration_that_loads_and_never_touches_one_that_is_there(tmp_path: Path) -> None:
    basis = Basis(tmp_path / "books")
    assert f"Wrote {basis.home / 'basis.yaml'}" in basis("init").stdout
    assert load_settings(basis.home) == Settings()
    (basis.home / "basis.yaml").write_text("mode: backtest # mine")
    assert "exists already and is left as it is" in basis("init", code=1).stderr
    assert (basis.home / "basis.yaml").read_text() == "mode: backtest # mine"


def test_every_setting_is_in_the_template_and_valid_once_turned_on(tmp_path: Path) -> None:
    turned_on = re.sub(r"^#(?! \S|$)", "", TEMPLATE, flags=re.MULTILINE)
    (tmp_path / "basis.yaml").write_text(turned_on)
    loaded = load_settings(tmp_path)
    assert set(yaml.safe_load(turned_on)) == set(Settings.model_fields) - {"redis_url"}, "a secret, refused in the file"
    assert set(loaded.accounts) == {"treasury", "desk"}
    assert set(loaded.prices.model_fields_set) == set(type(loaded.prices).model_fields)
    assert loaded.registry().token("RETH").symbol == "rETH"


SECRETS = {"url", "rpc_urls", "api_key", "secret", "passphrase", "redis_url"}
"""Refused in the file; the template says how they are set in the environment."""


def test_no_setting_is_missing_in_the_template() -> None:
    assert set(names_in(Settings)) - set(re.findall(r"^#? *(\w+):", TEMPLATE, re.MULTILINE)) <= SECRETS | NAMED


NAMED = {"passphrase_file", "absolute", "relative"}
"""In the text, or in the braces of another setting."""


def names_in(model: type[BaseModel]) -> Iterator[str]:
    """The names of all settings, those of the models in it included."""
    for name, field in model.model_fields.items():
        yield name
        for part in (field.annotation, *parts_of(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from names_in(part)


def parts_of(annotation: object) -> Iterator[object]:
    for part in get_args(annotation):
        yield part
        yield from parts_of(part)


def test_the_home_may_be_named_before_or_after_the_command_or_by_the_environment(
    books: Basis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = books("positions").stdout
    empty = tmp_path / "empty"
    runner = CliRunner()
    assert runner.invoke(app, ["positions", "--home", str(books.home)]).stdout == expected
    assert runner.invoke(app, ["--home", str(empty), "positions", "--home", str(books.home)]).stdout == expected
    monkeypatch.setenv("BASIS_HOME", str(books.home))
    assert runner.invoke(app, ["positions"]).stdout == expected
    assert runner.invoke(app, ["--home", str(empty), "positions"]).exit_code == 1
    monkeypatch.delenv("BASIS_HOME")
    monkeypatch.chdir(books.home.parent)
    assert runner.invoke(app, ["positions"]).stdout == expected


def test_a_home_without_configuration_says_how_to_begin(tmp_path: Path) -> None:
    done = Basis(tmp_path / "none")("equity", code=1)
    assert "basis.yaml does not exist; run `basis --home" in done.stderr
    assert not (tmp_path / "none").exists()


def test_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"basis {__version__}\n"


def test_verbose_shows_where_an_error_came_from_and_nothing_else_does(
    books: Basis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Traceback" not in books("reverse", "nonsense", code=1).stderr
    monkeypatch.setenv("BASIS_LOG", "debug")
    assert "Traceback" in books("reverse", "nonsense", code=1).stderr


def test_a_log_level_that_is_none_is_wrong_usage(books: Basis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIS_LOG", "loud")
    assert "'loud' is not a log level" in books("verify", code=2).output


def test_the_password_in_the_ledgers_url_is_never_shown(books: Basis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIS_LEDGER__URL", "postgresql://basis:hush@127.0.0.1:1/none")
    monkeypatch.setenv("BASIS_LOG", "debug")
    done = books("verify", code=1)
    assert "the database cannot be used" in done.stderr
    assert "hush" not in done.output


def test_the_demo_is_refused_where_other_books_are(books: Basis) -> None:
    assert "a basis.yaml that is not the demo's" in books("demo", code=1).stderr
    assert not (books.home / "sample").exists()


@needs_dagster_runs
@pytest.mark.slow
def test_the_demo_shows_equity_and_what_next_and_can_be_run_again(tmp_path: Path) -> None:
    basis = Basis(tmp_path / "data")
    first = basis("demo", "--days", "2").stdout
    assert "SYNTHETIC" in first
    assert "SYNTHETIC" in (basis.home / "basis.yaml").read_text()
    assert "2025-01-01 to 2025-01-02 (2 days) materialized in " in first
    for title in ("Equity by portfolio", "Equity by venue", "Equity by asset", "What next"):
        assert title in first
    assert f"basis --home {basis.home} ui" in first
    equity = basis("equity").stdout
    assert equity in first
    again = basis("demo").stdout
    assert "Every day is materialized and current." in again
    assert again[again.index("Equity by") :] == first[first.index("Equity by") :]
    assert "holds a sample of 2 days already" in basis("demo", "--days", "3", code=1).stderr
    basis("verify")


def test_the_ui_needs_books_to_show(tmp_path: Path) -> None:
    pytest.importorskip("basis_pipeline.orchestration.ui")
    assert "basis.yaml does not exist" in Basis(tmp_path / "none")("ui", code=1).stderr
