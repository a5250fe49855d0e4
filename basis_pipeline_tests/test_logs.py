"""What the package logs goes to standard logging, and standard output stays the program's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from basis_pipeline.logs import get_logger

ROOT = Path(__file__).resolve().parent.parent


def test_an_event_is_one_line_with_its_values_under_the_modules_name(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("basis_pipeline.room").warning("what 100 % happened", account="okx", problem="two\nlines")
    [record] = caplog.records
    assert (record.name, record.levelname) == ("basis_pipeline.room", "WARNING")
    assert record.getMessage() == "what 100 % happened account='okx' problem='two\\nlines'"


def test_what_is_below_the_level_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "basis_pipeline")
    get_logger("basis_pipeline.room").warning("not worth a line")
    assert caplog.records == []


@pytest.mark.parametrize("setting_up", ["", "import structlog; structlog.configure(processors=[])"])
def test_a_program_that_set_up_nothing_or_structlog_its_own_way_has_its_standard_output_to_itself(
    setting_up: str,
) -> None:
    script = f"""
{setting_up}
from basis_pipeline.logs import get_logger
get_logger("basis_pipeline.room").warning("told", account="okx")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "told account='okx'\n")
