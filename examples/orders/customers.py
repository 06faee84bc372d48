"""Customers: threads that order by HTTP, one order after the other, with or without pauses."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from queue import Empty, SimpleQueue

Basket = dict[str, str | int]
_numbers = itertools.count(1)


def baskets(count: int, **special: str | int) -> list[Basket]:
    """Return orders to place; each has a customer and a card of its own."""
    numbers = itertools.islice(_numbers, count)
    return [basket(number) | special for number in numbers]


def basket(number: int) -> Basket:
    return {
        "email": f"customer-{number}@example.org",
        "card": f"card-{number}",
        "cents": 1000 + number,
    }


@dataclass
class Visit:
    """What a number of orders met: the statuses, each page's seconds, and the whole time."""

    statuses: list[int]
    pages: list[float]
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.pages) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the page time that this share of the orders did not exceed, in ms."""
        ranked = sorted(self.pages)
        return 1000 * ranked[math.ceil(share * len(ranked)) - 1]


@dataclass(frozen=True)
class Customers:
    """So many at a time; each looks around for up to `pause` seconds before an order."""

    number: int
    pause: float = 0.0

    def __str__(self) -> str:
        pausing = f"pause for up to {self.pause:g} s" if self.pause else "do not pause"
        return f"{self.number} customers who {pausing} before an order"

    def order(self, address: str, page: str, orders: list[Basket]) -> Visit:
        """Place all orders, each once."""
        queue: SimpleQueue[Basket | None] = SimpleQueue()
        for entry in [*orders, *[None] * self.number]:
            queue.put(entry)
        begin = time.perf_counter()
        with ThreadPoolExecutor(self.number) as pool:
            shopping = [pool.submit(self._shop, address, page, queue) for _ in range(self.number)]
            try:
                answers = [answer for each in shopping for answer in each.result()]
            except BaseException:
                send_home(queue, self.number)  # or Ctrl-C would wait for all other orders
                raise
        seconds = time.perf_counter() - begin
        return Visit([status for status, _ in answers], [page for _, page in answers], seconds)

    def _shop(
        self, address: str, page: str, queue: SimpleQueue[Basket | None]
    ) -> list[tuple[int, float]]:
        answers = []
        with closing(HTTPConnection(address, timeout=30)) as connection:
            while chosen := queue.get():
                time.sleep(random.uniform(0, self.pause))
                answers.append(place(connection, page, chosen))
        return answers


def send_home(queue: SimpleQueue[Basket | None], customers: int) -> None:
    with suppress(Empty):
        while True:
            queue.get_nowait()
    for _ in range(customers):
        queue.put(None)


def place(connection: HTTPConnection, page: str, chosen: Basket) -> tuple[int, float]:
    """Place one order; return the status and how long the page took."""
    body = json.dumps(chosen)
    begin = time.perf_counter()
    connection.request("POST", page, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, time.perf_counter() - begin
