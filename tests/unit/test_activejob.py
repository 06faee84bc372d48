"""Active Job's form of arguments: what Rails writes comes back as values, and the reverse."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from turnout import ArgumentError, Turnout
from turnout.activejob import GlobalID, Range, Symbol, read_arguments, write_arguments

NOON = datetime(2026, 2, 3, 12, 0, 0, 250_000, tzinfo=UTC)


def serialized(name: str, **members: Any) -> dict[str, Any]:
    return {"_aj_serialized": f"ActiveJob::Serializers::{name}", **members}


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        (1, 1),
        ([None, True, 1.5, "x"], [None, True, 1.5, "x"]),
        ({"a": 1, "_aj_symbol_keys": ["a"]}, {"a": 1}),
        ({"a": [2], "_aj_hash_with_indifferent_access": True}, {"a": [2]}),
        (serialized("SymbolSerializer", value="vip"), Symbol("vip")),
        (serialized("ModuleSerializer", value="Billing::Invoice"), "Billing::Invoice"),
        (serialized("DateSerializer", value="2026-02-03"), date(2026, 2, 3)),
        (serialized("TimeSerializer", value="2026-02-03T13:00:00.250000000+01:00"), NOON),
        (serialized("DateTimeSerializer", value="2026-02-03T12:00:00.250000000+00:00"), NOON),
        (serialized("TimeWithZoneSerializer", value="2026-02-03T12:00:00.250000000Z"), NOON),
        (serialized("DurationSerializer", value=90, parts=[]), timedelta(seconds=90)),
        (serialized("BigDecimalSerializer", value="0.15e1"), Decimal("1.5")),
        (serialized("RangeSerializer", begin=1, end=None, exclude_end=True), Range(1, None, True)),
        ({"_aj_globalid": "gid://hotel/Guest/7"}, GlobalID.of("hotel", "Guest", 7)),
        (
            {"_aj_serialized": "MoneySerializer", "cents": 5},
            {"_aj_serialized": "MoneySerializer", "cents": 5},
        ),
    ],
)
def test_what_rails_writes_is_read(wire, value):
    assert read_arguments([wire]) == ([value], {})


def test_a_zoned_time_comes_back_in_its_zone_where_that_is_known():
    wire = serialized("TimeWithZoneSerializer", value="2026-02-03T12:00:00.25Z")
    [[known], _] = read_arguments([{**wire, "time_zone": "Europe/Paris"}])
    [[unknown], _] = read_arguments([{**wire, "time_zone": "Eastern Time (US & Canada)"}])
    assert known == unknown == NOON
    assert known.tzinfo == ZoneInfo("Europe/Paris")


def test_the_last_hash_holds_the_keywords_if_it_says_so():
    keywords = {"at": 1, "_aj_ruby2_keywords": ["at"]}
    assert read_arguments([7, keywords]) == ([7], {"at": 1})
    assert read_arguments([keywords, 7]) == ([{"at": 1}, 7], {})


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        ({"not": "a list"}, "are a list"),
        ([{"_aj_globalid": "http://x/y"}], "gid://app/Model/id"),
        ([{"_aj_globalid": "gid://hotel/Guest"}], "gid://app/Model/id"),
        ([[serialized("DateSerializer", value="soon")]], r"\$\[0\]\[0\] cannot be read"),
        ([serialized("TimeSerializer")], r"\$\[0\] cannot be read"),
        ([serialized("BigDecimalSerializer", value="much")], "cannot be read"),
        ([serialized("DurationSerializer", value=1e300)], "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(wire, complaint):
    with pytest.raises(ArgumentError, match=complaint):
        read_arguments(wire)


def test_what_is_written_reads_back_as_the_same():
    args = (
        *(None, True, 7, 1.5, "x", Symbol("vip"), NOON, date(2026, 2, 3), Decimal("1.50")),
        *(timedelta(seconds=90), timedelta(milliseconds=1_500), Range(1, 5), [1, [2]]),
        GlobalID.of("hotel", "Billing::Guest", "a/b c"),
        {"plain": 1, Symbol("symbolic"): {"deep": [Symbol("x")]}},
    )
    wire = msgspec.json.decode(msgspec.json.encode(write_arguments(args, {"at": NOON})))
    assert read_arguments(wire) == ([*args], {"at": NOON})
    assert wire[-1]["_aj_ruby2_keywords"] == ["at"]
    assert wire[-2]["_aj_symbol_keys"] == ["symbolic"]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (object(), r"\$\[0\] is a object"),
        ([{"a": {1, 2}}], r"\$\[0\]\[0\]\.a is a set"),
        (datetime(2026, 2, 3), "without a zone"),  # noqa: DTZ001
        (float("nan"), "JSON cannot carry"),
        (Decimal("Infinity"), "JSON cannot carry"),
        ({1: 2}, "a key of a hash"),
        ({"_aj_globalid": "x"}, "none of its own"),
    ],
)
def test_what_rails_could_not_read_is_refused(value, complaint):
    with pytest.raises(ArgumentError, match=complaint):
        write_arguments((value,), {})


def test_a_global_id_says_what_it_names():
    found = GlobalID("gid://hotel/Billing::Guest/a%20b")
    assert (found.app, found.model, found.id) == ("hotel", "Billing::Guest", "a b")
    assert found == found.uri == "gid://hotel/Billing::Guest/a%20b"
    assert GlobalID("gid://hotel/Guest/7?expires_in").id == "7"


def test_a_global_id_travels_between_tasks_as_its_text(jobs):
    @jobs.task
    def cleanup(guest: GlobalID):
        """Nothing."""

    text = cleanup.signature.encode((GlobalID.of("hotel", "Guest", 7),), {}, 1_000)
    assert text == '{"guest":"gid://hotel/Guest/7"}'
    [[found], _] = cleanup.signature.decode(text)
    assert (type(found), found.id) == (GlobalID, "7")


# ---- as a task's arguments


@pytest.fixture
def jobs():
    return Turnout("memory:")


def decoded(task, arguments):
    return task.signature.decode(msgspec.json.encode({"_aj_arguments": arguments}).decode())


def test_values_fit_their_annotations_and_come_plain_without(jobs):
    @jobs.task
    def cleanup(guest: GlobalID, name: str, uri: str, bare, *rest: int, at: datetime, **more):
        """Its arguments are what the test is about."""

    gid = {"_aj_globalid": "gid://hotel/Guest/7"}
    keywords = {
        "at": serialized("TimeSerializer", value="2026-02-03T12:00:00.250000000Z"),
        "on": serialized("DateSerializer", value="2026-02-03"),
        "_aj_ruby2_keywords": ["at", "on"],
    }
    symbol = serialized("SymbolSerializer", value="vip")
    args, kwargs = decoded(cleanup, [gid, symbol, gid, gid, 5, 6, keywords])
    named = GlobalID.of("hotel", "Guest", 7)
    assert args[1:3] == ("vip", "gid://hotel/Guest/7")
    assert args[0] == args[3] == named
    assert type(args[0]) is type(args[3]) is GlobalID
    assert args[4:] == (5, 6)
    assert kwargs == {"at": NOON, "on": date(2026, 2, 3)}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "missing a required argument: 'order', of 0 given by position"),
        ([1, 2], "too many positional arguments, of 2 given"),
        (["x"], "Expected `int`, got `str`"),
        ([1, {"ordr": 1, "_aj_ruby2_keywords": ["ordr"]}], r"unexpected keyword argument 'ordr'"),
    ],
)
def test_what_does_not_fit_is_told_with_the_signature(jobs, arguments, complaint):
    @jobs.task(name="CleanupJob")
    def cleanup(order: int):
        """Nothing."""

    with pytest.raises(ArgumentError, match=complaint) as caught:
        decoded(cleanup, arguments)
    assert "CleanupJob(order: int)" in str(caught.value)
