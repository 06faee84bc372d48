"""Which numbers of a schema a Turnout can work with."""

from __future__ import annotations

import pytest

from turnout.errors import SchemaError
from turnout.store.versions import schema_number


@pytest.mark.parametrize(
    ("meta", "number"),
    [
        ({"schema": "3"}, 3),
        ({"schema": "2"}, 2),
        ({"schema": "4", "serves": "3"}, 3),
        ({"schema": "9", "serves": "1"}, 3),
        ({}, None),
        ({"schema": "three"}, None),
        ({"serves": "3"}, None),
    ],
)
def test_a_schema_is_used_as_what_we_know_of_it(meta, number):
    assert schema_number(meta, 3, "the schema") == number


@pytest.mark.parametrize("serves", [None, "4", "", "all"])
def test_a_newer_schema_that_does_not_serve_us_is_refused(serves):
    meta = {"schema": "4"} if serves is None else {"schema": "4", "serves": serves}
    with pytest.raises(SchemaError, match=r"the schema has number 4.*up to 3.*upgrade this one"):
        schema_number(meta, 3, "the schema")
