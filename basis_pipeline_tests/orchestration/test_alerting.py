"""What people are told of, from published equity and from runs, through the job that sends it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from basis_pipeline.domain.alerts import AlertKind, missing_price
from basis_pipeline.home import open_home
from basis_pipeline.ledger.alerts import NotifiedEquity, alerts_listed, last_notified, raise_alerts
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.orchestration.equity_changes import EquityNow
from basis_pipeline.orchestration.hours import hour_key
from basis_pipeline.orchestration.jobs import ALERTS, BOOKS, RECONCILIATION
from basis_pipeline.orchestration.outcomes import Place
from basis_pipeline.orchestration.recalculation import SENSOR
from basis_pipeline.orchestration.runs import materialize
from basis_pipeline.orchestration.sensors import ALERT, EQUITY_CHANGE, RUN_FAILURE
from basis_pipeline_tests.builders import START, payload, wallet
from basis_pipeline_tests.homes import copy_home, rebuild_days
from basis_pipeline_tests.live_homes import ACCOUNT, PART, PORTFOLIO, live_home
from basis_pipeline_tests.orchestration.homes import CASH, COINS, FIRST, LAST, SECOND, write_market, write_small_home
from basis_pipeline_tests.orchestration.ticks import Daemon, daemon, record, standing
from basis_pipeline_tests.rigs.exchanges import Answer
from basis_pipeline_tests.rigs.receivers import Webhook, webhook

ON_LAST_DAY = 60 * 48
IMPATIENT = {"sensors": {"retry_after": "0s", "attempts": 2}}


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A channel that takes everything."""
    with webhook() as found:
        monkeypatch.setenv("BASIS_ALERTS__CHANNELS__DESK__URL", found.url())
        monkeypatch.setenv("BASIS_ALERTS__CHANNELS__DESK__SEVERITY", "info")
        yield found


@pytest.fixture(scope="module")
def published_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything published and nobody told of anything."""
    home = write_small_home(tmp_path_factory.mktemp("published"), **IMPATIENT)
    rebuild_days(home)
    return home


@pytest.fixture
def running(published_home: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on a copy of that home, shown at its own place."""
    home = copy_home(published_home, tmp_path / "home")
    rebuild_days(home)
    with daemon(home) as found:
        yield found


def deposit(home: Path, amount: str, minute: float = ON_LAST_DAY) -> None:
    record(home, CASH, payload("DEPOSIT", wallet("USDT", amount), minute=minute))
    rebuild_days(home)


def told(home: Path) -> Decimal | None:
    """The equity of the portfolio with 1000 USDT that was told last."""
    with open_home(home) as opened:
        found = last_notified(opened.ledger.engine, CASH)
    return None if found is None else found.value


def events(home: Path) -> list[str]:
    """The titles of all changes of equity that were told of."""
    with open_home(home) as opened:
        listed = alerts_listed(opened.ledger.engine, closed=True)
    return [each.alert.title for each in listed if each.alert.kind is AlertKind.EQUITY_CHANGE]


def test_the_first_equity_is_where_changes_are_counted_from(running: Daemon) -> None:
    said = running.skipped(EQUITY_CHANGE)
    assert "cash: total_equity 1000 USDT as of 2024-05-14T23:00:00Z, where changes are counted from" in said
    assert told(running.home) == 1000
    assert events(running.home) == []


def test_a_change_within_the_threshold_is_told_to_nobody(running: Daemon) -> None:
    running.skipped(EQUITY_CHANGE)
    deposit(running.home, "1")
    said = running.skipped(EQUITY_CHANGE)
    assert "last told 1000: +1 (0.1 %), threshold 0.1 %" in said
    assert told(running.home) == 1000


def test_small_changes_that_add_up_are_told_once_they_do(running: Daemon, hook: Webhook) -> None:
    running.skipped(EQUITY_CHANGE)
    deposit(running.home, "0.7")
    running.skipped(EQUITY_CHANGE)
    deposit(running.home, "0.7", ON_LAST_DAY + 1)
    assert running.run(running.requested(EQUITY_CHANGE), ALERTS)
    assert events(running.home) == ["cash: equity +1.40 USDT (+0.14 %)"]
    assert told(running.home) == Decimal("1001.4")
    [message] = hook.received
    assert "cash: equity +1.40 USDT (+0.14 %)" in message["title"]
    assert "last told 1001.4: 0 (0 %)" in running.skipped(EQUITY_CHANGE)


def test_a_run_that_never_told_is_asked_for_again_and_one_that_did_tells_nothing_twice(running: Daemon) -> None:
    running.skipped(EQUITY_CHANGE)
    deposit(running.home, "50")
    request = running.requested(EQUITY_CHANGE)
    again = running.requested(EQUITY_CHANGE)
    assert running.run(request, ALERTS)
    assert running.run(again, ALERTS)
    assert events(running.home) == ["cash: equity +50.00 USDT (+5.00 %)"]


def test_while_a_run_is_about_to_tell_no_second_one_is_asked_for(running: Daemon) -> None:
    running.skipped(EQUITY_CHANGE)
    deposit(running.home, "50")
    running.begin(running.requested(EQUITY_CHANGE), ALERTS, dg.DagsterRunStatus.STARTING)
    assert "(send_alerts, STARTING) is on it" in running.skipped(EQUITY_CHANGE)


def test_what_was_published_before_is_not_read_again(running: Daemon) -> None:
    running.skipped(EQUITY_CHANGE)
    cursor = running.cursors[EQUITY_CHANGE]
    (running.home / "basis.duckdb").unlink()  # reading would say that nothing was published
    assert "cash: total_equity 1000" in running.skipped(EQUITY_CHANGE)
    assert running.cursors[EQUITY_CHANGE] == cursor


def test_a_cursor_that_is_not_ours_is_as_none(running: Daemon) -> None:
    for cursor in ("not json", "[1]", "{}"):
        running.cursors.update({EQUITY_CHANGE: cursor, RUN_FAILURE: cursor})
        assert "cash: total_equity 1000" in running.skipped(EQUITY_CHANGE)
        assert "from now on" in running.skipped(RUN_FAILURE)


def test_equity_of_before_what_was_told_is_no_change(running: Daemon) -> None:
    record(running.home, COINS, payload("DEPOSIT", wallet("BTC", "2"), minute=ON_LAST_DAY))
    rebuild_days(running.home)
    assert "coins: total_equity 245284 USDT" in running.skipped(EQUITY_CHANGE)
    write_market(running.home / "market", hole=True, hours=range(46, 72))
    point_to_own_market(running.home)
    assert not materialize(running.home, LAST, LAST).success, "that day has no equity of coins any more"
    assert "older than what was told last" in running.skipped(EQUITY_CHANGE)
    write_market(running.home / "market", hole=False)
    assert materialize(running.home, LAST, LAST).success
    assert "last told 245284: 0 (0 %)" in running.skipped(EQUITY_CHANGE)
    assert events(running.home) == []


def test_a_small_portfolio_is_measured_by_the_floor_and_the_tick_says_so() -> None:
    at = START + timedelta(hours=1)
    last = NotifiedEquity(CASH, "nav", "USDT", Decimal(200), START, START)
    moved = EquityNow(CASH, "USDT", "nav", Decimal("200.9"), at, last, Decimal("0.001"), Decimal(1000))
    assert not moved.crossed
    assert str(moved).endswith("last told 200: +0.9 (0.45 %), threshold 0.1 % of 1000 USDT")


def test_a_home_without_published_equity_has_no_change(tmp_path: Path) -> None:
    with daemon(write_small_home(tmp_path)) as found:
        assert "nothing was ever published" in found.skipped(EQUITY_CHANGE)


def raised(home: Path) -> None:
    with open_home(home) as opened:
        raise_alerts(opened.ledger.engine, [missing_price(CASH, ["BTC has none"])], opened.clock())


def test_alerts_are_sent_as_soon_as_there_are_any_and_once(running: Daemon, hook: Webhook) -> None:
    assert "no alert is due" in running.skipped(ALERT)
    raised(running.home)
    assert running.run(running.requested(ALERT), ALERTS)
    assert [message["title"] for message in hook.received] == hook.titles
    assert len(hook.received) == 1
    assert "no alert is due" in running.skipped(ALERT)


def test_a_channel_that_fails_is_no_failure_of_the_run_and_is_tried_again_later(running: Daemon, hook: Webhook) -> None:
    hook.status = 500
    raised(running.home)
    assert running.run(running.requested(ALERT), ALERTS)
    assert "no alert is due to a channel that can be told now" in running.skipped(ALERT)
    assert running.skipped(RUN_FAILURE).startswith("looks at runs")
    assert [each.alert.kind for each in standing(running.home)] == [AlertKind.MISSING_PRICE]


def test_without_channels_a_tick_says_that_nobody_is_told(running: Daemon) -> None:
    raised(running.home)
    said = running.skipped(ALERT)
    assert said == "no channels are configured under `alerts.channels`; nobody is told of the 1 alert that stands"


@pytest.fixture
def watched(published_home: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on a copy of the home, which has begun to look at runs."""
    with daemon(copy_home(published_home, tmp_path / "home")) as found:
        found.skipped(RUN_FAILURE)
        yield found


def kinds(home: Path) -> list[tuple[str, str, str]]:
    return [(each.alert.kind.value, each.alert.subject, each.alert.severity.value) for each in standing(home)]


def test_runs_that_ended_before_the_first_tick_are_history(tmp_path: Path) -> None:
    home = write_small_home(tmp_path, hole=True)
    materialize(home, FIRST, LAST)
    with daemon(home) as found:
        assert "from now on" in found.skipped(RUN_FAILURE)
        assert found.skipped(RUN_FAILURE) == "no run has ended since the last tick"
        assert standing(home) == []


def test_a_portfolio_that_cannot_be_valued_is_told_with_every_price_that_is_missing(watched: Daemon) -> None:
    write_market(watched.home / "market", hole=True)
    point_to_own_market(watched.home)
    assert not materialize(watched.home, FIRST, LAST).success
    watched.skipped(RUN_FAILURE)
    [found] = [each for each in standing(watched.home) if each.alert.kind is AlertKind.MISSING_PRICE]
    assert found.alert.subject == "coins"
    assert "BTC has no usable price from 2024-05-13T02:00:00Z to 2024-05-13T22:00:00Z (21 hours)" in found.alert.text
    assert "failed_run" not in {kind for kind, _, _ in kinds(watched.home)}, "one cause is one alert"
    write_market(watched.home / "market", hole=False)
    assert materialize(watched.home, SECOND, SECOND).success
    watched.skipped(SENSOR)
    assert "missing_price" not in {kind for kind, _, _ in kinds(watched.home)}


def point_to_own_market(home: Path) -> None:
    config = home / "basis.yaml"
    lines = config.read_text().splitlines()
    own = [f"market_data: {home / 'market'}" if line.startswith("market_data:") else line for line in lines]
    config.write_text("\n".join(own))


def test_a_price_that_came_before_the_failure_was_looked_at_is_not_told_as_missing(watched: Daemon) -> None:
    write_market(watched.home / "market", hole=True)
    point_to_own_market(watched.home)
    materialize(watched.home, SECOND, SECOND)
    write_market(watched.home / "market", hole=False)
    assert materialize(watched.home, SECOND, SECOND).success
    watched.skipped(RUN_FAILURE)
    assert "missing_price" not in {kind for kind, _, _ in kinds(watched.home)}


def test_a_warning_of_a_check_is_told_and_ends_when_the_check_passes_for_those_days(watched: Daemon) -> None:
    write_market(watched.home / "market", hole=True)
    point_to_own_market(watched.home)
    materialize(watched.home, SECOND, LAST)
    watched.skipped(RUN_FAILURE)
    warning = ("failed_check", "prices.complete", "warning")
    assert warning in kinds(watched.home)
    materialize(watched.home, FIRST, FIRST)
    watched.skipped(RUN_FAILURE)
    assert warning in kinds(watched.home), "it passed for another day"
    write_market(watched.home / "market", hole=False)
    materialize(watched.home, FIRST, LAST)
    watched.skipped(RUN_FAILURE)
    assert warning not in kinds(watched.home)


def break_ledger(home: Path, delta: str) -> None:
    """Change the first day behind the ledger's back."""
    engine = create_engine(sqlite_url(home / "ledger.db"))
    with engine.begin() as connection:
        for (trigger,) in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(text(f'DROP TRIGGER "{trigger}"'))
        connection.execute(text("UPDATE legs SET delta = :delta WHERE token = 'BTC'"), {"delta": delta})
    engine.dispose()


def test_a_broken_ledger_is_told_by_portfolio_and_ends_only_when_all_of_it_is_sound(watched: Daemon) -> None:
    break_ledger(watched.home, "3")
    assert not materialize(watched.home, FIRST, FIRST).success
    watched.skipped(RUN_FAILURE)
    assert kinds(watched.home) == [("ledger_broken", "coins", "error")]
    assert materialize(watched.home, LAST, LAST).success
    watched.skipped(RUN_FAILURE)
    assert kinds(watched.home) == [("ledger_broken", "coins", "error")], "that day has none of the broken entries"
    break_ledger(watched.home, "2")
    assert materialize(watched.home, FIRST, FIRST).success
    watched.skipped(RUN_FAILURE)
    assert kinds(watched.home) == []


def test_a_run_that_failed_is_told_with_what_it_said_until_one_of_its_job_succeeds_for_its_days(
    watched: Daemon,
) -> None:
    market = watched.home / "market"
    point_to_own_market(watched.home)
    (market / "prices.parquet").write_bytes(b"nonsense")
    outcome = materialize(watched.home, LAST, LAST)
    assert not outcome.success
    said = watched.skipped(RUN_FAILURE)
    assert f"failed_run materialize_books (run {outcome.run_id[:8]})" in said
    [found] = [each for each in standing(watched.home) if each.alert.kind is AlertKind.FAILED_RUN]
    assert outcome.run_id in found.alert.text
    assert "prices.parquet" in found.alert.text
    assert "Traceback" not in found.alert.text
    write_market(market, hole=False)
    assert materialize(watched.home, FIRST, FIRST).success
    watched.skipped(RUN_FAILURE)
    assert [kind for kind, _, _ in kinds(watched.home)] == ["failed_run"], "other days went well"
    assert materialize(watched.home, SECOND, LAST).success
    watched.skipped(RUN_FAILURE)
    assert kinds(watched.home) == []


def test_a_run_that_is_asked_for_again_is_not_told_as_failed_and_neither_is_the_sending_job(watched: Daemon) -> None:
    record(watched.home, CASH, payload("DEPOSIT", wallet("USDT", 1), minute=ON_LAST_DAY))
    request = watched.requested(SENSOR)
    for job, tags in ((BOOKS, request), (ALERTS, dg.RunRequest())):
        run = watched.begin(tags, job, dg.DagsterRunStatus.STARTING)
        watched.instance.report_run_failed(run, "the worker died")
    assert watched.skipped(RUN_FAILURE) == "2 runs ended: nothing to tell"
    by_hand = watched.begin(dg.RunRequest(tags={"dagster/max_retries": "0"}), BOOKS, dg.DagsterRunStatus.STARTING)
    watched.instance.report_run_failed(by_hand, "the worker died")
    watched.skipped(RUN_FAILURE)
    [found] = standing(watched.home)
    assert found.alert.text.startswith("the worker died")


def test_a_run_that_dagster_starts_again_is_not_told_as_failed(watched: Daemon) -> None:
    run = watched.begin(dg.RunRequest(), BOOKS, dg.DagsterRunStatus.STARTING)
    watched.instance.report_run_failed(run, "the worker died")
    assert watched.skipped(RUN_FAILURE) == "1 run ended: nothing to tell"


def test_nothing_is_skipped_when_alerts_cannot_be_kept(watched: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    run = watched.begin(dg.RunRequest(tags={"dagster/max_retries": "0"}), BOOKS, dg.DagsterRunStatus.STARTING)
    watched.instance.report_run_failed(run, "the worker died")
    ledger = watched.home / "ledger.db"
    ledger.rename(watched.home / "away.db")
    ledger.mkdir()
    with pytest.raises(dg.Failure, match="ledger: the database cannot be used"):
        watched.tick(RUN_FAILURE)
    ledger.rmdir()
    (watched.home / "away.db").rename(ledger)
    assert "failed_run" in watched.skipped(RUN_FAILURE)


def reconcile(found: Daemon) -> None:
    """What the hourly schedule does."""
    request = dg.RunRequest(tags={"dagster/partition": hour_key(datetime.now(UTC))})
    assert found.run(request, RECONCILIATION)


def test_drift_and_a_venue_that_cannot_be_read_are_told_by_account_until_they_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = {"on_drift": "alert", "second_reading_after": "0s"}
    with live_home(tmp_path / "home", monkeypatch, reconciliation=rules) as live, daemon(live.path) as found:
        found.skipped(RUN_FAILURE)
        live.account.add(PART, "USDT", "-12.34")
        reconcile(found)
        found.skipped(RUN_FAILURE)
        [drifted] = standing(live.path)
        assert (drifted.alert.kind, drifted.alert.subject) == (AlertKind.DRIFT, f"{PORTFOLIO}/{ACCOUNT}")
        assert "ledger 10000, venue 9987.66" in drifted.alert.text
        live.venues.fail("*", Answer(502, "Bad gateway", "text/html"))
        reconcile(found)
        found.skipped(RUN_FAILURE)
        assert {each.alert.kind for each in standing(live.path)} == {AlertKind.DRIFT, AlertKind.UNAVAILABLE_VENUE}
        live.venues.heal()
        live.account.add(PART, "USDT", "12.34")
        reconcile(found)
        found.skipped(RUN_FAILURE)
        assert standing(live.path) == []


@pytest.mark.parametrize(
    ("failed", "went_well", "over"),
    [
        (["03 03", "20 20"], ["03 03", "20 20"], [False, True]),
        (["03 09"], ["01 05", "06 09"], [False, True]),
        (["03 09"], ["05 06", "03 04", "07 09"], [False, False, True]),
        (["03 09", "05 06"], ["10 20", "01 31"], [False, True]),
        ([], ["10 20"], [True]),
    ],
)
def test_what_failed_is_over_once_each_of_its_days_went_well(
    failed: list[str], went_well: list[str], over: list[bool]
) -> None:
    def days(text: str) -> list[str]:
        return [f"2024-05-{day}" for day in text.split()]

    place = Place(0)
    for each in failed:
        place.fails("job", days(each))
    ended = []
    for each in went_well:
        place = Place.read(place.write()) or pytest.fail("what was written is not read")
        ended.append(place.is_over("job", days(each)))
    assert ended == over
