"""What an enqueue costs: one durable job against one bare durable row, and in bulk."""

from __future__ import annotations

import json

from common import HERE, Figures, bench, least, most, python

NAME = "enqueue"
TARGETS = {
    "single_of_bare_commit": most(1.5),
    "bulk_jobs_per_s": least(100_000),
}


def once(*, quick: bool) -> Figures:
    jobs, many = (240, 5_000) if quick else (4_800, 200_000)
    pair = json.loads(python(str(HERE / "_paired.py"), str(jobs)))
    bulk = bench("enqueue", "--bulk", "--jobs", many)
    return {
        "store": bulk["store"],
        "durability": bulk["durability"],
        "payload": bulk["payload"],
        "single_jobs": jobs,
        "single_ms": round(pair["single_ms"], 4),
        "bare_commit_ms": round(pair["bare_commit_ms"], 4),
        "single_of_bare_commit": round(pair["single_ms"] / pair["bare_commit_ms"], 3),
        "bulk_jobs": many,
        "bulk_jobs_per_s": bulk["jobs_per_s"],
    }
