"""Runs the measures and writes benchmarks/results/NAME.json: three rounds, and their medians.

python benchmarks/run.py                    # all, about a quarter of an hour
python benchmarks/run.py drain latency      # some
python benchmarks/run.py --quick            # small sizes, one round, nothing written
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]

from common import RESULTS, Figures, machine, medians  # noqa: E402 - after the path is set

MEASURES = (
    *(
        "drain",
        "trace_cost",
        "metrics_cost",
        "enqueue",
        "latency",
        "waits",
        "imports",
        "depth",
        "order_page",
    ),
    *("isolate", "huey_sqlite"),
)


def main() -> int:
    options = read_options()
    missed = [name for name in options.measures if not report(name, options)]
    if missed:
        print(f"\ntargets missed in: {', '.join(missed)}")
    return int(bool(missed) and options.check)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Turnout on this machine.")
    parser.add_argument("measures", nargs="*", default=MEASURES, metavar="MEASURE")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round")
    parser.add_argument("--rounds", type=int, help="rounds of each measure; default 3")
    parser.add_argument("--out", type=Path, help="where results go; default benchmarks/results")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a target is missed")
    options = parser.parse_args()
    if unknown := set(options.measures) - set(MEASURES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.out = options.out or (None if options.quick else RESULTS)
    return options


def report(name: str, options: argparse.Namespace) -> bool:
    """Measure, print and write one; True when no target was missed."""
    measure = importlib.import_module(name)
    if not getattr(measure, "is_there", lambda: True)():
        print(f"\n{measure.NAME}: left out, {measure.NEEDS} is not installed")
        return True
    print(f"\n{measure.NAME}: {measure.__doc__.splitlines()[0]}", flush=True)
    began = time.monotonic()
    before = machine()
    rounds = run_rounds(measure, options)
    median = medians(rounds)
    met = {key: target.is_met(median[key]) for key, target in measure.TARGETS.items()}
    for key, figure in median.items():
        print(f"  {key:28} {shown(figure):>12}  {verdict(key, measure.TARGETS, met)}".rstrip())
    if options.out:
        result = {
            "measure": measure.NAME,
            "median": median,
            "targets": {key: f"{t.sign} {t.value:g}" for key, t in measure.TARGETS.items()},
            "met": met,
            "rounds": rounds,
            "quick": options.quick,
            "machine": before | {"load_average_after": round(os.getloadavg()[0], 2)},
            "took_s": round(time.monotonic() - began, 1),
        }
        write(options.out / f"{measure.NAME}.json", result)
    return all(met.values())


def run_rounds(measure: Any, options: argparse.Namespace) -> list[Figures]:
    with tempfile.TemporaryDirectory(prefix="turnout-benchmark-") as folder:
        given = {"quick": options.quick}
        if hasattr(measure, "prepare"):
            given["prepared"] = measure.prepare(Path(folder), **given)
        return [measure.once(**given) for _ in range(options.rounds)]


def write(path: Path, result: Figures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def shown(figure: Any) -> str:
    if isinstance(figure, float):
        return f"{figure:,.3f}"
    return f"{figure:,}" if type(figure) is int else str(figure)


def verdict(key: str, targets: dict[str, Any], met: dict[str, bool]) -> str:
    if key not in targets:
        return ""
    target = targets[key]
    return f"{'met' if met[key] else 'MISSED'}: {target.sign} {target.value:g}"


if __name__ == "__main__":
    sys.exit(main())
