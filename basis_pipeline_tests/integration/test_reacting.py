"""A whole `basis ui` on a home: entries are recalculated and told of by themselves, also when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from basis_pipeline.home import open_home
from basis_pipeline.ledger.alerts import alerts_listed
from basis_pipeline.orchestration.instance import dagster_home
from basis_pipeline.orchestration.jobs import BOOKS
from basis_pipeline.orchestration.recalculation import ATTEMPT_TAG, TARGET_TAG
from basis_pipeline.orchestration.ui import LOCK_NAME
from basis_pipeline_tests.homes import ask, problems, rebuild_days
from basis_pipeline_tests.market.builders import NO_RESERVES, PRICE_NAMES, RESERVE_NAMES, prices, write
from basis_pipeline_tests.orchestration.homes import CASH, COINS, LAST, write_small_home
from basis_pipeline_tests.orchestration.test_ui import ROOT, free_port, only_linux, processes_of
from basis_pipeline_tests.rigs.receivers import Webhook, webhook

pytestmark = [pytest.mark.integration, pytest.mark.slow, only_linux]

LONGEST_S = 90
ATTEMPTS = 2


def until(what: Callable[[], bool]) -> None:
    """Wait for something that is to happen by itself."""
    deadline = time.monotonic() + LONGEST_S
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.25)


@contextmanager
def served(home: Path, hook: Webhook) -> Iterator[None]:
    """`basis ui`, killed with everything it started when the block ends."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BASIS_ALERTS__CHANNELS__DESK__URL": hook.url(),
        "BASIS_ALERTS__CHANNELS__DESK__SEVERITY": "info",
    }
    command = [sys.executable, "-m", "basis_pipeline", "--home", str(home), "ui", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "Starting" in process.stdout.readline()
        assert "The UI is at" in process.stdout.readline()
        try:
            yield
        finally:
            process.kill()
            os.killpg(int((home / "dagster" / LOCK_NAME).read_text()), signal.SIGKILL)
    until(lambda: not processes_of(home))


def basis(home: Path, *arguments: str) -> None:
    """A command, as a person types it."""
    command = [sys.executable, "-m", "basis_pipeline", "--home", str(home), *arguments]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)


def deposit(home: Path, amount: int, hour: int) -> None:
    basis(home, "record", "DEPOSIT", f"wallet:USDT={amount}", "-p", CASH, "--at", f"{LAST}T{hour:02}:30:00Z")


def equity(home: Path, portfolio: str = CASH) -> Decimal | None:
    """What a plain DuckDB client reads."""
    try:
        rows = ask(home, f"SELECT total_equity FROM equity_latest WHERE portfolio = '{portfolio}'")
    except duckdb.IOException:
        return None
    return rows[0][0] if rows else None


def asked_for(home: Path) -> list[dg.DagsterRun]:
    """The runs that the sensor asked for, the oldest first, with those that Dagster started again."""
    with dagster_home(home), dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(dg.RunsFilter(job_name=BOOKS))
    return [run for run in reversed(runs) if TARGET_TAG in run.tags]


def underway(home: Path) -> bool:
    return any(run.status is dg.DagsterRunStatus.STARTED for run in asked_for(home))


def idle(home: Path) -> bool:
    with dagster_home(home), dg.DagsterInstance.get() as instance:
        return all(run.is_finished and not run.is_complete_and_waiting_to_retry for run in instance.get_runs())


def standing(home: Path) -> set[str]:
    with open_home(home) as opened:
        return {each.alert.kind.value for each in alerts_listed(opened.ledger.engine)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Everything published; the equity of the one portfolio is 1000 USDT."""
    path = write_small_home(tmp_path / "home", sensors={"retry_after": "0s", "attempts": ATTEMPTS, "interval": "1s"})
    rebuild_days(path)
    return path


def test_nothing_is_missed_and_nothing_told_twice_whenever_everything_is_killed(home: Path) -> None:
    with webhook() as hook:
        with served(home, hook):
            until(lambda: told_first(home))
            deposit(home, 100, 1)
            until(lambda: equity(home) == 1100)
            until(lambda: len(hook.received) == 1)
            deposit(home, 200, 2)
            until(lambda: underway(home) or equity(home) == 1300)
        deposit(home, 300, 3)
        with served(home, hook):
            until(lambda: equity(home) == 1600)
            until(lambda: told(home) == 600)
            until(lambda: len(hook.received) == len(changes(home)))
            until(lambda: idle(home))
        runs = asked_for(home)
        targets = [(run.tags[TARGET_TAG], run.tags[ATTEMPT_TAG]) for run in runs if run.is_success]
        assert len(set(targets)) == len(targets), "the same days were recalculated twice for the same entries"
        assert runs[0].is_success
        assert runs[-1].is_success
        assert len(runs) <= 4, "one for each deposit, and one that was killed"
        assert len(set(hook.titles)) == len(hook.titles)
        assert told(home) == 600
        assert len(hook.titles) == len(changes(home)), "every change was told in one message"
        assert problems(home) == []


def told_first(home: Path) -> bool:
    """Whether the sensors have begun: changes are counted from what is published."""
    with open_home(home) as opened:
        from basis_pipeline.ledger.alerts import last_notified

        return last_notified(opened.ledger.engine, CASH) is not None


def changes(home: Path) -> list[str]:
    """The titles of all changes of equity that people are told of."""
    with open_home(home) as opened:
        events = [each.alert for each in alerts_listed(opened.ledger.engine, closed=True)]
    return [alert.title for alert in events if alert.kind == "equity_change"]


def told(home: Path) -> Decimal:
    """The sum of these changes."""
    return sum((Decimal(title.split()[2].replace(",", "")) for title in changes(home)), Decimal(0))


def add_prices_of_eth(home: Path) -> None:
    rows = prices("aave_oracle USDTUSD oracle", ["1"] * 72)
    rows += prices("binance BTCUSDT spot", [str(60_000 + number) for number in range(72)])
    rows += prices("binance ETHUSDT spot", ["3000"] * 72)
    write(home / "market", "prices", PRICE_NAMES, list(rows), ".parquet")
    write(home / "market", "aave_reserve_hourly", RESERVE_NAMES, list(NO_RESERVES), ".parquet")


def test_a_day_that_cannot_be_valued_is_tried_again_given_up_told_and_healed(home: Path) -> None:
    with webhook() as hook, served(home, hook):
        basis(home, "record", "DEPOSIT", "wallet:ETH=1", "-p", COINS, "--at", f"{LAST}T01:30:00Z")
        until(lambda: "stale_projection" in standing(home))
        assert standing(home) == {"missing_price", "stale_projection"}
        until(lambda: {"missing", "out of date"} <= {word for word in ("missing", "out of date") if has(hook, word)})
        before = len(asked_for(home))
        assert before <= 1 + ATTEMPTS
        add_prices_of_eth(home)
        until(lambda: equity(home, COINS) == 5000 + 2 * 60_071 + 3000)
        until(lambda: standing(home) == set())
        until(lambda: has(hook, "resolved"))
        assert len(asked_for(home)) == before + 1


def has(hook: Webhook, words: str) -> bool:
    return any(words in title for title in hook.titles)
