"""A reader is never locked out, never holds up the pipeline, and never sees half of a day: through the real steps."""

from __future__ import annotations

import json
import time
from itertools import count

import pytest

from basis_pipeline.home import open_home
from basis_pipeline_tests.builders import update, wallet
from basis_pipeline_tests.homes import import_sample, problems, rebuild_days, sample_range, write_sample_home
from basis_pipeline_tests.integration.children import read, start

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAYS = 8
SECONDS = 12
READERS = ("client", "reader", "client")


def test_readers_see_whole_days_while_a_backfill_rewrites_the_same_days(tmp_path):
    home, stop = tmp_path / "home", tmp_path / "stop"
    import_sample(home, write_sample_home(home, DAYS))
    days = sample_range(home)
    restate(home, 0)
    rebuild_days(home, days)
    reports = [tmp_path / f"report{number}" for number in range(len(READERS))]
    children = [start(read, home, how, DAYS, stop, report) for how, report in zip(READERS, reports, strict=True)]
    try:
        while not all(report.exists() for report in reports):
            assert all(child.is_alive() for child in children)
            children[0].join(0.05)
        end = time.monotonic() + SECONDS
        for rounds in count(1):
            restate(home, rounds)
            rebuild_days(home, days)
            if time.monotonic() > end:
                break
    finally:
        stop.touch()
        for child in children:
            child.join(60)
    assert rounds > 2
    assert [child.exitcode for child in children] == [0, 0, 0]
    for report in reports:
        found = json.loads(report.read_text())
        assert found["problems"] == []
        assert found["reads"] > 2 * rounds
        assert found["versions"] == sorted(found["versions"])
        assert len(found["versions"]) > rounds / 2
    assert problems(home) == []


def restate(home, number):
    """One more dollar in every portfolio from its first instant on: every hour of every day changes."""
    with open_home(home) as opened:
        for name, state in opened.ledger.snapshot().portfolios.items():
            gift = update("DEPOSIT", wallet("USDT", "1"), entry_id=f"gift-{number}", timestamp=state.start.isoformat())
            opened.ledger.append(name, gift)
