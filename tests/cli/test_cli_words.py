from __future__ import annotations

import time
from datetime import datetime

import click
import pytest

from turnout.cli import output
from turnout.cli.filters import MOMENT, in_words, make_filter, parse_length


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15m", 900),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("250ms", 0.25),
        ("0", 0),
    ],
)
def test_lengths(text, seconds):
    assert parse_length(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "h", "-5", "1x", "1h30", "1 h", "1e3", "\u0661", "inf", "nan"]
)
def test_what_is_no_length(text):
    assert parse_length(text) is None


def test_moments():
    assert MOMENT.convert("1h", None, None) == pytest.approx(time.time() - 3600, abs=5)
    assert MOMENT.convert("2025-06-01T12:00:00Z", None, None) == 1748779200
    local = datetime(2025, 6, 1, 12).astimezone().timestamp()
    assert MOMENT.convert("2025-06-01 12:00", None, None) == local
    with pytest.raises(click.BadParameter):
        MOMENT.convert("9999999999w", None, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (-1, "0ms"),
        (0.12, "120ms"),
        (1, "1s"),
        (59.7, "1m"),
        (192, "3m 12s"),
        (7500, "2h 5m"),
        (7200, "2h"),
        (86_400 * 4 + 3 * 3600 + 60, "4d 3h"),
        (86_400 + 60, "1d"),
    ],
)
def test_durations(seconds, text):
    assert output.duration(seconds) == text


def test_ago():
    assert output.ago(None, 5.0) == ""
    assert output.ago(10.0, 15.0) == "5s ago"
    assert output.ago(20.0, 15.0) == "in 5s"


def test_clean_makes_control_characters_visible():
    assert output.clean("a\x00b\x1b[1m\u202e\ud800\tc\r\nd") == (
        "a\\u0000b\\u001b[1m\\u202e\\ud800\tc\nd"
    )
    assert output.one_line(" a\n b ") == "a b"


def test_filters_in_words():
    where = make_filter(
        states=("dead",), queue="q", task="t", error="E", since=None, before=1748779200.0
    )
    assert in_words(where).startswith("dead jobs in queue q of task t with error E enqueued before")
    assert in_words(make_filter(states=("ready",))) == "ready jobs"
    assert in_words(make_filter(states=())) == "jobs"
