"""What is committed is fit for strangers: nothing of one machine, no registry hosts, the agreed top level."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "basis_pipeline",
    "basis_pipeline_tests",
    "benchmarks",
    "dagster.yaml",
    "data",
    "docs",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
    "workspace.yaml",
}

# Written with character classes, so that this file does not match itself.
FORBIDDEN = {
    "a package registry's host": r"py[p]i\.org|pythonh[o]sted\.org|npm[j]s\.(org|com)|deb\.d[e]bian\.org",
    "an absolute path of one machine": r"(?<![\w.~/])/(r[o]ot|Us[e]rs|w[o]rk)/\w",
    "a private key": r"BEGIN [A-Z ]*PRIV[A]TE KEY",
}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files in git that exist in the working tree."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.decode()
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_committed_file_names(what: str, tracked: list[Path]) -> None:
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in tracked
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"{what}:\n" + "\n".join(found)


def test_the_top_level_is_what_was_agreed(tracked: list[Path]) -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked} <= TOP_LEVEL


def test_data_holds_nothing_but_its_description(tracked: list[Path]) -> None:
    assert [path.name for path in tracked if path.parent == ROOT / "data"] == ["README.md"]


def test_dagster_finds_one_location_under_one_name_by_either_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    module = workspace["load_from"][0]["python_module"]
    assert project["dg"]["project"]["code_location_name"] == module["location_name"] == "basis_pipeline"
    assert project["dg"]["project"]["code_location_target_module"] == module["module_name"]
    assert "dagster" not in project, "with a [tool.dagster] table `dagster dev` ignores workspace.yaml"


def test_every_dagster_storage_lies_in_the_default_home() -> None:
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))
    places = [
        instance["storage"]["sqlite"]["base_dir"],
        instance["compute_logs"]["config"]["base_dir"],
        instance["local_artifact_storage"]["config"]["base_dir"],
    ]
    assert places == ["data/dagster/storage", "data/dagster/compute_logs", "data/dagster/artifacts"]


def test_the_locks_hold_every_requirement_with_hashes() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        pins = re.split(r"\n(?=\S)", text.strip())
        assert len(pins) > 50
        assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
