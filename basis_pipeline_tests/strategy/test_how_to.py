"""The page on writing a strategy says of decisions and kinds what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from basis_pipeline.strategy.kinds import KINDS
from basis_pipeline.strategy.lending import UsdtLending
from basis_pipeline_tests.strategy.fund import PaperFund, decided

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "write-a-strategy.md"
PRICES = {"USDT": "1", "aUSDT": "1.08"}


def test_the_decision_on_the_page_is_the_one_that_is_made() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (block,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = json.loads(block)
    fund = PaperFund(PRICES, {("wallet", "aUSDT"): "800000", ("binance", "USDT"): "136000"})
    fund.sequence = 41
    made = decided(fund.manage(UsdtLending, share_class="USDT", asset="USDT", reserve="0.05")).to_json()
    of_the_home = {"strategy": "lender", "kind": "usdt_lending", "portfolio": "stable", "as_of": shown["as_of"]}
    assert shown == {**made, **of_the_home}


def test_the_page_lists_every_kind() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(KINDS) == set(listed) & set(KINDS)
    assert [name for name in listed if name in KINDS] == list(KINDS)
