"""The web shop: the same order page twice, with the slow calls inside it and without.

POST /orders/inline    talks to five third parties, then answers
POST /orders           saves the order and five jobs, then answers
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import clients, database
from .jobs import charge, jobs, send_confirmation, subscribe, tell_chat, track

WEB_THREADS = 8  # for both pages: what an ordinary web server has


def place_inline(email: str, card: str, cents: int) -> int:
    """Save the order and make all five calls while the customer waits."""
    with database.transaction() as db:
        order_id = database.add_order(db, email, card, cents)
    charged = clients.charge_card(card, cents, key=f"order-{order_id}")
    database.set_paid(order_id, charged)
    clients.send_mail(email, f"Your order {order_id}", key=f"order-{order_id}")
    clients.subscribe(email)
    clients.post_to_chat(f"Order {order_id} has come in.")
    clients.track("order_placed", order_id)
    return order_id


def place(email: str, card: str, cents: int) -> int:
    """Save the order together with what has to follow from it: all of it, or nothing."""
    with database.transaction() as db, jobs.within(db):
        order_id = database.add_order(db, email, card, cents)
        charge.enqueue(order_id)
        send_confirmation.enqueue(order_id)
        subscribe.enqueue(order_id)
        tell_chat.enqueue(order_id)
        track.enqueue(order_id)
    return order_id


async def order_inline(request: Request) -> Response:
    return await answer(place_inline, request)


async def order(request: Request) -> Response:
    return await answer(place, request)


async def answer(place_order: Callable[..., int], request: Request) -> Response:
    order_id = await run_in_threadpool(place_order, **await request.json())
    return JSONResponse({"order": order_id}, 201)


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
    ],
    lifespan=lifespan,
)
