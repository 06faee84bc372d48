"""What the type checkers must accept: enqueue keeps the signature of the task."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

from turnout import (
    Job,
    JobRecord,
    PreparedJob,
    Secret,
    Task,
    Turnout,
    current_job,
    discard_on,
    retry_on,
)
from turnout.deploys import Deploy

jobs = Turnout("memory:")


@jobs.task
def plain(order_id: int, note: str = "") -> float:
    return order_id / 2


@jobs.task(queue="low", priority=5, timeout=timedelta(seconds=5), on_error=[retry_on(OSError)])
def options(*names: str, loud: bool = False) -> list[str]:
    return list(names)


@jobs.task
async def bare(order_id: int) -> str:
    return str(order_id)


def declined(job: object, error: Exception) -> None: ...


@jobs.task(on_error=[discard_on(ValueError, then=declined)], unique=lambda order_id: f"{order_id}")
async def asynchronous(order_id: int) -> None:
    current_job().progress(1, 2)


@jobs.task
def secret(card: Secret[str], codes: list[Secret[int]]) -> str:
    assert_type(card, str)
    assert_type(codes, list[int])
    return card


assert_type(secret.enqueue("4242", [1]), Job[str])
assert_type(jobs.deploys.mark("v1.42", by="ann"), Deploy)
assert_type(jobs.deploys.all(), list[Deploy])
assert_type(plain(1), float)
assert_type(plain.enqueue(1, note="x"), Job[float])
assert_type(plain.using(delay=60, priority=10).enqueue(1), Job[float])
assert_type(plain.prepare(1), PreparedJob[float])
assert_type(plain.enqueue(1).wait(5), float)
assert_type(plain.enqueue(1).refresh(), JobRecord)
assert_type(plain.enqueue(1).cancel(), bool)
assert_type(options.enqueue("a", "b", loud=True), Job[list[str]])
coroutine: Coroutine[Any, Any, str] = bare(1)
assert_type(bare.enqueue(1), Job[str])
assert_type(asynchronous.enqueue(1), Job[None])


async def main() -> None:
    assert_type(await bare(1), str)
    assert_type(await bare.aenqueue(1), Job[str])
    assert_type(await bare.using(queue="x").aenqueue(1), Job[str])
    assert_type(await (await bare.aenqueue(1)).await_result(1), str)
    await jobs.aenqueue_many(bare.prepare(n) for n in range(3))


handles = jobs.enqueue_many(plain.prepare(n) for n in range(3))
task: Task[..., float, Any] = plain
with jobs.within(object()):
    plain.enqueue(1)


async def shop(connection: object) -> None:
    async with jobs.within(connection):
        assert_type(await plain.aenqueue(1), Job[float])
    assert_type(await plain.using(within=connection).aenqueue(1), Job[float])


def ruby_stub(order_id: int, note: str = "") -> None: ...


hard = jobs.sidekiq("HardJob", ruby_stub, queue="ruby", retry=5)
hard.enqueue(1, note="x")
hard.using(delay=timedelta(seconds=5), tags=["vip"]).enqueue(1)
jobs.active_job("CleanupJob").enqueue(1, "anything", at=2)
