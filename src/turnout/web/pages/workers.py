"""The worker processes, and the orders for one of them.

The invariant: an order is asked for twice, and goes to an epoch that was just seen open; it arrives
with that worker's next heartbeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from turnout import stacks
from turnout.job import JobFilter, State
from turnout.web.pages.jobs import job_model
from turnout.web.visit import Moved, Page, Refusal, chosen
from turnout.web.why import serves

if TYPE_CHECKING:
    from turnout.job import Order
    from turnout.web.visit import Visit

MOST_LOOKED_AT, MOST_SHOWN = 1_000, 200
ORDERS = ("quiet", "stop", "dump")
FOLLOWS = {
    "quiet": "It takes no more jobs, for good. What runs, runs on.",
    "stop": "It finishes what runs within its grace, and ends. No other takes its place.",
    "dump": "It tells where its running jobs stand, for its page here and, with all threads, on "
    "its standard error, and works on.",
}


def show(visit: Visit) -> Page:
    """Show the worker processes, and the queues that nobody serves."""
    look = visit.desk.pulse.look()
    unserved = [
        one.queue
        for one in look.queues
        if (one.ready or one.scheduled) and not any(serves(w, one.queue) for w in look.workers)
    ]
    versions = sorted({one.version for one in look.workers if one.version})
    model: dict[str, Any] = {
        "at": look.at,
        "workers": look.workers,
        "unserved": unserved,
        "versions": versions,
    }
    return Page(template="workers.html", model=model)


def one(visit: Visit) -> Page:
    """Show one worker: its running jobs, and where they stand, as it told last."""
    epoch = visit.given("epoch")
    found = [one for one in visit.desk.pulse.look().workers if one.epoch == epoch]
    if not found:
        raise Refusal(
            404, "No such worker is running: it ended, or began anew under another epoch."
        )
    told = stacks.read(visit.jobs.store, epoch) if visit.person.may("operator") else None
    where = JobFilter(states=(State.RUNNING,))
    running = visit.jobs.store.find(where, limit=MOST_LOOKED_AT, now=visit.now)
    mine = [record for record in running if record.worker == found[0].name]
    model: dict[str, Any] = {
        "worker": found[0],
        "jobs": [job_model(visit, record) for record in mine[:MOST_SHOWN]],
        "complete": len(running) < MOST_LOOKED_AT and len(mine) <= MOST_SHOWN,
        "told": told,
    }
    texts = {stack.job: stack for stack in told.stacks} if told else {}
    return Page(template="worker.html", model=model, extra={"texts": texts})


def order(visit: Visit) -> Page | Moved:
    """Give a worker an order; a person is asked once more."""
    what = cast("Order", chosen("order", visit.field("order"), ORDERS))
    epoch = visit.field("epoch")
    look = visit.desk.pulse.look(fresh=True)
    worker = next((one for one in look.workers if one.epoch == epoch), None)
    if worker is None:
        raise Refusal(404, "No such worker is running; nobody was told anything.")
    if visit.field("sure") != "yes":
        model: dict[str, Any] = {"order": what, "worker": worker, "follows": FOLLOWS[what]}
        return Page(template="order.html", model=model)
    if not visit.jobs.store.order(epoch, what):
        raise Refusal(409, f"Worker {worker.name} has ended meanwhile; nobody was told anything.")
    visit.write(what, f"worker {worker.name}")
    to = "/workers?said=ordered" if what != "dump" else f"/workers/one?epoch={epoch}&said=ordered"
    return Moved(to=to, said={"order": what, "worker": worker.name})
