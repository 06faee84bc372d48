"""What an enqueue costs: one durable job against one bare durable row, and in bulk."""

from __future__ import annotations

from common import HERE, Figures, bench, least, most, python

NAME = "enqueue"
TARGETS = {
    "single_of_bare_commit": most(1.5),
    "bulk_jobs_per_s": least(100_000),
}


def once(*, quick: bool) -> Figures:
    jobs, many = (200, 5_000) if quick else (2_000, 200_000)
    before = int(python(str(HERE / "bare.py"), "enqueue", str(jobs)))
    single = bench("enqueue", "--single", "--jobs", jobs)
    after = int(python(str(HERE / "bare.py"), "enqueue", str(jobs)))
    bulk = bench("enqueue", "--bulk", "--jobs", many)
    bare_ms = 1000 * (1 / before + 1 / after) / 2
    single_ms = 1000 / single["jobs_per_s"]
    return {
        "store": single["store"],
        "durability": single["durability"],
        "payload": single["payload"],
        "single_jobs": jobs,
        "single_ms": round(single_ms, 4),
        "bare_commit_ms": round(bare_ms, 4),
        "single_of_bare_commit": round(single_ms / bare_ms, 3),
        "bulk_jobs": many,
        "bulk_jobs_per_s": bulk["jobs_per_s"],
    }
