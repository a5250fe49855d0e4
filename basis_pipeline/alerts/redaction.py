"""Takes the home's own secrets out of messages before they leave it.

Errors are written so that they hold none. This is for the one that somebody forgot: a message goes to places that keep
it for ever and that many people read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from basis_pipeline.home import Home
from basis_pipeline.settings import config_path

_LENGTH_MIN = 6
"""Anything shorter would be taken out of words and numbers that mean something else."""


def redactor(home: Home) -> Callable[[str], str]:
    """A function that puts ``***`` in the place of every secret of the home's settings."""
    base = config_path(home.path).parent
    found = {piece for secret in _secrets(home.settings, base) for piece in _pieces(secret)}
    known = sorted((piece for piece in found if len(piece) >= _LENGTH_MIN), key=len, reverse=True)
    if not known:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, known)))
    return lambda text: pattern.sub("***", text)


def _secrets(value: object, base: Path) -> Iterator[str]:
    """Every secret below a setting: its own, and those that lie in files."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            given = getattr(value, name)
            if name.endswith("_file") and isinstance(given, Path):
                with suppress(OSError, UnicodeDecodeError):  # told where it is needed
                    yield (base / given.expanduser()).read_text(encoding="utf-8").strip()
            else:
                yield from _secrets(given, base)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _secrets(each, base)
    elif isinstance(value, tuple):
        for each in value:
            yield from _secrets(each, base)


def _pieces(secret: str) -> Iterator[str]:
    """The secret; of a URL also what may be one by itself, which its host is not."""
    yield secret
    if "://" not in secret:
        return
    host = ""
    with suppress(ValueError):
        host = urlsplit(secret).hostname or ""
    for piece in re.split(r"[/?&@#:=]", secret.partition("://")[2]):
        if piece.lower() != host:
            yield piece
            yield unquote(piece)
