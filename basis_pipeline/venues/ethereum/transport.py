"""JSON-RPC over HTTP: a provider of web3's own kind that has a session for itself.

web3's ``AsyncHTTPProvider`` takes a lock that all providers of a process share, in a thread. A request that is
cancelled while it waits for that lock, as a reading at its deadline is, leaves it taken for ever, and every later
request of the process hangs (web3 8.0.0, ``HTTPSessionManager``). A session of one's own needs no lock, and keeps its
connection from one request to the next.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from aiohttp import ClientSession, ClientTimeout
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

CONNECT_SECONDS_MAX = 5.0
_HEADERS = {"Content-Type": "application/json"}


class HttpProvider(AsyncJSONBaseProvider):
    """One endpoint. An HTTP status of 400 or more raises ``ClientResponseError``; redirects are not followed.

    Errors of aiohttp pass through and may hold the URL.
    """

    def __init__(self, url: str, timeout: timedelta) -> None:
        super().__init__()
        seconds = timeout.total_seconds()
        self._url = url
        self._timeout = ClientTimeout(total=seconds, sock_connect=min(CONNECT_SECONDS_MAX, seconds))
        self._session: ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """The answer as it came, read as JSON."""
        body = self.encode_rpc_request(method, params)
        async with self._open().post(self._url, data=body, allow_redirects=False) as response:
            return self.decode_rpc_response(await response.read())

    def _open(self) -> ClientSession:
        """The session of the event loop that is running."""
        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            self._session = ClientSession(headers=_HEADERS, timeout=self._timeout, raise_for_status=True)
            self._loop = loop
        return self._session

    async def disconnect(self) -> None:
        """Close the session; safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
