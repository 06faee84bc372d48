"""How fast no-ops drain: one worker process with ten threads, and four of them on one file."""

from __future__ import annotations

from common import HERE, Figures, bench, least, python

NAME = "drain"
TARGETS = {
    "one_process_jobs_per_s": least(60_000),
    "four_processes_of_one": least(0.8),
}


def once(*, quick: bool) -> Figures:
    jobs = 5_000 if quick else 200_000
    bare = int(python(str(HERE / "bare.py"), "drain", str(jobs)))
    one = bench("drain", "--jobs", jobs, "--threads", 10)
    four = bench("drain", "--jobs", jobs, "--threads", 10, "--processes", 4)
    return {
        "jobs": jobs,
        "store": one["store"],
        "durability": one["durability"],
        "payload": one["payload"],
        "trace": one["trace"],
        "one_process_jobs_per_s": one["jobs_per_s"],
        "four_processes_jobs_per_s": four["jobs_per_s"],
        "four_processes_of_one": round(four["jobs_per_s"] / one["jobs_per_s"], 3),
        "jobs_a_round_trip": round(jobs / one["round_trips"], 1),
        "bare_loop_jobs_per_s": bare,
        "one_process_of_bare_loop": round(one["jobs_per_s"] / bare, 3),
    }
