"""The application that the browser looks at."""

from __future__ import annotations

import time
from pathlib import Path

from turnout import Secret, Turnout, exponential

jobs = Turnout("sqlite:///jobs.db")


class CardError(Exception):
    """The card was declined."""


class MailboxFull(Exception):
    """The receipt could not be delivered."""


@jobs.task(name="shop.charge_order", queue="critical", attempts=1)
def charge_order(order_id: int, amount: float, card: Secret[str] = "tok_none") -> str:
    if order_id < 0:
        message = f"order {order_id} does not exist"
        raise CardError(message)
    return f"charged order {order_id}"


@jobs.task(name="shop.send_receipt", queue="mail", attempts=2, wait=exponential(0.01, most=0.02))
def send_receipt(order_id: int, to: str) -> None:
    if order_id % 50 == 0:
        message = f"452 4.2.2 <{to}>: mailbox full"
        raise MailboxFull(message)


@jobs.task(name="shop.build_report", queue="reports")
def build_report(year: int) -> None: ...


@jobs.task(name="shop.sync_stock", queue="default")
def sync_stock(sku: str) -> None: ...


@jobs.task(name="shop.settle_invoice", queue="invoices", attempts=1)
def settle_invoice(invoice: int) -> None:
    if not Path("bank_is_up").exists():
        message = "the bank does not answer"
        raise ConnectionError(message)


@jobs.task(name="shop.call_bank", queue="invoices")
def call_bank(secret: str) -> None:
    while not Path("bank_is_up").exists():
        time.sleep(0.02)
