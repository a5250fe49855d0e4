"""A home with nothing in it, whose channels each test sets, and the servers that alerts are sent to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from basis_pipeline.home import Home, open_home
from basis_pipeline_tests.alerts.builders import Clock
from basis_pipeline_tests.cli.builders import write_config
from basis_pipeline_tests.rigs.receivers import Webhook, webhook

Channels = Callable[..., Home]


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BASIS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def channels(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Channels]:
    """``channels(chat=url)`` opens a home with these channels; as keyword ``settings`` what basis.yaml says of them."""
    with ExitStack() as opened:

        def open_with(settings: dict[str, dict[str, object]] | None = None, **urls: str) -> Home:
            for name, url in urls.items():
                monkeypatch.setenv(f"BASIS_ALERTS__CHANNELS__{name.upper()}__URL", url)
            write_config(tmp_path / "home", alerts={"channels": settings or {}})
            return opened.enter_context(open_home(tmp_path / "home", clock=clock))

        yield open_with
