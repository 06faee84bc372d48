"""`turnout bench`: measure a store on this machine, with the worker that will run there.

The invariant: one run prints one result, and says what was measured on what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from turnout.cli.options import examples, json_option
from turnout.cli.output import plural, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from turnout.cli._bench_load import Load, Result

_url = click.option(
    "--url", default="", metavar="URL",
    help="The store. Default: a temporary SQLite file below $TMPDIR, removed afterwards.",
)  # fmt: skip
_payload = click.option(
    "--payload", type=click.IntRange(11), default=200, show_default=True, metavar="BYTES",
    help="Arguments of each job, as JSON.",
)  # fmt: skip


def _count(name: str, default: int, text: str) -> Callable[[Any], Any]:
    """Return an option that takes a number from 1."""
    return click.option(name, type=click.IntRange(1), default=default, show_default=True, help=text)


@click.group(
    epilog=examples(
        "turnout bench drain --processes 4",
        "turnout bench enqueue --bulk --url sqlite:////var/lib/shop/jobs.db",
        "turnout bench latency --json",
    )
)
def bench() -> None:
    """Measure a store: how fast it drains, enqueues and wakes an idle worker.

    Only the queue "turnout-bench" is used, and it is emptied before and after. Measure on the disk
    that will hold the jobs, and on a quiet machine.
    """


@bench.command(epilog=examples("turnout bench drain --processes 4 --json"))
@_url
@_count("--jobs", 100_000, "Jobs to run.")
@_count("--processes", 1, "Worker processes.")
@_count("--threads", 10, "Threads of each; with --async, coroutines of each.")
@click.option("--keep-trace/--no-trace", default=True, show_default=True,
              help="Keep the trace of succeeded jobs, as is usual.")  # fmt: skip
@click.option("--metrics/--no-metrics", default=True, show_default=True,
              help="Keep metrics of the drained jobs, as is usual.")  # fmt: skip
@click.option("--wait", type=click.FloatRange(0), default=0.0, show_default=True, metavar="MS",
              help="Milliseconds that each job waits; 0: it does nothing.")  # fmt: skip
@click.option("--async", "is_async", is_flag=True, help="Run `async def` tasks.")
@_payload
@json_option
def drain(*, as_json: bool, wait: float, **load: Any) -> None:
    """Run jobs that wait, with real worker processes.

    Timed from the first lease to the last settle: every job is leased, run as a task and settled.
    """
    from turnout.cli._bench_drain import drain as measure

    _run("drain", measure, {**load, "wait": wait / 1000}, as_json=as_json)


@bench.command(epilog=examples("turnout bench enqueue --bulk"))
@_url
@click.option("--jobs", type=click.IntRange(1), show_default="2,000, in bulk 100,000",
              help="Jobs to enqueue.")  # fmt: skip
@_count("--processes", 1, "Enqueuing processes.")
@_count("--threads", 1, "Threads of each.")
@click.option("--bulk/--single", default=False, show_default="single",
              help="Through enqueue_many, or one call a job.")  # fmt: skip
@_payload
@json_option
def enqueue(*, as_json: bool, bulk: bool, jobs: int | None, **load: Any) -> None:
    """Enqueue jobs, each recorded before its call returns.

    Timed from the first call to the last return, the encoding of arguments included.
    """
    from turnout.cli._bench_enqueue import enqueue_bulk, enqueue_single

    load["jobs"] = jobs or (100_000 if bulk else 2_000)
    mode, measure = ("bulk", enqueue_bulk) if bulk else ("single", enqueue_single)
    _run(f"enqueue {mode}", measure, load, as_json=as_json)


@bench.command(epilog=examples("turnout bench latency --url sqlite:///jobs.db"))
@_url
@_count("--jobs", 300, "Samples.")
@_count("--threads", 10, "Threads of the worker.")
@_payload
@json_option
def latency(*, as_json: bool, **load: Any) -> None:
    """Measure enqueue to start with an idle worker in another process, and its idle CPU.

    Timed from the call of enqueue to the task's first line, the durable commit included.
    """
    from turnout.cli._bench_latency import latency as measure

    _run("latency", measure, load, as_json=as_json)


def _run(
    name: str, measure: Callable[[Load], Result], settings: dict[str, Any], *, as_json: bool
) -> None:
    from turnout.cli._bench_load import Load, machine, measured_store

    with measured_store(Load(**settings)) as (load, about):
        notes = machine()  # before the run makes the load it would report
        figures = measure(load)
    result = {
        "measure": name,
        **about,
        "jobs": load.jobs,
        "processes": load.processes,
        "threads": load.threads,
        "payload": load.payload,
        "trace": load.keep_trace,
        "metrics": load.metrics,
        "wait_ms": load.wait * 1000,
        "async": load.is_async,
        **figures,
        "machine": notes,
    }
    if as_json:
        print_json(result, compact=True)
    else:
        click.echo(_text(result))


def _text(result: Result) -> str:
    lines = [f"{result['measure']}: {_figures(result)}"]
    size = f"{plural(result['jobs'], 'job')} of {result['payload']} bytes"
    threads = f"{plural(result['threads'], 'thread')} each"
    who = f"{result['processes']:,} process{'es' * (result['processes'] > 1)}, {threads}"
    lines.append(f"  {size} in {result['seconds']:.2f} s, {who}")
    lines.append(f"  {result['store']}, {result['location']}: {result['durability']}")
    notes = result["machine"]
    lines.append(
        f"  {notes['cores']} x {notes['cpu']}, Python {notes['python']}, "
        f"load {notes['load_average']}"
    )
    return "\n".join(lines)


def _figures(result: Result) -> str:
    parts = []
    if "jobs_per_s" in result:
        parts.append(f"{result['jobs_per_s']:,} jobs/s")
    if "p50_ms" in result:
        parts.append(", ".join(f"p{n} {result[f'p{n}_ms']:.2f} ms" for n in (50, 95, 99)))
    if "idle_cpu_percent" in result:
        parts.append(f"idle worker {result['idle_cpu_percent']:.2f} % of a core")
    return "; ".join(parts)
