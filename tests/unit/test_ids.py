from __future__ import annotations

import os
import threading
import time
import uuid

import pytest

from turnout import ids
from turnout.errors import ConfigError
from turnout.ids import check_id, id_time, new_id


def test_an_id_is_a_uuid_of_version_7():
    made = uuid.UUID(new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert len(new_id()) == 36


def test_ids_grow_and_never_repeat():
    made = [new_id() for _ in range(50_000)]
    assert made == sorted(set(made))


def test_ids_grow_within_one_stopped_millisecond(monkeypatch):
    moment = time.time_ns() + 3_600 * 10**9
    monkeypatch.setattr(ids.time, "time_ns", lambda: moment)
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {id_time(one) for one in made} == {moment // 10**6 / 1000}
    monkeypatch.setattr(ids.time, "time_ns", lambda: moment - 10**10)
    assert new_id() > made[-1]
    ids._source.renew()


def test_ids_grow_across_threads():
    made: list[list[str]] = [[] for _ in range(8)]

    def fill(mine):
        mine.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=fill, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all(mine == sorted(mine) for mine in made)
    assert len({one for mine in made for one in mine}) == 40_000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_makes_other_ids():
    new_id()
    read, write = os.pipe()
    with ids._source.lock:  # held by somebody at the moment of the fork
        child = os.fork()
        if child == 0:
            os.write(write, "".join(new_id() for _ in range(50)).encode())
            os._exit(0)
    mine = {new_id() for _ in range(50)}
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    theirs = {text[at : at + 36] for at in range(0, len(text), 36)}
    assert len(theirs) == 50
    assert not mine & theirs
    assert len({one[-12:] for one in mine | theirs}) == 100


def test_an_id_tells_its_time():
    before = time.time()
    made = id_time(new_id())
    assert before - 0.01 <= made <= time.time() + 0.01


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "7",
        "0" * 36,
        "0" * 32,
        None,
        7,
        "\0" * 36,
        "01a20a9f-eb29-7638-a1c5-4fab73d8156a0",
        "\ud800" * 36,
    ],
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ConfigError, match="36 characters"):
        check_id(text)


def test_ids_are_read_forgivingly():
    made = new_id()
    assert check_id(f" {made.upper()}\n") == made


def test_only_version_7_carries_a_time():
    with pytest.raises(ConfigError, match="version 7"):
        id_time(str(uuid.uuid4()))
