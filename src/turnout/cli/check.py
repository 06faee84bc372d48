"""`turnout check`: everything that is wrong with a set-up, at once.

The invariant: one fault never hides another; each part is looked at as far as the parts it needs
are sound.
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from turnout import __version__
from turnout.cli import output
from turnout.cli.locate import find_app, find_url, open_existing
from turnout.cli.options import app_option, examples, json_option, url_option
from turnout.errors import StoreUnavailable, TurnoutError
from turnout.ids import new_id
from turnout.job import JobFilter, JobId, QueueStats, State, StoreInfo, WorkerInfo
from turnout.queues import with_lanes

if TYPE_CHECKING:
    from turnout.app import Turnout
    from turnout.store.protocol import Store

_PACKAGES = ("msgspec", "click", "rich", "cronsim")
_LEVELS: dict[str, Literal["ok", "warning", "fault"]] = {
    "up": "ok",
    "draining": "warning",
    "away": "fault",
}
_LOOKED_AT = 1_000  # queued jobs whose tasks are compared with the application's


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    level: Literal["ok", "warning", "fault"]
    subject: str
    message: str


@click.command(epilog=examples("turnout check --app shop.jobs", "turnout check --json"))
@url_option
@app_option
@json_option
@click.pass_context
def check(ctx: click.Context, *, url: str | None, app: str | None, as_json: bool) -> None:
    """Check configuration, connection, durability, versions and what waits unserved.

    Every fault is shown at once; the exit code is 1 when there is any. Warnings leave it 0.
    """
    findings = look_at_all(url, app)
    sound = not any(finding.level == "fault" for finding in findings)
    if as_json:
        output.print_json({"ok": sound, "findings": findings})
    else:
        output.print_table(("", "subject", "found"), [msgspec.structs.astuple(f) for f in findings])
    ctx.exit(0 if sound else 1)


def look_at_all(url: str | None, app: str | None) -> list[Finding]:
    """Return what was found about versions, application, store, queues and workers."""
    findings = list(look_at_versions())
    target = app or (
        None if url or os.environ.get("TURNOUT_URL") else os.environ.get("TURNOUT_APP")
    )
    found = _look_at_app(target, findings) if target else None
    place = url or (found.url if found else os.environ.get("TURNOUT_URL"))
    if place is None and target:
        return findings  # only the application could have said where its store is
    store = _open(place or find_url(None, None), findings)
    if store is not None:
        try:
            findings += look_at_store(store, found)
        except TurnoutError as error:
            findings.append(Finding("fault", "store", str(error)))
        finally:
            store.close()
    return findings


def look_at_versions() -> Iterator[Finding]:
    """Name the versions that work together here."""
    yield Finding("ok", "python", f"{platform.python_implementation()} {platform.python_version()}")
    names = [f"turnout {__version__}"]
    names += [f"{package} {version(package)}" for package in _PACKAGES]
    yield Finding("ok", "packages", ", ".join(names))


def _look_at_app(target: str, findings: list[Finding]) -> Turnout | None:
    try:
        app = find_app(target)
    except TurnoutError as error:
        findings.append(Finding("fault", "application", str(error)))
        return None
    queues = ", ".join(sorted({task.options.queue for task in app.tasks.values()}))
    said = f"{target}: {output.plural(len(app.tasks), 'task')}"
    findings.append(Finding("ok", "application", said + (f" in {queues}" if queues else "")))
    if not app.tasks:
        findings.append(Finding("warning", "application", "no task is registered in it"))
    return app


def _open(url: str, findings: list[Finding]) -> Store | None:
    try:
        return open_existing(url)
    except TurnoutError as error:
        findings.append(Finding("fault", "store", str(error)))
        return None


def look_at_store(store: Store, app: Turnout | None) -> Iterator[Finding]:
    """Look at an open store: what it is, its warnings, its queues and workers."""
    info = store.describe()
    yield Finding("ok", "store", f"{info.name} at {info.location}")
    yield Finding(
        "ok",
        "durability",
        f"an enqueue survives {info.enqueue_survives}, a settle {info.settle_survives}",
    )
    for part in info.parts:
        said = f"{part.state} at {part.location}" + (f": {part.note}" if part.note else "")
        yield Finding(_LEVELS[part.state], f"shard {part.name}", said)
    for warning in info.warnings:
        yield Finding("warning", "store", warning)
    _try_a_write(store, info)
    queues, workers = store.count(), store.workers()
    yield from look_at_queues(with_lanes(queues), workers)
    if app is not None:
        yield from look_at_tasks(store, app, workers)


def _try_a_write(store: Store, info: StoreInfo) -> None:
    """Give an order that names no job: it changes nothing and needs all that a write needs."""
    try:
        store.change(JobFilter(ids=(JobId(new_id()),)), "cancel", limit=1)
    except StoreUnavailable:
        if all(part.state != "away" for part in info.parts):
            raise  # otherwise said already


def look_at_queues(queues: list[QueueStats], workers: list[WorkerInfo]) -> Iterator[Finding]:
    """Find queues that wait for nobody, and the dead."""
    if not workers:
        yield Finding("warning", "workers", "none is running; start one: turnout worker MODULE")
    else:
        yield Finding("ok", "workers", f"{output.plural(len(workers), 'worker')} running")
    for queue in queues:
        waiting = output.plural(queue.ready, "ready job")
        if queue.paused:
            yield Finding("warning", f"queue {queue.queue}", f"paused, with {waiting}")
        elif queue.ready and workers and not is_served(queue.queue, workers):
            yield Finding("warning", f"queue {queue.queue}", f"{waiting}, and no worker serves it")
        if queue.dead:
            said = (
                f"{output.plural(queue.dead, 'dead job')}: turnout dead list --queue {queue.queue}"
            )
            yield Finding("warning", f"queue {queue.queue}", said)


def is_served(queue: str, workers: list[WorkerInfo]) -> bool:
    """Tell whether any of these workers takes jobs from a queue."""
    return any(not w.queues or queue in w.queues or "*" in w.queues for w in workers)


def look_at_tasks(store: Store, app: Turnout, workers: list[WorkerInfo]) -> Iterator[Finding]:
    """Find queued jobs that this application has no task for, and tasks nobody serves."""
    queued = store.find(JobFilter(states=(State.QUEUED,)), limit=_LOOKED_AT)
    unknown = Counter(record.task for record in queued if record.task not in app.tasks)
    for name, count in unknown.most_common(20):
        said = f"{output.plural(count, 'queued job')} of a task that this application does not have"
        yield Finding("warning", f"task {name}", said)
    for queue in sorted({task.options.queue for task in app.tasks.values()}):
        if workers and not is_served(queue, workers):
            said = "tasks enqueue into it, and no running worker serves it"
            yield Finding("warning", f"queue {queue}", said)
