"""A small application whose real store must never be touched."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from turnout import Turnout, discard_on, exactly, retry_on


class OutOfStockError(Exception):
    pass


class FlakyError(Exception):
    pass


def make_shop(url):
    """Return an application with tasks of each kind, and a list of what they did."""
    jobs = Turnout(url)
    shop = SimpleNamespace(jobs=jobs, done=[], failures=[])

    rules = [retry_on(FlakyError, attempts=4, wait=exactly(60)), discard_on(OutOfStockError)]

    @jobs.task(name="charge", on_error=rules)
    def charge(order: int, cents: int = 100) -> int:
        if shop.failures:
            raise shop.failures.pop(0)
        shop.done.append(("charge", order, cents))
        return cents

    @jobs.task(name="mail", queue="mails")
    async def mail(to: str) -> None:
        shop.done.append(("mail", to))

    @jobs.task(name="place")
    def place(order: int) -> None:
        charge.enqueue(order)
        mail.enqueue("ada@example.org")
        shop.done.append(("place", order))

    @jobs.task(name="chain")
    def chain() -> None:
        chain.enqueue()

    @jobs.task(name="slow", timeout=0.01, attempts=1)
    async def slow() -> None:
        await asyncio.Event().wait()

    vars(shop).update(charge=charge, mail=mail, place=place, chain=chain, slow=slow)
    shop.Flaky, shop.OutOfStock = FlakyError, OutOfStockError
    return shop


@pytest.fixture
def shop(tmp_path):
    """The application; its own file must still not exist when the test is over."""
    path = tmp_path / "real.db"
    yield make_shop(f"sqlite:///{path}")
    assert not path.exists()


@pytest.fixture(name="make_shop")
def _make_shop():
    return make_shop
