"""What keeping metrics costs a drain: with them against without, by turns.

python benchmarks/run.py metrics_cost                          # on SQLite
python benchmarks/metrics_cost.py redis://127.0.0.1:6379/9     # on a server, by hand
"""

from __future__ import annotations

import json
import statistics
import sys
from urllib.parse import urlsplit

from common import RESULTS, Figures, bench, machine, medians, most

NAME = "metrics_cost"
TARGETS = {"cost_of_metrics": most(0.03)}
ON, OFF = "--metrics", "--no-metrics"


def once(*, quick: bool, url: str = "") -> Figures:
    jobs = 5_000 if quick else 300_000
    rates: dict[str, list[int]] = {ON: [], OFF: []}
    where = ("--url", url) if url else ()
    # On, off, off, on: a machine that gets slower or faster meanwhile favours neither.
    for option in (ON, OFF, OFF, ON):
        rates[option].append(bench("drain", "--jobs", jobs, option, *where)["jobs_per_s"])
    on, off = (statistics.mean(rates[option]) for option in (ON, OFF))
    return {
        "jobs": jobs,
        "with_metrics_jobs_per_s": round(on),
        "without_metrics_jobs_per_s": round(off),
        "cost_of_metrics": round(1 - on / off, 3),
        "each_with": rates[ON],
        "each_without": rates[OFF],
    }


def main(url: str) -> None:
    name = f"{NAME}_{urlsplit(url).scheme}"
    before = machine()
    rounds = [once(quick=False, url=url) for _ in range(3)]
    result = {"measure": name, "median": medians(rounds), "rounds": rounds, "machine": before}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result["median"], indent=2))


if __name__ == "__main__":
    main(sys.argv[1])
