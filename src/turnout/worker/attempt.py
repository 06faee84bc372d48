"""THE file: one attempt at one job, from its arguments to its outcome.

    leased -> expired? -> decode -> call (through the middleware) -> outcome
                 |           |                |
             discarded     error            error -> timed out? cancelled? what the task asked for
                                                     (Retry, Snooze, Discard, Cancel)? else the policy:
                                                     retried, discarded or dead, then `then(job, error)`

Whatever happens inside, an Outcome comes out: these functions never raise, and know neither threads nor
stores. Nothing that a user supplies (task, middleware, policy, `then`, an exception's own methods) can
end the worker. The two entries, for `def` and `async def`, differ in the call alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import msgspec

from turnout.codec import encode_value
from turnout.current import CurrentJob, current
from turnout.errors import Cancel, Discard, JobTimeout, Snooze, TurnoutError
from turnout.failure import describe, format_traceback
from turnout.job import AttemptRecord, Outcome, State, Trail

if TYPE_CHECKING:
    from turnout.retry import Decision
    from turnout.worker.plan import Plan

MOST_ATTEMPTS_KEPT = 30  # the first five and the latest
_FIRST_KEPT = 5
_decode_trail = msgspec.json.Decoder(Trail).decode
_encode = msgspec.json.encode
EndState = Literal[State.DEAD, State.DISCARDED, State.CANCELLED]


def run_attempt(plan: Plan, job: CurrentJob, worker: str) -> Outcome:
    """Run one attempt of a `def` task and return what it concluded; call it in a context of its own."""
    clock = plan.app.clock
    try:
        leased = job.leased
        if leased.expires_at is not None and job.started_at > leased.expires_at:
            return _expired(job, worker)
        current.set(job)
        if leased.context is not None:
            plan.app.restore_context(leased.context)
        args, kwargs = plan.decode(leased.args)
        result = plan.call(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - SystemExit in a task ends the job, not the worker
        return failed(plan, job, error, worker, clock())
    return _succeeded(plan, job, result, clock())


async def arun_attempt(plan: Plan, job: CurrentJob, worker: str) -> Outcome:
    """Run one attempt of an `async def` task, bounded by its timeout, and return what it concluded."""
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
        async with limit:
            result = await plan.call(*args, **kwargs)
    except TimeoutError as error:
        job.timed_out = limit.expired()
        return failed(plan, job, error, worker, clock())
    except BaseException as error:  # noqa: BLE001 - as above; the loop must not see SystemExit either
        return failed(plan, job, error, worker, clock())
    return _succeeded(plan, job, result, clock())


# ---- endings


def _succeeded(plan: Plan, job: CurrentJob, result: object, now: float) -> Outcome:
    leased = job.leased
    keep = plan.keep(leased.queue)
    if result is None:
        return Outcome.succeeded(leased, job.started_at, now, keep=keep)
    text, reason = _result(plan, result)
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
    entry = _entry(job, worker, job.started_at, "discarded")
    reason = "it was not started before its deadline (expires)"
    return Outcome.ended(job.leased, State.DISCARDED, entry, _trail(job, entry), reason=reason)


def failed(
    plan: Plan, job: CurrentJob, error: BaseException, worker: str, now: float
) -> Outcome:
    """Return what follows from an attempt that raised `error`."""
    if job.timed_out:
        error = JobTimeout(f"the attempt ran for longer than its timeout of {plan.timeout} s")
    elif isinstance(error, asyncio.CancelledError) and job.stopping and not job.cancelled:
        return Outcome.released(job.leased, now)
    if job.cancelled:
        return _end(job, State.CANCELLED, error, worker, now, reason="cancelled while it ran")
    match error:
        case Snooze():
            entry = _entry(job, worker, now, "snoozed", error)
            run_at = now + (error.after or 0.0)
            return Outcome.snoozed(job.leased, entry, _trail(job, entry), run_at=run_at)
        case Discard():
            reason = describe(error)[1] or "the task discarded it"
            return _end(job, State.DISCARDED, error, worker, now, reason=reason)
        case Cancel():
            reason = describe(error)[1] or "the task cancelled it"
            return _end(job, State.CANCELLED, error, worker, now, reason=reason)
    return _by_policy(plan, job, error, worker, now)


def _by_policy(
    plan: Plan, job: CurrentJob, error: BaseException, worker: str, now: float
) -> Outcome:
    decision = _decide(plan, job, error, now)
    if decision.then is not None:
        try:
            decision.then(job, error)
        except BaseException as trouble:  # noqa: BLE001
            # What `then` was to do is not done: the job must come back, by the default policy.
            error = trouble
            decision = _decide(plan, job, TurnoutError(f"then= raised {describe(trouble)[0]}"), now)
    if decision.kind == "retry":
        entry = _entry(job, worker, now, "retried", error)
        trail = _trail(job, entry, decision.counts)
        outcome = Outcome.retried(job.leased, entry, trail, run_at=decision.run_at or now)
        return msgspec.structs.replace(outcome, exception=error)
    state: EndState = State.DEAD if decision.kind == "dead" else State.DISCARDED
    return _end(job, state, error, worker, now, reason=decision.reason, counts=decision.counts)


def _decide(plan: Plan, job: CurrentJob, error: BaseException, now: float) -> Decision:
    counts = _history(job).counts
    return plan.policy.decide(error, job.attempt, counts, now, plan.rng)


def _end(  # noqa: PLR0913
    job: CurrentJob,
    state: EndState,
    error: BaseException,
    worker: str,
    now: float,
    *,
    reason: str,
    counts: dict[str, int] | None = None,
) -> Outcome:
    entry = _entry(job, worker, now, state.value, error)
    outcome = Outcome.ended(job.leased, state, entry, _trail(job, entry, counts), reason=reason)
    return msgspec.structs.replace(outcome, exception=error)


# ---- history


def _entry(
    job: CurrentJob, worker: str, now: float, outcome: str, error: BaseException | None = None
) -> AttemptRecord:
    name, message = describe(error) if error is not None else (None, None)
    return AttemptRecord(
        attempt=job.attempt,
        started_at=job.started_at,
        finished_at=now,
        worker=worker,
        outcome=outcome,
        error=name,
        message=message,
        traceback=None if error is None else format_traceback(error),
    )


def _history(job: CurrentJob) -> Trail:
    text = job.leased.trail
    return _decode_trail(text) if text else Trail()


def _trail(job: CurrentJob, entry: AttemptRecord, counts: dict[str, int] | None = None) -> str:
    before = _history(job)
    attempts = (*before.attempts, entry)
    if len(attempts) > MOST_ATTEMPTS_KEPT:
        attempts = attempts[:_FIRST_KEPT] + attempts[_FIRST_KEPT - MOST_ATTEMPTS_KEPT :]
    kept = before.counts if counts is None else counts
    return _encode(Trail(attempts=attempts, counts=kept)).decode()
