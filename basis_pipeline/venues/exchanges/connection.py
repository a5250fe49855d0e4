"""Opening ccxt, and asking it one question at a time without ever showing a secret."""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, urlsplit

import ccxt.async_support as ccxt

from basis_pipeline.domain.errors import VenueConfigError, VenueError
from basis_pipeline.domain.tokens import EXCHANGES

REQUEST_TIMEOUT = timedelta(seconds=10)

# ccxt logs each request with its headers, hence with the key, at DEBUG. Its instances get a logger that cannot.
_ccxt_logger = logging.getLogger("basis_pipeline.venues.exchanges.ccxt")
_ccxt_logger.setLevel(logging.WARNING)

# A number in JSON stays the text it was: json and orjson would make a float of it.
_loads_exactly = partial(json.loads, parse_float=str, parse_constant=str)

# ccxt 4.5.90 meets answers of an unforeseen shape with whatever its parsing runs into.
_CCXT_FAILURES = (ccxt.BaseError, ValueError, TypeError, LookupError, AttributeError, RecursionError)

_URL_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]*")
_SIGNATURE = re.compile(r"(?i)\b(signature|sign|api[-_]?key|passphrase)(\"?\s*[=:]\s*\"?)[^\s&\"',}]+")
_TEXT_MAX = 300


@dataclass(frozen=True)
class Credentials:
    """The key of one exchange account. A key that may only read is enough; OKX has a passphrase too."""

    api_key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(default="", repr=False)


class Answer(NamedTuple):
    """What a venue answered, numbers as text, and its own time by the HTTP Date header (None: not told)."""

    payload: Any
    venue_time: datetime | None


def open_exchange(
    venue: str,
    credentials: Credentials | None = None,
    gateway: str | None = None,
    timeout: timedelta = REQUEST_TIMEOUT,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """An unmodified ccxt exchange (async), numbers as text, rate limit on; without credentials for public endpoints.

    ``gateway`` is the URL of a relay or test server: every request goes to ``<gateway>/<original host>/<path>`` there.
    ``options`` are ccxt's own, for example ``{"fetchMarkets": {"types": ["spot", "linear"]}}``.
    To be closed with ``close_exchange``. VenueConfigError for an unknown venue, an incomplete key, an odd gateway.
    """
    if venue not in EXCHANGES:
        raise VenueConfigError(f"venue: {venue!r} is not an exchange; known: {', '.join(EXCHANGES)}")
    config: dict[str, Any] = {
        "enableRateLimit": True,
        "timeout": timeout / timedelta(milliseconds=1),
        "options": {"adjustForTimeDifference": True, **(options or {})},
    }
    if credentials is not None:
        if not credentials.api_key or not credentials.secret:
            raise VenueConfigError(f"{venue}: API key or secret is empty; set both")
        if venue == "okx" and not credentials.passphrase:
            raise VenueConfigError("okx: the passphrase is missing; OKX keys have one")
        config |= {"apiKey": credentials.api_key, "secret": credentials.secret, "password": credentials.passphrase}
    exchange = getattr(ccxt, venue)(config)
    exchange.number = str
    exchange.on_json_response = _loads_exactly
    exchange.logger = _ccxt_logger
    exchange.returnResponseHeaders = True
    if gateway is not None:
        route_through(exchange, gateway)
    if exchange.verify:
        exchange.ssl_context = _tls_context(exchange.cafile)
    return exchange


@lru_cache
def _tls_context(cafile: str) -> ssl.SSLContext:
    """One for all: reading the certificates takes tens of milliseconds, and ccxt does it for every instance."""
    return ssl.create_default_context(cafile=cafile)


def route_through(exchange: Any, gateway: str) -> None:
    """Send every request of a ccxt exchange to ``<gateway>/<original host>/<original path>``; signatures stay valid."""
    parts = urlsplit(gateway)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise VenueConfigError(f"gateway: {gateway!r} is not a URL; give for example http://127.0.0.1:8080")
    api = _rerouted(exchange.urls["api"], gateway.rstrip("/"), exchange.hostname or "")
    exchange.urls = {**exchange.urls, "api": api}
    if parts.scheme == "http":
        exchange.verify = False
        exchange.timeout_on_exit = 0  # no TLS connection to see off


def _rerouted(urls: Any, gateway: str, hostname: str) -> Any:
    if isinstance(urls, Mapping):
        return {name: _rerouted(url, gateway, hostname) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    parts = urlsplit(urls.replace("{hostname}", hostname))
    return f"{gateway}/{parts.netloc}{parts.path}"


async def close_exchange(exchange: Any) -> None:
    """Close the sessions of a ccxt exchange; safe to call twice."""
    if not exchange.closed_by_user:
        await exchange.close()


class Connection:
    """One ccxt instance and the one way to ask it: a raw method, an answer or a VenueError without secrets."""

    def __init__(self, exchange: Any, credentials: Credentials) -> None:
        self.exchange = exchange
        self._credentials = credentials

    async def ask(self, what: str, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """The answer to one of ccxt's raw methods, once more after setting the clock if the venue refuses ours.

        ``what`` is the request in words (``GET /api/v3/account``). VenueError says what came back and what to do.
        """
        try:
            try:
                payload = await getattr(self.exchange, method)(dict(params or {}))
            except ccxt.InvalidNonce:
                await self.exchange.load_time_difference()
                payload = await getattr(self.exchange, method)(dict(params or {}))
        except _CCXT_FAILURES as error:
            said = self.redacted(str(error))
            raise VenueError(f"{what}: {type(error).__name__}: {said}; {_advice(error)}") from None
        headers = payload.pop("responseHeaders", {}) if isinstance(payload, dict) else {}
        return Answer(payload, _http_date(headers))

    def redacted(self, text: str, length_max: int = _TEXT_MAX) -> str:
        """The text on one line, cut to ``length_max``, without the key's parts, signatures and URL queries."""
        text = _URL_QUERY.sub(r"\1", self.without_secrets(text))
        text = " ".join(_SIGNATURE.sub(r"\1\2***", text).split())
        return text if len(text) <= length_max else f"{text[:length_max]}..."

    def without_secrets(self, text: str) -> str:
        """The text with every part of the key replaced, also where it is escaped for a URL or for JSON."""
        for secret in _spellings((self._credentials.api_key, self._credentials.secret, self._credentials.passphrase)):
            text = text.replace(secret, "***")
        return text

    async def close(self) -> None:
        """Close the sessions; safe to call twice."""
        await close_exchange(self.exchange)


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Each secret as it is, and as URLs and JSON write it; the longest first."""
    spelled: set[str] = set()
    for secret in filter(None, secrets):
        spelled |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    return sorted(spelled, key=len, reverse=True)


def _http_date(headers: Mapping[str, str]) -> datetime | None:
    text = headers.get("Date") or headers.get("date")
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (ccxt.InvalidNonce, "the venue refuses this machine's clock; synchronise it (NTP)"),
    (ccxt.PermissionDenied, "allow the key to read this part, and this machine's address to use the key"),
    (ccxt.AuthenticationError, "check the key, its secret and passphrase, and the addresses it may be used from"),
    (ccxt.RateLimitExceeded, "the venue is asked too often; wait a minute before asking again"),
    (ccxt.RequestTimeout, "no answer in time; asked again with the next reading"),
    (ccxt.ExchangeNotAvailable, "the venue cannot be reached or is down; asked again with the next reading"),
    (ccxt.NetworkError, "the connection failed; asked again with the next reading"),
)


def _advice(error: Exception) -> str:
    if isinstance(error, ccxt.DDoSProtection):
        if " 418 " in str(error):
            return "the venue has banned this address for a while; stop asking until the ban ends"
        return "the venue is asked too often; wait a minute before asking again"
    for kind, advice in _ADVICE:
        if isinstance(error, kind):
            return advice
    return "asked again with the next reading; if it stays, see the venue's status page"
