"""Claims in the exit queues of Lido and EtherFi: what each wallet can still get out, in ETH.

Lido lists the requests of an owner, so reading their state takes a second call, and a third one to learn what finalized
ones pay. EtherFi only counts them: the numbers are found in its transfer events, once, and remembered. All of it is of
the same pinned block, and asked only where a wallet has requests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

from eth_utils.crypto import keccak

from basis_pipeline.domain.observations import Block
from basis_pipeline.domain.tokens import Token
from basis_pipeline.venues.ethereum.abi import WORD, Answer, Call
from basis_pipeline.venues.ethereum.batch import Answers, exact
from basis_pipeline.venues.ethereum.contracts import same
from basis_pipeline.venues.ethereum.nodes import Node, NodeError

_STATUS = ("(uint256,uint256,address,uint256,bool,bool)[]",)
_MANY = ("uint256[]",)
_TRANSFER = "0x" + keccak(text="Transfer(address,address,uint256)").hex()
_GWEI = 10**9

Amounts = dict[str, Decimal | str]
"""By wallet: what it can claim, or why that could not be learned."""


class LidoQueue:
    """Lido's withdrawal queue. A request pays its stETH, or less if Lido lost some before it was finalized."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self._address = str(token.address)

    def calls(self, wallets: Collection[str]) -> dict[str, Call]:
        """What goes into the one batch of the reading."""
        asked = {f"{w}:{self.token.symbol}": Call(self._address, _OWNED, (w,), _MANY) for w in wallets}
        return {**asked, f"{self.token.symbol}:last": Call(self._address, "getLastCheckpointIndex()")}

    async def amounts(
        self, wallets: Collection[str], answers: Answers, node: Node, multicall: str, block: Block
    ) -> tuple[Amounts, dict[str, Answer]]:
        """The amounts, and what more was asked for them."""
        found: Amounts = {}
        owned: dict[str, list[int]] = {}
        for wallet in wallets:
            answer = answers[f"{wallet}:{self.token.symbol}"]
            if answer.value is None:
                found[wallet] = answer.problem
            else:
                owned[wallet] = list(answer.value)
        ids = tuple(sorted({number for numbers in owned.values() for number in numbers}))
        if not ids:
            return {**found, **dict.fromkeys(owned, Decimal(0))}, {}
        last = answers[f"{self.token.symbol}:last"].value or 0
        more = {"status": Call(self._address, "getWithdrawalStatus(uint256[])", (ids,), _STATUS)}
        if last:
            signature = "findCheckpointHints(uint256[],uint256,uint256)"
            more["hints"] = Call(self._address, signature, (ids, 1, last), _MANY)
        told = await node.multicall(multicall, more, block)
        paid, problem = await self._paid(ids, told, node, multicall, block)
        for wallet, numbers in owned.items():
            if problem is not None and numbers:
                found[wallet] = problem
            else:
                found[wallet] = exact(sum(paid[number] for number in numbers), self.token.decimals)
        return found, {f"{self.token.symbol}:{name}": answer for name, answer in told.items()}

    async def _paid(
        self, ids: tuple[int, ...], told: dict[str, Answer], node: Node, multicall: str, block: Block
    ) -> tuple[dict[int, int], str | None]:
        status = told["status"].value
        if status is None or len(status) != len(ids):
            return {}, told["status"].problem
        rows = dict(zip(ids, status, strict=True))
        paid = {number: 0 if claimed else amount for number, (amount, *_, claimed) in rows.items()}
        ready = tuple(number for number, (*_, finalized, claimed) in rows.items() if finalized and not claimed)
        if not ready:
            return paid, None
        hints = told["hints"].value if "hints" in told else None
        if hints is None or len(hints) != len(ids):
            return {}, told["hints"].problem if "hints" in told else f"{self._address} has no checkpoint"
        hint_of = dict(zip(ids, hints, strict=True))
        arguments = (ready, tuple(hint_of[number] for number in ready))
        claimable = Call(self._address, "getClaimableEther(uint256[],uint256[])", arguments, _MANY)
        answer = (await node.multicall(multicall, {"claimable": claimable}, block))["claimable"]
        told["claimable"] = answer
        if answer.value is None or len(answer.value) != len(ready):
            return {}, answer.problem
        return {**paid, **dict(zip(ready, answer.value, strict=True))}, None


_OWNED = "getWithdrawalRequests(address)"


class EtherFiQueue:
    """EtherFi's withdrawal requests. The numbers that wallets own are remembered from one reading to the next."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self._address = str(token.address)
        self._known: set[int] = set()

    def calls(self, wallets: Collection[str]) -> dict[str, Call]:
        """What goes into the one batch of the reading: how many each wallet has, and the requests known so far."""
        counts = {f"{w}:{self.token.symbol}": Call(self._address, "balanceOf(address)", (w,)) for w in wallets}
        return {**counts, **self._requests(self._known)}

    def _requests(self, numbers: Iterable[int]) -> dict[str, Call]:
        calls: dict[str, Call] = {}
        for number in sorted(numbers):
            name, request = f"{self.token.symbol}:{number}", (number,)
            row = ("uint96", "uint96", "bool", "uint32")
            calls[f"{name}:owner"] = Call(self._address, "ownerOf(uint256)", request, ("address",))
            calls[f"{name}:request"] = Call(self._address, "getRequest(uint256)", request, row)
            calls[f"{name}:final"] = Call(self._address, "isFinalized(uint256)", request, ("bool",))
            calls[f"{name}:claimable"] = Call(self._address, "getClaimableAmount(uint256)", request)
        return calls

    async def amounts(
        self, wallets: Collection[str], answers: Answers, node: Node, multicall: str, block: Block
    ) -> tuple[Amounts, dict[str, Answer]]:
        """The amounts, and what more was asked for them."""
        counts = {wallet: answers[f"{wallet}:{self.token.symbol}"].value for wallet in wallets}
        requests = dict(answers)
        more: dict[str, Answer] = {}
        missing = [w for w, count in counts.items() if count and len(self._owned(w, requests)) != count]
        if missing:
            try:
                found = await self._search(missing, node, block)
            except NodeError as refused:
                reason = f"its {self.token.symbol} could not be searched for in {self._address}: {refused}"
                return {w: reason if w in missing else self._amount(w, counts[w], answers) for w in wallets}, {}
            if found - self._known:
                more = await node.multicall(multicall, self._requests(found - self._known), block)
                requests.update(more)
                self._known |= found
        amounts: Amounts = {wallet: self._amount(wallet, counts[wallet], requests) for wallet in wallets}
        self._known = {number for wallet in wallets for number in self._owned(wallet, requests)}
        return amounts, more

    async def _search(self, wallets: Collection[str], node: Node, block: Block) -> set[int]:
        """The numbers of every request that was ever sent to these wallets, up to the block."""
        topics = [_TRANSFER, None, ["0x" + bytes.fromhex(w[2:]).rjust(WORD, b"\0").hex() for w in wallets]]
        asked = {"address": self._address, "fromBlock": "0x0", "toBlock": hex(block.number), "topics": topics}
        logs = await node.request("eth_getLogs", asked)
        if not isinstance(logs, list):
            raise node.error("eth_getLogs was not answered with a list")
        try:
            return {int(log["topics"][3], 16) for log in logs}
        except (KeyError, IndexError, TypeError, ValueError):
            raise node.error("eth_getLogs was answered with events that are none") from None

    def _owned(self, wallet: str, requests: Answers) -> list[int]:
        names = [name.split(":") for name in requests if name.startswith(f"{self.token.symbol}:")]
        numbers = [int(parts[1]) for parts in names if parts[2:] == ["owner"]]
        owners: dict[int, Any] = {n: requests[f"{self.token.symbol}:{n}:owner"].value for n in numbers}
        return [number for number, owner in owners.items() if owner is not None and same(owner, wallet)]

    def _amount(self, wallet: str, count: int | None, requests: Mapping[str, Answer]) -> Decimal | str:
        if count is None:
            return requests[f"{wallet}:{self.token.symbol}"].problem
        owned = self._owned(wallet, requests)
        if len(owned) != count:
            return f"{self._address} counts {count} requests, of which {len(owned)} were found"
        total = 0
        for number in owned:
            name = f"{self.token.symbol}:{number}"
            request, final = requests[f"{name}:request"], requests[f"{name}:final"].value
            claimable = requests[f"{name}:claimable"]
            if request.values is None or final is None or (final and claimable.value is None):
                return claimable.problem if request.values is not None and final else request.problem
            amount, _, valid, fee = request.values
            if valid:
                total += claimable.value if final else max(0, amount - fee * _GWEI)
        return exact(total, self.token.decimals)
