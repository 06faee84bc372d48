"""Five third-party services as real servers on loopback, in one process.

    payment 800 ms    mailing list 400 ms    chat 200 ms    analytics 150 ms    SMTP 600 ms

`python -m examples.orders.services` starts them on free ports and prints one line of JSON that
says where. A sixth server is the demo's remote control over the other five:

    POST /control/chat    {"mode": "rate_limit", "retry_after": 1, "times": 6}
    GET  /ledger/payment

Modes: ok, fail (500), rate_limit (429), hang (no answer for a minute).
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .smtp import serve_smtp

DECLINED_CARD = "card_declined"
REFUSED_ADDRESS = "refused@example.org"  # the mailing list has a bug: this one always breaks it
HANG = 60.0


@dataclass
class Service:
    """One third party: how long it takes, how it is today, and what it has done."""

    name: str
    latency: float
    mode: str = "ok"
    retry_after: float = 1.0
    times: int | None = None  # how many more requests meet `mode`; None: all
    requests: list[dict[str, Any]] = field(default_factory=list)  # what came in
    ledger: list[dict[str, Any]] = field(default_factory=list)  # what was done

    def trouble(self, about: object) -> str:
        """Return the mode that the request which has just come in meets."""
        mode = self.mode
        self.requests.append({"at": time.time(), "about": about, "met": mode})
        if mode != "ok" and self.times is not None:
            self.times -= 1
            self.mode = mode if self.times else "ok"
        return mode

    async def refuse(self, about: object) -> Response | None:
        """Answer as the service is today; None when it is well."""
        mode = self.trouble(about)
        if mode == "fail":
            return JSONResponse({"error": "internal error"}, 500)
        if mode == "rate_limit":
            wait = {"Retry-After": f"{self.retry_after:g}"}
            return JSONResponse({"error": "too many requests"}, 429, wait)
        if mode == "hang":
            await asyncio.sleep(HANG)
            return JSONResponse({"error": "timed out"}, 504)
        return None

    async def record(self, entry: dict[str, Any]) -> Response:
        """Do the work: note it and answer after the latency."""
        self.ledger.append(entry)
        await asyncio.sleep(self.latency)
        return JSONResponse({"id": f"{self.name}_{len(self.ledger)}"}, 201)


class Payment(Service):
    """A payment provider with Stripe's promise: the same Idempotency-Key never charges twice."""

    async def charge(self, request: Request) -> Response:
        order, key = await request.json(), request.headers["idempotency-key"]
        if refusal := await self.refuse(key):
            return refusal
        if order["card"] == DECLINED_CARD:
            await asyncio.sleep(self.latency)
            return JSONResponse({"error": "the bank declined this card"}, 402)
        charge = self._charge_once(key, order)
        charge["asked"] += 1
        # The money is taken by now; the caller learns of it after the latency, if it still lives.
        await asyncio.sleep(self.latency)
        charge["answered"] += 1
        return JSONResponse({"id": charge["id"]}, 201)

    def _charge_once(self, key: str, order: dict[str, Any]) -> dict[str, Any]:
        for charge in self.ledger:
            if charge["key"] == key:
                return charge
        name = f"charge_{len(self.ledger) + 1}"
        charge = {"id": name, "key": key, "card": order["card"], "cents": order["cents"]}
        self.ledger.append(charge | {"asked": 0, "answered": 0})
        return self.ledger[-1]


class Recorder(Service):
    """Mailing list, chat and analytics: they note what they are told."""

    async def take(self, request: Request) -> Response:
        entry = await request.json()
        if refusal := await self.refuse(entry):
            return refusal
        if entry.get("email") == REFUSED_ADDRESS:
            return JSONResponse({"error": "internal error"}, 500)
        return await self.record(entry)


payment = Payment("payment", 0.8)
mailing_list = Recorder("mailing_list", 0.4)
chat = Recorder("chat", 0.2)
analytics = Recorder("analytics", 0.15)
mail = Service("smtp", 0.6)
SERVICES = {service.name: service for service in (payment, mailing_list, chat, analytics, mail)}


async def control(request: Request) -> Response:
    service = SERVICES[request.path_params["name"]]
    wish = {"mode": "ok", "retry_after": 1.0, "times": None} | await request.json()
    service.mode = wish["mode"]
    service.retry_after, service.times = wish["retry_after"], wish["times"]
    return JSONResponse(wish)


async def ledger(request: Request) -> Response:
    service = SERVICES[request.path_params["name"]]
    return JSONResponse({"requests": service.requests, "ledger": service.ledger})


def post(path: str, handler: Any) -> Starlette:
    return Starlette(routes=[Route(path, handler, methods=["POST"])])


HTTP_SERVERS = {
    "PAYMENT_URL": post("/charges", payment.charge),
    "MAILING_LIST_URL": post("/members", mailing_list.take),
    "CHAT_URL": post("/messages", chat.take),
    "ANALYTICS_URL": post("/events", analytics.take),
    "CONTROL_URL": Starlette(
        routes=[
            Route("/control/{name}", control, methods=["POST"]),
            Route("/ledger/{name}", ledger),
        ]
    ),
}


def free_port() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    return listener


async def serve_http(app: Starlette, listener: socket.socket) -> None:
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[listener])


async def main() -> None:
    listeners = {name: free_port() for name in HTTP_SERVERS}
    smtp = await serve_smtp(mail)
    where = {name: f"http://127.0.0.1:{port(it)}" for name, it in listeners.items()}
    where["SMTP_ADDRESS"] = f"127.0.0.1:{port(smtp.sockets[0])}"
    print(json.dumps(where), flush=True)
    async with smtp:
        servers = (serve_http(HTTP_SERVERS[name], it) for name, it in listeners.items())
        await asyncio.gather(*servers)


def port(listener: Any) -> int:
    return int(listener.getsockname()[1])


if __name__ == "__main__":
    asyncio.run(main())
