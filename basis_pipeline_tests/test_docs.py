"""The documentation, held against the code: what a page says a reader can type, open or look up must be so."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel
from typer.main import get_command

from basis_pipeline.cli.app import LOG_VARIABLE, app
from basis_pipeline.domain.changes import Action, DerivativeChange, DerivativeData, TokenChange, Trigger
from basis_pipeline.domain.equity import total
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, VENUES, TokenKind
from basis_pipeline.domain.valuation import Sheet, Side, describe_book
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.settings import CONFIG_NAME, CONFIG_VARIABLE, HOME_VARIABLE, Settings, load_settings
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.builders import START, FixedMarket
from basis_pipeline_tests.homes import import_sample, rebuild_days, write_sample_home
from basis_pipeline_tests.regenerate_docs import ROOT, pages, regenerated

UsageError = typer.BadParameter.__mro__[1]
SAMPLE_DAYS = 6
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
BOOKS = ROOT / "docs"


class Block(NamedTuple):
    """A fenced block and where it begins."""

    page: Path
    line: int
    language: str
    text: str


def blocks(language: str) -> list[Block]:
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found["language"], found["text"])
        for page in pages()
        for text in [page.read_text(encoding="utf-8")]
        for found in FENCE.finditer(text)
        if found["language"] == language
    ]


def name(value: Block | Path) -> str:
    if isinstance(value, Block):
        return f"{value.page.relative_to(ROOT)}:{value.line}"
    return str(value.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def spoken_of(page: Path) -> list[str]:
    """Everything a page sets as code within its sentences."""
    return INLINE.findall(prose(page))


def rows(text: str, first_column: str) -> list[list[str]]:
    """The cells of the one table whose first column has this name, without the marks of code."""
    found = re.findall(rf"^\| {re.escape(first_column)} \|.*\n\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(found) == 1, f"{len(found)} tables begin with {first_column}"
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in found[0].splitlines()]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose ``data`` is the home of a short ``basis demo``."""
    directory = tmp_path_factory.mktemp("demo")
    home = directory / "data"
    home.mkdir()
    import_sample(home, write_sample_home(home, days=SAMPLE_DAYS))
    rebuild_days(home)
    return directory


@pytest.mark.parametrize("page", pages(), ids=name)
def test_what_a_page_takes_from_code_is_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert regenerated(text) == text, "run: python -m basis_pipeline_tests.regenerate_docs"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    headings = HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            targets = (target.partition("#")[0] for target in LINK.findall(prose(page)))
            waiting += [(page.parent / target).resolve() for target in targets if target and "://" not in target]
    assert [name(page) for page in pages() if page not in reached] == []


def command_lines(text: str) -> Iterator[list[str]]:
    """The words of each `basis` command in a script: without comments, variables before it, pipes, redirections."""
    for line in text.splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars="|><")
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, "|"]:
            if word[0] in "|><":
                if command[:1] == ["basis"]:
                    yield command
                command = [] if word == "|" else [word]
            elif command or "=" not in word:
                command.append(word)


def understand(words: list[str]) -> None:
    """Parse a command line as `basis` does, values included, without running it."""
    group: Any = get_command(app)
    context = group.make_context("basis", words[1:])
    given = [*context._protected_args, *context.args]
    command_name, command, rest = group.resolve_command(context, given)
    command.make_context(command_name, rest, parent=context)


@pytest.mark.parametrize("block", blocks("sh"), ids=name)
def test_every_command_in_a_shell_block_is_understood(block: Block) -> None:
    for words in command_lines(block.text):
        understand(words)


def test_commands_that_do_not_exist_would_be_noticed() -> None:
    for wrong in ("basis import", "basis equity --by moon", "basis fly", "basis verify --all"):
        with pytest.raises(UsageError):
            understand(shlex.split(wrong))
    assert list(command_lines("A=1 basis sql - > f | basis verify # basis fly")) == [
        ["basis", "sql", "-"],
        ["basis", "verify"],
    ]


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_command_in_a_sentence_exists_with_its_options(page: Path) -> None:
    group: Any = get_command(app)
    for text in spoken_of(page):
        words = text.split()
        if words[0] != "basis" or len(words) == 1:
            continue
        options = {"--help", *(option for parameter in group.params for option in parameter.opts)}
        names = [word for word in words[1:] if word in group.commands]
        if names:
            options |= {option for parameter in group.commands[names[0]].params for option in parameter.opts}
        used = {word for word in words if word.startswith("-") and word != "-"}
        assert names or used, text
        assert used <= options, text


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_make_target_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (\w+)$", makefile, re.MULTILINE))
    said = [text for text in spoken_of(page) if re.fullmatch(r"make [a-z]+", text)]
    typed = [line for block in blocks("sh") if block.page == page for line in block.text.splitlines()]
    assert {text.split()[1] for text in [*said, *typed] if text.startswith("make ")} <= targets


def test_the_test_command_of_the_readme_is_what_continuous_integration_calls() -> None:
    first = next(block for block in blocks("sh") if block.page == ROOT / "README.md")
    assert first.text == "make demo\nmake test\n"
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("block", blocks("yaml"), ids=name)
def test_every_example_of_settings_is_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (HOME_VARIABLE, CONFIG_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / CONFIG_NAME).write_text(block.text, encoding="utf-8")
    load_settings(tmp_path)


@pytest.mark.parametrize("block", blocks("json"), ids=name)
def test_every_example_of_an_update_is_accepted(block: Block) -> None:
    parse_update(json.loads(block.text))


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("python")}), ids=name)
def test_every_python_example_runs_on_the_demo(page: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    for variable in (HOME_VARIABLE, CONFIG_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    names: dict[str, Any] = {}
    for block in blocks("python"):
        if block.page == page:
            exec(compile(block.text, name(block), "exec"), names)


@pytest.mark.parametrize("block", blocks("sql"), ids=name)
def test_every_query_runs_on_the_demo(block: Block, demo: Path) -> None:
    answer = Reader.open(demo / "data").arrow(block.text)
    assert answer.num_columns
    if block.page.stem != "correct-a-mistake":  # its mistakes lie beyond the days of this short demo
        assert answer.num_rows


def test_the_examples_of_market_files_can_be_read(tmp_path: Path) -> None:
    [example] = blocks("csv")
    (tmp_path / "prices.csv").write_text(example.text, encoding="utf-8")
    (tmp_path / "aave_reserve_hourly.csv").write_text(
        "timestamp,symbol,liquidity_index,variable_borrow_index\n2024-05-12T01:00:00Z,WETH,1.01,1.02\n",
        encoding="utf-8",
    )
    first, last = MarketHistory(tmp_path).span()
    assert first == last == START


def test_the_settings_page_lists_every_key_with_its_default() -> None:
    text = (BOOKS / "reference" / "configuration.md").read_text(encoding="utf-8")
    listed = [(key, default) for key, default, _ in rows(text, "key")]
    assert listed == list(settings_of(Settings, ""))


PLACEHOLDERS = {
    "portfolios": ".<name>",
    "tokens": ".<symbol>",
    "accounts": ".<name>",
    "reconciliation.tolerances": ".<key>",
    "alerts.channels": ".<name>",
    "strategies": ".<name>",
}


def settings_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for field_name, field in model.model_fields.items():
        key = f"{prefix}{field_name}"
        kind: Any = field.annotation
        inner = get_args(kind)[-1] if get_origin(kind) is dict else kind
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            placeholder = PLACEHOLDERS.get(key, "")
            yield from settings_of(inner, f"{key}{placeholder}.")
        else:
            yield key, "required" if field.is_required() else shown_default(field.default)


def shown_default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, timedelta):
        units = (("h", timedelta(hours=1)), ("min", timedelta(minutes=1)), ("s", timedelta(seconds=1)))
        return next(f"{value // unit}{letter}" for letter, unit in units if not value % unit)
    if isinstance(value, dict):
        return "{" + ", ".join(f'{key}: "{default}"' for key, default in value.items()) + "}"
    return {(): "[]"}.get(value, str(value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_environment_variable_is_one_we_read(page: Path) -> None:
    ours = {HOME_VARIABLE, CONFIG_VARIABLE, LOG_VARIABLE}
    keys = {f"BASIS_{key.replace('.', '__').upper()}" for key, _ in settings_of(Settings, "")}
    ours |= {key for key in keys if "<" not in key}
    named = re.compile("|".join(key.replace("<NAME>", "(<NAME>|[A-Z]+)") for key in keys if "<NAME>" in key))
    used = set(re.findall(r"\bBASIS_[A-Z_]+(?:<NAME>[A-Z_]+)?", page.read_text(encoding="utf-8")))
    assert {variable for variable in used - ours if not named.fullmatch(variable)} == set()


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_module_and_path_of_the_project_exists(page: Path) -> None:
    for text in spoken_of(page):
        if re.fullmatch(r"basis_pipeline(_tests)?(\.\w+)+", text):
            importlib.import_module(text)
        if re.fullmatch(r"(basis_pipeline|basis_pipeline_tests|benchmarks)/[\w/.]*", text):
            assert (ROOT / text).exists(), text


def test_the_page_on_updates_names_every_trigger_field_venue_and_kind() -> None:
    text = (BOOKS / "concepts" / "updates.md").read_text(encoding="utf-8")
    assert [row[0] for row in rows(text, "trigger")] == list(Trigger)
    assert [row[0] for row in rows(text, "`action`")] == list(Action)
    said = set(spoken_of(BOOKS / "concepts" / "updates.md"))
    fields = {*TokenChange.model_fields, *DerivativeChange.model_fields, *DerivativeData.model_fields}
    assert {*fields, *VENUES} <= said
    kinds = rows((BOOKS / "how-to" / "add-a-token.md").read_text(encoding="utf-8"), "kind")
    assert [row[0] for row in kinds] == list(TokenKind)


def test_the_worked_example_of_equity_is_what_the_valuation_says() -> None:
    text = (BOOKS / "concepts" / "equity.md").read_text(encoding="utf-8")
    assert [row[0] for row in rows(text, "side")] == list(Side)
    *_, example = text.partition("## A worked example")
    held = example_book(rows(example, "venue"))
    lines, missing = Sheet(example_market(rows(example, "name")), DEFAULT_REGISTRY, [START]).lines(
        describe_book(held, DEFAULT_REGISTRY), "USDT", 0
    )
    assert missing == []
    valued = {(line.token, line.side, line.venue): (line.rate, line.value) for line in lines}
    listed = {(token, side, venue): (number(r), number(v)) for token, side, venue, r, v in rows(example, "token")}
    assert listed.keys() == valued.keys()
    for key, (rate, value) in listed.items():
        assert rate == valued[key][0]
        assert value == round(valued[key][1], 6)
    totals = {field: number(value) for field, value in rows(example, "total")}
    assert totals == {field: round(value, 6) for field, value in total(lines)._asdict().items()}


def number(text: str) -> Decimal:
    return Decimal(text.replace(",", ""))


def example_book(held: list[list[str]]) -> Book:
    balances = {(venue, what): Decimal(amount) for venue, what, amount, entry in held if not entry}
    perps = {
        (venue, what): PerpPosition(Decimal(amount), Decimal(entry), START, None)
        for venue, what, amount, entry in held
        if entry
    }
    return Book(balances, perps)


def example_market(known: list[list[str]]) -> FixedMarket:
    by_kind: dict[str, dict[Any, str]] = {"price": {}, "mark": {}, "rate": {}}
    for what, value in known:
        kind, *key = what.split()
        by_kind[kind][tuple(key) if kind == "mark" else key[0]] = value
    return FixedMarket(by_kind["price"], by_kind["mark"], by_kind["rate"])
