"""Who gets in, what a foreign page can do, what hostile data can do: nothing of the kind."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from urllib.parse import quote

import msgspec
import pytest
from starlette.responses import RedirectResponse

from turnout.errors import ConfigError
from turnout.job import State
from turnout.web import Person, any_of, basic, dashboard, local_only, token
from turnout.web.auth import MOST_FAILURES
from turnout.web.routes import SPOTS
from web.conftest import Browser, TestClient

CORPUS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{7*7}}{% raw %}",
    "--><script>alert(1)</script>",
    "\u202egnp.exe",
    "a\x1b[31mb\u2066c",
)  # fmt: skip


class Watch(HTMLParser):
    """Notes every element and attribute that could run something."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag in {"img", "iframe", "object", "embed", "style", "base"}:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.faults.append(f"{name}={value}")
            if name in {"href", "src", "action", "formaction"} and not (value or "").startswith(
                ("/", "#")
            ):
                self.faults.append(f"{name}={value}")
        if tag == "script" and not dict(attrs).get("src", "").startswith("/static/"):
            self.faults.append("<script>")


def watch(text):
    seen = Watch()
    seen.feed(text)
    assert seen.faults == []
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b\x00]", text)


@pytest.mark.parametrize("evil", CORPUS)
def test_nothing_that_a_job_carries_runs(shop, admin, evil):
    as_json = msgspec.json.encode({"note": evil, evil: evil}).decode()
    fields = {"queue": evil, "task": evil, "args": as_json, "context": as_json}
    shop.put(**fields)
    shop.put(**{**fields, "queue": "critical"})
    died = shop.end(
        State.DEAD, error=evil, message=evil, traceback=f"Traceback\n{evil}", reason=evil
    )
    shop.charge.enqueue(1)
    leased = shop.lease()
    assert shop.store.note("e1", leased, as_json)
    shop.heartbeat(epoch="e2", name=evil, queues=(evil,), version=evil)
    pages = [
        *("/", "/queues", "/jobs", "/dead", "/workers", "/limits", "/store"),
        *(f"/jobs/{died}", f"/jobs/{leased.id}", f"/jobs?q={quote('task:' + evil)}"),
        f"/dead/group?task={quote(evil)}&error={quote(evil)}",
        f"/tasks/one?task={quote(evil)}",
    ]
    for path in pages:
        answer = admin.client.get(path)
        assert answer.status_code in (200, 400), answer.text
        watch(answer.text)
    watch(admin.post("/workers/order", code=200, epoch="e2", order="stop").text)
    watch(admin.post("/workers/order", epoch="e2", order="stop", sure="yes").text)
    watch(admin.post("/limits/act", code=404, name=evil, action="open").text)
    admin.post(f"/jobs/{died}/act", action="retry")
    watch(admin.get("/audit"))


@pytest.mark.parametrize("evil", CORPUS)
def test_nothing_that_a_request_carries_comes_back_alive(admin, evil):
    for path in ("/jobs?q=", "/jobs?said=", "/jobs?after=", "/jobs?limit=", "/jobs/", "/static/"):
        answer = admin.client.get(path + quote(evil, safe=""))
        assert answer.status_code in (200, 400, 404)
        watch(answer.text)
    said = admin.post("/queues/pause", code=400, queue=evil, paused=evil).text
    watch(said)


def test_every_answer_has_its_headers(admin, shop):
    for path in ("/", "/nothing", "/static/turnout.css", "/jobs.json", "/openapi.json"):
        headers = admin.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert admin.client.get("/").headers["cache-control"] == "no-store"


GETS = [spot for spot in SPOTS if spot.method == "GET"]
POSTS = [spot for spot in SPOTS if spot.method == "POST"]


def path_of(spot, shop):
    return spot.path.replace("{id}", shop.dead())


@pytest.mark.parametrize("spot", SPOTS, ids=lambda s: f"{s.method} {s.path}")
def test_nobody_sees_nothing(shop, spot):
    browser = Browser(dashboard(shop.app, authorize=lambda _request: None))
    answer = browser.client.request(spot.method, path_of(spot, shop))
    assert answer.status_code == 403
    assert "shop." not in answer.text


@pytest.mark.parametrize("path", ["/live", "/openapi.json"])
def test_nor_by_the_side_doors(shop, path):
    browser = Browser(dashboard(shop.app, authorize=lambda _request: None))
    assert browser.client.get(path).status_code == 403


@pytest.mark.parametrize("spot", POSTS, ids=lambda s: s.path)
def test_a_viewer_changes_nothing(open_as, shop, spot):
    viewer = open_as("viewer")
    text = viewer.post(path_of(spot, shop), code=403).text
    assert "you are viewer" in text
    assert viewer.json("/audit.json")["entries"] == []


def test_a_viewer_is_offered_nothing(open_as, shop):
    job_id = shop.dead()
    viewer = open_as("viewer")
    for path in ("/", "/queues", "/jobs", f"/jobs/{job_id}"):
        assert 'method="post"' not in viewer.get(path).replace('id="picked"', "") or path == "/jobs"
    assert "<button" not in viewer.get(f"/jobs/{job_id}")


@pytest.mark.parametrize("spot", POSTS, ids=lambda s: s.path)
def test_a_read_only_dashboard_changes_nothing(open_as, shop, spot):
    text = open_as("admin", read_only=True).post(path_of(spot, shop), code=403).text
    assert "read-only" in text


@pytest.mark.parametrize("spot", POSTS, ids=lambda s: s.path)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://testserver.evil.example"},
        {"sec-fetch-site": "cross-site", "turnout-client": "x"},
        {"origin": "http://evil.example", "turnout-client": "x"},
        {"sec-fetch-site": "cross-site", "authorization": "Bearer x"},
        {"sec-fetch-site": "same-origin"},
    ],
    ids=str,
)
def test_a_foreign_page_changes_nothing(admin, shop, spot, headers):
    admin.client.cookies["turnout_token"] = "a" * 43
    answer = admin.client.post(
        path_of(spot, shop), headers=headers, data={"token": "b" * 43, "action": "retry"}
    )
    assert answer.status_code == 403
    assert "This was refused" in answer.text
    assert admin.json("/audit.json")["entries"] == []


def test_a_get_changes_nothing(admin, shop):
    job_id = shop.dead()
    for spot in POSTS:
        answer = admin.client.get(spot.path.replace("{id}", job_id) + "?action=retry")
        assert answer.status_code in (400, 404, 405)
        assert (answer.status_code == 405) == ("allow" in answer.headers)
    assert shop.state(job_id) is State.DEAD


def test_a_program_names_itself_instead_of_sending_a_token(admin, shop):
    job_id = shop.dead()
    answer = admin.client.post(
        f"/jobs/{job_id}/act",
        data={"action": "retry"},
        headers={"turnout-client": "deploy", "accept": "application/json"},
    )
    assert answer.json() == {"done": True, "id": job_id, "action": "retry", "changed": 1}


def test_the_cookie_cannot_be_read_or_sent_from_elsewhere(admin):
    said = admin.client.get("/").headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs?limit=0", 400),
        ("/jobs?limit=201", 400),
        ("/jobs?limit=99999999999999999999", 400),
        ("/jobs?limit=1e9", 400),
        ("/jobs?limit=٣", 400),
        ("/jobs?after=1", 400),
        ("/jobs?after=' OR 1=1 --", 400),
        ("/jobs/../../etc/passwd", 404),
        ("/jobs/1", 400),
        ("/jobs?q=" + "x" * 501, 400),
        ("/jobs?q=" + "x" * 5_000, 400),
        ("/jobs?q=" + "state:dead+" * 40, 400),
        ("/jobs?q=task:*", 400),
        ("/jobs?q=task:*a*", 400),
        ("/jobs?q=error:Card*", 400),
        ("/jobs?q=age>99999999999999s", 400),
        ("/jobs?q=age>999999999w", 200),
        ("/jobs?q=%00", 400),
        ("/jobs?q=%ff", 400),
        ("/jobs?" + "&".join(f"a{n}=1" for n in range(300)), 400),
        ("/dead/group", 400),
        ("/dead/group?task=x&done=99999999999", 200),
        ("/live?job=x", 400),
        ("/static/..%2f..%2fapp.py", 404),
        ("/static/turnout.css/", 307),
    ],
)
def test_parameters_are_checked_and_capped(admin, path, status):
    answer = admin.client.get(path)
    assert answer.status_code in ({status, 404} if status == 307 else {status}), answer.text


def test_bodies_are_capped_and_of_one_type(admin, shop):
    job_id = shop.dead()
    headers = {"turnout-client": "t"}
    to = f"/jobs/{job_id}/again"
    assert admin.client.post(to, data={"args": "x" * 2_100_000}, headers=headers).status_code == 413
    assert admin.client.post(to, json={"args": "{}"}, headers=headers).status_code == 415
    many = {f"id{n}": "x" for n in range(300)}
    assert admin.client.post("/jobs/act", data=many, headers=headers).status_code == 400


# ---- who are you?


def basic_header(name, password):
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_basic_asks_and_checks(shop):
    browser = Browser(dashboard(shop.app, authorize=basic({"anna": ("pä55", "viewer")})))
    asked = browser.client.get("/")
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic ")
    assert "anna" in browser.get("/", headers=basic_header("anna", "pä55"))
    for wrong in (("anna", "pa55"), ("anna", ""), ("", "pä55"), ("ANNA", "pä55"), ("x", "\0")):
        browser.get("/", code=401, headers=basic_header(*wrong))
    for broken in ("Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff").decode(), "Digest x"):
        browser.get("/", code=401, headers={"authorization": broken})


def test_guessing_is_slowed_down(shop):
    browser = Browser(dashboard(shop.app, authorize=basic({"anna": ("right", "viewer")})))
    for _ in range(MOST_FAILURES):
        browser.get("/", code=401, headers=basic_header("anna", "wrong"))
    browser.get("/", code=429, headers=basic_header("anna", "right"))


def test_tokens_are_checked(shop):
    tokens = {"t" * 20: Person("deploy", "operator"), "u" * 20: "viewer"}
    browser = Browser(dashboard(shop.app, authorize=token(tokens)))
    browser.get("/", code=401)
    browser.get("/", code=401, headers={"authorization": "Bearer " + "x" * 20})
    assert "deploy" in browser.get("/", headers={"authorization": "Bearer " + "t" * 20})
    job_id = shop.dead()
    headers = {"authorization": "Bearer " + "t" * 20}
    form = {"action": "retry"}
    assert browser.client.post(f"/jobs/{job_id}/act", data=form, headers=headers).status_code == 303


def test_several_ways_are_asked_in_turn(shop):
    both = any_of(basic({"anna": ("pw", "viewer")}), token({"t" * 20: "admin"}))
    browser = Browser(dashboard(shop.app, authorize=both))
    assert browser.client.get("/").headers["www-authenticate"].count("realm=") == 2
    browser.get("/", headers=basic_header("anna", "pw"))
    browser.get("/", headers={"authorization": "Bearer " + "t" * 20})


def test_the_host_application_decides(shop):
    async def authorize(request):
        if "x-user" not in request.headers:
            return RedirectResponse("/login", 303)
        return Person(request.headers["x-user"], "operator")

    browser = Browser(dashboard(shop.app, authorize=authorize))
    answer = browser.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "berta" in browser.get("/", headers={"x-user": "berta"})


@pytest.mark.parametrize("odd", ["root", "Admin", True, 1, object(), Person("x", "root")])
def test_an_answer_that_is_no_role_lets_nobody_in(shop, odd):
    browser = Browser(dashboard(shop.app, authorize=lambda _request: odd))
    assert browser.client.get("/").status_code == 500


@pytest.mark.parametrize(
    "make",
    [
        lambda: basic({}),
        lambda: basic({"a": ("", "viewer")}),
        lambda: basic({"a": ("pw", "root")}),
        lambda: token({}),
        lambda: token({"short": "viewer"}),
        lambda: token({"t" * 20: "root"}),
    ],
)
def test_careless_lists_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_authorize_must_be_given(shop):
    with pytest.raises(ConfigError, match="authorize= takes a callable"):
        dashboard(shop.app, authorize=None)


@pytest.mark.parametrize(
    ("client", "host", "headers", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8100", {}, 200),
        ("::1", "[::1]:8100", {}, 200),
        ("127.0.0.1", "localhost:8100", {}, 200),
        ("127.0.0.1", "rebound.evil.example:8100", {}, 403),
        ("10.0.0.7", "localhost", {}, 403),
        ("127.0.0.1", "localhost", {"x-forwarded-for": "10.0.0.7"}, 403),
        ("127.0.0.1", "localhost", {"via": "1.1 proxy"}, 403),
        ("testclient", "localhost", {}, 403),
    ],
)
def test_local_only_means_this_machine(shop, client, host, headers, status):
    app = dashboard(shop.app, authorize=local_only)
    answer = TestClient(app, client=(client, 50_000)).get("/", headers={"host": host, **headers})
    assert answer.status_code == status
