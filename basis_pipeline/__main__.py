"""`python -m basis_pipeline` is `basis`."""

from __future__ import annotations

from basis_pipeline.cli import main

main()
