"""Deploys an Aave market of either version with its tokens, price sources and exit queues on an empty chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from eth_abi import encode
from eth_utils import keccak

from basis_pipeline_tests.rigs.ethereum_build import Artifact, Parts
from basis_pipeline_tests.rigs.ethereum_node import Anvil

MULTICALL = "0xcA11bde05977b3631167028862bE2a173976CA11"
NOBODY = "0x" + "00" * 20
TREASURY = "0x" + "77" * 20
BANK = "0x" + "ba" * 20
"""Supplies the market's liquidity and borrows part of it, so that every index moves."""

RAY = 10**27
ETH_USD = Decimal(2500)


class Reserve(NamedTuple):
    """One reserve: its name at Aave, the token of the registry, and its risk parameters in basis points."""

    name: str
    token: str
    decimals: int
    price: Decimal
    rate: Decimal | None
    ltv: int
    threshold: int
    liquidity: int
    borrowed: int


RESERVES = (
    Reserve("WETH", "WETH", 18, ETH_USD, None, 8000, 8300, 100_000, 40_000),
    Reserve("USDT", "USDT", 6, Decimal(1), None, 7500, 7800, 100_000_000, 60_000_000),
    Reserve("WBTC", "BTC", 8, Decimal(60_000), None, 7300, 7800, 2_000, 100),
    Reserve("wstETH", "wstETH", 18, ETH_USD * Decimal("1.18"), Decimal("1.18"), 7850, 8100, 50_000, 2_000),
    Reserve("weETH", "weETH", 18, ETH_USD * Decimal("1.04"), Decimal("1.04"), 7750, 8000, 50_000, 2_000),
)
_OTHER_TOKENS = ("stETH", "eETH", "KING", "EIGEN", "ETHFI")
_A_TOKENS = {"WETH": "aWETH", "USDT": "aUSDT", "WBTC": "aBTC", "wstETH": "awstETH", "weETH": "aWeETH"}
_DEBT_TOKENS = {"WETH": "variableDebtWETH", "USDT": "variableDebtUSDT", "WBTC": "variableDebtBTC"}

_V302_LIBRARIES = [
    "BorrowLogic",
    "BridgeLogic",
    "EModeLogic",
    "FlashLoanLogic",
    "LiquidationLogic",
    "PoolLogic",
    "SupplyLogic",
    "ConfiguratorLogic",
]
_V36_LIBRARIES = ["BorrowLogic", "FlashLoanLogic", "LiquidationLogic", "PoolLogic", "SupplyLogic", "ConfiguratorLogic"]
_INIT_V302 = (
    "(address,address,address,uint8,address,address,address,address,string,string,string,string,string,string,bytes)"
)
_INIT_V36 = "(address,address,address,string,string,string,string,bytes,bytes)"


class Deployed(NamedTuple):
    """Addresses: of the market's contracts by role, of tokens by their symbol in the registry."""

    contracts: dict[str, str]
    tokens: dict[str, str]


class _Deployer:
    """Deploys and wires as one administrator."""

    def __init__(self, node: Anvil, artifacts: Mapping[str, Artifact], libraries: Sequence[str]) -> None:
        self.node = node
        self.admin: str = node.rpc("eth_accounts")[0]
        self._artifacts = artifacts
        self._libraries: dict[str, str] = {}
        for name in libraries:
            self._libraries[name] = self.new(name)

    def new(self, name: str, types: str = "()", *arguments: Any) -> str:
        return self.node.deploy(self.admin, self._artifacts[name].linked(self._libraries), types, arguments)

    def do(self, to: str, signature: str, *arguments: Any) -> None:
        self.node.send(self.admin, to, signature, arguments)


def deploy(node: Anvil, parts: Parts, version: str) -> Deployed:
    """The whole market, with liquidity and loans of the bank."""
    _put_multicall(node, parts.multicall)
    older = version == "v3.0.2"
    own = _Deployer(node, parts.own, ())
    weth_code = parts.aave("v3.0.2")["WETH9"]
    tokens = {"WETH": node.deploy(own.admin, weth_code.bytecode)}
    for reserve in RESERVES[1:]:
        tokens[reserve.token] = own.new("RigToken", "(string,uint8)", reserve.name, reserve.decimals)
    for symbol in _OTHER_TOKENS:
        tokens[symbol] = own.new("RigToken", "(string,uint8)", symbol, 18)
    tokens["unstETH"] = own.new("RigLidoQueue")
    tokens["unweETH"] = own.new("RigEtherFiQueue")
    for reserve in RESERVES:
        if reserve.rate is not None:
            own.do(tokens[reserve.token], "setRate(uint256)", int(reserve.rate * 10**18))

    sources = {r.token: own.new("RigPrice", "(int256)", int(r.price * 10**8)) for r in RESERVES}
    aave = _Deployer(node, parts.aave(version), _V302_LIBRARIES if older else _V36_LIBRARIES)
    contracts = {**_market(aave, tokens, sources, older), "rewards": own.new("RigRewards")}
    _list_reserves(aave, contracts, tokens, older)
    for reserve in RESERVES:
        asset = tokens[reserve.token]
        a_token, _, debt_token = node.call(
            contracts["data_provider"],
            "getReserveTokensAddresses(address)",
            [asset],
            returns="(address,address,address)",
        )
        tokens[_A_TOKENS[reserve.name]] = a_token
        if reserve.name in _DEBT_TOKENS:
            tokens[_DEBT_TOKENS[reserve.name]] = debt_token
    contracts.update({f"price:{token}": address for token, address in sources.items()})
    _fill(node, contracts["pool"], tokens)
    return Deployed(contracts, tokens)


def _put_multicall(node: Anvil, code: str) -> None:
    node.rpc("evm_mine")
    node.rpc("anvil_setCode", MULTICALL, code)


def _market(aave: _Deployer, tokens: Mapping[str, str], sources: Mapping[str, str], older: bool) -> dict[str, str]:
    provider = aave.new("PoolAddressesProvider", "(string,address)", "rig", aave.admin)
    aave.do(provider, "setACLAdmin(address)", aave.admin)
    acl = aave.new("ACLManager", "(address)", provider)
    aave.do(provider, "setACLManager(address)", acl)
    aave.do(acl, "addPoolAdmin(address)", aave.admin)
    assets = [tokens[r.token] for r in RESERVES]
    oracle = aave.new(
        "AaveOracle",
        "(address,address[],address[],address,address,uint256)",
        provider,
        assets,
        [sources[r.token] for r in RESERVES],
        NOBODY,
        NOBODY,
        10**8,
    )
    aave.do(provider, "setPriceOracle(address)", oracle)
    contracts = {"provider": provider, "oracle": oracle, "multicall": MULTICALL}
    if older:
        pool_code = aave.new("Pool", "(address)", provider)
        configurator_code = aave.new("PoolConfigurator")
    else:
        contracts["strategy"] = aave.new("DefaultReserveInterestRateStrategyV2", "(address)", provider)
        pool_code = aave.new("PoolInstance", "(address,address)", provider, contracts["strategy"])
        configurator_code = aave.new("PoolConfiguratorInstance")
    aave.do(provider, "setPoolImpl(address)", pool_code)
    aave.do(provider, "setPoolConfiguratorImpl(address)", configurator_code)
    contracts["pool"] = aave.node.call(provider, "getPool()", returns="(address)")
    contracts["configurator"] = aave.node.call(provider, "getPoolConfigurator()", returns="(address)")
    contracts["data_provider"] = aave.new("AaveProtocolDataProvider", "(address)", provider)
    aave.do(provider, "setPoolDataProvider(address)", contracts["data_provider"])
    return contracts


def _list_reserves(aave: _Deployer, contracts: Mapping[str, str], tokens: Mapping[str, str], older: bool) -> None:
    pool = contracts["pool"]
    if older:
        a_token = aave.new("AToken", "(address)", pool)
        stable = aave.new("StableDebtToken", "(address)", pool)
        variable = aave.new("VariableDebtToken", "(address)", pool)
        percent = RAY // 100
        strategy = aave.new(
            "DefaultReserveInterestRateStrategy",
            "(address,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint256)",
            contracts["provider"],
            *(
                80 * percent,
                0,
                4 * percent,
                75 * percent,
                2 * percent,
                75 * percent,
                percent,
                8 * percent,
                20 * percent,
            ),
        )
    else:
        a_token = aave.new("ATokenInstance", "(address,address,address)", pool, contracts["rewards"], TREASURY)
        variable = aave.new("VariableDebtTokenInstance", "(address,address)", pool, contracts["rewards"])
        rates = encode(["(uint16,uint32,uint32,uint32)"], [(8000, 0, 400, 7500)])
    rows = []
    for reserve in RESERVES:
        asset, names = tokens[reserve.token], [f"a{reserve.name}"] * 2 + [f"variableDebt{reserve.name}"] * 2
        if older:
            head = (a_token, stable, variable, reserve.decimals, strategy, asset, TREASURY, contracts["rewards"])
            rows.append((*head, *names, *[f"stableDebt{reserve.name}"] * 2, b""))
        else:
            rows.append((a_token, variable, asset, *names, b"", rates))
    configurator = contracts["configurator"]
    for row in rows:  # one at a time: five proxies of each kind do not fit into one transaction's gas
        aave.do(configurator, f"initReserves({_INIT_V302 if older else _INIT_V36}[])", [row])
    for reserve in RESERVES:
        asset = tokens[reserve.token]
        collateral = "configureReserveAsCollateral(address,uint256,uint256,uint256)"
        aave.do(configurator, collateral, asset, reserve.ltv, reserve.threshold, 10_500)
        aave.do(configurator, "setReserveBorrowing(address,bool)", asset, True)
        aave.do(configurator, "setReserveFactor(address,uint256)", asset, 1000)


def _fill(node: Anvil, pool: str, tokens: Mapping[str, str]) -> None:
    """The bank supplies everything first and borrows after that, so that its loans are covered."""
    rich = node.rpc("eth_accounts")[1]
    node.pay(rich, BANK, (RESERVES[0].liquidity + 1) * 10**18)
    for reserve in RESERVES:
        asset, amount = tokens[reserve.token], reserve.liquidity * 10**reserve.decimals
        if reserve.token == "WETH":
            node.send(BANK, asset, "deposit()", value=amount)
        else:
            node.send(BANK, asset, "mint(address,uint256)", [BANK, amount])
        node.send(BANK, asset, "approve(address,uint256)", [pool, 2**256 - 1])
        node.send(BANK, pool, "supply(address,uint256,address,uint16)", [asset, amount, BANK, 0])
    for reserve in RESERVES:
        amount = reserve.borrowed * 10**reserve.decimals
        borrow = [tokens[reserve.token], amount, 2, 0, BANK]
        node.send(BANK, pool, "borrow(address,uint256,uint256,uint16,address)", borrow)


def address_of(name: str) -> str:
    """An address of its own for every name, the same at every run."""
    return "0x" + keccak(text=f"basis rig {name}")[-20:].hex()
