"""What importing the readers leaves behind in the process."""

from __future__ import annotations

import subprocess
import sys


def test_the_recursion_limit_stays_as_it_was() -> None:
    code = "import sys; before = sys.getrecursionlimit(); import basis_pipeline.venues.ethereum.reader as r; "
    code += "sys.exit(sys.getrecursionlimit() != before)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0
