from __future__ import annotations

import io
import math
from datetime import UTC, datetime, timedelta, timezone
from email.message import Message
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.failure import MAX_MESSAGE
from turnout.retry import (
    describe,
    format_traceback,
    qualified_name,
    retry_after,
)

NOW = 1_700_000_000.0
DAY = 86_400.0


class Base(Exception):
    pass


def raises(*_):
    raise RuntimeError


# ---- Retry-After


def told(**attributes):
    error = Exception()
    error.__dict__.update(attributes)
    return retry_after(error, NOW)


def headers(value, name="Retry-After"):
    return SimpleNamespace(headers={name: value})


def later(seconds):
    return datetime.fromtimestamp(NOW + seconds, UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (30, 30),
        (1.5, 1.5),
        (0, 0),
        (-5, 0),
        (10**9, DAY),
        (math.inf, DAY),
        (timedelta(minutes=2), 120),
        (timedelta(-1), 0),
        (later(60), 60),
        (later(-60), 0),
        (later(60).astimezone(timezone(timedelta(hours=5))), 60),
        ("45", 45),
        (" 4.5 ", 4.5),
        (b"45", 45),
        (later(90).strftime("%a, %d %b %Y %H:%M:%S GMT"), 90),
        (later(90).strftime("%a, %d %b %Y %H:%M:%S -0000"), 90),
        (None, None),
        (True, None),
        (math.nan, None),
        (10**400, None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("\ud800", None),
        (b"\xff", None),
        (later(60).replace(tzinfo=None), None),
        ([30], None),
        (object(), None),
    ],
)
def test_what_a_service_asked_for(value, seconds):
    assert told(retry_after=value) == seconds
    assert told(response=headers(value)) == seconds
    assert told(headers={"retry-after": value}) == seconds


def test_headers_of_many_makes():
    message = Message()
    message["RETRY-AFTER"] = "12"
    assert told(headers=message) == 12
    assert told(headers={b"Retry-After": b"13"}) == 13
    assert told(headers={"x": "1", 3: "4"}) is None
    assert told(response=headers(9, "rEtRy-aFtEr")) == 9
    assert told(response=None, headers=None) is None
    assert told(headers=[("Retry-After", "3")]) is None
    assert told(retry_after="later", response=headers(7)) == 7


def test_errors_that_raise_when_asked_are_left_alone():
    class Nasty(Exception):
        @property
        def retry_after(self):
            raise RuntimeError

        @property
        def response(self):
            raise SystemExit

        headers = SimpleNamespace(items=lambda: [("Retry-After", 5)])

    assert retry_after(Nasty(), NOW) == 5

    class Endless:
        def __getattr__(self, name):
            raise RecursionError

    assert told(response=Endless(), headers=Endless()) is None


# ---- telling an exception


def test_qualified_names():
    assert qualified_name(ValueError) == "ValueError"
    assert qualified_name(Base) == f"{__name__}.Base"
    assert qualified_name(io.UnsupportedOperation) == "io.UnsupportedOperation"
    assert qualified_name(type("Odd", (Exception,), {"__module__": "a\0b"})) == "a\ufffdb.Odd"


class Said(Exception):
    def __init__(self, said):
        super().__init__()
        self.said = said

    def __str__(self):
        return self.said() if callable(self.said) else self.said


class Sly(str):
    __slots__ = ()

    def __len__(self):
        raise RuntimeError

    def __getitem__(self, _key):
        raise RuntimeError


def exits():
    raise SystemExit


def recurses():
    return recurses()


@pytest.mark.parametrize("said", [raises, exits, recurses, 5, None, lambda: b"bytes"])
def test_describe_survives_str(said):
    name, message = describe(Said(said))
    assert name.endswith("Said")
    assert message.startswith("<no message: str() of it raised")
    assert "Said" in format_traceback(Said(said))


def test_describe_cuts_and_cleans():
    assert describe(ValueError("a\0b\ud800c\U0001f600")) == (
        "ValueError",
        "a\ufffdb\ufffdc\U0001f600",
    )
    _, long = describe(ValueError("x" * 10**6))
    assert len(long) == MAX_MESSAGE
    assert long.endswith("x\u2026")
    _, sly = describe(Said(Sly("hello")))
    assert (sly, type(sly)) == ("hello", str)


@given(st.text(st.characters(), max_size=3000))
def test_what_is_told_can_be_stored(text):
    error = ValueError(text + "\ud9ff\0")
    name, message = describe(error)
    for told_text in (name, message, format_traceback(error, 500)):
        assert "\0" not in told_text
        told_text.encode()
    assert len(message) <= MAX_MESSAGE
    assert len(format_traceback(error, 500)) <= 500


def deep(left):
    return deep(left - 1) if left else 1 / 0


def alternately(n):
    return other(n + 1)


def other(n):
    return alternately(n + 1)


def test_tracebacks_end_with_the_error():
    with pytest.raises(ZeroDivisionError) as caught:
        deep(3)
    text = format_traceback(caught.value)
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("ZeroDivisionError: division by zero\n")


def test_long_tracebacks_keep_both_ends():
    with pytest.raises(RecursionError) as caught:
        alternately(0)
    text = format_traceback(caught.value)
    assert len(text) <= 8_000
    assert text.startswith("Traceback")
    assert "characters left out" in text
    assert "RecursionError" in text[-200:]
    assert format_traceback(caught.value, 10) == text[-10:]
    assert format_traceback(caught.value, 0) == ""


def test_causes_that_go_in_circles_end():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert "one" in format_traceback(one)
