"""A home whose ledger is in PostgreSQL publishes the same files as one with SQLite."""

from __future__ import annotations

import pytest

from basis_pipeline_tests.homes import (
    entries,
    import_sample,
    problems,
    published,
    rebuild_days,
    rebuild_stale,
    sample_range,
    write_sample_home,
)

pytestmark = pytest.mark.integration

DAYS = 26
"""Enough for the sample to use every trigger."""


def test_a_home_on_postgresql_publishes_the_same_files_as_one_on_sqlite(tmp_path, postgres_url, monkeypatch):
    found = {}
    for name in ("sqlite", "postgres"):
        if name == "postgres":
            monkeypatch.setenv("BASIS_LEDGER__URL", postgres_url)
        home = tmp_path / name
        sample = write_sample_home(home, DAYS)
        import_sample(home, sample)
        import_sample(home, sample)
        days = sample_range(home)
        rebuild_days(home, days)
        assert problems(home) == []
        assert rebuild_stale(home, days) == []
        ids = {portfolio.name: entries(home, portfolio.name) for portfolio in sample.portfolios}
        found[name] = (ids, _but_recorded_at(published(home)))
        assert (home / "ledger.db").exists() == (name == "sqlite")
    assert found["sqlite"] == found["postgres"]
    assert len(found["sqlite"][1]) == 7 * DAYS


def _but_recorded_at(files):
    """The files of every table but ``balance_changes``, which tells when the ledger learned of each entry."""
    return {key: file for key, file in files.items() if key[0] != "balance_changes"}
