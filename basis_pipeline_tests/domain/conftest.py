"""Property tests of the domain: reproducible where BASIS_REQUIRE_* says that this is continuous integration."""

from __future__ import annotations

import os

from hypothesis import settings

IN_CI = any(name in os.environ for name in ("CI", "BASIS_REQUIRE_SHARED", "BASIS_REQUIRE_POSTGRES"))

settings.register_profile("basis", deadline=None, derandomize=IN_CI, print_blob=True)
settings.load_profile("basis")
