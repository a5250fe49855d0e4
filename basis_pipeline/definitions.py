"""The Dagster code location. Wires everything, computes nothing.

Each run is a process of its own that loads this. What is loaded stays, so the garbage collector leaves it alone until
the process ends: looking through it would take a fifth of the time of loading, and more in the run.
"""

from __future__ import annotations

import atexit
import gc

import dagster as dg

gc.disable()
try:
    from basis_pipeline.orchestration.build import build_definitions
finally:
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)


@dg.definitions
def basis() -> dg.Definitions:
    """The home is ``BASIS_HOME``, else ``data``."""
    return build_definitions()
