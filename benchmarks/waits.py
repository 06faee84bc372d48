"""How close jobs that wait come to the ideal: 2,000 jobs of 10 ms, fifty at a time."""

from __future__ import annotations

from common import Figures, bench, most

NAME = "waits"
TARGETS = {"threads_of_ideal": most(1.25), "async_of_ideal": most(1.25)}


def once(*, quick: bool) -> Figures:
    jobs = 500 if quick else 2_000
    ideal = jobs / 50 * 0.010
    args = ("drain", "--jobs", jobs, "--wait", 10, "--threads", 50)
    threads = bench(*args)["seconds"]
    coroutines = bench(*args, "--async")["seconds"]
    return {
        "jobs": jobs,
        "job_ms": 10,
        "at_a_time": 50,
        "ideal_s": ideal,
        "threads_s": threads,
        "threads_of_ideal": round(threads / ideal, 3),
        "async_s": coroutines,
        "async_of_ideal": round(coroutines / ideal, 3),
    }
