"""Five third parties as the shop calls them: what their client libraries would be.

Every function blocks until the other side has answered, and raises one of the three errors
below when the answer is no.
"""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage
from typing import Any

import httpx

TIMEOUT = 5.0
# One client for all threads: it keeps its connections open between calls.
_http = httpx.Client(
    timeout=TIMEOUT,
    limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
)


class ServiceDown(Exception):
    """No answer, or the answer that something is broken over there."""


class RateLimited(Exception):
    """Come back later; `retry_after` says when, in seconds, and Turnout obeys it."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CardDeclined(Exception):
    """The bank said no. Asking again would not help."""


def charge_card(card: str, cents: int, *, key: str) -> str:
    """Take the money and return the charge's id.

    The same `key` never charges twice: the second call gets the first one's answer.
    """
    order = {"card": card, "cents": cents}
    return str(_post("PAYMENT", "/charges", order, {"Idempotency-Key": key})["id"])


def subscribe(email: str) -> None:
    _post("MAILING_LIST", "/members", {"email": email})


def post_to_chat(text: str) -> None:
    _post("CHAT", "/messages", {"text": text})


def track(event: str, order_id: int) -> None:
    _post("ANALYTICS", "/events", {"event": event, "order": order_id})


def send_mail(email: str, subject: str, *, key: str) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@example.org", email, subject
    mail["Message-ID"] = f"<{key}@shop.example.org>"
    mail.set_content("Thank you for your order.")
    host, port = os.environ["SMTP_ADDRESS"].split(":")
    try:
        with smtplib.SMTP(host, int(port), local_hostname="shop", timeout=TIMEOUT) as server:
            server.send_message(mail)
    except (OSError, smtplib.SMTPException) as error:
        msg = f"the mail server answered {error!r}"
        raise ServiceDown(msg) from error


def _post(
    service: str, path: str, body: object, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    try:
        answer = _http.post(os.environ[f"{service}_URL"] + path, json=body, headers=headers)
    except httpx.TransportError as error:
        msg = f"{service} cannot be reached: {error!r}"
        raise ServiceDown(msg) from error
    if answer.is_success:
        return dict(answer.json())
    msg = f"{service} answered {answer.status_code}: {answer.json()['error']}"
    if answer.status_code == httpx.codes.PAYMENT_REQUIRED:
        raise CardDeclined(msg)
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimited(msg, float(answer.headers["Retry-After"]))
    raise ServiceDown(msg)
