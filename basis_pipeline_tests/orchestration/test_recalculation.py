"""What `balance_change_sensor` asks for, on real homes, ledgers and Dagster instances."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from basis_pipeline.domain.instants import DAY
from basis_pipeline.home import open_home
from basis_pipeline.ledger import publications
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.jobs import BOOKS, PROJECTION
from basis_pipeline.orchestration.leases import held_lease
from basis_pipeline.orchestration.recalculation import ATTEMPT_TAG, SENSOR, TARGET_TAG, WHY_TAG
from basis_pipeline.orchestration.runs import materialize
from basis_pipeline.steps.ports import DayRange
from basis_pipeline_tests.builders import START, payload, wallet
from basis_pipeline_tests.homes import ask, copy_home, rebuild_days, terms
from basis_pipeline_tests.live_homes import PORTFOLIO, hours_ago, record_usdt, write_live_home
from basis_pipeline_tests.orchestration.homes import (
    CASH,
    COINS,
    FIRST,
    LAST,
    SECOND,
    write_market,
    write_small_home,
)
from basis_pipeline_tests.orchestration.ticks import Daemon, daemon, days_of, record, standing

ON_LAST_DAY = 60 * 48
"""Minutes from the portfolios' start to 01:00 of the last day."""
IMPATIENT = {"sensors": {"retry_after": "0s", "attempts": 2}}


@pytest.fixture(scope="module")
def published_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything materialized, no day behind."""
    home = write_small_home(tmp_path_factory.mktemp("published"), **IMPATIENT)
    rebuild_days(home)
    return home


@pytest.fixture
def running(published_home: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on a copy of that home."""
    with daemon(copy_home(published_home, tmp_path / "home")) as found:
        yield found


def deposit(home: Path, minute: float = ON_LAST_DAY, portfolio: str = CASH, amount: int = 7) -> None:
    record(home, portfolio, payload("DEPOSIT", wallet("USDT", amount), minute=minute))


def test_a_home_in_which_nothing_was_ever_published_is_left_alone(tmp_path: Path) -> None:
    with daemon(write_small_home(tmp_path)) as found:
        assert "run `basis materialize` once" in found.skipped(SENSOR)


def test_nothing_is_asked_for_while_every_day_shows_all_entries(running: Daemon) -> None:
    assert running.skipped(SENSOR) == "every published day shows all entries: cash #1, coins #2"


def test_an_entry_on_the_last_day_asks_for_that_day(running: Daemon) -> None:
    deposit(running.home)
    request = running.requested(SENSOR)
    assert request.partition_key == LAST.isoformat()
    assert request.tags[WHY_TAG] == "1 day (2024-05-14) touched by entries of cash #2"
    assert running.run(request, BOOKS)
    assert ask(running.home, "SELECT total_equity FROM equity_latest WHERE portfolio = 'cash'") == [(1007,)]
    assert running.skipped(SENSOR) == "every published day shows all entries: cash #2, coins #2"


def test_prices_that_are_published_are_left_as_they_are(running: Daemon) -> None:
    deposit(running.home)
    request = running.requested(SENSOR)
    assert {key.to_user_string() for key in request.asset_selection or []} == {
        "balance_changes",
        "wallet_balances",
        "cex_balances",
        "perp_positions",
        "equity_positions",
        "equity_snapshots",
    }


def test_checks_that_the_steps_make_before_they_publish_are_not_made_again(running: Daemon) -> None:
    deposit(running.home)
    request = running.requested(SENSOR)
    assert {key.name for key in request.asset_check_keys or []} == {
        "ledger_chain_intact",
        "every_holding_valued",
        "every_hour_present",
    }


def test_days_whose_prices_are_not_published_get_them(running: Daemon) -> None:
    with open_home(running.home) as opened:
        engine = opened.ledger.engine
        files = publications.current_files(engine).files
        publications.withdraw(engine, [p.file for p in files if (p.table, p.day) == ("prices", LAST)])
    deposit(running.home)
    request = running.requested(SENSOR)
    assert (request.asset_selection, request.asset_check_keys) == (None, None)


def test_a_late_entry_asks_for_one_run_over_every_day_from_its_own_on(running: Daemon) -> None:
    deposit(running.home, minute=30)
    request = running.requested(SENSOR)
    assert request.partition_key is None
    assert days_of(request) == DayRange(FIRST, LAST)
    assert running.run(request, BOOKS)
    assert "every published day" in running.skipped(SENSOR)


def test_an_entry_after_the_last_hour_of_a_day_touches_its_own_day_and_the_next(running: Daemon) -> None:
    deposit(running.home, minute=60 * 46 + 30)  # 23:30 of the second day
    assert days_of(running.requested(SENSOR)) == DayRange(SECOND, LAST)


def test_many_entries_between_two_ticks_are_one_run(running: Daemon) -> None:
    for number in range(20):
        deposit(running.home, ON_LAST_DAY + number, (CASH, COINS)[number % 2])
    request = running.requested(SENSOR)
    assert "cash #2 to #11, coins #3 to #12" in request.tags[WHY_TAG]
    assert running.run(request, BOOKS)
    assert "every published day" in running.skipped(SENSOR)
    assert len(running.runs()) == 1


def test_entries_that_arrive_while_a_run_is_on_its_way_are_asked_for_once_it_has_ended(running: Daemon) -> None:
    deposit(running.home)
    first = running.requested(SENSOR)
    starting = running.begin(first, BOOKS, dg.DagsterRunStatus.STARTING)
    deposit(running.home, ON_LAST_DAY + 1)
    assert f"run {starting.run_id[:8]} (materialize_books, STARTING) is on it" in running.skipped(SENSOR)
    running.instance.delete_run(starting.run_id)
    assert running.run(first, BOOKS)
    assert "every published day" in running.skipped(SENSOR), "the run saw what was recorded before it began"


def test_a_run_that_somebody_started_by_hand_is_waited_for(running: Daemon) -> None:
    deposit(running.home)
    by_hand = dg.RunRequest(partition_key=LAST.isoformat())
    run = running.begin(by_hand, BOOKS, dg.DagsterRunStatus.STARTED)
    with held_lease(running.home, run.run_id):
        assert "is on it" in running.skipped(SENSOR)


def test_a_run_of_other_days_is_not_waited_for(running: Daemon) -> None:
    deposit(running.home)
    run = running.begin(dg.RunRequest(partition_key=FIRST.isoformat()), BOOKS, dg.DagsterRunStatus.STARTED)
    with held_lease(running.home, run.run_id):
        running.requested(SENSOR)


def test_a_run_whose_process_died_is_not_waited_for(running: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    deposit(running.home)
    by_hand = dg.RunRequest(partition_key=LAST.isoformat(), tags={"dagster/max_retries": "0"})
    run = running.begin(by_hand, BOOKS, dg.DagsterRunStatus.STARTED)
    assert "is on it" in running.skipped(SENSOR), "it may be about to take its lease"
    monkeypatch.setattr("basis_pipeline.orchestration.asking.ABANDONED_AFTER", timedelta(seconds=-1))
    running.requested(SENSOR)
    ended = running.instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE


def test_a_crashed_run_that_dagster_starts_again_is_waited_for(running: Daemon) -> None:
    deposit(running.home)
    crashed = running.begin(running.requested(SENSOR), BOOKS, dg.DagsterRunStatus.STARTING)
    running.instance.report_run_failed(crashed, "the worker died")
    deposit(running.home, ON_LAST_DAY + 1)
    assert "(materialize_books) crashed, and Dagster is about to start it again" in running.skipped(SENSOR)
    running.instance.add_run_tags(crashed.run_id, {"dagster/auto_retry_run_id": "its successor, which ended"})
    assert "cash #2 to #3" in running.requested(SENSOR).tags[WHY_TAG]


def test_nothing_is_missed_or_done_twice_when_the_daemon_forgot_everything(running: Daemon) -> None:
    deposit(running.home)
    running.run(running.requested(SENSOR), BOOKS)
    deposit(running.home, minute=30)
    running.cursors.clear()
    request = running.requested(SENSOR)
    assert days_of(request) == DayRange(FIRST, LAST)
    assert running.run(request, BOOKS)
    running.cursors.clear()
    assert "every published day" in running.skipped(SENSOR)
    assert len(running.runs()) == 2


def test_a_cursor_that_is_not_ours_is_as_none(running: Daemon) -> None:
    for cursor in ("not json", "[1]", '{"unknown": 1}'):
        running.cursors[SENSOR] = cursor
        assert "every published day" in running.skipped(SENSOR)


def test_the_same_request_has_the_same_key_so_that_a_tick_that_is_repeated_starts_nothing_new(running: Daemon) -> None:
    deposit(running.home)
    first = running.requested(SENSOR)
    running.cursors.clear()
    running.run_keys.clear()
    assert running.requested(SENSOR).run_key == first.run_key


@pytest.fixture
def holed(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on a home in which BTC gets no price on the second day, materialized so far as that goes."""
    home = write_small_home(tmp_path / "home", hole=True, **IMPATIENT)
    assert not materialize(home, FIRST, LAST).success
    with daemon(home) as found:
        yield found


def test_a_day_that_cannot_be_valued_is_asked_for_so_often_and_then_there_is_an_alert(holed: Daemon) -> None:
    for attempt in ("1", "2"):
        request = holed.requested(SENSOR)
        assert request.partition_key == SECOND.isoformat()
        assert request.tags[ATTEMPT_TAG] == attempt
        assert request.tags[WHY_TAG] == "1 day (2024-05-13) without equity of coins"
        assert standing(holed.home) == []
        assert not holed.run(request, BOOKS)
    said = holed.skipped(SENSOR)
    assert "given up after 2 attempts" in said
    [stored] = standing(holed.home)
    assert (stored.alert.kind, stored.times) == ("stale_projection", 1)
    assert stored.alert.title == "Equity is out of date for 2024-05-13"
    assert "BTC has no usable price from 2024-05-13T02:00:00Z" in stored.alert.text
    assert holed.runs()[0].run_id in stored.alert.text
    assert holed.skipped(SENSOR) == said
    assert [each.times for each in standing(holed.home)] == [1], "it is raised once"


def give_up(found: Daemon) -> None:
    for _ in range(2):
        found.run(found.requested(SENSOR), BOOKS)
    assert "given up" in found.skipped(SENSOR)


def test_days_that_were_given_up_are_asked_for_again_when_the_market_data_has_changed(holed: Daemon) -> None:
    give_up(holed)
    write_market(holed.home / "market", hole=False)
    request = holed.requested(SENSOR)
    assert request.tags[ATTEMPT_TAG] == "1"
    assert holed.run(request, BOOKS)
    assert "every published day" in holed.skipped(SENSOR)
    assert standing(holed.home) == []


def test_days_that_entries_touch_are_asked_for_again_too_when_the_market_data_has_changed(running: Daemon) -> None:
    write_market(running.home / "own", hole=False)
    config = running.home / "basis.yaml"
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**settings, "market_data": str(running.home / "own")}))
    deposit(running.home)
    for _ in range(2):
        run = running.begin(running.requested(SENSOR), BOOKS, dg.DagsterRunStatus.STARTING)
        running.instance.report_run_failed(run, "a check stopped it")
        running.instance.add_run_tags(run.run_id, {"dagster/will_retry": "false"})
    assert "a new entry, new market data, or `basis materialize" in running.skipped(SENSOR)
    write_market(running.home / "own", hole=True)
    assert running.requested(SENSOR).tags[ATTEMPT_TAG] == "1"


def test_the_alert_ends_when_somebody_has_made_the_days_current_by_hand(holed: Daemon) -> None:
    give_up(holed)
    write_market(holed.home / "market", hole=False)
    assert materialize(holed.home, SECOND, SECOND).success
    assert "every published day" in holed.skipped(SENSOR)
    assert standing(holed.home) == []


def test_a_day_that_was_given_up_does_not_come_along_with_entries_of_later_days(holed: Daemon) -> None:
    give_up(holed)
    deposit(holed.home, portfolio=COINS)
    request = holed.requested(SENSOR)
    assert days_of(request) == DayRange(LAST, LAST)
    assert holed.run(request, BOOKS)
    assert "given up" in holed.skipped(SENSOR)
    assert len(standing(holed.home)) == 1


def test_a_new_entry_starts_counting_anew(holed: Daemon) -> None:
    give_up(holed)
    deposit(holed.home, minute=60 * 24, portfolio=COINS)
    request = holed.requested(SENSOR)
    assert request.tags[ATTEMPT_TAG] == "1"
    assert days_of(request) == DayRange(SECOND, LAST)


def test_a_failed_run_is_asked_for_again_only_after_a_while(tmp_path: Path) -> None:
    home = write_small_home(tmp_path / "home", hole=True, sensors={"retry_after": "1h"})
    materialize(home, FIRST, LAST)
    with daemon(home) as found:
        assert not found.run(found.requested(SENSOR), BOOKS)
        assert "attempt 1 (run " in (said := found.skipped(SENSOR))
        assert "the next one is due at" in said


def test_settings_that_cannot_be_used_fail_the_tick_with_what_is_wrong(running: Daemon) -> None:
    definitions = running.home / "basis.yaml"
    sound = definitions.read_text()
    repository = build_definitions(running.home).get_repository_def()
    definitions.write_text(sound + "\nnonsense: 1\n")
    context = dg.build_sensor_context(running.instance, repository_def=repository, sensor_name=SENSOR)
    with pytest.raises(dg.Failure, match=r"nonsense: is not a setting"):
        repository.get_sensor_def(SENSOR).evaluate_tick(context)


@pytest.mark.parametrize(("days_before", "only_day"), [(1, None), (0, None), (-2, "2024-05-14")])
def test_a_portfolio_that_came_since_dagster_was_started_is_calculated_from_its_start(
    running: Daemon, days_before: int, only_day: str | None
) -> None:
    definitions = running.home / "basis.yaml"
    repository = build_definitions(running.home).get_repository_def()
    settings = yaml.safe_load(definitions.read_text())
    settings["portfolios"]["new"] = terms("USDT", 300, START - days_before * DAY)
    definitions.write_text(yaml.safe_dump(settings))
    context = dg.build_sensor_context(running.instance, repository_def=repository, sensor_name=SENSOR)
    [request] = repository.get_sensor_def(SENSOR).evaluate_tick(context).run_requests or []
    assert request.partition_key == only_day
    assert days_of(request) == DayRange(FIRST - days_before * DAY, LAST)


def test_a_tick_with_nothing_new_costs_next_to_nothing(running: Daemon) -> None:
    running.skipped(SENSOR)
    before = json.loads(running.cursors[SENSOR] or "")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        running.skipped(SENSOR)
        times.append(time.perf_counter() - began)
    assert json.loads(running.cursors[SENSOR] or "") == before
    assert min(times) < 0.2, "with loading the definitions, which the daemon does once"


def test_a_home_that_was_not_begun_yet_is_skipped_and_not_an_error(tmp_path: Path) -> None:
    with daemon(tmp_path / "home") as found:
        for name in ("balance_change_sensor", "equity_change_sensor", "run_failure_sensor", "alert_sensor"):
            assert "basis.yaml does not exist; run `basis init`" in found.skipped(name)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on a live home that was projected up to an hour ago."""
    home = write_live_home(tmp_path / "home", "http://127.0.0.1:1")
    for hours in range(1, 31):
        record_usdt(home, hours_ago(hours))
    today = datetime.now(UTC).date()
    rebuild_days(home, DayRange(today - 2 * DAY, today))
    with daemon(home) as found:
        yield found


def moved(moment: datetime) -> dict[str, object]:
    return {
        "id": f"moved-{moment.isoformat()}",
        "timestamp": moment.isoformat(),
        "trigger": "DEPOSIT",
        "token_changes": [{"venue": "binance", "token": "USDT", "delta": "5"}],
    }


def test_live_an_entry_of_now_asks_for_today_though_the_last_instant_is_older(live: Daemon) -> None:
    assert "every published day" in live.skipped(SENSOR)
    now = datetime.now(UTC)
    record(live.home, PORTFOLIO, moved(now))
    request = live.requested(SENSOR)
    days = days_of(request)
    assert days is not None
    assert days.last == now.date()
    selected = live_assets(live, request)
    assert "market_observations" in selected, "without a newer instant the entry would not show"


def live_assets(found: Daemon, request: dg.RunRequest) -> set[str]:
    job = build_definitions(found.home).resolve_job_def(PROJECTION)
    return {key.to_user_string() for key in job.asset_layer.executable_asset_keys}


def test_live_more_market_alone_asks_for_nothing(live: Daemon) -> None:
    assert "every published day" in live.skipped(SENSOR)
    record_usdt(live.home, datetime.now(UTC), "1.001")
    assert "every published day" in live.skipped(SENSOR)


def test_live_a_late_entry_asks_for_its_own_day_to_today(live: Daemon) -> None:
    record(live.home, PORTFOLIO, moved(hours_ago(26)))
    days = days_of(live.requested(SENSOR))
    assert days is not None
    assert (days.first, days.last) == (hours_ago(26).date(), datetime.now(UTC).date())


def test_the_target_of_a_request_is_known_by_its_tags(running: Daemon) -> None:
    deposit(running.home)
    request = running.requested(SENSOR)
    assert request.run_key == f"{request.tags[TARGET_TAG]}-1"
    assert request.tags["basis/started_by"] == SENSOR
    assert date.fromisoformat(request.partition_key or "") == LAST
