"""Calls of contracts and their answers, and Multicall3, which makes many calls one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from eth_abi.abi import decode as decode_abi
from eth_abi.abi import encode as encode_abi
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_signature_to_4byte_selector

WORD = 32
_AGGREGATE = function_signature_to_4byte_selector("aggregate3((address,bool,bytes)[])")


class Call(NamedTuple):
    """One view function of one contract; ``returns`` are its types."""

    target: str
    signature: str
    arguments: tuple[Any, ...] = ()
    returns: tuple[str, ...] = ("uint256",)

    @property
    def data(self) -> bytes:
        """Selector and arguments. Arguments are plain types and arrays of them, never tuples."""
        types = self.signature[self.signature.index("(") + 1 : -1]
        encoded = encode_abi(types.split(","), self.arguments) if types else b""
        return bytes(function_signature_to_4byte_selector(self.signature) + encoded)


class Answer(NamedTuple):
    """What one call came back with: ``data`` None when it reverted, empty when nothing answers at the address."""

    call: Call
    data: bytes | None

    @property
    def values(self) -> tuple[Any, ...] | None:
        """The decoded values; None when the call failed or answered in another shape."""
        if not self.data:
            return None
        try:
            return tuple(decode_abi(self.call.returns, self.data))
        except DecodingError:
            return None

    @property
    def value(self) -> Any:
        """The only value, or None."""
        values = self.values
        return None if values is None else values[0]

    @property
    def problem(self) -> str:
        """Why there is no value."""
        if self.data is None:
            return f"{self.call.signature} of {self.call.target} reverted"
        if not self.data:
            return f"{self.call.target} has no contract code that answers {self.call.signature}"
        return f"{self.call.signature} of {self.call.target} answered {brief(self.data):.80}, which is not understood"


def aggregate(calls: Sequence[Call]) -> bytes:
    """The data of one Multicall3 call that makes all of them, each allowed to fail alone."""
    return bytes(_AGGREGATE + encode_abi(["(address,bool,bytes)[]"], [[(c.target, True, c.data) for c in calls]]))


def split(calls: Mapping[str, Call], data: bytes) -> dict[str, Answer] | None:
    """The answers by the names of the calls; None when the data is not what Multicall3 answers to them."""
    try:
        (rows,) = decode_abi(["(bool,bytes)[]"], data)
    except DecodingError:
        return None
    if len(rows) != len(calls):
        return None
    pairs = zip(calls.items(), rows, strict=True)
    return {name: Answer(call, output if success else None) for (name, call), (success, output) in pairs}


def brief(data: bytes) -> str:
    """Bytes as hex text, a single word without its leading zeros."""
    return hex(int.from_bytes(data)) if len(data) == WORD else "0x" + data.hex()
