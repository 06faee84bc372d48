"""The web shop: the same order page twice, with the slow calls inside it and without.

POST /orders/inline    talks to five third parties, then answers
POST /orders           saves the order and five jobs, then answers
GET  /                 the page of a buyer, who is told when the payment is confirmed
GET  /status/TOKEN     what that page listens to: one job's status, by a signed token
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from turnout.web import status_app

from . import clients, database
from .jobs import charge, jobs, send_confirmation, subscribe, tell_chat, track
from .settings import FOLLOW, WEB_THREADS


def place_inline(email: str, card: str, cents: int) -> dict[str, Any]:
    """Save the order and make all five calls while the customer waits."""
    with database.transaction() as db:
        order_id = database.add_order(db, email, card, cents)
    charged = clients.charge_card(card, cents, key=f"order-{order_id}")
    database.set_paid(order_id, charged)
    clients.send_mail(email, f"Your order {order_id}", key=f"order-{order_id}")
    clients.subscribe(email)
    clients.post_to_chat(f"Order {order_id} has come in.")
    clients.track("order_placed", order_id)
    return {"order": order_id}


def place(email: str, card: str, cents: int) -> dict[str, Any]:
    """Save the order together with what has to follow from it: all of it, or nothing."""
    with database.transaction() as db, jobs.within(db):
        order_id = database.add_order(db, email, card, cents)
        payment = charge.enqueue(order_id)
        send_confirmation.enqueue(order_id)
        subscribe.enqueue(order_id)
        tell_chat.enqueue(order_id)
        track.enqueue(order_id)
    return {"order": order_id, "status": f"/status/{payment.status_token(FOLLOW)}"}


async def order_inline(request: Request) -> Response:
    return await answer(place_inline, request)


async def order(request: Request) -> Response:
    return await answer(place, request)


async def answer(place_order: Callable[..., dict[str, Any]], request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(place_order, **await request.json()), 201)


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = WEB_THREADS
    database.create_tables()
    jobs.store.setup()
    yield
    jobs.close()


app = Starlette(
    routes=[
        Route("/orders/inline", order_inline, methods=["POST"]),
        Route("/orders", order, methods=["POST"]),
        Mount("/status", status_app(jobs)),
        Mount("/", StaticFiles(directory=Path(__file__).with_name("page"), html=True)),
    ],
    lifespan=lifespan,
)
