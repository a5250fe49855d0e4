"""What one reading asks of the chain, and what the answers mean.

Everything goes into one batch by name: a header that proves which chain and block answered, the market (indices, rates,
oracle prices), and the wallets. Prices are asked one by one, not by ``getAssetsPrices``, so that one broken source
costs one price.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from basis_pipeline.domain.aave import RAY, RAY_PLACES
from basis_pipeline.domain.numbers import CONTEXT, VALUE_LIMIT, canonical, divide, quantize_value
from basis_pipeline.domain.observations import Block, Health, MarketObservation
from basis_pipeline.domain.tokens import Registry, Token, TokenKind
from basis_pipeline.venues.ethereum.abi import Answer, Call, brief
from basis_pipeline.venues.ethereum.contracts import NATIVE, ORACLE_DECIMALS, Contracts, reserves, same, tokens_on_chain
from basis_pipeline.venues.ethereum.nodes import Node

Answers = Mapping[str, Answer]

RESERVE_VENUE, ORACLE_VENUE = "aave_reserve", "aave_oracle"
_RATE_CALLS = {"lido": "stEthPerToken()", "etherfi": "getRate()"}
VENUES = (RESERVE_VENUE, ORACLE_VENUE, *_RATE_CALLS)
"""The venues of all market series that the chain tells."""
_SCALED = (TokenKind.ATOKEN, TokenKind.DEBT)
_RATE_PLACES = 18
_HEALTH_PLACES = 18
_ACCOUNT_DATA = ("uint256",) * 6


class Series(NamedTuple):
    """One market series and the call for its newest value, an integer with ``places``, at least ``least``."""

    venue: str
    symbol: str
    kind: str
    call: Call
    places: int
    least: int = 1


def header(contracts: Contracts, provider: str, multicall: str) -> dict[str, Call]:
    """Which chain and block answers, and whether the market still consists of these contracts."""
    return {
        "chain": Call(multicall, "getChainId()"),
        "number": Call(multicall, "getBlockNumber()"),
        "time": Call(multicall, "getCurrentBlockTimestamp()"),
        "pool": Call(provider, "getPool()", (), ("address",)),
        "oracle": Call(provider, "getPriceOracle()", (), ("address",)),
        "revision": Call(contracts.pool, "POOL_REVISION()"),
    }


def check_header(answers: Answers, node: Node, block: Block, chain_id: int) -> None:
    """``NodeError`` when the answers are not of the block, or not of the chain, that was asked for."""
    for name, expected in (("chain", chain_id), ("number", block.number), ("time", int(block.time.timestamp()))):
        if answers[name].value != expected:
            raise node.error(f"answered for another block: {name} {answers[name].value}, expected {expected}")


def moved(answers: Answers, contracts: Contracts) -> bool:
    """Whether the market has other contracts, or another revision, than when they were looked up."""
    current = [answers[name].value for name in ("pool", "oracle", "revision")]
    if None in current:
        return True
    pool, oracle, revision = current
    return not (same(pool, contracts.pool) and same(oracle, contracts.oracle) and revision == contracts.revision)


def series(registry: Registry, contracts: Contracts) -> dict[str, Series]:
    """Every market series that the chain can tell of the registry's tokens, by a name for people."""
    found: dict[str, Series] = {}
    for reserve in reserves(registry):
        asset = (reserve.address,)
        income = Call(contracts.pool, "getReserveNormalizedIncome(address)", asset)
        debt = Call(contracts.pool, "getReserveNormalizedVariableDebt(address)", asset)
        price = Call(contracts.oracle, "getAssetPrice(address)", asset)
        usd = f"{reserve.token.symbol}USD"
        for one in (
            Series(RESERVE_VENUE, reserve.name, "liquidity_index", income, RAY_PLACES, RAY),
            Series(RESERVE_VENUE, reserve.name, "variable_borrow_index", debt, RAY_PLACES, RAY),
            Series(ORACLE_VENUE, usd, "oracle", price, ORACLE_DECIMALS),
        ):
            found[f"{one.venue}:{one.symbol}:{one.kind}"] = one
    for token in tokens_on_chain(registry):
        signature = _RATE_CALLS.get(token.protocol)
        if token.kind is TokenKind.LST and token.rate_name is not None and signature is not None:
            call = Call(str(token.address), signature)
            name = f"{token.protocol}:{token.symbol}ETH:oracle"
            found[name] = Series(token.protocol, f"{token.symbol}ETH", "oracle", call, _RATE_PLACES)
    return found


def market(
    known: Mapping[str, Series], answers: Answers, block: Block, fetched_at: datetime
) -> tuple[tuple[MarketObservation, ...], list[str]]:
    """The observations, known since the block's time, and a line for each series that could not be learned."""
    observed, problems = [], []
    for name, one in known.items():
        value = answers[name].value
        if value is None:
            problems.append(f"{name}: {answers[name].problem}")
        elif value < one.least:
            problems.append(f"{name}: {one.call.signature} answered {value}, which is too small to be true")
        else:
            number = exact(value, one.places)
            observed.append(MarketObservation(one.venue, one.symbol, one.kind, number, block.time, fetched_at))
    return tuple(observed), problems


def balance_tokens(registry: Registry) -> list[Token]:
    """The tokens whose balance is one number of one contract: all but ETH and the receipts of the exit queues."""
    return [token for token in tokens_on_chain(registry) if token.kind is not TokenKind.LOCKED]


def wallet_calls(address: str, registry: Registry, contracts: Contracts, multicall: str) -> dict[str, Call]:
    """The wallet's ETH, its tokens (scaled for a- and debt tokens), its account and its rewards at Aave."""
    calls = {f"{address}:{NATIVE}": Call(multicall, "getEthBalance(address)", (address,))}
    for token in balance_tokens(registry):
        signature = "scaledBalanceOf(address)" if token.kind in _SCALED else "balanceOf(address)"
        calls[f"{address}:{token.symbol}"] = Call(str(token.address), signature, (address,))
    data = Call(contracts.pool, "getUserAccountData(address)", (address,), _ACCOUNT_DATA)
    calls[f"{address}:account"] = data
    if contracts.rewards is not None:
        assets = tuple(str(token.address) for token in tokens_on_chain(registry) if token.kind in _SCALED)
        signature, returns = "getAllUserRewards(address[],address)", ("address[]", "uint256[]")
        calls[f"{address}:rewards"] = Call(contracts.rewards, signature, (assets, address), returns)
    return calls


def claimable_rewards(address: str, registry: Registry, answers: Answers) -> list[str]:
    """Rewards the wallet could claim, for people; in the books they are nothing until they are claimed."""
    answer = answers.get(f"{address}:rewards")
    if answer is None or answer.values is None:
        return []
    by_address = {str(token.address).lower(): token for token in tokens_on_chain(registry)}
    owed: dict[str, int] = {}
    for reward, amount in zip(*answer.values, strict=False):
        owed[reward] = max(amount, owed.get(reward, 0))
    return [
        f"{canonical(exact(amount, token.decimals))} {token.symbol}"
        if (token := by_address.get(reward.lower())) is not None
        else f"{amount} units of {reward}"
        for reward, amount in owed.items()
        if amount
    ]


def balances(address: str, registry: Registry, answers: Answers) -> tuple[dict[str, Decimal], list[str]]:
    """What the wallet holds, zeros left out, and a line for each token whose balance could not be learned."""
    held: dict[str, Decimal] = {}
    problems: list[str] = []
    for token in [registry.token(NATIVE), *balance_tokens(registry)]:
        answer = answers[f"{address}:{token.symbol}"]
        if answer.value is None:
            problems.append(f"{token.symbol}: {answer.problem}")
            continue
        amount = exact(answer.value, token.decimals)
        if amount >= VALUE_LIMIT:
            problems.append(f"{token.symbol}: {answer.call.target} says {answer.value}, more than there can be")
        elif amount:
            held[token.symbol] = amount
    return held, problems


def health(address: str, answers: Answers) -> tuple[Health | None, str | None]:
    """Loan to value and health factor at Aave, or why they are not known. Without debt there is no health factor."""
    answer = answers[f"{address}:account"]
    if answer.values is None:
        return None, f"account health: {answer.problem}"
    collateral, debt, *_, factor = answer.values
    ltv = quantize_value(divide(Decimal(debt), Decimal(collateral))) if collateral else None
    return Health(ltv, exact(factor, _HEALTH_PLACES) if debt else None), None


def exact(value: int, places: int) -> Decimal:
    """An integer of the chain as the number it stands for."""
    return Decimal(value).scaleb(-places, context=CONTEXT)


def raw_rows(answers: Answers, address: str) -> Iterator[list[str | None]]:
    """What was asked and answered for this wallet, and for all alike: name, contract, function, data."""
    for name, answer in answers.items():
        owner, _, rest = name.partition(":")
        if owner == address or not owner.startswith("0x"):
            shown = rest if owner == address else name
            data = None if answer.data is None else brief(answer.data)
            yield [shown, answer.call.target, answer.call.signature, data]
