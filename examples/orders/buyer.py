"""A buyer who stays on the page: orders, and follows the payment as the page's script does."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from .customers import Basket


@dataclass
class Followed:
    """What the page was told: when it was answered, each state after that, and when, in seconds."""

    status: int
    order: int
    answered: float
    told: list[tuple[str, float]] = field(default_factory=list)
    ended: bool = False

    @property
    def states(self) -> list[str]:
        return [state for state, _ in self.told]


def buy(address: str, basket: Basket) -> Followed:
    """Order, then listen on one stream until the server ends it: two requests in all."""
    begin = time.perf_counter()
    with httpx.Client(base_url=f"http://{address}", timeout=30) as browser:
        answer = browser.post("/orders", json=basket)
        placed = answer.json()
        answered = time.perf_counter() - begin
        seen = Followed(answer.status_code, placed["order"], answered)
        with browser.stream("GET", placed["status"] + "/events") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    note(seen, json.loads(line.removeprefix("data: ")), begin)
    return seen


def note(seen: Followed, job: dict[str, Any], begin: float) -> None:
    seen.told.append((job["state"], time.perf_counter() - begin))
    seen.ended = job["ended"]
