"""`on_unavailable="buffer"`: a web process goes on taking orders while the store is away."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import turnout
from process.rig import wait_until
from turnout import ConfigError, StoreUnavailable, Turnout
from turnout.errors import JobNotFound
from turnout.events import JobRefused
from turnout.job import JobFilter

AOF = ("--appendonly", "yes", "--appendfsync", "always")
SOURCE = Path(turnout.__file__).parents[1]


@pytest.fixture
def server(mortal):
    return mortal(*AOF)


@pytest.fixture
def shop(server):
    """Makes applications on that server, closed at the end."""
    apps = []

    def make(**settings):
        app = Turnout(server.url, **{"on_unavailable": "buffer", **settings})
        app.task(name="charge")(charge)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def charge(order_id: int) -> None:
    del order_id


def orders(app) -> list[int]:
    """The numbers of the orders recorded, oldest first."""
    found = app.store.find(JobFilter(task="charge"), limit=10_000)
    return [json.loads(record.args)["order_id"] for record in reversed(found)]


def warm(app) -> None:
    """Enqueue once, so that connections are open when the server goes."""
    app.tasks["charge"].enqueue(0)


def back(app, *numbers: int) -> None:
    wait_until(lambda: orders(app) == list(numbers), "all are recorded, in order", timeout=20)


def test_by_default_an_enqueue_raises(server, shop):
    app = shop(on_unavailable="raise")
    warm(app)
    server.kill()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        app.tasks["charge"].enqueue(1)


def test_jobs_wait_while_the_server_is_down_and_are_recorded_in_order(server, shop):
    app = shop()
    warm(app)
    server.kill()
    handles = [app.tasks["charge"].enqueue(n) for n in range(1, 6)]
    handles += app.enqueue_many(app.tasks["charge"].prepare(n) for n in range(6, 9))
    assert all(handle.enqueued and handle.buffered for handle in handles)
    server.start()
    back(app, *range(9))
    wait_until(lambda: not any(handle.buffered for handle in handles), "the buffer knows")
    assert [handle.refresh().id for handle in handles] == [handle.id for handle in handles]
    assert app.tasks["charge"].enqueue(9).buffered is False


def test_a_frozen_server_holds_up_one_enqueue_and_not_those_that_follow(server, shop):
    app = shop()
    warm(app)
    server.freeze()
    began = time.monotonic()
    assert app.tasks["charge"].enqueue(1).buffered
    first = time.monotonic() - began
    began = time.monotonic()
    for n in range(2, 50):
        assert app.tasks["charge"].enqueue(n).buffered
    assert time.monotonic() - began < first
    server.thaw()
    back(app, *range(50))


def test_a_reply_that_was_lost_makes_no_double(server, shop):
    app = shop()
    warm(app)
    server.freeze()  # it has the command already when it goes on
    assert app.tasks["charge"].enqueue(1).buffered
    server.thaw()
    back(app, 0, 1)
    assert sum(stats.ready for stats in app.store.count()) == 2


def test_a_full_buffer_takes_none_of_a_batch_and_says_how_many_wait(server, shop):
    app = shop(buffer_size=3)
    warm(app)
    server.kill()
    app.enqueue_many(app.tasks["charge"].prepare(n) for n in (1, 2))
    with pytest.raises(StoreUnavailable, match=r"no room for 2 more: 2 of 3 jobs wait"):
        app.enqueue_many(app.tasks["charge"].prepare(n) for n in (3, 4))
    assert app.tasks["charge"].enqueue(5).buffered
    server.start()
    back(app, 0, 1, 2, 5)


def test_a_unique_key_that_was_taken_meanwhile_is_told(server, shop, caplog):
    app, refused = shop(), []
    app.on(JobRefused)(refused.append)
    app.tasks["charge"].using(unique="order-1").enqueue(1)
    server.kill()
    second = app.tasks["charge"].using(unique="order-1").enqueue(2)
    third = app.tasks["charge"].enqueue(3)
    server.start()
    back(app, 1, 3)
    wait_until(lambda: refused, "the refusal is told once the others are recorded")
    assert [event.id for event in refused] == [second.id]
    assert "held by another job" in refused[0].reason
    assert f"buffered job {second.id} (charge) was refused" in caplog.text
    assert third.refresh()


def test_a_buffered_job_cannot_be_looked_up_before_the_store_has_it(server, shop, monkeypatch):
    app = shop()
    warm(app)
    server.kill()
    job = app.tasks["charge"].enqueue(1)
    monkeypatch.setattr(app.store, "find", lambda *_, **__: [])
    with pytest.raises(JobNotFound, match="waits in this process until the store takes it"):
        job.refresh()


def test_the_end_of_the_process_says_what_is_lost_in_memory(server, shop, caplog):
    app = shop()
    warm(app)
    server.kill()
    app.tasks["charge"].enqueue(1)
    app.close()
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert record.getMessage() == "1 buffered jobs are lost with this process: the store is away"


def test_the_end_of_the_process_records_what_waits_when_the_server_is_back(server, shop):
    app = shop()
    warm(app)
    server.kill()
    app.tasks["charge"].enqueue(1)
    server.start()
    app.close()
    assert orders(app) == [0, 1]


# ---- on disk


WEB = """
import sys, turnout
jobs = turnout.Turnout(sys.argv[1], on_unavailable="buffer", buffer_path=sys.argv[2])
task = jobs.task(name="charge")(lambda order_id: None)
for n in range(int(sys.argv[3]), int(sys.argv[4])):
    assert task.enqueue(n).buffered
print("accepted", flush=True)
sys.stdin.read()
"""


def web_process(server, folder, first: int, last: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WEB, server.url, str(folder), str(first), str(last)]
    started = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert started.stdout.readline() == b"accepted\n"
    return started


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)


def test_what_killed_processes_accepted_is_recorded_by_the_next(server, shop, tmp_path):
    folder = tmp_path / "waiting"
    server.kill()
    first = web_process(server, folder, 1, 50)
    second = web_process(server, folder, 50, 100)
    kill(first)
    kill(second)
    server.start()
    app = shop(buffer_path=folder)
    app.tasks["charge"].enqueue(100)
    wait_until(lambda: sorted(orders(app)) == list(range(1, 101)), "all are recorded once")
    wait_until(lambda: not list(folder.iterdir()), "the files are gone")


def test_the_file_of_a_process_that_lives_is_left_to_it(server, shop, tmp_path):
    folder = tmp_path / "waiting"
    server.kill()
    alive = web_process(server, folder, 1, 3)
    app = shop(buffer_path=folder)
    assert app.tasks["charge"].enqueue(3).buffered
    assert len(list(folder.iterdir())) == 2
    server.start()
    wait_until(lambda: sorted(orders(app)) == [1, 2, 3], "each records its own")
    alive.communicate(timeout=10)
    wait_until(lambda: not list(folder.iterdir()), "the files are gone")


def test_a_line_that_was_cut_short_is_no_job(server, shop, tmp_path):
    folder = tmp_path / "waiting"
    server.kill()
    process = web_process(server, folder, 1, 3)
    kill(process)
    [file] = folder.iterdir()
    file.write_bytes(file.read_bytes() + b'{"id":"018f')
    server.start()
    app = shop(buffer_path=folder)
    app.tasks["charge"].enqueue(3)
    wait_until(lambda: sorted(orders(app)) == [1, 2, 3], "what was whole is recorded")


def test_a_folder_that_cannot_be_written_refuses_the_job(server, shop, tmp_path):
    (tmp_path / "waiting").write_text("a file is no folder")
    server.kill()
    app = shop(buffer_path=tmp_path / "waiting")
    with pytest.raises(StoreUnavailable, match=r"the buffer's folder .* cannot be written"):
        app.tasks["charge"].enqueue(1)


def test_a_child_leaves_the_buffer_to_its_parent(server, shop, tmp_path):
    app = shop(buffer_path=tmp_path / "waiting")
    warm(app)
    server.kill()
    app.tasks["charge"].enqueue(1)
    child = os.fork()
    if child == 0:
        os._exit(
            0 if app.tasks["charge"].enqueue(2).buffered and not app.recorder.waits("x") else 1
        )
    assert os.waitpid(child, 0)[1] == 0
    server.start()
    back(app, 0, 1)
    later = shop(buffer_path=tmp_path / "waiting")
    later.tasks["charge"].enqueue(3)
    wait_until(lambda: sorted(orders(app)) == [0, 1, 2, 3], "the child's own is taken over")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_unavailable": "wait"}, 'must be "raise" or "buffer"'),
        ({"on_unavailable": "raise", "buffer_path": "x"}, 'it needs on_unavailable="buffer"'),
        ({"buffer_path": 7}, "must be the path of a folder"),
        ({"buffer_size": 0}, "buffer_size must be a whole number"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Turnout("memory:", **{"on_unavailable": "buffer", **settings})
