"""The shared journals come to the expected equity, and every table agrees with every other."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import date, timedelta
from decimal import Decimal

import pytest

from basis_pipeline.steps.ports import DayRange
from basis_pipeline.warehouse.catalogue import CATALOGUE_NAME
from basis_pipeline_tests.acceptance.replay import replay
from basis_pipeline_tests.builders import JOURNAL_CAPITAL, JOURNALS, START, journal
from basis_pipeline_tests.homes import ask, copy_home, heads, import_file, problems, published, rebuild_days

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

HOURS = 12_047
LAST = START + timedelta(hours=HOURS - 1)
DAYS = 502
TOLERANCE = 1e-12
SAMPLED = 300
AGAINST_EXPECTED = """
    WITH expected AS (
        SELECT *, timestamp AT TIME ZONE 'UTC' AS as_of FROM read_parquet('{file}')
    ),
    pairs AS (
        SELECT as_of, unnest([
            {{'name': 'total_equity', 'ours': total_equity, 'theirs': equity}},
            {{'name': 'assets', 'ours': s.assets, 'theirs': expected.assets}},
            {{'name': 'debts', 'ours': s.debts, 'theirs': expected.debts}},
            {{'name': 'unrealized_pnl', 'ours': unrealized_pnl, 'theirs': upnl}},
            {{'name': 'nav', 'ours': nav, 'theirs': equity_with_upnl}}
        ], recursive := true)
        FROM (SELECT * FROM equity_snapshots WHERE portfolio = '{portfolio}') s FULL JOIN expected USING (as_of)
    )
    SELECT name, count(*), count(ours), count(theirs),
           count(*) FILTER (abs(ours - theirs)::DOUBLE > {tolerance} * abs(theirs)::DOUBLE)
    FROM pairs GROUP BY name ORDER BY name
"""


@pytest.mark.parametrize("portfolio", JOURNALS)
def test_equity_is_the_expected_one_at_every_hour(rebuilt_home, shared, portfolio):
    file = shared / "expected" / f"expected_{portfolio}.parquet"
    found = ask(rebuilt_home, AGAINST_EXPECTED.format(file=file, portfolio=portfolio, tolerance=TOLERANCE))
    assert found == [
        (name, HOURS, HOURS, HOURS, 0) for name in ("assets", "debts", "nav", "total_equity", "unrealized_pnl")
    ]


@pytest.mark.parametrize("portfolio", JOURNALS)
def test_each_hour_names_the_last_entry_it_holds(rebuilt_home, shared, portfolio):
    """In journals imported in order, that is the number of updates so far and the initial capital before them."""
    file = shared / "expected" / f"expected_{portfolio}.parquet"
    assert ask(
        rebuilt_home,
        f"SELECT count(*), count(*) FILTER (ledger_sequence = events_applied + 1) FROM equity_snapshots "
        f"JOIN read_parquet('{file}') ON as_of = timestamp AT TIME ZONE 'UTC' WHERE portfolio = '{portfolio}'",
    ) == [(HOURS, HOURS)]


def test_every_table_of_every_day_is_published_and_the_ledger_verifies(rebuilt_home):
    assert len(published(rebuilt_home)) == 8 * DAYS
    assert problems(rebuilt_home) == []


def test_total_equity_is_the_sum_by_venue_and_by_asset_and_by_underlying_to_the_last_digit(rebuilt_home):
    for view in ("equity_by_venue", "equity_by_asset", "equity_by_underlying"):
        assert ask(
            rebuilt_home,
            f"SELECT count(*), count(*) FILTER (total_equity = value) FROM equity_snapshots JOIN ("
            f"SELECT as_of, portfolio, sum(value) AS value FROM {view} GROUP BY ALL) USING (as_of, portfolio)",
        ) == [(len(JOURNALS) * HOURS, len(JOURNALS) * HOURS)]


def test_the_sides_add_up_to_the_columns_of_the_snapshot(rebuilt_home):
    assert ask(
        rebuilt_home,
        """
        SELECT count(*) FROM equity_snapshots s JOIN (
            SELECT as_of, portfolio, sum(value) AS lines,
                   coalesce(sum(value) FILTER (side = 'perp'), 0) AS perps
            FROM equity_positions GROUP BY ALL
        ) USING (as_of, portfolio)
        WHERE nav = lines AND unrealized_pnl = perps AND total_equity = assets - debts
        """,
    ) == [(len(JOURNALS) * HOURS,)]


def test_every_leg_of_every_update_is_a_balance_change(rebuilt_home, shared):
    manifest = json.loads((shared / "journals" / "manifest.json").read_text())
    expected = {name: m["token_changes"] + m["derivative_changes"] + 1 for name, m in manifest.items()}
    assert dict(ask(rebuilt_home, "SELECT portfolio, count(*) FROM balance_changes GROUP BY 1")) == expected


@pytest.mark.parametrize("portfolio", JOURNALS)
def test_what_was_held_agrees_with_a_plain_replay_of_the_journal(rebuilt_home, shared, portfolio):
    share_class = JOURNALS[portfolio]
    opening = ("wallet", share_class, JOURNAL_CAPITAL[share_class])
    hours = dict(replay(journal(shared, portfolio), opening, START, LAST))
    ended = [hour for hour in hours if hour > START and _gone(hours, hour)]
    chosen = sorted({*random.Random(7).sample(sorted(hours), SAMPLED), *ended})
    balances = {hour: {} for hour in chosen}
    perps = {hour: {} for hour in chosen}
    at = ", ".join(f"'{hour.replace(tzinfo=None)}'::TIMESTAMP" for hour in chosen)
    only = f"WHERE portfolio = '{portfolio}' AND as_of IN ({at})"
    for as_of, venue, token, balance in ask(
        rebuilt_home,
        f"SELECT as_of, 'wallet', token, balance FROM wallet_balances {only} "
        f"UNION ALL SELECT as_of, venue, token, balance FROM cex_balances {only}",
    ):
        balances[as_of.replace(tzinfo=START.tzinfo)][venue, token] = balance
    for as_of, venue, instrument, size, entry in ask(
        rebuilt_home, f"SELECT as_of, venue, instrument, size, entry_price FROM perp_positions {only}"
    ):
        perps[as_of.replace(tzinfo=START.tzinfo)][venue, instrument] = (size, entry)

    for hour in chosen:
        now, before = hours[hour], hours.get(hour - timedelta(hours=1), hours[START])
        zeros = {key: Decimal(0) for key in before.balances if key not in now.balances}
        closed = {key: (Decimal(0), entry) for key, (_, entry) in before.perps.items() if key not in now.perps}
        assert balances[hour] == now.balances | zeros, hour
        assert perps[hour] == now.perps | closed, hour


def _gone(hours, hour):
    now, before = hours[hour], hours[hour - timedelta(hours=1)]
    return before.balances.keys() - now.balances.keys() or before.perps.keys() - now.perps.keys()


def test_importing_and_rebuilding_again_changes_nothing(rebuilt_home, shared, tmp_path):
    home = copy_home(rebuilt_home, tmp_path / "home")
    before, published_before = heads(home), published(home)
    on_disk = {path.name for path in (home / "warehouse").rglob("*.parquet")}
    for name in JOURNALS:
        imported = import_file(home, name, shared / "journals" / f"{name}.jsonl.gz")
        assert imported.new == 0
        assert imported.duplicates > 500
    assert heads(home) == before
    rebuild_days(home, DayRange(date(2025, 3, 1), date(2025, 3, 31)))
    assert published(home) == published_before
    assert {path.name for path in (home / "warehouse").rglob("*.parquet")} == on_disk


def test_any_duckdb_client_opens_the_catalogue_read_only(rebuilt_home, tmp_path):
    client = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(c.execute('SELECT portfolio, share_class FROM equity_latest ORDER BY 1').fetchall(), "
        "[m for m in sys.modules if m.startswith('basis')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", client, str(rebuilt_home / CATALOGUE_NAME)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert done.stdout.strip() == f"{sorted(JOURNALS.items())} []"
