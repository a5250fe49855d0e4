"""Strategies: from equity, holdings and prices to what a fund should hold, and whether it is time to get there.

    base.py            BaseStrategyManager: equity as specified, deviations from the targets, the decision
    values.py          TargetPosition, Deviation and Decision; how a decision follows from deviations
    holdings.py        what a fund holds, out of a position monitor's snapshot, and how much of an asset that is long
    config.py          reading a strategy's configuration, with errors that name the key
    sizing.py          splitting and rounding without losing a unit
    lending.py         USDT lent on Aave
    leveraged_loop.py  staked ETH as collateral of an ETH loan, at a target LTV
    hedge.py           perpetuals split over exchanges: what the next two have in common
    basis.py           BTC or ETH held spot, and as much of it short in perpetuals
    market_neutral.py  perpetuals short as much ETH as the staked leg is long
    rewards.py         when unwrapping a reward is worth its gas
    kinds.py           the strategies by the name of their kind
    positions.py       the holdings of a portfolio by its ledger as of an instant, without a monitor

Belongs here: deciding. Does not belong here: trading (a decision is a value that an execution layer may act on) and
what a position is worth (``domain`` and ``monitors``).
"""
