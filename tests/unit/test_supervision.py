"""The parts of a supervisor that decide: pauses after deaths, limits of a process, second runs."""

from __future__ import annotations

import os
import random
import socket
import time

import msgspec
import pytest

from turnout import ConfigError, Turnout
from turnout.job import JobId, LeasedJob, Outcome, State
from turnout.worker.board import Board, Stage
from turnout.worker.health import Limits, bind, live, ready, status
from turnout.worker.notify import Notifier
from turnout.worker.options import WorkerOptions
from turnout.worker.places import (
    LOOP,
    PAUSE_MOST,
    PAUSE_SECOND,
    PAUSE_USEFUL,
    PROVEN,
    WINDOW,
    Child,
    Place,
    how,
)
from turnout.worker.recycling import Recycling
from turnout.worker.redelivery import Redelivery, check_allowed

# ---- pauses


def test_the_first_death_costs_nothing_and_each_further_one_doubles_the_pause():
    place, rng = Place(0), random.Random(1)
    pauses = [place.died(float(n), rng) for n in range(12)]
    assert pauses[0] == 0.0
    for n, pause in enumerate(pauses[1:]):
        most = min(PAUSE_SECOND * 2.0**n, PAUSE_MOST)
        assert most / 2 <= pause <= most
    assert place.not_before == 11.0 + pauses[-1]


def test_a_process_that_was_of_use_is_replaced_soon_however_often_that_happens():
    place, rng = Place(0), random.Random(1)
    pauses = [place.died(float(n), rng, was_useful=True) for n in range(12)]
    assert pauses[0] == 0.0
    assert max(pauses) <= PAUSE_USEFUL
    assert place.is_looping(12.0)


@pytest.mark.parametrize(
    ("cells", "now", "useful"), [({"done": 1}, 0.1, True), ({}, PROVEN, False), ({}, 11.0, True)]
)
def test_of_use_is_who_ended_a_job_or_lived_long(cells, now, useful):
    assert child(Board(2), **cells).was_useful(now) is useful


def test_deaths_long_ago_are_forgotten():
    place, rng = Place(0), random.Random(1)
    for n in range(LOOP):
        assert place.is_looping(float(n)) is False
        place.died(float(n), rng)
    assert place.is_looping(float(LOOP))
    assert not place.is_looping(WINDOW + LOOP)
    assert place.died(2 * WINDOW, rng) == 0.0


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "signal SIGKILL"), (-200, "signal 200")],
)
def test_an_end_in_words(code, words):
    assert how(code) == words


# ---- recycling


def child(board: Board, *, pid: int = 7, born: float = 0.0, **cells: float) -> Child:
    row = board.take()
    assert row is not None
    row.pid, row.stage = pid, Stage.RUNNING
    for name, value in cells.items():
        setattr(row, name, value)
    return Child(pid, born, row)


@pytest.mark.parametrize(
    ("limit", "below", "above", "words"),
    [
        ({"max_jobs": 100}, {"done": 89}, {"done": 100}, "100 jobs"),
        ({"max_memory": 500_000_000}, {"rss": 499e6}, {"rss": 500e6}, "500 MB of memory"),
        ({"max_age": 60.0}, {"born": 46.1}, {"born": 40.0}, "60 s old"),
    ],
)
def test_a_process_past_a_limit_is_due(limit, below, above, words):
    board, recycling = Board(2), Recycling(WorkerOptions(**limit))
    assert recycling.reason(child(board, **below), 100.0) is None
    assert words in (recycling.reason(child(board, pid=8, **above), 100.0) or "")


def test_without_limits_nobody_is_due_and_one_that_starts_never_is():
    board = Board(2)
    assert Recycling(WorkerOptions()).reason(child(board, done=1e9, rss=1e12), 1e9) is None
    newborn = child(board, pid=8, done=5)
    newborn.row.stage = Stage.STARTING
    assert Recycling(WorkerOptions(max_jobs=5)).reason(newborn, 1.0) is None


def test_limits_differ_a_little_from_process_to_process_and_are_never_higher():
    recycling, board = Recycling(WorkerOptions(max_jobs=1_000)), Board(50)
    due = [child(board, pid=pid, done=950) for pid in range(1, 51)]
    past = [one for one in due if recycling.reason(one, 1.0)]
    assert 5 < len(past) < 45


# ---- the board, and what probes tell of it


def test_rows_are_taken_and_given_back():
    board = Board(2)
    one, other = board.take(), board.take()
    assert board.take() is None
    assert one is not None
    assert not one.is_at_work
    one.free()
    assert board.taken() == [other]
    assert board.free() == 1


def test_a_board_opened_by_its_descriptor_is_the_same_board():
    board = Board(3)
    child(board, running=2.0)
    again = Board(99, os.dup(board.handle))
    assert len(again.rows) == 3
    assert again.rows[0].running == 2.0


def test_probes_by_the_state_of_the_board():
    board, limits, now = Board(2), Limits(stuck_after=60.0, dead_after=30.0), time.monotonic()
    board.own.beat, board.own.stage = now, Stage.RUNNING
    assert live(board, limits)["ok"]
    assert not ready(board, limits)["ok"], "nobody is at work"
    one = child(board, beat=now, seen=now)
    assert ready(board, limits) == {"ok": True, "ready": True, "state": "running", "workers": 1}
    one.row.seen = now - 31
    assert not ready(board, limits)["ok"], "the store does not answer"
    assert live(board, limits)["ok"], "which no restart would mend"
    one.row.seen, one.row.beat = now, now - 61
    assert not live(board, limits)["ok"]
    one.row.beat = now
    board.own.beat = now - 61
    assert "the supervisor's loop" in live(board, limits)["faults"][0]
    board.own.beat, board.own.stage = now, Stage.STOPPING
    assert ready(board, limits)["state"] == "draining"
    assert not ready(board, limits)["ok"]
    assert [worker["pid"] for worker in status(board, limits)["workers"]] == [7]


@pytest.mark.parametrize(
    "address", ["", "8080", "host", "127.0.0.1:99999", "127.0.0.1:x", "/no/such/folder/sock"]
)
def test_places_for_probes_that_cannot_be(address):
    with pytest.raises(ConfigError, match="health"):
        bind(address)


@pytest.mark.parametrize("address", ["127.0.0.1:0", ":0", "[::1]:0"])
def test_places_for_probes(address):
    with bind(address) as line:
        assert line.getsockname()[1] > 0


def test_a_path_that_somebody_left_is_taken_over_and_one_in_use_is_not(tmp_path):
    path = str(tmp_path / "health")
    with bind(path), pytest.raises(ConfigError, match="somebody listens"):
        bind(f"unix:{path}")
    with bind(path) as again:
        assert again.getsockname() == path


# ---- systemd


def test_no_service_manager_hears_nothing_and_does_no_harm(tmp_path):
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "x"}).tick(
        "a", is_well=True
    )


def test_the_abstract_socket_and_the_pid_of_the_watchdog():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        name = f"turnout-test-{os.getpid()}"
        line.bind(f"\0{name}")
        line.settimeout(10)
        environ = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
        Notifier(environ).tick("all is well", is_well=True)
        Notifier(environ | {"WATCHDOG_PID": str(os.getpid())}).tick("again", is_well=True)
        heard = [line.recv(100).decode() for _ in range(3)]
    assert heard == ["STATUS=all is well", "STATUS=again", "WATCHDOG=1"]


# ---- redelivery


def outcome(n: int = 1, **fields) -> Outcome:
    job = LeasedJob(
        JobId(f"j{n}"), "t", "default", "{}", 0, 0, 0, 0.0, 0.0, None, None, None, None, fence=n
    )
    return msgspec.structs.replace(Outcome.succeeded(job, 1.0, 2.0, keep=0.0), **fields)


def test_a_share_of_the_successes_runs_again_and_each_only_once():
    redelivery = Redelivery(0.1, random.Random(3))
    taken = [n for n in range(5_000) if redelivery.takes(outcome(n))]
    assert 400 < len(taken) < 600
    assert not any(redelivery.takes(outcome(n)) for n in taken[-50:])


def test_what_never_runs_again():
    redelivery = Redelivery(1.0)
    assert not redelivery.takes(outcome(state=State.DEAD))
    assert not redelivery.takes(outcome(settled=True)), "committed with its effects"
    timed = outcome()
    job = msgspec.structs.replace(timed.job, expires_at=99.0)
    assert not redelivery.takes(msgspec.structs.replace(timed, job=job))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({}, "succeeded twice"),
        ({"result": "2"}, "its result was 1 and then 2"),
        ({"state": State.QUEUED, "error": "ValueError"}, "is not idempotent"),
        ({"state": State.CANCELLED}, "the second time it was cancelled"),
    ],
)
def test_the_second_run_is_told(caplog, second, words):
    caplog.set_level("INFO")
    redelivery = Redelivery(1.0)
    assert redelivery.takes(outcome(result="1"))
    assert not redelivery.takes(outcome(**{"result": "1", **second}))
    assert words in caplog.text


@pytest.mark.parametrize("named", [None, "", "production", " Prod "])
def test_redelivery_is_refused_where_production_may_be(named):
    environ = {} if named is None else {"TURNOUT_ENV": named}
    app = Turnout("memory:")
    with pytest.raises(ConfigError, match="TURNOUT_ENV=staging"):
        check_allowed(app, WorkerOptions(redeliver=0.02), environ)
    check_allowed(app, WorkerOptions(), environ)
    check_allowed(app, WorkerOptions(redeliver=0.02, redeliver_in_production=True), environ)
    check_allowed(app, WorkerOptions(redeliver=0.02), {"TURNOUT_ENV": "staging"})
