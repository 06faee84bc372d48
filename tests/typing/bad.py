"""What the type checkers must refuse: each marked line, and no other."""

from __future__ import annotations

from datetime import datetime

from turnout import Turnout, discard_on, retry_on

jobs = Turnout("memory:")


@jobs.task
def plain(order_id: int, note: str = "") -> float:
    return order_id / 2


@jobs.task(queue="low")
async def asynchronous(order_id: int) -> str:
    return str(order_id)


plain.enqueue("seven")  # E:
plain.enqueue()  # E:
plain.enqueue(1, 2)  # E:
plain.enqueue(order=1)  # E:
plain.prepare("seven")  # E:
plain.using(delay=5).enqueue("seven")  # E:
plain.using(dely=5)  # E:
plain.using(run_at=1.5)  # E:
plain.using(priority="high")  # E:
plain("seven")  # E:
asynchronous.enqueue("seven")  # E:
text: str = plain.enqueue(1).wait()  # E:
number: int = asynchronous.enqueue(1).wait()  # E:
moment: datetime = plain.enqueue(1).refresh().started_at  # E:


async def main() -> None:
    await asynchronous.aenqueue("seven")  # E:
    await plain.aenqueue()  # E:
    result: int = await asynchronous(1)  # E:
    assert result


@jobs.task(quue="low")  # E:
def misspelt() -> None: ...


@jobs.task(unique_until="never")  # E:
def never() -> None: ...


retry_on(5)  # E:
discard_on("ValueError")  # E:
jobs.enqueue_many([1, 2])  # E:


async def shop(connection: object) -> None:
    async with jobs.within(connection):
        await plain.aenqueue("seven")  # E:
    async with jobs.within():  # E:
        pass


def ruby_stub(order_id: int, note: str = "") -> None: ...


hard = jobs.sidekiq("HardJob", ruby_stub)
hard.enqueue("seven")  # E:
hard.enqueue()  # E:
hard.using(dely=5)  # E:
jobs.sidekiq("HardJob", ruby_stub, retry="often")  # E:
