"""What an order sets in motion: five tasks, and what to do when one of them fails.

Run them with `turnout worker examples.orders.jobs`.

A job runs *at least* once: a worker that is killed after the work, and before it could say so,
leaves a job that runs again. So every task here is written to do no harm when it runs again.
"""

from __future__ import annotations

from turnout import CurrentJob, Turnout, current_job, discard_on, exponential, retry_on

from . import clients, database
from .clients import CardDeclined, RateLimited, ServiceDown

jobs = Turnout(f"sqlite:///{database.PATH}")

# About 1/2, 1, 2, 2, ... seconds, each with jitter, so that a demo sees the end of it. In
# production leave `wait=` out and allow more attempts: the default waits 16 s, 31 s, 96 s, ...
# and so outlives a provider's bad night.
SOON = exponential(0.5, most=2.0)

RULES = [
    retry_on(ServiceDown, attempts=8, wait=SOON),
    # A 429 says when to come back: Turnout finds `retry_after` on the error and obeys it.
    retry_on(RateLimited, attempts=20, wait=SOON),
]


def mark_declined(job: CurrentJob, _error: Exception) -> None:
    """Run when `charge` gives up on a card: asking the bank again would not help."""
    database.set_declined(*job.arguments[0])


@jobs.task(
    queue="critical", timeout=10, on_error=[discard_on(CardDeclined, then=mark_declined), *RULES]
)
def charge(order_id: int) -> None:
    """Take the money, once.

    Killed between the charge and `set_paid`, this runs again with the same idempotency key: the
    provider then answers with the charge that it made the first time.
    """
    order = database.get_order(order_id)
    key = current_job().idempotency_key
    database.set_paid(order_id, clients.charge_card(order.card, order.cents, key=key))


@jobs.task(timeout=10, on_error=RULES)
def send_confirmation(order_id: int) -> None:
    """Send the mail: once, as far as SMTP lets anybody promise that.

    SMTP has no idempotency keys. What we sent is noted under the job's key and not sent again. A
    kill in the instant between the server's "250 accepted" and our note would send a second
    mail; it has the same Message-ID, by which many mailboxes show it once. Noting it *before*
    sending would turn that around, and some customers would get no mail at all.
    """
    key = current_job().idempotency_key
    if database.was_mailed(key):
        return
    order = database.get_order(order_id)
    clients.send_mail(order.email, f"Your order {order_id}", key=key)
    database.note_mailed(key, order_id)


# The last three may happen twice without harm: a list holds an address once, a message or an
# event more in the chat or the statistics is a blemish that nobody pays for.


@jobs.task(timeout=10, on_error=RULES)
def subscribe(order_id: int) -> None:
    clients.subscribe(database.get_order(order_id).email)


@jobs.task(timeout=10, on_error=RULES)
def tell_chat(order_id: int) -> None:
    clients.post_to_chat(f"Order {order_id} has come in.")


@jobs.task(timeout=10, on_error=RULES)
def track(order_id: int) -> None:
    clients.track("order_placed", order_id)
