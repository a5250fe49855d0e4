"""An anvil process, and the plain JSON-RPC by which a test drives it."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eth_abi import decode, encode
from eth_abi.grammar import parse
from eth_utils import function_signature_to_4byte_selector, to_checksum_address

from basis_pipeline_tests.rigs.watcher import Watcher

HOST = "127.0.0.1"
START_SECONDS_MAX = 20
MINED_SECONDS_MAX = 20
SLOTS_IN_AN_EPOCH = 2
"""With 2, the safe block is 2 and the finalized block 4 behind the head."""

_LISTENING = re.compile(rf"Listening on {re.escape(HOST)}:(\d+)\s")
_SIGNATURE = re.compile(r"\w+(\(.*\))")
_GAS = hex(16_000_000)


class NodeError(RuntimeError):
    """The node refused a request, or a transaction reverted."""


class Anvil:
    """One anvil process on a free port, without fees, from which every address may send.

    It ends with the process that started it, if not before.
    """

    def __init__(self, program: Path, chain_id: int, *, timestamp: int | None = None, state: Path | None = None):
        self.chain_id = chain_id
        self._ids = itertools.count(1)
        self._states = tempfile.mkdtemp(prefix="basis-anvil-")  # about 0.6 MB a block; removed when it stops
        self._output = Path(self._states) / "output.txt"
        command = [str(program), "--host", HOST, "--port", "0", "--chain-id", str(chain_id)]
        command += ["--slots-in-an-epoch", str(SLOTS_IN_AN_EPOCH), "--auto-impersonate", "--cache-path", self._states]
        command += ["--gas-price", "0", "--block-base-fee-per-gas", "0", "--balance", "1000000000"]
        command += [] if timestamp is None else ["--timestamp", str(timestamp)]
        command += [] if state is None else ["--load-state", str(state)]
        environment = {**os.environ, "NO_PROXY": HOST}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )
        self._watcher = Watcher(self._process.pid)
        self.port = self._await_start()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def _await_start(self) -> int:
        """The port it chose: asked of itself, since a port chosen beforehand may be somebody else's by now."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while self._process.poll() is None and time.monotonic() < deadline:
            if found := _LISTENING.search(self._output.read_text(encoding="utf-8", errors="replace")):
                return int(found[1])
            time.sleep(0.01)
        said = self._output.read_text(encoding="utf-8", errors="replace").strip()
        self.stop()
        raise NodeError(f"anvil did not start within {START_SECONDS_MAX} s: {said[-300:]}")

    def stop(self) -> None:
        """End the process and remove what it wrote; safe to call twice."""
        self._watcher.end()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        shutil.rmtree(self._states, ignore_errors=True)

    def rpc(self, method: str, *params: Any) -> Any:
        """One request; ``NodeError`` with the node's message when it refuses."""
        body = json.dumps({"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params})
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise NodeError(f"{method}: {answer['error'].get('message')}")
        return answer.get("result")

    def call(self, to: str, signature: str, arguments: Sequence[Any] = (), returns: str = "(uint256)") -> Any:
        """The result of a view function at the newest block: one value, or a tuple of several."""
        data = self.rpc("eth_call", {"to": to, "data": call_data(signature, arguments)}, "latest")
        values = decode(_types(returns), bytes.fromhex(data[2:]))
        return values[0] if len(values) == 1 else values

    def send(self, sender: str, to: str, signature: str, arguments: Sequence[Any] = (), value: int = 0) -> None:
        """A transaction, mined at once; ``NodeError`` when it reverts."""
        self._transact({"from": sender, "to": to, "data": call_data(signature, arguments), "value": hex(value)})

    def pay(self, sender: str, to: str, value: int) -> None:
        """Native ETH, in wei."""
        self._transact({"from": sender, "to": to, "value": hex(value)})

    def deploy(self, sender: str, bytecode: str, types: str = "()", arguments: Sequence[Any] = ()) -> str:
        """The address of a new contract."""
        data = bytecode + encode(_types(types), arguments).hex()
        return to_checksum_address(self._transact({"from": sender, "data": data})["contractAddress"])

    def _transact(self, transaction: dict[str, str]) -> Any:
        hash_ = self.rpc("eth_sendTransaction", {"gas": _GAS, "gasPrice": "0x0", **transaction})
        deadline = time.monotonic() + MINED_SECONDS_MAX
        while (receipt := self.rpc("eth_getTransactionReceipt", hash_)) is None:
            if time.monotonic() > deadline:
                raise NodeError(f"the transaction was not mined within {MINED_SECONDS_MAX} s")
            time.sleep(0.002)
        if int(receipt["status"], 16) != 1:
            try:
                self.rpc("eth_call", transaction, "latest")
            except NodeError as reverted:
                raise NodeError(f"the transaction reverted: {reverted}") from None
            raise NodeError("the transaction reverted")
        return receipt


def call_data(signature: str, arguments: Sequence[Any]) -> str:
    """What a transaction or call carries: ``transfer(address,uint256)`` and its arguments."""
    match = _SIGNATURE.fullmatch(signature)
    assert match is not None, signature
    return "0x" + (function_signature_to_4byte_selector(signature) + encode(_types(match[1]), arguments)).hex()


def _types(signature: str) -> list[str]:
    return [] if signature == "()" else [component.to_type_str() for component in parse(signature).components]
