"""Whether jobs that are not wanted now slow those that are: a drain beside a deep other queue."""

from __future__ import annotations

from pathlib import Path

from common import Figures, bench, least

NAME = "depth"
TARGETS = {"deep_of_empty": least(0.9)}


def prepare(folder: Path, *, quick: bool) -> dict[str, str]:
    """Fill a file with scheduled and with ready jobs of another queue."""
    from turnout import Turnout

    depth = 5_000 if quick else 1_000_000
    url = f"sqlite:///{folder}/deep.db"
    jobs = Turnout(url, default_queue="other")
    task = jobs.task(name="other")(_other)
    later = task.using(delay=365 * 86_400)
    for kind in (task, later):
        for _ in range(depth // 5_000):  # handles of a million jobs would fill the memory
            jobs.enqueue_many(kind.prepare("x" * 188) for _ in range(5_000))
    jobs.close()
    return {"deep": url, "depth": str(depth), "empty": f"sqlite:///{folder}/empty.db"}


def _other(text: str) -> None:
    del text


def once(*, quick: bool, prepared: dict[str, str]) -> Figures:
    jobs = 5_000 if quick else 100_000
    rates: dict[str, list[int]] = {"deep": [], "empty": []}
    for name in ("empty", "deep", "deep", "empty"):
        result = bench("drain", "--jobs", jobs, "--url", prepared[name])
        rates[name].append(result["jobs_per_s"])
    deep, empty = sum(rates["deep"]) / 2, sum(rates["empty"]) / 2
    return {
        "jobs": jobs,
        "scheduled_beside": int(prepared["depth"]),
        "ready_beside": int(prepared["depth"]),
        "deep_jobs_per_s": round(deep),
        "empty_jobs_per_s": round(empty),
        "deep_of_empty": round(deep / empty, 3),
    }
