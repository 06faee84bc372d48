"""An application with jobs in every state, its dashboard, and browsers that are somebody."""

from __future__ import annotations

import warnings
from typing import Any

import msgspec
import pytest

from turnout import Secret, Turnout
from turnout.ids import new_id
from turnout.job import AttemptRecord, JobId, NewJob, Outcome, State, Trail, Want, WorkerInfo
from turnout.web import Person, dashboard

WORKER = WorkerInfo(
    epoch="e1", name="web1:4711:x", host="web1", pid=4711, queues=(), concurrency=10, started_at=0.0
)

with warnings.catch_warnings():
    # It would rather have its own fork of httpx; older ones know httpx alone.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient


class Shop:
    """An application, and its jobs in any state."""

    def __init__(self, url: str = "memory:") -> None:
        self.app = Turnout(url)
        self.store = self.app.store
        self.store.setup()

        @self.app.task(name="shop.charge", queue="critical")
        def charge(order_id: int, note: str = "") -> str:
            return f"charged {order_id}"

        @self.app.task(name="shop.refund", queue="critical")
        def refund(order_id: int, card: Secret[str]) -> None: ...

        @self.app.task(name="shop.mail", queue="mail", unique=True)
        def mail(to: str) -> None: ...

        self.charge, self.refund, self.mail = charge, refund, mail

    def heartbeat(self, **changes: Any) -> None:
        self.store.heartbeat(msgspec.structs.replace(WORKER, **changes), ttl=3_600)

    def put(self, **fields: Any) -> JobId:
        """Record a job past every check, as another program might."""
        usual = {"id": new_id(), "task": "shop.charge", "queue": "critical", "args": "{}"}
        [job_id] = self.store.enqueue([NewJob(**{**usual, **fields})])
        assert job_id is not None
        return job_id

    def lease(self, queue: str = "critical") -> Any:
        self.heartbeat()
        [leased] = self.store.exchange("e1", [], Want(((queue, 1),), 1)).leased
        return leased

    def running(self, order_id: int = 1) -> JobId:
        job_id = self.charge.enqueue(order_id).id
        assert self.lease().id == job_id
        return job_id

    def end(self, state: State, *, queue: str = "critical", **said: Any) -> JobId:
        """Lease the next job of a queue and end it: error=, message=, traceback=, reason=."""
        leased = self.lease(queue)
        reason = said.pop("reason", None)
        now = self.app.clock()
        entry = AttemptRecord(
            attempt=1, started_at=now - 1, finished_at=now, worker=WORKER.name,
            outcome=str(state), **said,
        )  # fmt: skip
        trail = msgspec.json.encode(Trail(attempts=(entry,))).decode()
        ended: Any = state
        outcome = Outcome.ended(leased, ended, entry, trail, reason=reason)
        assert self.store.exchange("e1", [outcome], None).settled == [leased.id]
        return leased.id

    def dead(self, order_id: int = 1, error: str = "shop.CardError") -> JobId:
        self.charge.enqueue(order_id)
        traceback = f"Traceback\n{error}: declined"
        return self.end(State.DEAD, error=error, message="declined", traceback=traceback)

    def succeeded(self, result: str | None = '"ok"') -> JobId:
        self.charge.enqueue(1)
        leased = self.lease()
        now = self.app.clock()
        outcome = Outcome.succeeded(leased, now - 1, now, keep=3_600.0, result=result)
        assert self.store.exchange("e1", [outcome], None).settled == [leased.id]
        return leased.id

    def state(self, job_id: str) -> State:
        return self.app.job(job_id).refresh().state


class Browser:
    """A person at the dashboard: reads pages, and sends their forms as a browser does."""

    def __init__(self, app: Any, root: str = "") -> None:
        self.client = TestClient(app, follow_redirects=False)
        self.root = root

    def get(self, path: str, code: int = 200, **options: Any) -> str:
        answer = self.client.get(self.root + path, **options)
        assert answer.status_code == code, answer.text
        return answer.text

    def json(self, path: str, code: int = 200) -> Any:
        answer = self.client.get(self.root + path)
        assert answer.status_code == code, answer.text
        return answer.json()

    def token(self) -> str:
        self.get("/queues")
        return self.client.cookies["turnout_token"]

    def post(self, path: str, code: int = 303, **form: Any) -> Any:
        data = {"token": self.token(), **form}
        answer = self.client.post(
            self.root + path, data=data, headers={"sec-fetch-site": "same-origin"}
        )
        assert answer.status_code == code, answer.text
        return answer

    def follow(self, path: str, **form: Any) -> str:
        """Send a form and read the page that it leads to."""
        return self.client.get(self.post(path, **form).headers["location"]).text


@pytest.fixture
def shop():
    found = Shop()
    yield found
    found.app.close()


@pytest.fixture
def open_as(shop):
    """Return what opens a dashboard as somebody of a role."""
    opened = []

    def open_it(role: str = "admin", **options: Any) -> Browser:
        app: Any = dashboard(
            shop.app, authorize=lambda _request: Person(f"anna-{role}", role), **options
        )
        opened.append(app)
        return Browser(app)

    yield open_it
    for app in opened:
        app.state.desk.pulse.close()


@pytest.fixture
def admin(open_as):
    return open_as("admin")
