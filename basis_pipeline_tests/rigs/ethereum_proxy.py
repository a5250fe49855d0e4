"""A JSON-RPC proxy before a node, which misbehaves as nodes and providers of nodes do.

::

    with node_proxy(chain.url) as node:
        node.url                                # holds a secret, as providers' URLs do
        node.lie_about_chain_id(5)
        node.lag(blocks=50)                     # its newest block is that much older
        node.forget_state()                     # eth_call: no state for that block
        node.forget_state(but=10)               # of older blocks than the newest ten
        node.answer_with(503, "text/html", "<html>")   # every request, or of one method
        node.refuse_to_talk()                   # resets every connection
        node.before("eth_call", action)         # runs once, just before the next such request is passed on
        node.die_before("eth_call")             # answers until then, never again
        node.rewrite("eth_getBlockByNumber", change)   # change(params, result) -> result
        node.behave()                           # forget all of this
        node.latency = 0.3                      # seconds before each answer
        node.requests                           # the methods asked for, in order
        node.asked                              # the same with their parameters
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "s3cr3t-n0de-k3y"
_TAGS = ("latest", "safe", "finalized")


class NodeProxy:
    """See the module's description. One thread a request; a test changes its behaviour between or during them."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.requests: list[str] = []
        self.asked: list[tuple[str, list[Any]]] = []
        self.latency = 0.0
        self.behave()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v2/{SECRET}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def behave(self) -> None:
        self._chain_id: int | None = None
        self._lag = 0
        self._states: int | None = None
        self._silent = False
        self._dies_before: str | None = None
        self._before: dict[str, Callable[[], None]] = {}
        self._rewrites: dict[str, Callable[[list[Any], Any], Any]] = {}
        self._canned: dict[str | None, tuple[int, str, bytes]] = {}

    def lie_about_chain_id(self, chain_id: int) -> None:
        self._chain_id = chain_id

    def lag(self, blocks: int) -> None:
        self._lag = blocks

    def forget_state(self, but: int = 0) -> None:
        self._states = but

    def refuse_to_talk(self) -> None:
        self._silent = True

    def die_before(self, method: str) -> None:
        self._dies_before = method

    def before(self, method: str, action: Callable[[], None]) -> None:
        self._before[method] = action

    def rewrite(self, method: str, change: Callable[[list[Any], Any], Any]) -> None:
        self._rewrites[method] = change

    def answer_with(self, status: int, content_type: str, body: str, method: str | None = None) -> None:
        self._canned[method] = (status, content_type, body.encode())

    def _answer(self, body: bytes) -> tuple[int, str, bytes] | None:
        """Status, type and body of the answer; None to hang up."""
        request = json.loads(body)
        method, params = request["method"], request["params"]
        self.requests.append(method)
        self.asked.append((method, list(params)))
        time.sleep(self.latency)
        if method == self._dies_before:
            self._silent = True
        if self._silent:
            return None
        if (action := self._before.pop(method, None)) is not None:
            action()
        for key in (method, None):
            if key in self._canned:
                return self._canned[key]
        if self._states is not None and method == "eth_call" and self._depth(params[1]) >= self._states:
            error = {"code": -32000, "message": "missing trie node 0xabc (path ) state is not available"}
            return 200, "application/json", json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode()
        if self._lag and method == "eth_getBlockByNumber" and params[0] in _TAGS:
            newest = self._ask({**request, "params": [params[0], False]})["result"]["number"]
            params[0] = hex(int(newest, 16) - self._lag)
        answer = self._ask(request)
        if self._chain_id is not None and method == "eth_chainId":
            answer["result"] = hex(self._chain_id)
        if method in self._rewrites and "result" in answer:
            answer["result"] = self._rewrites[method](params, answer["result"])
        return 200, "application/json", json.dumps(answer).encode()

    def _depth(self, where: Any) -> int:
        """How many blocks are newer than the one a call is for; 0 for the name of one."""
        if not isinstance(where, dict):
            return 0
        rpc = {"jsonrpc": "2.0", "id": 0}
        newest = self._ask({**rpc, "method": "eth_blockNumber", "params": []})["result"]
        block = self._ask({**rpc, "method": "eth_getBlockByHash", "params": [where["blockHash"], False]})["result"]
        return int(newest, 16) - int(block["number"], 16)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        passed_on = urllib.request.Request(
            self._upstream, json.dumps(request).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(passed_on, timeout=30) as response:
            answer: dict[str, Any] = json.loads(response.read())
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                answer = proxy._answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.close_connection = True
                if answer is None:
                    return
                status, content_type, body = answer
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep standard error for the tests."""

        return Handler


@contextmanager
def node_proxy(upstream: str) -> Iterator[NodeProxy]:
    """A proxy before the node at ``upstream``, well-behaved until told otherwise."""
    proxy = NodeProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.stop()
