"""The shared journals in homes, made once for all tests: imported, and rebuilt over all their days.

Tests that write take a copy.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from basis_pipeline_tests.builders import JOURNAL_CAPITAL, JOURNALS, START
from basis_pipeline_tests.homes import copy_home, import_file, rebuild_days, terms, write_home


@pytest.fixture(scope="session")
def imported_home(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four journals in the ledger, nothing materialized."""
    portfolios = {
        name: terms(share_class, JOURNAL_CAPITAL[share_class], START) for name, share_class in JOURNALS.items()
    }
    home = write_home(tmp_path_factory.mktemp("imported") / "home", shared / "market_data", portfolios)
    for name in JOURNALS:
        import_file(home, name, shared / "journals" / f"{name}.jsonl.gz")
    return home


@pytest.fixture(scope="session")
def rebuilt_home(imported_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four journals and all 502 days of every table."""
    home = copy_home(imported_home, tmp_path_factory.mktemp("rebuilt") / "home")
    rebuild_days(home)
    return home
