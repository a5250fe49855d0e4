"""What the doctor says of nodes, contracts and tokens."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from basis_pipeline.domain.observations import Finding, Verdict
from basis_pipeline_tests.rigs.ethereum import AaveChain
from basis_pipeline_tests.rigs.ethereum_proxy import SECRET, NodeProxy
from basis_pipeline_tests.venues.ethereum.builders import ask, read


def failed(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings if finding.verdict is not Verdict.OK}


def test_a_chain_in_order_is_green_for_every_node_contract_and_token(market: AaveChain) -> None:
    alice = market.wallet("alice")
    market.give(alice, "weETH", "100.000000000000000007")
    market.supply(alice, "weETH", "100.000000000000000007")
    market.borrow(alice, "WETH", "40.123456789012345678")
    market.advance(timedelta(days=77))
    findings = list(ask(market, question=lambda reader: reader.check()))
    assert failed(findings) == {}
    subjects = " ".join(finding.subject for finding in findings)
    for token in market.registry.tokens.values():
        assert token.address is None or f"token {token.symbol} {token.address}" in subjects
    messages = [finding.message for finding in findings]
    assert f"revision {market.revision}" in messages
    assert f"scaled × index is balanceOf to the wei at revision {market.revision}" in messages


def test_each_node_has_a_line_of_its_own_without_its_url(
    chain: AaveChain, node: NodeProxy, other_node: NodeProxy
) -> None:
    node.lie_about_chain_id(5)
    other_node.forget_state()
    urls = (node.url, other_node.url, chain.url)
    findings = list(ask(chain, *urls, question=lambda reader: reader.check()))
    wrong = failed(findings)
    assert set(wrong) == {"ethereum node 1 of 3", "ethereum node 2 of 3"}
    assert "ethereum.chain_id" in wrong["ethereum node 1 of 3"].remedy
    assert "missing trie node" in wrong["ethereum node 2 of 3"].message
    assert all(finding.remedy for finding in wrong.values())
    assert SECRET not in str(findings)
    assert "0 s old" in next(f for f in findings if f.subject == "ethereum node 3 of 3").message


def test_without_any_good_node_nothing_else_is_claimed(chain: AaveChain, node: NodeProxy) -> None:
    node.refuse_to_talk()
    findings = ask(chain, node.url, question=lambda reader: reader.check())
    assert [finding.verdict for finding in findings] == [Verdict.FAILED]


def test_a_token_that_is_not_what_the_registry_says_is_red_and_the_others_green(chain: AaveChain) -> None:
    registry = chain.registry.extended([replace(chain.registry.token("USDT"), decimals=18)])
    wrong = failed(list(ask(chain, question=lambda reader: reader.check(), registry=registry)))
    assert list(wrong) == [f"token USDT {chain.tokens['USDT']}"]
    assert wrong[f"token USDT {chain.tokens['USDT']}"].remedy


def test_missing_contracts_are_red(chain: AaveChain) -> None:
    nowhere = "0x" + "ee" * 20
    for setting in ("multicall", "pool_addresses_provider"):
        findings = list(ask(chain, question=lambda reader: reader.check(), **{setting: nowhere}))
        assert nowhere in str(failed(findings))


def test_a_rate_that_reverts_is_a_warning(chain: AaveChain) -> None:
    chain.break_call("weETH", "getRate()")
    wrong = failed(list(ask(chain, question=lambda reader: reader.check())))
    assert [finding.verdict for finding in wrong.values()] == [Verdict.WARNING]
    assert "etherfi:weETHETH:oracle" in wrong["ethereum market"].message


def test_rewards_that_wait_to_be_claimed_are_told_and_are_no_balance(market: AaveChain) -> None:
    alice, unknown = market.wallet("alice"), market.new_token("NEW")
    market.set_claim(alice, "ETHFI", "12.5")
    market.node.send(
        alice, market.addresses["rewards"], "setClaim(address,address,uint256)", [market.wallet("alice"), unknown, 77]
    )
    findings = ask(market, question=lambda reader: reader.check(), wallets=("alice", "bob"))
    told = [finding.message for finding in findings if finding.subject.startswith("rewards of")]
    assert told == [
        "12.5 ETHFI can be claimed at Aave; it is in the books once it is claimed",
        f"77 units of {unknown.lower()} can be claimed at Aave; it is in the books once it is claimed",
    ]
    reading = read(market)
    assert reading.balances == {}
    assert '"rewards"' in reading.raw


def test_claims_that_cannot_be_read_cost_nothing_else(chain: AaveChain) -> None:
    chain.give(chain.wallet("alice"), "USDT", "5")
    chain.set_code(chain.addresses["rewards"], "0x60006000fd")
    assert read(chain).balances == {"USDT": Decimal(5)}
    assert failed(list(ask(chain, question=lambda reader: reader.check()))) == {}
