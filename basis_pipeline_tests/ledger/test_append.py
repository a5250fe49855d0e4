from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.domain.changes import Trigger, canonical_content
from basis_pipeline.domain.errors import BookError, DuplicateIdError, InputError, LedgerError, UnknownNameError
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger, Receipt
from basis_pipeline.ledger.schema import metadata
from basis_pipeline.ledger.types import ExactDecimal, UtcTime
from basis_pipeline_tests.builders import START, at, deposit, perp, state, token, update, wallet
from basis_pipeline_tests.ledger.builders import FUND, checked, deposits, fresh_portfolio, ids, problems, stored, terms

LEDGER = settings.get_profile("ledger")


def test_the_initial_capital_is_the_first_entry_and_is_seeded_once(ledger: Ledger) -> None:
    ledger.register(terms())
    (first,) = stored(ledger)
    assert (first.sequence, first.update.trigger, first.update.timestamp) == (1, Trigger.INITIAL_CAPITAL, START)
    assert ledger.snapshot().book_at(FUND, START).book.balances == {("wallet", "USDT"): Decimal(1000)}


def test_a_restart_finds_the_capital_and_does_not_seed_it_again(ledger: Ledger, ledger_url: str) -> None:
    with Ledger(ledger_url) as again:
        again.register(terms())
        assert len(stored(again)) == 1


def rewind(ledger: Ledger) -> None:
    """As a restored backup does: back to the first entry."""
    (first, *_) = stored(ledger)
    with ledger.engine.begin() as connection:
        for table in ("legs", "entries"):
            connection.execute(sa.text(f"DELETE FROM {table} WHERE sequence > 1"))
        back = "UPDATE portfolios SET head_sequence = 1, head_hash = :hash, last_timestamp = start"
        connection.execute(sa.text(back), {"hash": first.hash})


def test_a_ledger_put_back_to_an_earlier_state_is_noticed_by_a_process_that_had_it_open(
    ledger: Ledger, ledger_url: str
) -> None:
    ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-900"), minute=1))
    with Ledger(ledger_url) as other:
        rewind(other)
        other.append(FUND, update("DEPOSIT", wallet("USDT", "1"), minute=1))
    ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-1001"), minute=2))
    assert problems(ledger) == []
    assert ledger.snapshot().book_at(FUND, at(2)).book.balances == {}


def test_a_second_initial_capital_is_refused_and_the_deposit_named_as_the_way(ledger: Ledger) -> None:
    with pytest.raises(BookError, match=r"has its initial capital .* DEPOSIT"):
        ledger.append(FUND, update("INITIAL_CAPITAL", wallet("USDT", "500"), minute=5))
    assert len(stored(ledger)) == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"share_class": "ETH"}, "portfolios.fund.share_class: ETH differs from the ledger's USDT"),
        (
            {"initial_capital": Decimal("1000.5")},
            "portfolios.fund.initial_capital: 1000.5 differs from the ledger's 1000",
        ),
        ({"start": START + timedelta(hours=1)}, "portfolios.fund.start: 2024-05-12T02:00:00Z differs"),
    ],
)
def test_other_terms_than_the_ledger_s_are_refused(ledger: Ledger, changed: dict[str, object], why: str) -> None:
    with pytest.raises(LedgerError, match=why):
        ledger.register(terms()._replace(**changed))  # type: ignore[arg-type]


def test_the_same_terms_in_another_spelling_are_the_same(ledger: Ledger) -> None:
    ledger.register(terms()._replace(initial_capital=Decimal("1000.000")))
    assert len(stored(ledger)) == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"share_class": "BTC"}, "'BTC' is not one of USDT, ETH"),
        ({"initial_capital": Decimal(0)}, "must be above zero"),
        ({"initial_capital": Decimal(-1)}, "must be above zero"),
        ({"initial_capital": Decimal("NaN")}, "must be above zero"),
        ({"initial_capital": Decimal("0.0000001")}, "more decimal places"),
    ],
)
def test_impossible_terms_are_refused_and_leave_no_portfolio(
    ledger: Ledger, changed: dict[str, object], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        ledger.register(terms("other")._replace(**changed))  # type: ignore[arg-type]
    assert list(ledger.snapshot().portfolios) == [FUND]


def test_sequence_numbers_have_no_gaps_whatever_is_refused_or_repeated_in_between(ledger: Ledger) -> None:
    one, two, three = deposits(3)
    assert ledger.append(FUND, one) == Receipt("deposit-1", 2, False)
    with pytest.raises(BookError):
        ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-5000"), minute=2))
    assert ledger.append(FUND, one) == Receipt("deposit-1", 2, True)
    assert [r.sequence for r in ledger.append_many(FUND, [two, one, three])] == [3, 2, 4]
    assert [entry.sequence for entry in stored(ledger)] == [1, 2, 3, 4]


def test_portfolios_count_on_their_own(ledger: Ledger) -> None:
    other = fresh_portfolio(ledger)
    same_id = deposits(1)
    assert ledger.append_many(FUND, same_id)[0].sequence == 2
    assert ledger.append_many(other, same_id)[0] == Receipt("deposit-1", 2, False)


def test_the_same_update_again_is_a_duplicate_however_it_is_spelt(ledger: Ledger) -> None:
    first = update("DEPOSIT", wallet("ETH", "1.50", new_balance="1.5"), minute=1, entry_id="d")
    ledger.append(FUND, first)
    for again in (
        first,
        update("DEPOSIT", wallet("ETH", "15E-1"), minute=1, entry_id="d"),
        update("DEPOSIT", token("Alchemy", "ETH_spot", "1.5", new_balance="77"), minute=1, entry_id="d"),
    ):
        assert ledger.append(FUND, again) == Receipt("d", 2, True)
    assert ledger.snapshot().book_at(FUND, at(1)).book.balances[("wallet", "ETH")] == Decimal("1.5")


@pytest.mark.parametrize(
    "other",
    [
        update("DEPOSIT", wallet("ETH", "2"), minute=1, entry_id="d"),
        update("DEPOSIT", wallet("ETH", "1"), minute=2, entry_id="d"),
        update("DEPOSIT", wallet("ETH", "1", reason="gift"), minute=1, entry_id="d"),
        update("HOURLY_RECONCILIATION", wallet("ETH", "1"), minute=1, entry_id="d"),
    ],
)
def test_the_same_id_with_other_content_is_refused_and_changes_nothing(ledger: Ledger, other: object) -> None:
    ledger.append(FUND, update("DEPOSIT", wallet("ETH", "1"), minute=1, entry_id="d"))
    before = stored(ledger), ledger.snapshot().heads()
    with pytest.raises(DuplicateIdError, match="id: 'd' is entry 2 of fund already, with other content"):
        ledger.append(FUND, other)  # type: ignore[arg-type]
    assert (stored(ledger), ledger.snapshot().heads()) == before


def test_the_same_id_twice_in_one_batch_counts_once_or_is_refused(ledger: Ledger) -> None:
    (one,) = deposits(1)
    assert [r.duplicate for r in ledger.append_many(FUND, [one, one])] == [False, True]
    two = update("DEPOSIT", wallet("USDT", "1"), minute=2, entry_id="two")
    with pytest.raises(DuplicateIdError) as refused:
        ledger.append_many(FUND, [two, update("DEPOSIT", wallet("USDT", "2"), minute=2, entry_id="two")])
    assert refused.value.position == 1  # type: ignore[attr-defined]
    assert "two" not in ids(ledger)


def test_a_batch_is_taken_whole_or_not_at_all_and_says_which_update_was_wrong(ledger: Ledger) -> None:
    bad = update("WITHDRAWAL", wallet("USDT", "-5000"), minute=5)
    with pytest.raises(BookError, match="wallet USDT would be -3997") as refused:
        ledger.append_many(FUND, [*deposits(3), bad, deposit("USDT", "1", minute=6)])
    assert refused.value.position == 3  # type: ignore[attr-defined]
    assert len(stored(ledger)) == 1
    assert ledger.append_many(FUND, deposits(3))[-1].sequence == 4


def test_a_refused_update_leaves_no_trace_in_what_later_ones_are_checked_against(ledger: Ledger) -> None:
    for _ in range(2):
        with pytest.raises(BookError):
            ledger.append_many(FUND, [update("WITHDRAWAL", wallet("USDT", "-900"), minute=1, entry_id=n) for n in "ab"])
    ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-1000", new_balance="0"), minute=1))


def test_an_empty_update_is_an_entry_without_legs(ledger: Ledger) -> None:
    ledger.append(FUND, update("HOURLY_RECONCILIATION", minute=60, entry_id="heartbeat"))
    last = stored(ledger)[-1]
    assert (last.update.id, last.update.token_changes, last.update.derivative_changes) == ("heartbeat", (), ())
    assert problems(ledger) == []


def test_an_empty_batch_is_no_entry(ledger: Ledger) -> None:
    assert ledger.append_many(FUND, []) == []
    assert len(stored(ledger)) == 1


def test_nothing_is_accepted_before_the_portfolio_starts(ledger: Ledger) -> None:
    with pytest.raises(BookError, match="2024-05-12T00:59:00Z is before the portfolio's start 2024-05-12T01:00:00Z"):
        ledger.append(FUND, deposit("USDT", "1", minute=-1))


def test_an_unknown_portfolio_is_refused_everywhere(ledger: Ledger) -> None:
    with pytest.raises(UnknownNameError, match="'nobody' is not in the ledger"):
        ledger.append("nobody", deposit("USDT", "1"))
    with pytest.raises(UnknownNameError, match="'nobody' is not in the ledger; it holds fund"):
        ledger.snapshot().book_at("nobody", START)


WIDE = st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}E-18"))


@settings(LEDGER)
@given(st.lists(WIDE, min_size=1, max_size=5), WIDE.filter(lambda n: n > 0))
def test_numbers_and_times_come_back_digit_for_digit(ledger: Ledger, deltas: list[Decimal], price: Decimal) -> None:
    """38 digits, microseconds, and None told apart from zero."""
    portfolio = fresh_portfolio(ledger)
    legs = [
        token("okx", name, str(delta))
        for name, delta in zip(("ETH", "BTC", "KING", "EIGEN", "ETHFI"), deltas, strict=False)
    ]
    data = {"fill_price": str(price), "notional_usd": "0", "fee": "-0.000000000000000001", "entry_timestamp": at(1e-6)}
    written = update("TRADE_EXECUTED", perp("OPEN", str(price), **data), minute=1)
    reconciled = update("HOURLY_RECONCILIATION", *legs, minute=2)
    ledger.append_many(portfolio, [written, reconciled])
    read = [entry.update for entry in stored(ledger, portfolio)[1:]]
    assert [canonical_content(each) for each in read] == [canonical_content(written), canonical_content(reconciled)]
    data_read = read[0].derivative_changes[0].data
    assert (data_read.fee, data_read.notional_usd, data_read.realized_pnl) == (Decimal("-1E-18"), 0, None)
    assert data_read.entry_timestamp == at(1e-6)
    assert [c.delta for c in read[1].token_changes] == deltas
    assert state(ledger.snapshot().book_at(portfolio, at(9)).book)["positions"]


def test_sqlite_stores_every_number_and_time_as_text(tmp_path: Path) -> None:
    ledger = Ledger(sqlite_url(tmp_path / "ledger.db"))
    ledger.register(terms())
    data = {"fill_price": "3000.5", "notional_usd": "1e3", "fee": "1", "fill_size": "0.1", "realized_pnl": "-1"}
    ledger.append(
        FUND,
        update("TRADE_EXECUTED", token("okx", "USDT", "1E+3", new_balance="1000"), perp("OPEN", "1", **data), minute=1),
    )
    with ledger.engine.connect() as connection:
        for table in ("portfolios", "entries", "legs"):
            for column in metadata.tables[table].columns:
                if isinstance(column.type, ExactDecimal | UtcTime):
                    query = f'SELECT DISTINCT typeof("{column.name}") FROM {table} WHERE "{column.name}" IS NOT NULL'
                    assert connection.execute(sa.text(query)).scalars().all() in (["text"], []), column
        texts = connection.execute(sa.text("SELECT delta FROM legs WHERE delta IS NOT NULL")).scalars().all()
        times = connection.execute(sa.text("SELECT timestamp FROM entries")).scalars().all()
    ledger.close()
    assert texts == ["1000", "1000"]
    assert {len(text) for text in times} == {len("2024-05-12T01:00:00.000000+00:00")}


def test_recorded_at_is_when_we_learned_it_not_when_it_happened(ledger: Ledger) -> None:
    ledger.append_many(FUND, deposits(2))
    ledger.append(FUND, deposit("USDT", "1", minute=1.5))
    recorded = [entry.recorded_at for entry in stored(ledger)]
    assert recorded == sorted(recorded)
    assert recorded[0] > at(1_000_000)
    assert recorded[1] == recorded[2] < recorded[3]


def test_two_ledgers_in_one_process_see_each_other_s_entries(ledger: Ledger, ledger_url: str) -> None:
    with Ledger(ledger_url) as other:
        for number, each in enumerate(deposits(6)):
            (ledger if number % 2 else other).append(FUND, each)
        for one, another in ((ledger, other), (other, ledger)):
            one.append(FUND, update("WITHDRAWAL", wallet("USDT", "-503")))
            one.append(FUND, update("DEPOSIT", wallet("USDT", "503")))
            with pytest.raises(BookError, match=r"would be -0\.000001"):
                another.append(FUND, update("WITHDRAWAL", wallet("USDT", "-1006.000001"), minute=90))
    assert problems(ledger) == []
    assert checked(ledger).entries == 11
