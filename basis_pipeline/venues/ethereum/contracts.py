"""Aave's contracts, found from the PoolAddressesProvider alone, and whether the registry's tokens are what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from basis_pipeline.domain.errors import InputError, VenueConfigError
from basis_pipeline.domain.observations import Block, Finding, Verdict
from basis_pipeline.domain.tokens import Registry, Token, TokenKind
from basis_pipeline.venues.ethereum.abi import Answer, Call
from basis_pipeline.venues.ethereum.nodes import NoContractError, Node

NATIVE = "ETH"
ORACLE_DECIMALS = 8
_ERC721 = bytes.fromhex("80ac58cd")
_SIDES = {TokenKind.ATOKEN: "liquidity", TokenKind.DEBT: "debt"}
_ROLES = ("getPool()", "getPriceOracle()", "getPoolDataProvider()")
_REWARDS = "getIncentivesController()"
_ADDRESS = "write 0x and 40 hex digits, in quotes"
_CHECK_REGISTRY = "correct the token's address or decimals under `tokens:` in basis.yaml"


class Reserve(NamedTuple):
    """An Aave reserve: its name in rate names, and the token it is a reserve of."""

    name: str
    token: Token
    address: str


class Contracts(NamedTuple):
    """The market's contracts, and the pool's revision, which decides how it rounds.

    ``rewards`` is the controller at which rewards can be claimed; None where the a-tokens name none.
    """

    pool: str
    oracle: str
    data_provider: str
    revision: int
    rewards: str | None = None


def tokens_on_chain(registry: Registry) -> list[Token]:
    """The registry's tokens that have an address. On chain a token is its address, so no two may share one."""
    owners: dict[str, str] = {}
    found = [token for token in registry.tokens.values() if token.address is not None]
    for token in found:
        if not _is_address(str(token.address)):
            raise VenueConfigError(f"tokens.{token.symbol}.address: {token.address!r} is not an address; {_ADDRESS}")
        other = owners.setdefault(str(token.address).lower(), token.symbol)
        if other != token.symbol:
            raise VenueConfigError(
                f"tokens.{token.symbol}.address: {token.address} is the address of {other} too; "
                "its balance would be counted twice"
            )
    return found


def reserve_of(registry: Registry, token: Token) -> Reserve:
    """The reserve of an a- or debt token; ``VenueConfigError`` when the registry does not tell."""
    match (token.rate_name or "").split(":"):
        case ["aave", name, side] if side == _SIDES.get(token.kind) and token.underlying is not None:
            underlying = registry.token(token.underlying)
            if underlying.address is None:
                raise VenueConfigError(
                    f"tokens.{underlying.symbol}.address: is missing; {token.symbol} at {token.address} is backed by it"
                )
            return Reserve(name, underlying, underlying.address)
    raise VenueConfigError(f"tokens.{token.symbol}: names no reserve of Aave, so its index cannot be read")


def reserves(registry: Registry) -> list[Reserve]:
    """Every reserve of which the registry knows an a- or debt token, by name."""
    found = {
        reserve.name: reserve
        for token in tokens_on_chain(registry)
        if token.kind in _SIDES
        for reserve in [reserve_of(registry, token)]
    }
    return [found[name] for name in sorted(found)]


def lookup(registry: Registry, provider: str) -> dict[str, Call]:
    """The calls that tell which contracts the market consists of, by role."""
    calls = {role: Call(provider, role, (), ("address",)) for role in _ROLES}
    for token in tokens_on_chain(registry):
        if token.kind is TokenKind.ATOKEN:
            calls[_REWARDS] = Call(str(token.address), _REWARDS, (), ("address",))
    return calls


def looked_up(answers: Mapping[str, Answer], revision: int = 0) -> Contracts | None:
    """The contracts by the answers to ``lookup``; None when one that must be there is not."""
    pool, oracle, data_provider = (_address(answers[role]) for role in _ROLES)
    if pool is None or oracle is None or data_provider is None:
        return None
    rewards = _address(answers[_REWARDS]) if _REWARDS in answers else None
    return Contracts(pool, oracle, data_provider, revision, rewards)


async def inspect(
    node: Node, block: Block, registry: Registry, provider: str, multicall: str
) -> tuple[Contracts | None, list[Finding]]:
    """The contracts and a finding for each and for every token; None when they cannot be found."""
    try:
        found = await node.multicall(multicall, lookup(registry, provider), block)
    except NoContractError:
        remedy = "correct ethereum.multicall in basis.yaml"
        return None, [Finding(f"Multicall3 {multicall}", Verdict.FAILED, "there is no contract code", remedy)]
    findings = [Finding(f"Multicall3 {multicall}", Verdict.OK, "answers")]
    subject = f"PoolAddressesProvider {provider}"
    contracts = looked_up(found)
    if contracts is None:
        role = next(role for role in _ROLES if _address(found[role]) is None)
        remedy = "correct ethereum.pool_addresses_provider in basis.yaml"
        problem = found[role].problem if not found[role].values else f"{role} is not set"
        return None, [*findings, Finding(subject, Verdict.FAILED, problem, remedy)]
    findings.append(Finding(subject, Verdict.OK, "names pool, oracle and data provider"))
    answers = await node.multicall(multicall, checks(registry, contracts), block)
    findings += judge(registry, contracts, answers)
    return contracts._replace(revision=answers["revision"].value or 0), findings


def judge(registry: Registry, contracts: Contracts, answers: Mapping[str, Answer]) -> list[Finding]:
    """What the answers to ``checks`` say of the market's contracts and of every token."""
    tokens = [_token_finding(registry, token, answers) for token in tokens_on_chain(registry)]
    return [*_market_findings(contracts.pool, contracts.oracle, answers), *tokens]


def refuse_failed(findings: list[Finding]) -> None:
    """``VenueConfigError`` with everything that failed: nothing starts on contracts other than the configured ones."""
    failed = [f"{f.subject}: {f.message} ({f.remedy})" for f in findings if f.verdict is Verdict.FAILED]
    if failed:
        raise VenueConfigError("ethereum: " + "; ".join(failed))


def checks(registry: Registry, contracts: Contracts) -> dict[str, Call]:
    """The calls that tell whether contracts and tokens are what the registry says."""
    calls = {
        "revision": Call(contracts.pool, "POOL_REVISION()"),
        "unit": Call(contracts.oracle, "BASE_CURRENCY_UNIT()"),
    }
    for reserve in reserves(registry):
        asset = (reserve.address,)
        signature, returns = "getReserveTokensAddresses(address)", ("address",) * 3
        calls[f"reserve {reserve.name}"] = Call(contracts.data_provider, signature, asset, returns)
    for token in tokens_on_chain(registry):
        address = str(token.address)
        if token.kind is TokenKind.LOCKED:
            calls[token.symbol] = Call(address, "supportsInterface(bytes4)", (_ERC721,), ("bool",))
        else:
            calls[token.symbol] = Call(address, "decimals()", (), ("uint256",))
        if token.kind in _SIDES:
            calls[f"underlying {token.symbol}"] = Call(address, "UNDERLYING_ASSET_ADDRESS()", (), ("address",))
    return calls


def _market_findings(pool: str, oracle: str, answers: Mapping[str, Answer]) -> Iterator[Finding]:
    revision, unit = answers["revision"], answers["unit"]
    remedy = "correct ethereum.pool_addresses_provider in basis.yaml"
    if revision.value is None:
        yield Finding(f"Aave pool {pool}", Verdict.FAILED, revision.problem, remedy)
    else:
        yield Finding(f"Aave pool {pool}", Verdict.OK, f"revision {revision.value}")
    if unit.value is None:
        yield Finding(f"Aave oracle {oracle}", Verdict.FAILED, unit.problem, remedy)
    elif unit.value != 10**ORACLE_DECIMALS:
        message = f"expected prices in USD with a unit of {10**ORACLE_DECIMALS}, found {unit.value}"
        yield Finding(f"Aave oracle {oracle}", Verdict.FAILED, message, remedy)
    else:
        yield Finding(f"Aave oracle {oracle}", Verdict.OK, "prices in USD with 8 places")


def _token_finding(registry: Registry, token: Token, answers: Mapping[str, Answer]) -> Finding:
    subject, answer = f"token {token.symbol} {token.address}", answers[token.symbol]

    def failed(message: str) -> Finding:
        return Finding(subject, Verdict.FAILED, message, _CHECK_REGISTRY)

    if token.kind is TokenKind.LOCKED:
        return Finding(subject, Verdict.OK, "exit queue") if answer.value is True else failed("is not an exit queue")
    if answer.value is None:
        return failed(answer.problem)
    if answer.value != token.decimals:
        return failed(f"expected {token.decimals} decimals, found {answer.value}")
    if token.kind not in _SIDES:
        return Finding(subject, Verdict.OK, f"{token.decimals} decimals")
    reserve = reserve_of(registry, token)
    underlying, listed = answers[f"underlying {token.symbol}"], answers[f"reserve {reserve.name}"].values
    if underlying.value is None:
        return failed(underlying.problem)
    if not same(underlying.value, reserve.address):
        return failed(f"expected the underlying {reserve.token.symbol} {reserve.address}, found {underlying.value}")
    of_market = None if listed is None else listed[0 if token.kind is TokenKind.ATOKEN else 2]
    if of_market is None or not same(of_market, str(token.address)):
        return failed(f"the market's own token for {reserve.name} is {of_market}")
    return Finding(subject, Verdict.OK, f"{token.decimals} decimals, {reserve.name} reserve")


def _address(answer: Answer) -> str | None:
    value = answer.value
    return str(value) if value is not None and int(str(value), 16) else None


def same(one: str, other: str) -> bool:
    """Whether two texts are one address; letter case is only a checksum."""
    return one.lower() == other.lower()


def wallet_address(text: str, account: str) -> str:
    """An address that calls can carry; ``InputError`` names the account."""
    if not _is_address(text):
        raise InputError(f"accounts.{account}.address: {text!r} is not an Ethereum address; {_ADDRESS}")
    return text.lower()


def _is_address(text: str) -> bool:
    return re.fullmatch("0x[0-9a-fA-F]{40}", text) is not None
