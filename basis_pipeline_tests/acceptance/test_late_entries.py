"""Entries that arrive late restate the hours from their time on, and end in the same equity."""

from __future__ import annotations

from datetime import timedelta

import pytest

from basis_pipeline.domain.instants import parse_instant
from basis_pipeline_tests.builders import JOURNAL_CAPITAL, JOURNALS, START, journal
from basis_pipeline_tests.homes import (
    ask,
    import_file,
    problems,
    published,
    rebuild_days,
    rebuild_stale,
    terms,
    write_home,
    write_journal,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

PORTFOLIO = "btc_basis"
EQUITY = (
    "SELECT as_of, total_equity, assets, debts, unrealized_pnl, in_transit, locked, nav FROM equity_snapshots "
    f"WHERE portfolio = '{PORTFOLIO}' ORDER BY as_of"
)
CHANGES = (
    "SELECT timestamp, entry_id, leg, venue, token, instrument, action, delta, balance, size, entry_price "
    f"FROM balance_changes WHERE portfolio = '{PORTFOLIO}' ORDER BY entry_id, leg"
)


def test_every_tenth_funding_payment_arriving_late_ends_in_the_same_equity(rebuilt_home, shared, tmp_path):
    punctual, late = _split(shared)
    home = write_home(
        tmp_path / "home",
        shared / "market_data",
        {PORTFOLIO: terms(JOURNALS[PORTFOLIO], JOURNAL_CAPITAL[JOURNALS[PORTFOLIO]], START)},
    )
    import_file(home, PORTFOLIO, write_journal(tmp_path / "punctual.jsonl", punctual))
    rebuild_days(home)
    before = published(home)
    assert ask(home, EQUITY) != ask(rebuilt_home, EQUITY)
    [(learned,)] = ask(home, "SELECT max(recorded_at) FROM balance_changes")

    imported = import_file(home, PORTFOLIO, write_journal(tmp_path / "late.jsonl", late))
    assert (imported.new, imported.duplicates) == (len(late), 0)
    touched = rebuild_stale(home)

    assert ask(home, EQUITY) == ask(rebuilt_home, EQUITY)
    assert _but_order_of_legs(ask(home, CHANGES)) == _but_order_of_legs(ask(rebuilt_home, CHANGES))
    first = parse_instant(late[0]["timestamp"], "timestamp")
    assert touched == [day for (table, day) in before if table == "equity_snapshots" and day >= first.date()]
    assert {key: file for key, file in published(home).items() if key[1] < touched[0]} == {
        key: file for key, file in before.items() if key[1] < touched[0]
    }
    assert problems(home) == []
    assert rebuild_stale(home) == []
    assert ask(
        home, f"SELECT count(DISTINCT entry_id) FROM balance_changes WHERE recorded_at > TIMESTAMP '{learned}'"
    ) == [(len(late),)]
    assert ask(
        home,
        f"SELECT count(*) FROM balance_changes WHERE recorded_at > TIMESTAMP '{learned}' "
        f"AND trigger <> 'FUNDING_PAYMENT'",
    ) == [(0,)]


def _split(shared):
    """The journal without ``new_balance``: what comes in time, and every tenth funding payment."""
    punctual, late, funding = [], [], 0
    for payload in journal(shared, PORTFOLIO):
        for change in payload["token_changes"]:
            del change["new_balance"]
        funding += payload["trigger"] == "FUNDING_PAYMENT"
        held_back = payload["trigger"] == "FUNDING_PAYMENT" and funding % 10 == 0
        (late if held_back else punctual).append(payload)
    assert len(late) > 400
    assert parse_instant(late[-1]["timestamp"], "timestamp") - START > timedelta(days=490)
    return punctual, late


def _but_order_of_legs(rows):
    """Entries of the same instant apply in the order they were recorded: balances between them may differ."""
    return [(*row[:8], *row[9:]) for row in rows]
