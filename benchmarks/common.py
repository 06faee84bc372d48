"""What all measures share: calling `turnout bench`, notes on the machine, medians, results as JSON.

A measure is a module with NAME, TARGETS and `once(quick=)`, which returns flat figures of one
round. It may have `prepare(folder, quick=)`, whose answer each round then gets as `prepared`.
Everything that is compared is measured in the same round, in fresh processes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
RESULTS = HERE / "results"
Figures = dict[str, Any]


class Target(NamedTuple):
    """What a figure should be: "<=" or ">=" a number, and why it is asked for."""

    sign: str
    value: float

    def is_met(self, figure: float) -> bool:
        return figure <= self.value if self.sign == "<=" else figure >= self.value


def most(value: float) -> Target:
    return Target("<=", value)


def least(value: float) -> Target:
    return Target(">=", value)


def python(*args: str, folder: Path | None = None, timeout: float = 1800) -> str:
    """Run a program with this interpreter and return what it printed."""
    # An installed package has its byte code: a variable that forbids it would measure the compiler.
    usual = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=usual,
    )
    if ran.returncode:
        msg = f"{' '.join(args)} ended with {ran.returncode}:\n{ran.stderr[-3000:]}"
        raise RuntimeError(msg)
    return ran.stdout


def bench(*args: object) -> Figures:
    """Run `turnout bench ... --json` in a process of its own and return its result."""
    return json.loads(python("-m", "turnout", "bench", *map(str, args), "--json"))


def fsync_p50_ms(count: int = 100) -> float:
    """Return the median of a 4 KiB write with fsync, where the temporary databases live."""
    took = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(count):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return round(statistics.median(took) * 1000, 3)


def machine() -> Figures:
    """Return notes on the machine and on how it was at the time."""
    from turnout.cli._bench_load import machine as notes

    return {
        **notes(),
        "sqlite": sqlite3.sqlite_version,
        "temporary_files": f"{tempfile.gettempdir()} ({filesystem(tempfile.gettempdir())})",
        "fsync_p50_ms": fsync_p50_ms(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def filesystem(folder: str) -> str:
    """Return the type of a folder's file system: a tmpfs would flatter every commit."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    path = os.path.realpath(folder)
    holding = [m for m in mounts if path == m[0] or path.startswith(m[0].rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "unknown"


def medians(rounds: list[Figures]) -> Figures:
    """Return the median of each figure over the rounds; of words, the first."""
    return {name: _median([figures[name] for figures in rounds]) for name in rounds[0]}


def _median(values: list[Any]) -> Any:
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return values[0]
    return statistics.median(values)
