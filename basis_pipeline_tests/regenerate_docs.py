"""The parts of the documentation that come from code: ``python -m basis_pipeline_tests.regenerate_docs`` writes them.

A page marks such a part with ``<!-- generated: NAME -->`` and ``<!-- /generated -->``; a test fails when one is stale.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

from typer.main import get_command

from basis_pipeline.cli import exits
from basis_pipeline.cli.app import app
from basis_pipeline.domain import errors
from basis_pipeline.domain.tokens import BUILT_IN_ALIASES, BUILT_IN_TOKENS
from basis_pipeline.warehouse.tables import ALL_TABLES, ALL_VIEWS, Table, View

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"(<!-- generated: (?P<name>[\w ]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every page of the documentation."""
    return [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "data" / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


def regenerated(text: str) -> str:
    """The page with each generated part as the code has it now."""
    return PART.sub(lambda part: f"{part[1]}\n{PARTS[part['name']]()}\n\n{part[3]}", text)


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(value: object) -> str:
    return f"`{value}`"


def tables() -> str:
    return "\n\n".join(
        [*(_relation(table, "Table") for table in ALL_TABLES), *(_relation(view, "View") for view in ALL_VIEWS)]
    )


def _relation(declared: Table | View, what: str) -> str:
    rows = [
        (code(column.name), column.type.value, "yes" if column.nullable else "", column.description)
        for column in declared.columns
    ]
    listed = markdown_table(("column", "type", "may be null", "meaning"), rows)
    return f"## `{declared.name}`\n\n{what}. {declared.description}\n\n{listed}"


def tokens() -> str:
    rows = [
        (
            code(token.symbol),
            token.kind.value,
            token.decimals,
            code(token.underlying) if token.underlying else "",
            code(token.rate_name) if token.rate_name else "",
            token.protocol,
        )
        for token in BUILT_IN_TOKENS
    ]
    return markdown_table(("token", "kind", "decimals", "underlying", "rate", "venue in equity"), rows)


def aliases() -> str:
    return markdown_table(
        ("written", "means"), [(code(alias), code(symbol)) for alias, symbol in BUILT_IN_ALIASES.items()]
    )


def commands() -> str:
    group: Any = get_command(app)
    parts = []
    for name, command in group.commands.items():
        prose, _, listed = inspect.cleandoc(command.help).partition("\b\nExamples:\n")
        usage = " ".join([f"basis {name}", "[OPTIONS]", *(_argument(p) for p in command.params if _is_argument(p))])
        rows = [(code(_argument(p) if _is_argument(p) else _option(p)), _meaning(p)) for p in command.params]
        examples = "\n".join(line.strip() for line in listed.splitlines())
        table = markdown_table(("option or argument", "meaning"), rows)
        parts.append(
            f"## `basis {name}`\n\n{prose.strip()}\n\n```text\n{usage}\n```\n\n{table}\n\n```sh\n{examples}\n```"
        )
    return "\n\n".join(parts)


def _is_argument(parameter: Any) -> bool:
    return not parameter.opts[0].startswith("-")


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper().replace("UPDATE_ID", "ID")
    many = "..." if parameter.nargs == -1 else ""
    return f"{name}{many}" if parameter.required else f"[{name}{many}]"


def _option(parameter: Any) -> str:
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
    return f"{', '.join(parameter.opts)}{value}"


def _meaning(parameter: Any) -> str:
    default = parameter.default
    shown = parameter.show_default and default is not None and not callable(default) and default is not False
    if not shown or _is_argument(parameter):
        return str(parameter.help)
    if isinstance(default, Enum):
        return (
            f"{parameter.help} One of {', '.join(code(c.value) for c in type(default))}; default {code(default.value)}."
        )
    return f"{parameter.help} Default {code(default)}."


def exit_codes() -> str:
    rows = [(0, "It worked.")]
    body = ast.parse(inspect.getsource(exits)).body
    for statement, described in pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(described, ast.Expr):
            text = " ".join(ast.literal_eval(described.value).split()).removesuffix(" 0 is success.")
            rows.append((ast.literal_eval(statement.value), text))
    return markdown_table(("code", "meaning"), rows)


def exceptions() -> str:
    return markdown_table(("exception", "meaning"), list(_tree(errors.BasisError, 0)))


def _tree(error: type[Exception], depth: int) -> Iterator[tuple[str, str]]:
    text = " ".join(inspect.getdoc(error).split("\n\n", maxsplit=1)[0].split())  # type: ignore[union-attr]
    yield "&emsp;" * depth + code(error.__name__), text.replace("``", "`")
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _tree(child, depth + 1)


def checks() -> str:
    from basis_pipeline.orchestration.checks import CHECKS
    from basis_pipeline.orchestration.market import ANSWERED
    from basis_pipeline.orchestration.reconciliation_checks import CHECKS as LIVE_CHECKS

    rows = [
        (code(check.asset), code(check.name), "yes" if check.blocking else "", check.description)
        for check in (*CHECKS, ANSWERED, *LIVE_CHECKS)
    ]
    return markdown_table(("asset", "check", "blocks", "what it says"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "tables": tables,
    "tokens": tokens,
    "aliases": aliases,
    "commands": commands,
    "exit codes": exit_codes,
    "errors": exceptions,
    "checks": checks,
}


def main() -> None:
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = regenerated(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
