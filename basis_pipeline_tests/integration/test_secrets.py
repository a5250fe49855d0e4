"""Planted secrets are looked for in everything that live mode leaves behind or shows.

Keys, node URLs, passwords and a passphrase come in by the environment and by files; then the commands, a reconciliation
and a projection run against venues that cannot be reached, that throw back whatever they were sent, and that answer.
Afterwards every file of the home (the ledger, Dagster's runs and events, day files, caches), every stored answer, all
output at the most talkative log level and what Dagster's UI is told must be free of all of them, however spelt.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
import yaml

from basis_pipeline.home import open_home
from basis_pipeline.ledger.readings import raw_answer
from basis_pipeline.ledger.schema import readings
from basis_pipeline_tests.cli.builders import ROOT, environment
from basis_pipeline_tests.live_homes import hours_ago
from basis_pipeline_tests.rigs.exchanges import exchange_venues

SECRETS = {
    "BASIS_ETHEREUM__RPC_URLS": "http://127.0.0.1:{rpc}/v2/pl4nted-rpc-k3y",
    "BASIS_ACCOUNTS__DESK__API_KEY": "pl4nted-binance-k3y",
    "BASIS_ACCOUNTS__DESK__SECRET": "pl4nted/binance+secr3t=",
    "BASIS_ACCOUNTS__SWAPS__API_KEY": "pl4nted-okx-k3y",
    "BASIS_ACCOUNTS__SWAPS__SECRET": "pl4nted/okx+secr3t=",
    "BASIS_ACCOUNTS__SWAPS__PASSPHRASE": "pl4nted okx p&ssphrase",
    "BASIS_ALERTS__CHANNELS__CHAT__URL": "json://desk:pl4nted-ch4t-p4ss@127.0.0.1:1/pl4nted-ch4t-p4th",
    "BASIS_REDIS_URL": "redis://:pl4nted-redis-p4ss@127.0.0.1:1/0",
}
FILES = {"bybit_key": "pl4nted-bybit-k3y", "bybit_secret": "pl4nted/bybit+secr3t="}
IN_URLS = ("pl4nted-rpc-k3y", "pl4nted-redis-p4ss", "pl4nted-ch4t-p4ss", "pl4nted-ch4t-p4th")
PLANTED = [*IN_URLS, *FILES.values(), *[secret for secret in SECRETS.values() if "://" not in secret]]
DEAD_PORT = 1
RUN_THE_HOUR = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import dagster as dg
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.hours import hour_key
from basis_pipeline.orchestration.instance import dagster_home

home = Path(sys.argv[1])
job = build_definitions(home).resolve_job_def("hourly_reconciliation")
with dagster_home(home), dg.DagsterInstance.get() as instance:
    result = job.execute_in_process(
        instance=instance, raise_on_error=False, partition_key=hour_key(datetime.now(UTC))
    )
sys.exit(0 if result.success else 1)
"""
ASK_THE_UI = "from dagster_graphql.cli import main; main()"
UI_QUESTION = """{
  runsOrError { ... on Runs { results { runId jobName runConfigYaml tags { key value }
    eventConnection { events { ... on MessageEvent { message } ... on ErrorEvent { error { message stack } }
      ... on MaterializationEvent { metadataEntries { description ... on MarkdownMetadataEntry { mdStr }
        ... on TextMetadataEntry { text } } } } } } } }
  repositoriesOrError { ... on RepositoryConnection { nodes {
    allTopLevelResourceDetails { name configFields { name } configuredValues { key value } } } } }
}"""


class _Echo(BaseHTTPRequestHandler):
    """Answers every request with all that it was sent: the worst that a venue can do."""

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
        body = json.dumps(
            {"error": {"code": -1, "message": f"{self.path} {dict(self.headers)} {sent}"}, "msg": self.path}
        )
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        """Into nothing."""


@contextmanager
def echoing() -> Iterator[int]:
    """The port of a server that throws everything back."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def unreachable() -> Iterator[tuple[str, int]]:
    yield f"http://127.0.0.1:{DEAD_PORT}", DEAD_PORT


@contextmanager
def throwing_back() -> Iterator[tuple[str, int]]:
    with echoing() as port:
        yield f"http://127.0.0.1:{port}", port


@contextmanager
def answering() -> Iterator[tuple[str, int]]:
    with exchange_venues() as venues, echoing() as rpc:
        venues.account("binance", SECRETS["BASIS_ACCOUNTS__DESK__API_KEY"], SECRETS["BASIS_ACCOUNTS__DESK__SECRET"])
        swaps = [SECRETS[f"BASIS_ACCOUNTS__SWAPS__{part}"] for part in ("API_KEY", "SECRET", "PASSPHRASE")]
        venues.account("okx", swaps[0], "another secret, so that this one's signature is wrong", swaps[2])
        venues.account("bybit", FILES["bybit_key"], FILES["bybit_secret"]).set_balance("unified", "USDT", "5")
        venues.set_price("ETHUSDT", "3000")
        yield venues.url, rpc


def write_home(path: Path, gateway: str) -> None:
    accounts = {
        "treasury": {"venue": "wallet", "address": f"0x{'1' * 40}"},
        "desk": {"venue": "binance"},
        "swaps": {"venue": "okx"},
        "vault": {"venue": "bybit", "api_key_file": "../keys/bybit_key", "secret_file": "../keys/bybit_secret"},
    }
    config = {
        "mode": "live",
        "portfolios": {"fund": {"share_class": "USDT", "initial_capital": "5", "start": hours_ago(3).isoformat()}},
        "accounts": {name: {"portfolio": "fund", **account} for name, account in accounts.items()},
        "exchange_gateway": gateway,
        "reconciliation": {"deadline": "10s", "second_reading_after": "0s"},
    }
    path.mkdir()
    (path / "basis.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    keys = path.parent / "keys"
    keys.mkdir()
    for name, secret in FILES.items():
        (keys / name).write_text(f"{secret}\n", encoding="utf-8")


def spellings(secret: str) -> set[str]:
    """As it stands, and as it may stand in a URL, in JSON, in a log of bytes or in an Authorization header."""
    plain = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    return plain | {base64.b64encode(text.encode()).decode().rstrip("=") for text in (secret, f":{secret}")}


def found_in(data: bytes) -> list[str]:
    return [secret for secret in PLANTED if any(form.encode() in data for form in spellings(secret))]


def commands(home: Path) -> list[list[str]]:
    basis = [sys.executable, "-m", "basis_pipeline", "--verbose", "--home", str(home)]
    return [
        [*basis, "doctor"],
        [*basis, "reconcile"],
        [*basis, "reconcile", "--format", "json"],
        [*basis, "materialize", "--last"],
        [*basis, "alerts", "test"],
        [*basis, "status"],
        [*basis, "status", "--format", "json"],
        [sys.executable, "-W", "ignore", "-c", RUN_THE_HOUR, str(home)],
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            ASK_THE_UI,
            "-m",
            "basis_pipeline.definitions",
            "-t",
            UI_QUESTION,
        ],
    ]


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("venues", [unreachable, throwing_back, answering], ids=lambda venues: venues.__name__)
def test_no_secret_is_left_behind_or_shown(
    tmp_path: Path, venues: Callable[[], contextmanager[tuple[str, int]]]
) -> None:
    home = tmp_path / "home"
    with venues() as (gateway, rpc):
        write_home(home, gateway)
        secrets = {name: value.replace("{rpc}", str(rpc)) for name, value in SECRETS.items()}
        variables = environment(**secrets, BASIS_HOME=str(home), BASIS_LOG="debug", DAGSTER_HOME=str(home / "dagster"))
        shown = {}
        for command in commands(home):
            done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, check=False, timeout=120)
            shown[" ".join(command[4:])] = done.stdout + done.stderr
            assert b"Traceback" not in done.stdout, done.stdout.decode()
    assert b"hourly_reconciliation" in shown[" ".join(commands(home)[-1][4:])], "the UI was asked and answered"
    leaks = {name: leak for name, text in shown.items() if (leak := found_in(text))}
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"ledger.db", "basis.duckdb"} <= {path.name for path in files}
    leaks |= {str(path.relative_to(home)): leak for path in files if (leak := found_in(path.read_bytes()))}
    leaks |= {f"answer {number}": leak for number, text in answers(home) if (leak := found_in(text.encode()))}
    assert leaks == {}


def answers(home: Path) -> Iterator[tuple[int, str]]:
    """What venues answered, as it is stored: compressed."""
    with open_home(home) as opened:
        with opened.ledger.engine.connect() as connection:
            numbers = connection.execute(sa.select(readings.c.id)).scalars().all()
        assert numbers, "accounts were read"
        for number in numbers:
            yield number, raw_answer(opened.ledger.engine, number)


def test_what_is_planted_would_be_found() -> None:
    for secret in PLANTED:
        for form in spellings(secret):
            assert secret in found_in(f"x{form}y".encode())
