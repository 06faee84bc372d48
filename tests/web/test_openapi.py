"""The description of the JSON API, and that the answers are as described."""

from __future__ import annotations

import pytest

from turnout.web.openapi import describe
from turnout.web.routes import SPOTS

API = describe("")


def test_every_route_is_described_once():
    assert len(API["paths"]) == len(SPOTS)
    names = [op["operationId"] for ops in API["paths"].values() for op in ops.values()]
    assert len(set(names)) == len(SPOTS)
    assert API["openapi"] == "3.1.0"


def test_every_reference_leads_somewhere():
    known = {f"#/components/schemas/{name}" for name in API["components"]["schemas"]}

    def refs(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for part in node.values():
                yield from refs(part)
        elif isinstance(node, list):
            for part in node:
                yield from refs(part)

    assert set(refs(API)) <= known


def fits_one(value, schema, at):
    try:
        fits(value, schema, at)
    except AssertionError:
        return False
    return True


def fits(value, schema, at="$"):
    """Check a value against the parts of JSON Schema that the description uses."""
    if "$ref" in schema:
        fits(value, API["components"]["schemas"][schema["$ref"].rpartition("/")[2]], at)
        return
    if "anyOf" in schema:
        assert any(fits_one(value, one, at) for one in schema["anyOf"]), (at, value, schema)
        return
    if "enum" in schema:
        assert value in schema["enum"], at
    kinds = {
        "object": dict, "array": (list, tuple), "string": str, "boolean": bool, "integer": int,
        "number": (int, float), "null": type(None),
    }  # fmt: skip
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    assert not wanted or any(isinstance(value, kinds[one]) for one in wanted), (at, value, schema)
    if isinstance(value, dict):
        missing = [name for name in schema.get("required", ()) if name not in value]
        assert missing == [], at
        for name, part in schema.get("properties", {}).items():
            if name in value:
                fits(value[name], part, f"{at}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for n, part in enumerate(value):
            fits(part, schema["items"], f"{at}[{n}]")


GETS = [path for path, ops in API["paths"].items() if "get" in ops]


@pytest.mark.parametrize("path", GETS)
def test_answers_are_as_described(admin, shop, path):
    job_id = shop.dead()
    shop.succeeded()
    shop.running()
    shop.refund.enqueue(1, "4242")
    admin.post("/queues/pause", queue="critical", paused="yes")
    takes_task = path in ("/dead/group.json", "/tasks/one.json")
    query = {"task": "shop.charge", "error": "shop.CardError"} if takes_task else {}
    query |= {"epoch": "e1"} if path == "/workers/one.json" else {}
    answer = admin.client.get(path.replace("{id}", job_id), params=query)
    assert answer.status_code == 200
    described = API["paths"][path]["get"]["responses"]["200"]
    fits(answer.json(), described["content"]["application/json"]["schema"])


def test_faults_are_as_described(admin):
    for path, code in (
        ("/jobs.json?limit=0", 400),
        ("/jobs.json?q=x", 400),
        ("/jobs/1.json", 400),
        ("/x.json", 404),
    ):
        fits(admin.json(path, code), API["components"]["schemas"]["Problem"])
