"""A process that delivers: ``python -m basis_pipeline_tests.alerts.sender HOME MOMENT``, until nothing is left."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from basis_pipeline.alerts.delivery import deliver_due
from basis_pipeline.home import open_home
from basis_pipeline_tests.cli.builders import ROOT, environment

SECONDS_MAX = 60


def start(home: Path, moment: datetime) -> subprocess.Popen[str]:
    """Begin to deliver in another process, which prints how much it sent."""
    return subprocess.Popen(
        [sys.executable, "-m", __name__, str(home), moment.isoformat()],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


def main(home: Path, moment: datetime) -> int:
    sent, until = 0, time.monotonic() + SECONDS_MAX
    with open_home(home) as opened:
        while time.monotonic() < until:
            report = deliver_due(opened, moment)
            sent += report.sent
            if not report.left:
                break
            time.sleep(0.01)  # another one is at it
    return sent


if __name__ == "__main__":
    sys.stdout.write(str(main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]))))
