"""Runs the rig for long and writes a report: `soak.py STORE --minutes 10 --seed 1 --out FOLDER`.

With `--jobs 1000000` it goes on until that many jobs were accepted, and no less than the minutes.
How it goes is told on stderr once a minute.

The report is one JSON file a store; what is not as it must be is told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.rig import LEASE, ChaosRig, Settings
from chaos.stages import STAGES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", choices=[*STAGES, "all"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=60.0, help="jobs a second and enqueuer")
    parser.add_argument("--jobs", type=int, default=0, help="to be accepted before the end")
    parser.add_argument("--lease", type=float, default=LEASE, help="seconds")
    parser.add_argument("--keep", type=float, default=120.0, help="seconds: sizes stay bounded")
    parser.add_argument("--threads", type=int, default=3, help="of each worker process")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two faults")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    names = list(STAGES) if options.store == "all" else [options.store]
    return max(soak(name, options) for name in names)


def soak(name: str, options: argparse.Namespace) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"turnout-soak-{name}-"))
    stage = STAGES[name](folder)
    settings = Settings(
        seed=options.seed,
        seconds=options.minutes * 60,
        rate=options.rate,
        jobs=options.jobs,
        threads=options.threads,
        lease=options.lease,
        every=(0.2 * options.every, 1.8 * options.every),
        keep=options.keep,
        spared=1,
        patience=300.0,
    )
    try:
        report = ChaosRig(stage, folder, settings).run()
    finally:
        stage.close()
    path = options.out / f"soak_{name}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    faults = sum(report["faults"].values())
    summary = f"{name}: {report['jobs']} jobs, {faults} faults, {report['lost']} lost"
    summary += f", {report['violations']} violations; {path}"
    lines = [
        summary,
        *(f"  {told}" for told in report["told"]),
    ]
    if report["violations"]:
        lines.append(f"  the ledger and the logs are kept in {folder}")
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.flush()
    if report["violations"]:
        return 1
    shutil.rmtree(folder, ignore_errors=True)  # SQLite takes its own files away meanwhile
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in good order: nothing is left running
    sys.exit(main())
