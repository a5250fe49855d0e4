from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa

from basis_pipeline.ledger import publications
from basis_pipeline.ledger.checkpoints import INTERVAL
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.publications import Publication, publish
from basis_pipeline.ledger.schema import metadata
from basis_pipeline_tests.builders import at, perp, token, update, wallet
from basis_pipeline_tests.ledger.builders import FUND, checked, deposits, fresh_portfolio, problems, tamper, unguarded

FORGED_HASH = "f" * 64


@pytest.fixture
def sealed(ledger: Ledger) -> Ledger:
    """Six entries: the capital, one with every column in use, one reversed, one empty."""
    data = {
        "entry_price": "3000",
        "entry_timestamp": at(0),
        "notional_usd": "6000",
        "fill_size": "2",
        "fill_price": "3000",
        "fee": "1",
        "realized_pnl": "0",
    }
    legs = [token("okx", "USDT", "-1", new_balance="-1", reason="FEE"), token("okx", "ETH", "0")]
    ledger.append(FUND, update("TRADE_EXECUTED", *legs, perp("OPEN", "-2", **data), minute=1, entry_id="trade"))
    ledger.append(FUND, update("GAS_FEE_PAID", wallet("ETH", "0"), minute=2, entry_id="gas"))
    ledger.reverse(FUND, "gas")
    ledger.append(FUND, update("HOURLY_RECONCILIATION", minute=60, entry_id="heartbeat"))
    ledger.append(FUND, update("DEPOSIT", wallet("USDT", "5"), minute=61, entry_id="last"))
    assert problems(ledger) == []
    return ledger


TRADE = "portfolio = 'fund' AND sequence = 2"
CHANGES = [
    *(("entries", column, TRADE, value, "trade") for column, value in (
        ("entry_id", "'trade2'"),
        ("timestamp", "'2024-05-12T01:01:00.000001+00:00'"),
        ("recorded_at", "'2024-05-12T01:01:00.000000+00:00'"),
        ("trigger", "'PERP_OPENED'"),
        ("reverses", "'gas'"),
        ("content_hash", f"'{FORGED_HASH}'"),
        ("previous_hash", f"'{FORGED_HASH}'"),
        ("hash", f"'{FORGED_HASH}'"),
    )),
    *(("legs", column, f"{TRADE} AND leg = 0", value, "trade") for column, value in (
        ("venue", "'bybit'"),
        ("token", "'BTC'"),
        ("token", "NULL"),
        ("delta", "'-1.000000000000000001'"),
        ("delta", "NULL"),
        ("new_balance", "'-2'"),
        ("new_balance", "NULL"),
        ("reason", "'GIFT'"),
        ("reason", "NULL"),
        ("instrument", "'ETHUSDT-PERP'"),
        ("action", "'OPEN'"),
        ("size", "'1'"),
        ("entry_price", "'1'"),
        ("realized_pnl", "'1'"),
        ("leg", "9"),
    )),
    *(("legs", column, f"{TRADE} AND leg = 2", value, "trade") for column, value in (
        ("venue", "'bybit'"),
        ("token", "'ETH'"),
        ("delta", "'1'"),
        ("new_balance", "'1'"),
        ("reason", "'x'"),
        ("instrument", "'BTCUSDT-PERP'"),
        ("action", "'ADJUST'"),
        ("size", "'-2.5'"),
        ("entry_price", "'2999'"),
        ("entry_timestamp", "'2024-05-12T00:00:00.000000+00:00'"),
        ("notional_usd", "'6001'"),
        ("fill_size", "'2.5'"),
        ("fill_price", "'2999'"),
        ("fee", "'1.5'"),
        ("realized_pnl", "'0.5'"),
        ("realized_pnl", "NULL"),
        ("leg", "3"),
    )),
    ("entries", "reverses", "entry_id = 'reversal:gas'", "NULL", "reversal:gas"),
    ("portfolios", "share_class", "portfolio = 'fund'", "'ETH'", "initial-capital:fund"),
    ("portfolios", "initial_capital", "portfolio = 'fund'", "'2000'", "initial-capital:fund"),
    ("portfolios", "start", "portfolio = 'fund'", "'2024-05-12T00:00:00.000000+00:00'", "initial-capital:fund"),
    ("portfolios", "head_sequence", "portfolio = 'fund'", "5", "fund entry 5"),
    ("portfolios", "head_hash", "portfolio = 'fund'", f"'{FORGED_HASH}'", "fund entry 6"),
    ("portfolios", "last_timestamp", "portfolio = 'fund'", "'2034-05-12T00:00:00.000000+00:00'", "fund entry 6"),
]  # fmt: skip


def test_every_stored_column_is_covered_and_the_entry_is_named(sealed: Ledger) -> None:
    unnoticed = []
    for table, column, where, value, named in CHANGES:
        what = f"{table}.{column} = {value} of {named}"
        with unguarded(sealed) as connection:
            kept = connection.execute(sa.text(f'SELECT "{column}" FROM {table} WHERE {where}')).scalar_one()
        tamper(sealed, f'UPDATE {table} SET "{column}" = {value} WHERE {where}')
        if not any(named in problem for problem in problems(sealed)):
            unnoticed.append(what)
        where = where.replace("leg = 0", "leg = 9").replace("leg = 2", "leg = 3") if column == "leg" else where
        with unguarded(sealed) as connection:
            connection.execute(sa.text(f'UPDATE {table} SET "{column}" = :kept WHERE {where}'), {"kept": kept})
        assert problems(sealed) == [], f"not restored: {what}"
    assert unnoticed == []


def test_the_list_of_changes_leaves_out_no_column(sealed: Ledger) -> None:
    tried = {(table, column) for table, column, *_ in CHANGES}
    untouched = {("portfolios", "restatements")}  # a counter for caches, outside the chain as they are
    for table in ("portfolios", "entries", "legs"):
        for column in metadata.tables[table].columns:
            if column.name not in ("portfolio", "sequence"):
                assert (table, column.name) in tried | untouched


UNREADABLE: list[tuple[str, str]] = [
    ("entries", "trigger = 'NO_SUCH_TRIGGER'"),
    ("legs", "action = 'NO_SUCH_ACTION'"),
]
UNREADABLE_TEXT = [
    ("entries", "timestamp = 'yesterday'"),
    ("entries", "recorded_at = '2024-05-12'"),
    ("legs", "delta = 'abc'"),
    ("legs", "delta = 'NaN'"),
    ("legs", "size = ''"),
    ("legs", "entry_timestamp = 'x'"),
]


def test_what_can_no_longer_be_read_is_a_finding_and_hides_no_other(sealed: Ledger) -> None:
    sqlite = sealed.engine.dialect.name == "sqlite"
    for table, change in UNREADABLE + (UNREADABLE_TEXT if sqlite else []):
        column = change.split(" = ")[0]
        where = f"{TRADE} AND ({column} IS NOT NULL)"
        with unguarded(sealed) as connection:
            kept = connection.execute(sa.text(f"SELECT {column} FROM {table} WHERE {where}")).scalars().all()
        tamper(sealed, f"UPDATE {table} SET {change} WHERE {where}", "UPDATE entries SET hash = 'x' WHERE sequence = 5")
        found = problems(sealed)
        assert any("fund entry 2 (trade): its content was changed" in problem for problem in found), change
        assert any("heartbeat" in problem for problem in found), change
        with unguarded(sealed) as connection:
            own = connection.execute(sa.text("SELECT previous_hash FROM entries WHERE sequence = 6")).scalar_one()
            connection.execute(sa.text("UPDATE entries SET hash = :own WHERE sequence = 5"), {"own": own})
            for number, value in enumerate(kept):
                leg = f" AND leg = {number if column == 'delta' else 2}" if table == "legs" else ""
                restore = sa.text(f"UPDATE {table} SET {column} = :kept WHERE {TRADE}{leg}")
                connection.execute(restore, {"kept": value})
        assert problems(sealed) == [], change


ONE_LEG_MORE = (
    "INSERT INTO legs SELECT portfolio, sequence, 3, venue, token, delta, new_balance, reason, instrument, action, "
    "size, entry_price, entry_timestamp, notional_usd, fill_size, fill_price, fee, realized_pnl "
    "FROM legs WHERE sequence = 6"
)


@pytest.mark.parametrize(
    ("statements", "finding"),
    [
        (
            ["DELETE FROM legs WHERE sequence = 3", "DELETE FROM entries WHERE sequence = 3"],
            "fund entry 4 (reversal:gas): entry 3 is missing before it",
        ),
        (
            ["DELETE FROM legs WHERE sequence IN (3, 4)", "DELETE FROM entries WHERE sequence IN (3, 4)"],
            "fund entry 5 (heartbeat): entries 3 to 4 are missing before it",
        ),
        (["DELETE FROM entries WHERE sequence = 5"], "fund entry 6 (last): entry 5 is missing before it"),
        (["DELETE FROM entries WHERE sequence = 3"], "fund entry 3: legs are left of an entry that is gone"),
        (["DELETE FROM legs WHERE sequence = 2 AND leg = 1"], "fund entry 2 (trade): its content was changed"),
        (["DELETE FROM legs WHERE sequence = 2 AND leg = 2"], "fund entry 2 (trade): its content was changed"),
        (
            [
                f"UPDATE legs SET leg = {new} WHERE sequence = 2 AND leg = {old}"
                for old, new in ((0, 9), (1, 0), (9, 1))
            ],
            "fund entry 2 (trade): its content was changed",
        ),
        (
            [
                f"UPDATE legs SET leg = {new} WHERE sequence = 2 AND leg = {old}"
                for old, new in ((1, 9), (2, 1), (9, 2))
            ],
            "fund entry 2 (trade): its legs were changed",
        ),
        (
            [
                f"UPDATE {table} SET sequence = {new} WHERE sequence = {old}"
                for old, new in ((3, 99), (4, 3), (99, 4))
                for table in ("entries", "legs")
            ],
            "fund entry 3 (reversal:gas): does not continue the entry before it: reordered or replaced",
        ),
        (
            ["DELETE FROM legs WHERE sequence = 6", "DELETE FROM entries WHERE sequence = 6"],
            "fund entry 6: the head is entry 6, but the chain ends at 5: entries were cut off",
        ),
        (["DELETE FROM legs", "DELETE FROM entries"], "fund entry 6: the head is entry 6, but the chain ends at 0"),
        ([ONE_LEG_MORE], "fund entry 6 (last): "),
    ],
)
def test_missing_reordered_and_cut_off_entries_are_named(sealed: Ledger, statements: list[str], finding: str) -> None:
    tamper(sealed, *statements)
    assert any(finding in problem for problem in problems(sealed)), problems(sealed)


def cut_off_last(ledger: Ledger) -> None:
    tamper(
        ledger,
        "UPDATE portfolios SET head_sequence = 5, head_hash = (SELECT hash FROM entries WHERE sequence = 5), "
        "last_timestamp = (SELECT timestamp FROM entries WHERE sequence = 5)",
        "DELETE FROM legs WHERE sequence = 6",
        "DELETE FROM entries WHERE sequence = 6",
    )


def published(ledger: Ledger, *days: int, **heads: Any) -> None:
    built_from = heads or ledger.snapshot().heads()
    files = [Publication("prices", date(2024, 5, day), f"prices/{day}.parquet", 1, built_from) for day in days]
    publish(ledger.engine, files, at(100))


def test_a_tail_cut_off_together_with_the_head_is_found_by_what_was_published(sealed: Ledger) -> None:
    published(sealed, 12)
    assert problems(sealed) == []
    cut_off_last(sealed)
    (found,) = problems(sealed)
    assert found == "fund entry 6: a published day was built on it, but the ledger no longer holds it"


def test_a_rewritten_tail_is_found_by_what_was_published(sealed: Ledger) -> None:
    published(sealed, 12)
    cut_off_last(sealed)
    with Ledger(sealed.engine.url.render_as_string(hide_password=False)) as forger:
        forger.append(FUND, update("DEPOSIT", wallet("USDT", "6"), minute=61, entry_id="last"))
    (found,) = problems(sealed)
    assert "fund entry 6: a published day was built on it" in found


def test_withdrawn_publications_vouch_for_nothing(sealed: Ledger) -> None:
    published(sealed, 12)
    publications.withdraw_all(sealed.engine)
    cut_off_last(sealed)
    assert problems(sealed) == []


def test_one_broken_portfolio_does_not_hide_another(sealed: Ledger) -> None:
    other = fresh_portfolio(sealed)
    sealed.append_many(other, deposits(3))
    tamper(
        sealed,
        "UPDATE legs SET delta = '7' WHERE portfolio = 'fund' AND sequence = 6",
        f"UPDATE legs SET delta = '7' WHERE portfolio = '{other}' AND sequence = 3",
    )
    found = problems(sealed)
    assert len(found) == 2
    assert {problem.split()[0] for problem in found} == {FUND, other}


def test_a_checkpoint_that_is_not_what_its_entries_come_to_is_found(ledger: Ledger) -> None:
    ledger.append_many(FUND, deposits(3 * INTERVAL))
    ledger.snapshot().book_at(FUND, at(3 * INTERVAL))
    assert problems(ledger) == []
    tamper(ledger, "UPDATE checkpoints SET book = replace(book, 'USDT', 'ETH')")
    found = problems(ledger)
    assert found
    assert all("the checkpoint at" in problem for problem in found)


def test_an_empty_ledger_verifies(ledger_url: str) -> None:
    with Ledger(ledger_url) as empty:
        assert checked(empty) == (0, ())
