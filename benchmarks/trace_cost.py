"""What the trace of succeeded jobs costs a drain: keep=0 against the default."""

from __future__ import annotations

import statistics

from common import Figures, bench, most

NAME = "trace_cost"
TARGETS = {"cost_of_trace": most(0.10)}


def once(*, quick: bool) -> Figures:
    jobs = 5_000 if quick else 200_000
    rates: dict[str, list[int]] = {"--keep-trace": [], "--no-trace": []}
    # On, off, off, on: a machine that gets slower or faster meanwhile favours neither.
    for option in ("--keep-trace", "--no-trace", "--no-trace", "--keep-trace"):
        rates[option].append(bench("drain", "--jobs", jobs, option)["jobs_per_s"])
    on, off = (statistics.mean(rates[option]) for option in ("--keep-trace", "--no-trace"))
    return {
        "jobs": jobs,
        "with_trace_jobs_per_s": round(on),
        "without_trace_jobs_per_s": round(off),
        "cost_of_trace": round(1 - on / off, 3),
    }
