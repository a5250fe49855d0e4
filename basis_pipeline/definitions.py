"""The Dagster code location. Wires everything, computes nothing; nothing happens at import."""

from __future__ import annotations

import dagster as dg

from basis_pipeline.orchestration.build import build_definitions


@dg.definitions
def basis() -> dg.Definitions:
    """The home is ``BASIS_HOME``, else ``data``."""
    return build_definitions()
