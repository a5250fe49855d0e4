"""What alerts are sent to in tests: a web server and a mail server on the loopback interface, which keep what comes."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """A web server that takes messages; ``status`` is what it answers, and while ``hanging`` it does not."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.status = 200
        self.answer = b""
        self.received: list[dict[str, Any]] = []
        self.refused: list[dict[str, Any]] = []
        self.arrived = threading.Event()
        self.going = threading.Event()
        self.going.set()

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.received]

    def url(self, path: str = "hook", user: str = "", query: str = "") -> str:
        """As Apprise writes it."""
        return f"json://{user}127.0.0.1:{self.port}/{path}{query}"


@contextmanager
def webhook() -> Iterator[Webhook]:
    """A running web server."""
    kept: Webhook

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kept.arrived.set()
            kept.going.wait(30)
            (kept.received if kept.status == 200 else kept.refused).append(message)
            try:
                self.send_response(kept.status)
                self.end_headers()
                self.wfile.write(kept.answer.replace(b"{path}", self.path.encode()))
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Into nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        kept = Webhook(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield kept
        finally:
            kept.going.set()
            server.shutdown()
            thread.join()


class Mailbox:
    """What a mail server took."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []


@contextmanager
def mail_server(password_works: bool = True) -> Iterator[Mailbox]:
    """A running mail server, which speaks as much SMTP as sending a mail needs."""
    kept: Mailbox

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 ready")
            while line := self.rfile.readline():
                command = line.decode().strip().upper()
                if command.startswith("EHLO"):
                    self.say("250-here\r\n250 AUTH PLAIN")
                elif command.startswith("AUTH"):
                    self.say("235 welcome" if password_works else "535 5.7.8 wrong password")
                elif command.startswith("RCPT"):
                    kept.recipients.append(line.decode().strip())
                    self.say("250 ok")
                elif command == "DATA":
                    self.say("354 go on")
                    kept.mails.append(message_from_bytes(self.body(), policy=policy.default))
                    self.say("250 taken")
                elif command == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

        def body(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            return b"".join(lines)

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        kept = Mailbox(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
