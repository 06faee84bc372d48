"""Requests made from the API's own description, in order and out of order: no fault of ours, and
every answer is one that the description announces.
"""

from __future__ import annotations

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from support import postgres, valkey
from support.mysql import MARIADB
from turnout.web import Person, dashboard
from web.conftest import Shop

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
STORES = {
    "memory": lambda _folder: "memory:",
    "sqlite": lambda folder: f"sqlite:///{folder}/jobs.db",
    "postgresql": lambda _folder: postgres.fresh_url(),
    "mariadb": lambda _folder: MARIADB.fresh_url(),
    "redis": lambda _folder: valkey.fresh_url(),
}
EACH = 12  # requests of an operation in a mode


@pytest.fixture(params=STORES)
def api(request, tmp_path):
    """The API over a store with jobs in every state, as it describes itself."""
    shop = Shop(STORES[request.param](tmp_path))
    for n in range(3):
        shop.dead(n)
    shop.succeeded()
    shop.running()
    shop.refund.enqueue(1, "4242")
    app = dashboard(shop.app, authorize=lambda _request: Person("anna", "admin"))
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    app.state.desk.pulse.close()
    shop.app.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_is_answered_otherwise_than_described(api, mode):
    asked = 0

    def ask(case):
        nonlocal asked
        asked += 1
        headers = {"accept": "application/json", "turnout-client": "test"}
        case.validate_response(case.call(headers=headers), checks=CHECKS)

    found = [result.ok() for result in api.get_all_operations()]
    for operation in found:
        check = hypothesis.settings(
            max_examples=EACH, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
        )(hypothesis.given(case=operation.as_strategy(generation_mode=mode))(ask))  # fmt: skip
        try:
            check()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, operation.label  # it takes nothing to be wrong
    assert len(found) > 20
    assert asked > 100
