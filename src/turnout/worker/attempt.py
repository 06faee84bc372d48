"""THE file: one attempt at one job, from its arguments to its outcome.

    leased -> expired? -> decode -> call (through the middleware) -> outcome
                 |           |                |
             discarded     error            error -> timed out? cancelled? what the task asked for
                                                     (Retry, Snooze, Discard, Cancel,
                                                     Deferred)? else the
                                                     policy:
                                                     retried, discarded or dead, then `then(job,
                                                     error)`

Whatever happens inside, an Outcome comes out: these functions never raise, and know neither threads
nor stores. Nothing that a user supplies (task, middleware, policy, `then`, an exception's own
methods) can end the worker. The two entries, for `def` and `async def`, differ in the call alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from turnout.codec import encode_value
from turnout.current import CurrentJob, current
from turnout.errors import Cancel, Deferred, Discard, JobTimeout, Snooze, TurnoutError
from turnout.failure import describe, format_traceback
from turnout.job import AttemptRecord, Outcome, State, Trail

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from turnout.retry import Decision
    from turnout.worker.plan import Plan

MOST_ATTEMPTS_KEPT = 30  # the first five and the latest
_FIRST_KEPT = 5
OVERRUN = 1.0  # seconds that a job past its timeout has to stop
_decode_trail = msgspec.json.Decoder(Trail).decode
_encode = msgspec.json.encode
EndState = Literal[State.DEAD, State.DISCARDED, State.CANCELLED]


def run_attempt(plan: Plan, job: CurrentJob, worker: str) -> Outcome:
    """Run one attempt of a `def` task, in a context of its own; return its outcome."""
    clock = plan.app.clock
    try:
        leased = job.leased
        if leased.expires_at is not None and job.started_at > leased.expires_at:
            return _expired(job, worker)
        current.set(job)
        if leased.context is not None:
            plan.app.restore_context(leased.context)
        args, kwargs = plan.decode(leased.args)
        job.arguments = args, {**kwargs}
        if plan.transaction is not None:
            return _in_transaction(plan, job, plan.transaction, args, kwargs)
        result = plan.call(*args, **kwargs)
        if result is not None:
            _refuse_unawaited(plan, result)
    except BaseException as error:  # noqa: BLE001 - SystemExit in a task ends the job, not the worker
        return failed(plan, job, error, worker)
    return _succeeded(plan, job, result, clock())


async def arun_attempt(plan: Plan, job: CurrentJob, worker: str) -> Outcome:
    """Run one attempt of an `async def` task, bounded by its timeout; return its outcome."""
    clock = plan.app.clock
    limit = asyncio.timeout(plan.timeout)
    try:
        leased = job.leased
        if leased.expires_at is not None and job.started_at > leased.expires_at:
            return _expired(job, worker)
        current.set(job)
        if leased.context is not None:
            plan.app.restore_context(leased.context)
        args, kwargs = plan.decode(leased.args)
        job.arguments = args, {**kwargs}
        async with limit:
            result = await plan.call(*args, **kwargs)
    except TimeoutError as error:
        job.timed_out = limit.expired()
        return failed(plan, job, error, worker)
    except BaseException as error:  # noqa: BLE001 - as above; the loop must not see SystemExit either
        return failed(plan, job, error, worker)
    return _succeeded(plan, job, result, clock())


def _refuse_unawaited(plan: Plan, result: object) -> None:
    """Raise TypeError for a coroutine that a `def` task returned: nobody would ever run it."""
    if hasattr(type(result), "__await__"):
        close = getattr(result, "close", None)
        if close is not None:
            close()  # or Python warns of it, wherever the garbage is collected
        msg = f"{plan.name} is a `def` and returned something to await: make it an `async def`"
        raise TypeError(msg)


# ---- one transaction for the task's writes and its settle


class _LeaseLost(Exception):
    """Undoes the transaction of an attempt whose job belongs to somebody else by now."""


def _in_transaction(
    plan: Plan,
    job: CurrentJob,
    transaction: Callable[[], AbstractContextManager[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Outcome:
    """Run the task and settle its job in one transaction: both are committed, or neither.

    A commit whose reply is lost is an error like any other. If it did take place, the lease is gone
    with it, and the retry that follows from the error finds nothing to settle.
    """
    with transaction() as connection, plan.app.within(connection):
        job.enter(connection)
        result = plan.call(*args, **kwargs)
        _refuse_unawaited(plan, result)
        outcome = _succeeded(plan, job, result, plan.app.clock())
        if not job.settle_within(outcome, connection):
            job.lost = True
            raise _LeaseLost
    return msgspec.structs.replace(outcome, settled=True)


# ---- endings


def _succeeded(plan: Plan, job: CurrentJob, result: object, now: float) -> Outcome:
    leased = job.leased
    keep = plan.keep(leased.queue)
    text, reason = (None, None) if result is None else _result(plan, result)
    return Outcome.succeeded(leased, job.started_at, now, keep=keep, result=text, reason=reason)


def _result(plan: Plan, result: object) -> tuple[str | None, str | None]:
    """Encode a result; one that cannot be kept must not fail a job whose work is done."""
    try:
        text = encode_value(result)
    except Exception as error:  # noqa: BLE001
        return None, f"result not kept: {describe(error)[1]}"
    most = plan.app.config.max_result
    if len(text) > most:
        return None, f"result not kept: {len(text):,} bytes of JSON, the limit is {most:,}"
    return text, None


def _expired(job: CurrentJob, worker: str) -> Outcome:
    entry = AttemptRecord(
        attempt=job.attempt,
        started_at=job.started_at,
        finished_at=job.started_at,
        worker=worker,
        outcome="discarded",
    )
    reason = "it was not started before its deadline (expires)"
    trail = _longer(_history(job), entry)
    return Outcome.ended(job.leased, State.DISCARDED, entry, trail, reason=reason)


def failed(plan: Plan, job: CurrentJob, error: BaseException, worker: str) -> Outcome:
    """Return what follows from an attempt that raised `error`."""
    if job.timed_out:
        error = JobTimeout(f"the attempt ran for longer than its timeout of {plan.timeout} s")
    return _Failure(plan, job, error, worker).outcome()


class _Failure:
    """An attempt that raised: what the error, the task's rules and its history make of it."""

    __slots__ = ("error", "history", "job", "now", "plan", "worker")

    def __init__(self, plan: Plan, job: CurrentJob, error: BaseException, worker: str) -> None:
        self.plan = plan
        self.job = job
        self.error = error
        self.worker = worker
        self.now = plan.app.clock()
        self.history = _history(job)

    def outcome(self) -> Outcome:
        job, error = self.job, self.error
        if job.cancelled:
            return self._ended(State.CANCELLED, "cancelled while it ran")
        match error:
            case _LeaseLost():
                return Outcome.released(job.leased, self.now)  # void as well: it is not ours
            case asyncio.CancelledError() if job.stopping:
                return Outcome.released(job.leased, self.now)
            case Deferred():  # as at the gate, whence it would have come had it said so before
                return Outcome.released(job.leased, self.now, run_at=error.until)
            case Snooze():
                entry = self._entry("snoozed", with_error=False)
                run_at = self.now + (error.after or 0.0)
                trail = _longer(self.history, entry)
                return Outcome.snoozed(job.leased, entry, trail, run_at=run_at)
            case Discard():
                return self._ended(State.DISCARDED, describe(error)[1] or "the task discarded it")
            case Cancel():
                return self._ended(State.CANCELLED, describe(error)[1] or "the task cancelled it")
            case _:
                return self._by_policy()

    def _by_policy(self) -> Outcome:
        decision = self._decide(self.error)
        if decision.then is not None:
            try:
                decision.then(self.job, self.error)
            except BaseException as trouble:  # noqa: BLE001
                # What `then` was to do is not done: the job must come back, by the default policy.
                self.error = trouble
                decision = self._decide(TurnoutError("then= failed"))
        if decision.kind != "retry":
            state: EndState = State.DEAD if decision.kind == "dead" else State.DISCARDED
            return self._ended(state, decision.reason, decision.counts)
        entry = self._entry("retried")
        trail = _longer(self.history, entry, decision.counts)
        run_at = self.now if decision.run_at is None else decision.run_at
        outcome = Outcome.retried(self.job.leased, entry, trail, run_at=run_at)
        return msgspec.structs.replace(outcome, exception=self.error)

    def _decide(self, error: BaseException) -> Decision:
        plan, counts = self.plan, self.history.counts
        decision = plan.policy.decide(error, self.job.attempt, counts, self.now, plan.rng)
        terms = self.job.leased.terms
        return decision if terms is None else terms.narrow(decision, self.job.attempt, self.now)

    def _ended(self, state: EndState, reason: str, counts: dict[str, int] | None = None) -> Outcome:
        entry = self._entry(state.value)
        trail = _longer(self.history, entry, counts)
        outcome = Outcome.ended(self.job.leased, state, entry, trail, reason=reason)
        return msgspec.structs.replace(outcome, exception=self.error)

    def _entry(self, outcome: str, *, with_error: bool = True) -> AttemptRecord:
        name, message = describe(self.error) if with_error else (None, None)
        return AttemptRecord(
            attempt=self.job.attempt,
            started_at=self.job.started_at,
            finished_at=self.now,
            worker=self.worker,
            outcome=outcome,
            error=name,
            message=message,
            traceback=format_traceback(self.error) if with_error else None,
        )


# ---- history


def _history(job: CurrentJob) -> Trail:
    text = job.leased.trail
    try:
        return _decode_trail(text) if text else Trail()
    except msgspec.DecodeError:  # damaged in the store: the job goes on with a new history
        return Trail()


def lengthened(job: CurrentJob, entry: AttemptRecord) -> str:
    """Return a job's history with one more entry."""
    return _longer(_history(job), entry)


def _longer(before: Trail, entry: AttemptRecord, counts: dict[str, int] | None = None) -> str:
    """Return the history with one more attempt, cut in the middle when it grows too long."""
    attempts = (*before.attempts, entry)
    if len(attempts) > MOST_ATTEMPTS_KEPT:
        attempts = attempts[:_FIRST_KEPT] + attempts[_FIRST_KEPT - MOST_ATTEMPTS_KEPT :]
    kept = before.counts if counts is None else counts
    return _encode(Trail(attempts=attempts, counts=kept)).decode()
