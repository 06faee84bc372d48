"""What `import turnout` adds to the start of a web process."""

from __future__ import annotations

import statistics
import time

from common import Figures, most, python

NAME = "imports"
TARGETS = {"import_ms": most(60)}


def once(*, quick: bool) -> Figures:
    bare, full = [], []
    timed("import turnout")  # so that the byte code is there
    for _ in range(3 if quick else 10):
        bare.append(timed("pass"))
        full.append(timed("import turnout"))
    bare_ms, full_ms = statistics.median(bare), statistics.median(full)
    return {
        "interpreter_ms": round(bare_ms, 1),
        "with_turnout_ms": round(full_ms, 1),
        "import_ms": round(full_ms - bare_ms, 1),
        "modules": int(python("-c", "import sys, turnout; print(len(sys.modules))")),
    }


def timed(code: str) -> float:
    began = time.perf_counter()
    python("-c", code)
    return (time.perf_counter() - began) * 1000
