"""Isolation without processes: what may be declared, what travels, and how crashes are told."""

from __future__ import annotations

import json
import logging
import signal
import socket

import msgspec
import pytest

from turnout import ConfigError, Isolate, IsolatedError, Turnout
from turnout.crash import Evidence, after_crash, crash_entry, crashed, policies_of
from turnout.events import JobCrashed, JobDead
from turnout.job import LeasedJob, Outcome, State, Trail
from turnout.testing import drain
from turnout.worker.brood import how
from turnout.worker.children import check_shared
from turnout.worker.joblog import JobLog
from turnout.worker.notices import event_of
from turnout.worker.wire import Ended, Run, Tell, Wire


def leased(**fields) -> LeasedJob:
    plain = {
        "id": "j1", "task": "shop.pay", "queue": "default", "args": "{}", "priority": 0,
        "attempt": 0, "crashes": 0, "enqueued_at": 1.0, "run_at": 1.0, "expires_at": None,
        "context": None, "trail": None, "unique": None, "fence": 7,
    }  # fmt: skip
    return LeasedJob(**{**plain, **fields})


def crash(on_crash: str = "rerun", **fields) -> Outcome:
    entry = crash_entry(1, (1.0, 2.0), "w", Evidence("exit code 3", 2**20, "last words"))
    trail = msgspec.json.encode(Trail((entry,))).decode()
    return crashed(leased(**fields), entry, trail, on_crash)


# ---- declared


@pytest.mark.parametrize(("given", "size"), [
    ("512MB", 512 * 2**20), ("512 MiB", 512 * 2**20), ("1.5gb", 1536 * 2**20),
    ("65536k", 64 * 2**20), (2**28, 2**28), ("268435456", 2**28),
])  # fmt: skip
def test_sizes_are_read_as_people_write_them(given, size):
    assert Isolate(given).memory == size


@pytest.mark.parametrize("given", ["much", "", "12 parsecs", "-1GB", 1.5, True, None, [512]])
def test_what_is_no_size_is_refused(given):
    if given is None:
        assert Isolate(given).memory is None
    else:
        with pytest.raises(ConfigError, match="memory"):
            Isolate(given)


@pytest.mark.parametrize("given", [1, "1MB", "10000TB"])
def test_a_size_that_helps_nobody_is_refused(given):
    with pytest.raises(ConfigError, match="16MB"):
        Isolate(given)


@pytest.mark.parametrize("reuse", [0, -1, True, "5", 1.5])
def test_reuse_counts_jobs(reuse):
    with pytest.raises(ConfigError, match="reuse"):
        Isolate(reuse=reuse)


@pytest.mark.parametrize(("options", "words"), [
    ({"memory": "512MB"}, "add isolate=True"),
    ({"isolate": Isolate("1GB"), "memory": "512MB"}, "twice"),
    ({"isolate": "yes"}, "isolate= is True"),
    ({"on_crash": "retry"}, "rerun, dead or discard"),
    ({"isolate": True, "memory": "lots"}, "such as '512MB'"),
])  # fmt: skip
def test_what_contradicts_itself_is_refused_where_it_is_written(options, words):
    jobs = Turnout("memory:")
    with pytest.raises(ConfigError, match=words):
        jobs.task(**options)


def test_memory_may_stand_on_either_side():
    jobs = Turnout("memory:")
    fine = jobs.task(name="a", isolate=True, memory="512MB")(lambda: None)
    same = jobs.task(name="b", isolate=Isolate(reuse=5), memory="512MB")(lambda: None)
    assert fine.options.isolate == Isolate("512MB")
    assert same.options.isolate == Isolate("512MB", reuse=5)


def test_a_worker_on_a_store_of_its_own_process_refuses_isolated_tasks():
    jobs = Turnout("memory:")
    check_shared(jobs)
    jobs.task(name="apart", isolate=True)(lambda: None)
    with pytest.raises(ConfigError, match=r"memory: is of one process.*apart"):
        check_shared(jobs)


def test_tests_run_isolated_tasks_where_they_are():
    jobs = Turnout("memory:")
    ran: list[int] = []

    @jobs.task(isolate=True)
    def apart(n: int) -> None:
        ran.append(n)

    apart.enqueue(5)
    drain(jobs)
    assert ran == [5]


# ---- on the wire


@pytest.fixture
def wires():
    ends = socket.socketpair()
    ends[1].setblocking(False)
    near, far = map(Wire, ends)
    yield near, far
    near.close()
    far.close()


def test_messages_arrive_whole_in_their_order_however_they_are_cut(wires):
    near, far = wires
    sent = [Run(leased(args="x" * n), "e1", 1.0) for n in (0, 70_000, 3)] + [Tell("lost")]
    for message in sent:
        near.send(message)
    got: list[object] = []
    while len(got) < len(sent):
        messages, alive = far.feed()
        assert alive
        got += messages
    assert got == sent
    near.end.close()
    assert far.feed() == ([], False)


def test_what_does_not_fit_the_socket_waits_and_blocks_nobody(wires):
    near, far = wires
    message = Run(leased(args="x" * 1_000_000), "e1", 1.0)
    far.post(message)
    assert far.wants_out
    got: list[object] = []
    near.end.setblocking(False)
    while not got:
        far.flush()
        got, _ = near.feed()
    assert got == [message]
    assert not far.wants_out


def test_an_outcome_comes_back_as_it_was_but_for_the_exception():
    job = leased()
    entry = crash_entry(1, (1.0, 2.0), "w")
    was = Outcome.ended(job, State.DEAD, entry, "{}", reason="no money")
    was = msgspec.structs.replace(was, error="KeyError", exception=KeyError("x"))
    back = Ended.of(was, leaving=False).outcome(job)
    assert isinstance(back.exception, IsolatedError)
    assert (str(back.exception), back.exception.name) == ("'x'", "KeyError")
    assert msgspec.structs.replace(back, exception=None) == msgspec.structs.replace(
        was, exception=None
    )


# ---- told


@pytest.mark.parametrize(("crashes", "policy", "state"), [
    (1, "rerun", State.QUEUED), (2, None, State.QUEUED), (3, "rerun", State.DEAD),
    (1, "dead", State.DEAD), (1, "discard", State.DISCARDED), (1, "unheard of", State.QUEUED),
])  # fmt: skip
def test_what_follows_a_crash(crashes, policy, state):
    assert after_crash(crashes, policy)[0] is state


@pytest.mark.parametrize("info", [None, "{}", "not json", '{"on_crash": 3}', '{"epoch": "e"}'])
def test_a_worker_of_an_older_version_declared_nothing(info):
    assert policies_of(info) == {}


@pytest.mark.parametrize(("code", "words"), [
    (3, "exit code 3"), (-signal.SIGSEGV, "signal SIGSEGV"), (-signal.SIGKILL, "memory ran out"),
    (-63, "signal 63"),
])  # fmt: skip
def test_how_a_process_died_in_words(code, words):
    assert words in how(code)


def test_a_crash_is_logged_as_one(capsys, monkeypatch):
    log = logging.getLogger("turnout.jobs")
    monkeypatch.setattr(log, "level", logging.WARNING)
    log.manager._clear_cache()
    JobLog("text").write([crash()])
    line = capsys.readouterr().err
    assert " WARNING crashed shop.pay j1 " in line
    assert "crashes=1" in line
    JobLog("json").write([crash("dead")])
    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["level"], told["crashes"]) == ("job.dead", "error", 1)
    log.manager._clear_cache()


def test_a_crash_is_an_event():
    event = event_of(crash(), "w")
    assert isinstance(event, JobCrashed)
    assert (event.id, event.attempt, event.crashes) == ("j1", 1, 1)
    dead = event_of(crash(crashes=2), "w")
    assert isinstance(dead, JobDead)
    assert (dead.error, dead.reason) == (None, "its worker died under it 3 times")
