"""One Ethereum node by JSON-RPC. Its URL is secret: it often holds the provider's key, so no error or log shows it.

A provider of web3's kind carries the requests. web3's methods above that are not used: they retry for seconds, ask more
than once and read a malformed answer in ways of their own; here every answer is checked before it is understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import ClientError, ClientResponseError
from web3.exceptions import Web3Exception
from web3.types import RPCEndpoint

from basis_pipeline.domain.errors import VenueConfigError, VenueError
from basis_pipeline.domain.observations import Block
from basis_pipeline.venues.ethereum.abi import Answer, Call, aggregate, split
from basis_pipeline.venues.ethereum.transport import HttpProvider

_MESSAGE_CHARACTERS_MAX = 200
_SECRET_CHARACTERS_MIN = 6
"""Parts of a URL shorter than this (v2, rpc, eth) are words, not keys."""


class NodeError(VenueError):
    """A node that cannot be used now: unreachable, late, without the state, or talking nonsense."""


class WrongChainError(NodeError):
    """A node of another chain than the configured one; it is never read."""


class NoContractError(NodeError):
    """There is no contract where Multicall3 should be."""


class RefusedError(NodeError):
    """A request that the node understood and refused: what nodes say of blocks whose state they keep no longer."""


class Node:
    """One node. ``label`` is what people see of it: its place among those configured."""

    def __init__(self, url: str, place: int, of: int, timeout: timedelta) -> None:
        self.label = f"node {place} of {of}"
        self.chain_checked = False
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            raise VenueConfigError(f"ethereum.rpc_urls: {self.label} is not a URL that starts with http:// or https://")
        words = re.split(r"[/?&=;:@#]", "/".join((parts.netloc, parts.path, parts.query)))
        self._secrets = {word for raw in words for word in (raw, unquote(raw)) if len(word) >= _SECRET_CHARACTERS_MIN}
        self._provider = HttpProvider(url, timeout)

    async def request(self, method: str, *params: Any) -> Any:
        """The result of one request. ``NodeError`` says what happened instead, without the URL."""
        # Raised outside the handlers: the caught errors hold the URL and must not hang on as context.
        try:
            response: Any = await self._provider.make_request(RPCEndpoint(method), list(params))
        except TimeoutError:
            failure = f"{method} was not answered in time"
        except ClientResponseError as refused:
            failure = f"{method} was answered with HTTP {refused.status}"
        except (ClientError, OSError) as lost:
            failure = f"{method} could not be asked ({type(lost).__name__})"
        except (Web3Exception, ValueError):
            failure = f"{method} was not answered with JSON"
        else:
            return self._result(method, response)
        raise self.error(failure)

    def _result(self, method: str, response: object) -> Any:
        if isinstance(response, Mapping) and isinstance(response.get("error"), Mapping):
            said = self._scrubbed(str(response["error"].get("message")))
            raise RefusedError(f"{self.label}: {method} was refused: {said}")
        if not isinstance(response, Mapping) or "result" not in response:
            raise self.error(f"{method} was answered without a result")
        return response["result"]

    async def chain_id(self) -> int:
        return self._integer(await self.request("eth_chainId"), "eth_chainId")

    async def block(self, which: str | int) -> Block:
        """A block by tag or number; ``NodeError`` when the node has none."""
        name = which if isinstance(which, str) else hex(which)
        found = await self.request("eth_getBlockByNumber", name, False)
        if not isinstance(found, Mapping):
            raise self.error(f"has no block {which}")
        seconds = self._integer(found.get("timestamp"), "a block's timestamp")
        hash_ = found.get("hash")
        if not isinstance(hash_, str) or not re.fullmatch(r"0x[0-9a-fA-F]{64}", hash_):
            raise self.error(f"gave block {which} without a hash")
        try:
            moment = datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError, OSError):
            raise self.error(f"gave block {which} a time that is none") from None
        return Block(self._integer(found.get("number"), "a block's number"), hash_.lower(), moment)

    async def multicall(self, multicall: str, calls: Mapping[str, Call], block: Block | str) -> dict[str, Answer]:
        """All the calls at this very block, or at what the node calls by a name, in one request.

        ``NoContractError`` when nothing is at the address.
        """
        asked = {"to": multicall, "data": "0x" + aggregate(list(calls.values())).hex()}
        where = block if isinstance(block, str) else {"blockHash": block.hash}
        answered = self._bytes(await self.request("eth_call", asked, where), "eth_call")
        if not answered and not await self._code(multicall, where):
            raise NoContractError(f"{self.label}: there is no contract code at {multicall}")
        answers = split(calls, answered)
        if answers is None:
            raise self.error(f"{multicall} did not answer {len(calls)} calls as Multicall3 does")
        return answers

    async def _code(self, address: str, where: object) -> bytes:
        return self._bytes(await self.request("eth_getCode", address, where), "eth_getCode")

    async def close(self) -> None:
        await self._provider.disconnect()

    def error(self, what: str) -> NodeError:
        return NodeError(f"{self.label}: {what}")

    def _integer(self, value: object, what: str) -> int:
        if isinstance(value, str):
            with suppress(ValueError):
                return int(value, 16)
        raise self.error(f"{what} is not a number")

    def _bytes(self, value: object, what: str) -> bytes:
        if isinstance(value, str):
            with suppress(ValueError):
                return bytes.fromhex(value.removeprefix("0x"))
        raise self.error(f"{what} was not answered with data")

    def _scrubbed(self, message: str) -> str:
        for secret in sorted(self._secrets, key=len, reverse=True):
            message = message.replace(secret, "...")
        return message[:_MESSAGE_CHARACTERS_MAX]
