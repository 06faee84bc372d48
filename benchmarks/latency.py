"""How soon an idle worker process starts a job of another process, and what idling costs."""

from __future__ import annotations

from common import Figures, bench, most

NAME = "latency"
TARGETS = {"p50_ms": most(3), "p99_ms": most(15), "idle_cpu_percent": most(1)}
_KEPT = ("p50_ms", "p95_ms", "p99_ms", "enqueue_p50_ms", "idle_cpu_percent")


def once(*, quick: bool) -> Figures:
    result = bench("latency", "--jobs", 50 if quick else 300)
    return {"samples": result["jobs"], **{name: result[name] for name in _KEPT}}
