"""The package's loggers: events with named values, handed to standard logging and to nothing else.

Whoever runs the package decides what becomes of them, by the logger named ``basis_pipeline``. structlog left to itself
would print to standard output, which belongs to the program: to a command's result, or to a strategy. So it is told
here, for our loggers alone, and whatever the program makes of structlog for itself stays as it is.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module: ``get_logger(__name__).warning("what happened", account="okx_main")``."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _on_one_line],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def _on_one_line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    what = str(event.pop("event"))
    return " ".join([what, *(f"{name}={value!r}" for name, value in event.items())])
