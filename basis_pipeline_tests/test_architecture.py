"""The rooms of the package import one way only, and heavy packages load only where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "basis_pipeline"

STORES = {"domain", "ledger", "venues", "market", "warehouse"}
ANYWHERE = {"logs"}
"""Rooms of one module that every other but ``domain`` may import."""
MAY_IMPORT = {
    "logs": set(),
    "domain": set(),
    "settings": {"domain"},
    "ledger": {"domain"},
    "venues": {"domain"},
    "market": {"domain"},
    "warehouse": {"domain"},
    "steps": STORES,
    "home": STORES | {"steps", "settings"},
    "live": STORES | {"steps", "home", "settings"},
    "reports": STORES | {"steps", "home"},
    "sample": STORES | {"steps", "home"},
    "monitors": STORES | {"steps", "home", "live", "settings"},
    "alerts": STORES | {"steps", "home", "live", "settings"},
    "strategy": STORES | {"steps", "home", "monitors"},
    "orchestration": STORES
    | {"steps", "home", "live", "reports", "sample", "monitors", "alerts", "strategy", "settings"},
    "definitions": {"orchestration"},
    "__main__": {"cli"},
    "cli": STORES
    | {"steps", "home", "live", "reports", "sample", "monitors", "alerts", "strategy", "settings", "orchestration"},
}
"""Which rooms a room may import, itself apart."""

OWNED_BY = {
    "dagster": {"orchestration", "definitions"},
    "sqlalchemy": {"ledger"},
    "alembic": {"ledger"},
    "web3": {"venues"},
    "ccxt": {"venues"},
    "redis": {"monitors"},
    "apprise": {"alerts"},
    "structlog": {"logs"},
    "typer": {"cli"},
}
"""Packages that one room hides from the others."""

HEAVY = {"alembic", "apprise", "ccxt", "dagster", "duckdb", "numpy", "pandas", "pyarrow", "redis", "sqlalchemy", "web3"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    """The first part of the module's name below the package; empty for the package's own ``__init__``."""
    first = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imports(module: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, also inside functions and for type checking only."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def violations(module: Path) -> Iterator[str]:
    room = room_of(module)
    for line, name in imports(module):
        top, _, rest = name.partition(".")
        where = f"{module.relative_to(PACKAGE.parent)}:{line}: "
        if top == "basis_pipeline":
            target = rest.partition(".")[0]
            allowed = MAY_IMPORT[room] | (ANYWHERE if room != "domain" else set())
            if target in MAY_IMPORT and target != room and target not in allowed:
                yield f"{where}{room} may not import {target}"
        elif room not in OWNED_BY.get(top, {room}):
            yield f"{where}only {', '.join(sorted(OWNED_BY[top]))} may import {top}"
        elif room == "domain" and top != "pydantic" and top not in sys.stdlib_module_names:
            yield f"{where}domain imports {top}: only the standard library and pydantic are allowed"


def test_every_module_lives_in_a_known_room() -> None:
    assert {room_of(module) for module in MODULES} - {""} <= set(MAY_IMPORT)


def test_imports_point_one_way() -> None:
    found = [text for module in MODULES if room_of(module) for text in violations(module)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("room", ["domain", "ledger", "steps"])
def test_a_wrong_import_is_noticed_even_inside_a_function(
    room: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "basis_pipeline")
    module = tmp_path / "basis_pipeline" / room / "x.py"
    module.parent.mkdir(parents=True)
    module.write_text("def late():\n    import dagster\n    from basis_pipeline import settings\n")
    assert len(list(violations(module))) == 2


def loaded_by(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after ``code``."""
    script = f"{code}\nimport sys\nsys.stderr.write(' '.join(m for m in sys.modules if '.' not in m))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stderr.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import basis_pipeline") == set()


def test_help_loads_nothing_heavy() -> None:
    run_help = """
import sys
from basis_pipeline.cli import main
sys.argv = ["basis", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    assert loaded_by(run_help) == set()
