"""A real Ethereum node with a real Aave v3 market, started in a fraction of a second.

::

    with aave_chain("v3.6", start=datetime(2025, 3, 1, tzinfo=UTC)) as chain:
        alice = chain.wallet("alice")                    # an address of its own, the same at every run
        chain.give(alice, "weETH", "100.5")              # any token of the registry; ETH and WETH too
        chain.supply(alice, "weETH", "100")              # the underlying's symbol; mints aWeETH
        chain.borrow(alice, "WETH", "40")                # mints variableDebtWETH
        chain.advance(timedelta(days=180))               # one block, that much later
        chain.repay(alice, "WETH", None)                 # None: everything
        chain.withdraw(alice, "weETH", "1")
        chain.transfer(alice, chain.wallet("bob"), "USDT", "5")
        chain.settle()                                   # all of this is finalized now

For a reader of venues: ``chain.url``, ``chain.chain_id``, ``chain.registry`` (the built-in tokens at the addresses of
this chain), ``chain.addresses`` (``provider``, ``pool``, ``oracle``, ``data_provider``, ``multicall``, ...) and
``chain.now`` (the newest block's time); for a basis.yaml, ``chain.token_settings()``. ``v3.0.2`` (pool revision 1)
rounds half up, ``v3.6`` (revision 10) in the protocol's favour. Reserves: WETH, USDT (6 decimals), BTC (WBTC, 8),
wstETH, weETH. A bank supplied all of them and borrowed a part on 1 January 2024 (a start must be later), so that no
index is 1 and all of them grow.

Amounts are Decimals or decimal text in whole tokens, with no more places than the token has. There are no fees, and any
address may send, so balances change by what a test does and by nothing else. With ``start`` the chain begins there and
each block is one second after the one before; without, it follows the wall clock, at least one second a block (so many
blocks, like ``advance``, run ahead of it).

Knobs: ``set_rate`` and ``set_price`` (conversion rate, oracle price in USD), ``break_call`` and ``mend_call`` (one
function of a token reverts), ``set_decimals``, ``set_eth``, ``set_code``, ``mine``, ``reorg``, ``request_exit``,
``finalize_exit`` and ``claim_exit`` (Lido's and EtherFi's queues), ``set_claim`` (unclaimed rewards). What contracts
say for themselves, as integers: ``balance_of``, ``scaled_balance_of``, ``liquidity_index``, ``debt_index``.

``RigUnavailable`` says what a machine lacks (npm, node, packages). The first start builds for about half a minute and
keeps the result in a cache (see ``ethereum_build``).
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from eth_utils import function_signature_to_4byte_selector
from filelock import FileLock

from basis_pipeline.domain.tokens import BUILT_IN_TOKENS, DEFAULT_REGISTRY, Registry
from basis_pipeline_tests.rigs import ethereum_market, ethereum_node
from basis_pipeline_tests.rigs.ethereum_build import VERSIONS, Parts, RigUnavailable, parts
from basis_pipeline_tests.rigs.ethereum_market import Deployed, address_of, deploy
from basis_pipeline_tests.rigs.ethereum_node import SLOTS_IN_AN_EPOCH, Anvil, NodeError

__all__ = ["CHAIN_ID", "VERSIONS", "AaveChain", "NodeError", "RigUnavailable", "aave_chain"]

CHAIN_ID = 1
_DEPLOYED_AT = datetime(2024, 1, 1, tzinfo=UTC)
_ALL = 2**256 - 1
_VARIABLE = 2

Amount = Decimal | str | int


class AaveChain:
    """A running chain; see the module's description."""

    def __init__(self, node: Anvil, deployed: Deployed, version: str) -> None:
        self.node = node
        self.version = version
        self.chain_id = node.chain_id
        self.addresses = dict(deployed.contracts)
        self.tokens = dict(deployed.tokens)
        placed = [replace(token, address=self.tokens.get(token.symbol)) for token in BUILT_IN_TOKENS]
        self.registry: Registry = DEFAULT_REGISTRY.extended(placed)
        self._rich: str = node.rpc("eth_accounts")[1]
        self._approved: set[tuple[str, str]] = set()
        self._reorgs = 0

    @property
    def url(self) -> str:
        return self.node.url

    @property
    def revision(self) -> int:
        """``POOL_REVISION`` of the market."""
        return int(self.node.call(self.addresses["pool"], "POOL_REVISION()"))

    @property
    def now(self) -> datetime:
        """The newest block's time."""
        return datetime.fromtimestamp(int(self.node.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16), UTC)

    @property
    def block_number(self) -> int:
        return int(self.node.rpc("eth_blockNumber"), 16)

    def block_hash(self, number: int) -> str:
        return str(self.node.rpc("eth_getBlockByNumber", hex(number), False)["hash"])

    def token_settings(self) -> dict[str, dict[str, object]]:
        """The tokens with their addresses here, as ``tokens:`` of a basis.yaml."""
        found: dict[str, dict[str, object]] = {}
        for token in self.registry.tokens.values():
            if token.address is not None:
                entry = {
                    "kind": token.kind.value,
                    "decimals": token.decimals,
                    "address": token.address,
                    "underlying": token.underlying,
                    "rate": token.rate_name,
                    "protocol": token.protocol,
                }
                found[token.symbol] = {key: value for key, value in entry.items() if value is not None}
        return found

    def wallet(self, name: str) -> str:
        """The address that belongs to a name."""
        return address_of(name)

    def units(self, token: str, amount: Amount) -> int:
        """The amount in the token's smallest unit."""
        whole = Decimal(amount).scaleb(self.registry.token(token).decimals)
        if whole != whole.to_integral_value():
            raise ValueError(f"{token} has no more than {self.registry.token(token).decimals} places: {amount}")
        return int(whole)

    # Holdings.

    def give(self, wallet: str, token: str, amount: Amount) -> None:
        """Put tokens into a wallet from nowhere."""
        units = self.units(token, amount)
        if token == "ETH":
            self.node.pay(self._rich, wallet, units)
        elif token == "WETH":
            self.node.send(self._rich, self.tokens[token], "deposit()", value=units)
            self.transfer(self._rich, wallet, token, amount)
        elif token.startswith(("a", "variableDebt")):
            raise ValueError(f"{token} comes into being by supplying or borrowing only")
        else:
            self.node.send(self._rich, self.tokens[token], "mint(address,uint256)", [wallet, units])

    def transfer(self, wallet: str, to: str, token: str, amount: Amount) -> None:
        """Send ETH or any token; of an aToken, an amount of the underlying."""
        units = self.units(token, amount)
        if token == "ETH":
            self.node.pay(wallet, to, units)
        else:
            self.node.send(wallet, self.tokens[token], "transfer(address,uint256)", [to, units])

    def unwrap(self, wallet: str, amount: Amount) -> None:
        """WETH into ETH."""
        self.node.send(wallet, self.tokens["WETH"], "withdraw(uint256)", [self.units("WETH", amount)])

    def set_eth(self, wallet: str, amount: Amount) -> None:
        """Give the wallet exactly this much ETH, in a block of its own."""
        self.mine()  # anvil writes it into the newest block, whose hash somebody may have seen
        self.node.rpc("anvil_setBalance", wallet, hex(self.units("ETH", amount)))
        self.mine()

    # Aave. Tokens are underlyings by their symbol in the registry.

    def supply(self, wallet: str, token: str, amount: Amount) -> None:
        self._approve(wallet, token)
        arguments = [self.tokens[token], self.units(token, amount), wallet, 0]
        self._pool(wallet, "supply(address,uint256,address,uint16)", arguments)

    def withdraw(self, wallet: str, token: str, amount: Amount | None) -> None:
        units = _ALL if amount is None else self.units(token, amount)
        self._pool(wallet, "withdraw(address,uint256,address)", [self.tokens[token], units, wallet])

    def borrow(self, wallet: str, token: str, amount: Amount) -> None:
        arguments = [self.tokens[token], self.units(token, amount), _VARIABLE, 0, wallet]
        self._pool(wallet, "borrow(address,uint256,uint256,uint16,address)", arguments)

    def repay(self, wallet: str, token: str, amount: Amount | None) -> None:
        self._approve(wallet, token)
        units = _ALL if amount is None else self.units(token, amount)
        self._pool(wallet, "repay(address,uint256,uint256,address)", [self.tokens[token], units, _VARIABLE, wallet])

    def _pool(self, wallet: str, signature: str, arguments: list[object]) -> None:
        self.node.send(wallet, self.addresses["pool"], signature, arguments)

    def _approve(self, wallet: str, token: str) -> None:
        if (wallet, token) not in self._approved:
            approval = [self.addresses["pool"], _ALL]
            self.node.send(wallet, self.tokens[token], "approve(address,uint256)", approval)
            self._approved.add((wallet, token))

    # Exit queues: ``unstETH`` is Lido's, ``unweETH`` EtherFi's.

    def request_exit(self, wallet: str, queue: str, amount: Amount) -> int:
        """The id of a new request."""
        kind = "uint256" if queue == "unstETH" else "uint96"
        counter = "getLastRequestId()" if queue == "unstETH" else "nextRequestId()"
        self.node.send(self._rich, self.tokens[queue], f"request(address,{kind})", [wallet, self.units("ETH", amount)])
        return int(self.node.call(self.tokens[queue], counter)) - (0 if queue == "unstETH" else 1)

    def finalize_exit(self, queue: str, request: int, claimable: Amount) -> None:
        arguments = [request, self.units("ETH", claimable)]
        self.node.send(self._rich, self.tokens[queue], "finalize(uint256,uint256)", arguments)

    def claim_exit(self, queue: str, request: int) -> None:
        self.node.send(self._rich, self.tokens[queue], "claim(uint256)", [request])

    def set_claim(self, wallet: str, token: str, amount: Amount) -> None:
        """Rewards that Aave owes a wallet until they are claimed."""
        arguments = [wallet, self.tokens[token], self.units(token, amount)]
        self.node.send(self._rich, self.addresses["rewards"], "setClaim(address,address,uint256)", arguments)

    # Knobs.

    def set_rate(self, token: str, rate: Amount) -> None:
        """``stEthPerToken`` and ``getRate`` of a token."""
        self.node.send(self._rich, self.tokens[token], "setRate(uint256)", [int(Decimal(rate).scaleb(18))])

    def set_price(self, token: str, usd: Amount) -> None:
        """What Aave's oracle says an underlying is worth (8 places)."""
        self.node.send(self._rich, self.addresses[f"price:{token}"], "set(int256)", [int(Decimal(usd).scaleb(8))])

    def break_call(self, token: str, signature: str) -> None:
        """Let ``balanceOf(address)``, ``getRate()`` or another function of the token revert."""
        self._broken(token, signature, True)

    def mend_call(self, token: str, signature: str) -> None:
        self._broken(token, signature, False)

    def _broken(self, token: str, signature: str, broken: bool) -> None:
        selector = function_signature_to_4byte_selector(signature)
        self.node.send(self._rich, self.tokens[token], "setBroken(bytes4,bool)", [selector, broken])

    def set_decimals(self, token: str, decimals: int) -> None:
        self.node.send(self._rich, self.tokens[token], "setDecimals(uint8)", [decimals])

    def set_code(self, address: str, code: str) -> None:
        """Replace a contract's code (``0x``: remove it), in a block of its own."""
        self.mine()
        self.node.rpc("anvil_setCode", address, code)
        self.mine()

    def new_token(self, symbol: str, decimals: int = 18) -> str:
        """The address of one more ERC-20, which is in no registry yet."""
        return self.node.deploy(self._rich, parts().own["RigToken"].bytecode, "(string,uint8)", [symbol, decimals])

    def clone(self, address: str) -> str:
        """The address of a contract with the same code and nothing stored."""
        code = self.node.rpc("eth_getCode", address, "latest")
        place = address_of(f"clone of {address}")
        self.set_code(place, code)
        return place

    # Time and blocks.

    def advance(self, by: timedelta) -> None:
        """One block, that much after the newest."""
        self.set_time(self.now + by)

    def set_time(self, moment: datetime) -> None:
        """One block at this time, which must be after the newest block's."""
        self.node.rpc("evm_setNextBlockTimestamp", int(moment.timestamp()))
        self.node.rpc("evm_mine")

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.node.rpc("evm_mine")

    def settle(self) -> None:
        """Mine until everything that happened is in the finalized block."""
        self.mine(2 * SLOTS_IN_AN_EPOCH)

    def reorg(self, depth: int) -> None:
        """Replace the newest blocks by empty ones with other hashes: what happened in them has not happened.

        Time goes back too: the new blocks follow one second after each other.
        """
        self._reorgs += 1  # another miner, without which a block that was empty before would come out the same
        self.node.rpc("anvil_setCoinbase", self.wallet(f"miner {self._reorgs}"))
        self.node.rpc("anvil_reorg", depth, [])

    # What the contracts say, in integers.

    def balance_of(self, wallet: str, token: str) -> int:
        """``balanceOf``, of ETH too; of a- and debt tokens with interest up to the newest block."""
        if token == "ETH":
            return int(self.node.rpc("eth_getBalance", wallet, "latest"), 16)
        return int(self.node.call(self.tokens[token], "balanceOf(address)", [wallet]))

    def scaled_balance_of(self, wallet: str, token: str) -> int:
        return int(self.node.call(self.tokens[token], "scaledBalanceOf(address)", [wallet]))

    def liquidity_index(self, token: str) -> int:
        """``getReserveNormalizedIncome`` of an underlying, in rays."""
        return int(self.node.call(self.addresses["pool"], "getReserveNormalizedIncome(address)", [self.tokens[token]]))

    def debt_index(self, token: str) -> int:
        """``getReserveNormalizedVariableDebt`` of an underlying, in rays."""
        return int(
            self.node.call(self.addresses["pool"], "getReserveNormalizedVariableDebt(address)", [self.tokens[token]])
        )


@contextmanager
def aave_chain(
    version: str = "v3.6", *, start: datetime | None = None, chain_id: int = CHAIN_ID
) -> Iterator[AaveChain]:
    """A chain of its own with the market of that version (one of ``VERSIONS``); stopped at the end."""
    if version not in VERSIONS:
        raise ValueError(f"no market {version}; there are {', '.join(VERSIONS)}")
    built = parts()
    state, deployed = _ready(built, version)
    moment = int((datetime.now(UTC) if start is None else start).timestamp())
    before = moment - 2 * SLOTS_IN_AN_EPOCH - 1
    node = Anvil(built.anvil, chain_id, timestamp=before, state=state)
    try:
        node.rpc("anvil_setBlockTimestampInterval", 1)
        node.rpc("evm_setNextBlockTimestamp", before + 1)
        for _ in range(moment - before):  # so that the finalized block has a state that this process knows
            node.rpc("evm_mine")
        if start is None:
            node.rpc("anvil_removeBlockTimestampInterval")
        yield AaveChain(node, deployed, version)
    finally:
        node.stop()


def _ready(built: Parts, version: str) -> tuple[Path, Deployed]:
    """The saved state of a deployed market; deployed first where it is not in the cache yet."""
    code = hashlib.sha256()
    for module in (ethereum_market, ethereum_node):
        code.update(Path(str(module.__file__)).read_bytes())
    place = built.directory / f"market-{version}-{code.hexdigest()[:16]}"
    state, manifest = place.with_suffix(place.suffix + ".state"), place.with_suffix(place.suffix + ".json")
    with FileLock(f"{place}.lock"):
        if not manifest.exists():
            deployed = _deploy(built, version, state)
            manifest.write_text(json.dumps(deployed._asdict()), encoding="utf-8")
    saved = json.loads(manifest.read_text(encoding="utf-8"))
    return state, Deployed(saved["contracts"], saved["tokens"])


def _deploy(built: Parts, version: str, state: Path) -> Deployed:
    node = Anvil(built.anvil, CHAIN_ID, timestamp=int(_DEPLOYED_AT.timestamp()))
    try:
        node.rpc("anvil_setBlockTimestampInterval", 1)
        deployed = deploy(node, built, version)
        state.write_bytes(gzip.decompress(bytes.fromhex(node.rpc("anvil_dumpState")[2:])))
    finally:
        node.stop()
    return deployed
