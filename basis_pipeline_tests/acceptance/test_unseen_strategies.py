"""Portfolios that hold a bit of everything on the shared market data, valued a second time in the plainest way.

The journals are random; what is computed here shares nothing with the product but the data's README.
"""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from basis_pipeline.home import open_home
from basis_pipeline.steps.equity import project_equity
from basis_pipeline.steps.ports import DayRange
from basis_pipeline_tests.homes import ask, import_file, terms, write_home, write_journal

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

START = datetime(2025, 1, 20, 12, 30, tzinfo=UTC)
DAYS = DayRange(date(2025, 1, 20), date(2025, 2, 9))
HOURS = [datetime(2025, 1, 20, 13, tzinfo=UTC) + timedelta(hours=n) for n in range(11 + 20 * 24)]
UPDATES = 400
CAPITAL = {"USDT": Decimal(250_000), "ETH": Decimal(80)}
DECIMALS = {"USDT": 6, "aUSDT": 6, "variableDebtUSDT": 6, "BTC": 8, "aBTC": 8, "variableDebtBTC": 8}
RESERVES = {"USDT": "USDT", "WETH": "WETH", "WeETH": "weETH", "wstETH": "wstETH", "BTC": "WBTC"}
DEBTS = tuple(f"variableDebt{name}" for name in ("USDT", "WETH", "BTC"))
ATOKENS = tuple(f"a{name}" for name in RESERVES)
PLAIN = ("USDT", "ETH", "WETH", "BTC", "stETH", "wstETH", "eETH", "weETH", "KING", "EIGEN", "ETHFI")
IN_WALLET = (*PLAIN, *ATOKENS, *DEBTS)
ON_EXCHANGES = ("USDT", "ETH", "BTC")
EXCHANGES = ("binance", "bybit", "okx")
SIZES = {"USDT": 10_000, "BTC": 0.3, "KING": 5, "EIGEN": 300, "ETHFI": 900}


def random_journal(seed):
    """Random adjustments of everything there is, and perpetuals that open, change and close."""
    chance = random.Random(seed)
    at, held, open_perps = START, defaultdict(Decimal), set()
    for number in range(UPDATES):
        at += timedelta(seconds=chance.choice([0, 1, 900, 3600, 9000]))
        if chance.random() < 0.2:
            at = at.replace(minute=0, second=0) + timedelta(hours=1)
        payload = {"id": f"{seed}-{number}", "timestamp": at.isoformat(), "trigger": "HOURLY_RECONCILIATION"}
        payload["token_changes"] = [_token_leg(chance, held) for _ in range(chance.randrange(1, 4))]
        payload["derivative_changes"] = [_perp_leg(chance, open_perps)] if chance.random() < 0.3 else []
        yield payload


def _token_leg(chance, held):
    place = chance.choice(("wallet", "wallet", "wallet", *EXCHANGES, "in_transit"))
    token = chance.choice(IN_WALLET if place == "wallet" else ON_EXCHANGES)
    name = token.removeprefix("variableDebt").removeprefix("a")
    quantum = Decimal(1).scaleb(-DECIMALS.get(token, 18))
    delta = Decimal(chance.uniform(-1, 1.2) * SIZES.get(name, 4)).quantize(quantum)
    if held[place, token] + delta < 0 and place not in EXCHANGES:
        delta = -held[place, token]
    held[place, token] += delta
    return {"venue": place.upper(), "token": token, "delta": str(delta)}


def _perp_leg(chance, open_perps):
    venue, instrument = chance.choice(EXCHANGES), chance.choice(("ETHUSDT-PERP", "BTCUSDT-PERP"))
    if (venue, instrument) in open_perps and chance.random() < 0.4:
        open_perps.discard((venue, instrument))
        return {"venue": venue, "instrument": instrument, "action": "CLOSE", "data": {}}
    action = "ADJUST" if (venue, instrument) in open_perps else "OPEN"
    open_perps.add((venue, instrument))
    eth = instrument.startswith("ETH")
    size, price = chance.choice((-1, 1)) * chance.uniform(0.1, 5), chance.uniform(0.9, 1.1) * (3200 if eth else 100_000)
    data = {"size": f"{size:.3f}", "entry_price": f"{price:.2f}"}
    return {"venue": venue, "instrument": instrument, "action": action, "data": data}


class PlainMarket:
    """Every number of the two files in dictionaries."""

    def __init__(self, directory):
        prices = pq.read_table(directory / "prices.parquet", columns=["timestamp", "venue", "symbol", "kind", "close"])
        prices = prices.filter(_within(prices["timestamp"])).to_pylist()
        self.close = {(r["venue"], r["symbol"], r["kind"], r["timestamp"]): r["close"] for r in prices}
        indices = pq.read_table(directory / "aave_reserve_hourly.parquet")
        indices = indices.filter(_within(indices["timestamp"])).to_pylist()
        self.index = {
            (r["symbol"], r["timestamp"]): (r["liquidity_index"], r["variable_borrow_index"]) for r in indices
        }

    def usdt(self, token, at):
        """One token in USDT, by the conventions of the shared data."""
        if token.startswith("variableDebt"):
            name = token.removeprefix("variableDebt")
            return self.usdt(name, at) * self.index[RESERVES[name], at][1]
        if token.startswith("a"):
            name = token.removeprefix("a")
            return self.usdt({"WeETH": "weETH"}.get(name, name), at) * self.index[RESERVES[name], at][0]
        if token in ("weETH", "wstETH"):
            return self.usdt("ETH", at) * self.close["aave_oracle", f"{token}ETH", "oracle", at]
        if token == "USDT":
            return Decimal(1)
        if token == "BTC":
            return self.close["binance", "BTCUSDT", "spot", at]
        if token == "KING":
            return self.close["modelled", "KINGUSDT", "spot", at]
        if token in ("EIGEN", "ETHFI"):
            return self.close["derived", f"{token}USDT", "spot", at]
        return self.close["bybit", "ETHUSDT", "spot", at]


def _within(times):
    return pc.and_(pc.greater_equal(times, HOURS[0]), pc.less_equal(times, HOURS[-1]))


def plain_equity(payloads, market, share_class):
    """(hour, assets, debts, unrealized PnL, in transit) at every hour, in share-class currency."""
    balances, perps = defaultdict(Decimal), {}
    balances["wallet", share_class] = CAPITAL[share_class]
    coming = list(payloads)
    for hour in HOURS:
        while coming and datetime.fromisoformat(coming[0]["timestamp"]) <= hour:
            payload = coming.pop(0)
            for leg in payload["token_changes"]:
                balances[leg["venue"].lower(), leg["token"]] += Decimal(leg["delta"])
            for leg in payload["derivative_changes"]:
                perps[leg["venue"], leg["instrument"]] = leg["data"]
        assets = debts = in_transit = pnl = Decimal(0)
        for (place, token), balance in balances.items():
            value = balance * market.usdt(token, hour)
            if place == "in_transit":
                in_transit += value
            elif token in DEBTS:
                debts += value
            elif value < 0:
                debts -= value
            else:
                assets += value
        for (venue, instrument), data in perps.items():
            if data:
                mark = market.close[venue, instrument.removesuffix("-PERP"), "perp", hour]
                pnl += (mark - Decimal(data["entry_price"])) * Decimal(data["size"])
        unit = market.usdt(share_class, hour)
        yield hour.replace(tzinfo=None), assets / unit, debts / unit, pnl / unit, in_transit / unit


@pytest.mark.parametrize("share_class", CAPITAL)
def test_random_portfolios_agree_with_a_plain_calculation_at_every_hour(shared, tmp_path, share_class):
    seeds = range(3)
    portfolios = {f"p{seed}": terms(share_class, CAPITAL[share_class], START) for seed in seeds}
    home = write_home(tmp_path / "home", shared / "market_data", portfolios)
    for seed in seeds:
        import_file(home, f"p{seed}", write_journal(tmp_path / f"{seed}.jsonl", random_journal(seed)))
    with open_home(home) as opened:
        project_equity(opened.ports(), DAYS)
    market = PlainMarket(shared / "market_data")
    for seed in seeds:
        found = ask(
            home,
            "SELECT as_of, assets, debts, unrealized_pnl, in_transit, total_equity, nav FROM equity_snapshots "
            f"WHERE portfolio = 'p{seed}' ORDER BY as_of",
        )
        assert len(found) == len(HOURS)
        with localcontext(prec=50):
            expected = plain_equity(random_journal(seed), market, share_class)
            for (as_of, *ours, total, nav), (hour, *theirs) in zip(found, expected, strict=True):
                assert as_of == hour
                limit = Decimal("1e-12") * max(theirs[0], Decimal(1))
                assert all(abs(a - b) <= limit for a, b in zip(ours, theirs, strict=True)), (hour, ours, theirs)
                assert total == ours[0] - ours[1]
                assert nav == total + ours[2] + ours[3]
