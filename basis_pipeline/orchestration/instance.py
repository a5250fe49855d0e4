"""The Dagster instance of a home: everything Dagster stores lies in ``<home>/dagster``."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.settings import HOME_VARIABLE

CONFIG_NAME = "dagster.yaml"
LOCATION_NAME = "basis_pipeline"
_HOME_VARIABLE = "DAGSTER_HOME"
_ARTIFACTS = ("dagster", "artifacts", "storage")
"""Where in a home Dagster's artifacts are: ``local_artifact_storage`` below, and the folder Dagster makes in it."""
_NOTE = (
    "# Written by `basis`, and again whenever the home has moved. The project's own file of this name explains it.\n"
)


def instance_config(directory: Path | str) -> dict[str, Any]:
    """What ``dagster.yaml`` holds for an instance whose folders lie in ``directory``."""
    return {
        "storage": {"sqlite": {"base_dir": f"{directory}/storage"}},
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": f"{directory}/compute_logs"},
        },
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": f"{directory}/artifacts"},
        },
        "concurrency": {
            "pools": {"granularity": "op", "default_limit": 1},
            "runs": {"max_concurrent_runs": 4},
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator.queued_run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {"dequeue_interval_seconds": 1},
        },
        "run_monitoring": {
            "enabled": True,
            "poll_interval_seconds": 10,
            "free_slots_after_run_end_seconds": 5,
        },
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def workspace_config() -> dict[str, Any]:
    """The same code location under the same name as in the project's own workspace.yaml, from any directory."""
    return {
        "load_from": [{"python_module": {"module_name": "basis_pipeline.definitions", "location_name": LOCATION_NAME}}]
    }


def prepare_instance(home: Path) -> Path:
    """Write the instance's configuration into the home if it is not there as it should be; returns its directory.

    That directory is what DAGSTER_HOME must be. ConfigError when it cannot be written.
    """
    directory = home.resolve() / "dagster"
    _write(directory / CONFIG_NAME, instance_config(directory))
    return directory


def check_instance(instance: dg.DagsterInstance, home: Path) -> None:
    """Refuse a run whose Dagster instance is that of another home: its history would tell of books it does not show.

    An instance that lies in no home (a deployment's own, a test's) is nobody else's and passes.
    """
    directory = Path(instance.storage_directory()).resolve()
    if directory.parts[-len(_ARTIFACTS) :] != _ARTIFACTS:
        return
    other = directory.parents[len(_ARTIFACTS) - 1]
    if other != home.resolve():
        raise ConfigError(
            f"{HOME_VARIABLE}: this Dagster instance belongs to the home {other}, not to {home.resolve()}; start it "
            f"with `basis --home {home} ui`, which uses the home's own"
        )


def prepare_workspace(directory: Path) -> Path:
    """Write a workspace file beside the instance's configuration; returns its path."""
    path = directory / "workspace.yaml"
    _write(path, workspace_config())
    return path


def _write(path: Path, content: dict[str, Any]) -> None:
    text = _NOTE + yaml.safe_dump(content, sort_keys=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; make the home writable") from error


@contextmanager
def dagster_home(home: Path) -> Iterator[Path]:
    """DAGSTER_HOME is the home's own instance while the block lasts, and then again what it was."""
    before = os.environ.get(_HOME_VARIABLE)
    directory = prepare_instance(home)
    os.environ[_HOME_VARIABLE] = str(directory)
    try:
        yield directory
    finally:
        if before is None:
            del os.environ[_HOME_VARIABLE]
        else:
            os.environ[_HOME_VARIABLE] = before


@contextmanager
def events_kept_open(home: Path, run_id: str) -> Iterator[None]:
    """Keep the databases of a run's events open while it lasts: it halves the time of a run over many days.

    Dagster opens and closes them for each event, and SQLite writes its log back into the database, with two syncs,
    whenever the last connection closes. With one more connection it does so every thousand pages instead; each event
    is as durable as before. Where there are no such databases, this does nothing.
    """
    events = home.resolve() / "dagster" / "storage" / "history" / "runs"
    with ExitStack() as stack:
        for path in (events / "index.db", events / f"{run_id}.db"):
            if path.exists():
                connection = stack.enter_context(closing(sqlite3.connect(path)))
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield
