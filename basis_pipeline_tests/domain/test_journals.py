from __future__ import annotations

from pathlib import Path

import pytest

from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.positions import Book
from basis_pipeline_tests.builders import JOURNAL_CAPITAL, JOURNALS, journal, update, wallet

UPDATES = {"pure_lending_usdt": 555, "eth_leveraged_loop": 828, "btc_basis": 5211, "usdt_market_neutral": 16958}


@pytest.mark.acceptance
@pytest.mark.parametrize("name", JOURNALS)
def test_a_shared_journal_applies_whole_and_meets_every_new_balance(shared: Path, name: str) -> None:
    share_class = JOURNALS[name]
    book = Book()
    book.apply(update("INITIAL_CAPITAL", wallet(share_class, JOURNAL_CAPITAL[share_class])))
    applied = legs = 0
    for line in journal(shared, name):
        accepted = parse_update(line)
        book.apply(accepted)
        applied += 1
        legs += sum(change.new_balance is not None for change in accepted.token_changes)
    assert applied == UPDATES[name]
    assert legs == sum(len(line["token_changes"]) for line in journal(shared, name))
