"""What the demo claims, computed from what the third parties and the database have on record."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from .buyer import Followed
from .database import Order
from .services import DECLINED_CARD, REFUSED_ADDRESS

TASKS_PER_ORDER = 5


@dataclass(frozen=True)
class Claim:
    says: str
    holds: bool
    evidence: str


@dataclass
class Evidence:
    """Everything there is to judge by, read after the last job has ended."""

    statuses: list[int]  # of all pages
    orders: list[Order]
    enqueued: int  # orders that were placed as jobs
    seen: dict[str, dict[str, Any]]  # what each service was asked and what it did
    jobs: dict[str, int]  # how many ended in which state
    dead: list[str]  # the tasks of those in the dead set
    faster: dict[str, float]  # how many times better the page is with jobs, by figure
    interrupted: list[str]  # keys of the charges in flight when the worker was killed
    followed: Followed | None  # what a buyer who stayed on the page was told


def judge(it: Evidence) -> list[Claim]:
    return [
        page_is_faster(it),
        no_order_failed(it),
        every_order_settled(it),
        charged_once(it),
        killed_mid_charge(it),
        mailed_once(it),
        declined_marked(it),
        buyer_was_told(it),
        outage_survived(it),
        rate_limit_obeyed(it),
        rest_is_done_or_dead(it),
    ]


def page_is_faster(it: Evidence) -> Claim:
    """Judge the median: a machine that is busy with other things can double p95, at no fault."""
    evidence = f"p50 {it.faster['p50_ms']:,.0f} times, p95 {it.faster['p95_ms']:,.0f} times"
    return Claim("the median page is 100 times faster", it.faster["p50_ms"] >= 100, evidence)


def no_order_failed(it: Evidence) -> Claim:
    good = sum(200 <= status < 300 for status in it.statuses)
    holds = good == len(it.statuses) == len(it.orders)
    return Claim("no order failed", holds, f"{good} of {len(it.statuses)} pages answered 2xx")


def every_order_settled(it: Evidence) -> Claim:
    states = Counter(order.state for order in it.orders)
    holds = set(states) <= {"paid", "declined"}
    return Claim("every order is paid or declined", holds, counted(states))


def charged_once(it: Evidence) -> Claim:
    charges = Counter((c["card"], c["cents"]) for c in it.seen["payment"]["ledger"])
    due = Counter((o.card, o.cents) for o in it.orders if o.card != DECLINED_CARD)
    most = max(charges.values(), default=0)
    evidence = f"{len(charges)} cards, {charges.total()} charges, at most {most} a card"
    return Claim("each card is charged exactly once", charges == due and most == 1, evidence)


def killed_mid_charge(it: Evidence) -> Claim:
    asked = {charge["key"]: charge["asked"] for charge in it.seen["payment"]["ledger"]}
    again = sum(asked[key] > 1 for key in it.interrupted)
    holds = 0 < again == len(it.interrupted)
    evidence = f"{len(it.interrupted)} in flight at the kill, {again} asked for again"
    return Claim("the kill hit charges, all were resumed", holds, evidence)


def mailed_once(it: Evidence) -> Claim:
    mails = Counter(mail["to"] for mail in it.seen["smtp"]["ledger"])
    due = Counter(order.email for order in it.orders)
    evidence = f"{len(due)} customers, {mails.total()} mails accepted"
    return Claim("each mail is sent once", mails == due, evidence)


def declined_marked(it: Evidence) -> Claim:
    states = [order.state for order in it.orders if order.card == DECLINED_CARD]
    holds = states == ["declined"] and it.jobs["discarded"] == 1
    return Claim("the declined order is marked", holds, f"its state: {', '.join(states)}")


def buyer_was_told(it: Evidence) -> Claim:
    seen = it.followed
    paid = {order.id for order in it.orders if order.state == "paid"}
    holds = seen is not None and seen.ended and seen.states[-1] == "succeeded"
    evidence = "nothing was told"
    if seen and seen.told:
        state, at = seen.told[-1]
        evidence = f"one stream, {' '.join(seen.states)}; {state} after {at:.2f} s"
    holds = holds and seen is not None and seen.order in paid
    return Claim("the buyer's page hears of the payment", holds, evidence)


def outage_survived(it: Evidence) -> Claim:
    failed = sum(ask["met"] == "fail" for ask in it.seen["mailing_list"]["requests"])
    members = {entry["email"] for entry in it.seen["mailing_list"]["ledger"]}
    missing = {order.email for order in it.orders} - members
    holds = failed > 0 and missing == {REFUSED_ADDRESS}
    evidence = f"{failed} calls failed; not on the list: {', '.join(missing) or 'nobody'}"
    return Claim("the mailing list's outage lost nobody", holds, evidence)


def rate_limit_obeyed(it: Evidence) -> Claim:
    """Hold every 429 against the next request about the same message."""
    refused: dict[str, float] = {}
    waits: list[float] = []
    for ask in it.seen["chat"]["requests"]:
        about = ask["about"]["text"]
        if about in refused:
            waits.append(ask["at"] - refused.pop(about))
        if ask["met"] == "rate_limit":
            refused[about] = ask["at"]
    holds = bool(waits) and not refused and min(waits) >= 1.0
    evidence = f"{len(waits)} answers 429, tried again after {min(waits, default=0):.2f} s or more"
    return Claim("Retry-After: 1 is obeyed", holds, evidence)


def rest_is_done_or_dead(it: Evidence) -> Claim:
    total = sum(it.jobs.values())
    final = it.jobs["succeeded"] + it.jobs["discarded"] + it.jobs["dead"]
    holds = final == total == TASKS_PER_ORDER * it.enqueued and it.dead == ["subscribe"]
    return Claim("all other jobs are done, or dead and kept", holds, counted(it.jobs))


def counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number)
