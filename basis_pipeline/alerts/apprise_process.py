"""The process that sends: one URL on standard input, then one message a line; an answer a line on standard output.

Apprise runs apart from the rest of the product, because it and what it builds on log whole URLs, tokens included, as
soon as somebody turns logging up, because some of its services may hang longer than their time-outs say, and because it
changes what all of a process shares. Here all of that ends with the process. This file is run by its path and
imports nothing of the product.

The first line is ``{"url": ...}``, answered by ``{"ready": true}`` or by false; each other ``{"title", "body",
"type"}``, answered by ``{"error": null}`` or by what went wrong, without any part of the URL.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import IO
from urllib.parse import quote, quote_plus, unquote

import apprise

_PART_MIN = 3
"""Shorter parts of a URL are no secret by themselves, and taking them out would leave no readable text."""
_ERROR_MAX = 300
_SECONDS_MAX = 60
"""Whoever asks gives up sooner and ends this process. If they were killed themselves, it ends itself."""
_CAUSE = "Socket Exception: "


class _Kept(logging.Handler):
    """Keeps what says why sending failed: warnings and worse, and what the connection raised."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING or text.startswith(_CAUSE):
            self.lines.append(text.removeprefix(_CAUSE))


def parts_of(url: str) -> list[str]:
    """Every part of the URL that could be a secret, in each spelling it may be repeated in, the longest first."""
    rest = url.partition("://")[2] or url
    pieces = {rest, *re.split(r"[/?&@#]", rest)}
    pieces |= {piece for part in tuple(pieces) for piece in re.split(r"[:=,]", part)}
    spelt = {form(piece) for piece in pieces for form in (str, unquote, quote, quote_plus)}
    spelt |= {quote(unquote(piece), safe="") for piece in pieces}
    spelt |= {base64.b64encode(unquote(piece).encode()).decode().rstrip("=") for piece in pieces}
    spelt |= {word for piece in tuple(spelt) for word in re.split(r"[^0-9A-Za-z]+", piece)}
    return sorted((piece for piece in spelt if len(piece) >= _PART_MIN), key=len, reverse=True)


def cleaned(text: str, secrets: list[str]) -> str:
    """The text on one line, cut, without any of the secrets in either case."""
    if secrets:
        text = re.sub("|".join(map(re.escape, secrets)), "***", text, flags=re.IGNORECASE)
    text = " ".join(text.split())
    return text if len(text) <= _ERROR_MAX else f"{text[: _ERROR_MAX - 3]}..."


def service_of(url: str) -> apprise.Apprise | None:
    """The one service of the URL; None when Apprise does not understand it or finds several."""
    asset = apprise.AppriseAsset(
        app_id="basis-pipeline", app_desc="basis-pipeline", app_url="", image_url_mask="", image_url_logo=""
    )
    found = apprise.Apprise(asset=asset)
    if not found.add(url) or len(found) != 1:
        return None
    for service in found:
        # A service that refuses what is too long would refuse it each time again.
        if service.overflow_mode is apprise.OverflowMode.UPSTREAM:
            service.overflow_mode = apprise.OverflowMode.TRUNCATE
    return found


def send(service: apprise.Apprise, message: dict[str, str], secrets: list[str]) -> str | None:
    """Why the message could not be sent; None when it was."""
    kept = _Kept()
    logger = logging.getLogger("apprise")
    logger.addHandler(kept)
    try:
        sent = service.notify(
            body=message["body"], title=message["title"], notify_type=message["type"], body_format="text"
        )
    finally:
        logger.removeHandler(kept)
    if sent:
        return None
    return cleaned("; ".join(dict.fromkeys(kept.lines)), secrets) or "the service did not take it and gave no reason"


def answers(lines: IO[str]) -> Iterator[dict[str, object]]:
    """The answer to each line."""
    url = json.loads(lines.readline())["url"]
    service, secrets = service_of(url), parts_of(url)
    yield {"ready": service is not None}
    if service is not None:
        for line in lines:
            signal.alarm(_SECONDS_MAX)
            error = send(service, json.loads(line), secrets)
            signal.alarm(0)
            yield {"error": error}


def main() -> None:
    """Answer until standard input ends."""
    # Whatever a service prints must not be taken for an answer.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    for answer in answers(sys.stdin):
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
