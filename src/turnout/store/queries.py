"""Reads files of named SQL statements: `-- name: settle_one`, reasons as comments, the statement.

Every adapter keeps its SQL in such files, so that a statement can be grepped, explained and pasted
into a console.
"""

from __future__ import annotations

import re
from importlib import resources

_HEADER = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)


def load_queries(package: str, filename: str) -> dict[str, str]:
    """Return name -> statement of one file, comments removed and white space folded."""
    text = resources.files(package).joinpath(filename).read_text(encoding="utf-8")
    parts = _HEADER.split(text)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: " ".join(_COMMENT.sub("", body).split()).rstrip(";") for name, body in pairs}
