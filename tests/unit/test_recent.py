"""What a crashed server may have forgotten is sent again, batch by batch, until it has arrived."""

from __future__ import annotations

import pytest

from turnout.errors import StoreUnavailable
from turnout.store import recent as module
from turnout.store.recent import KEPT, Recent


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def sent(recent: Recent, epoch: str = "e1") -> list[list[str]]:
    told: list[list[str]] = []
    recent.resend(epoch, told.append)
    return told


def test_nothing_is_sent_again_unless_something_failed(clock):
    recent = Recent()
    recent.keep("e1", ["a"])
    assert sent(recent) == []
    recent.doubt()
    assert sent(recent) == [["a"]]
    assert sent(recent) == []


def test_batches_keep_their_size_and_old_ones_and_those_of_other_epochs_are_left_out(clock):
    recent = Recent()
    recent.keep("e1", ["old"])
    clock.now += KEPT + 0.1
    recent.keep("e1", ["a", "b"])
    recent.keep("e2", ["theirs"])
    recent.keep("e1", ["c"])
    recent.doubt()
    assert sent(recent) == [["a", "b"], ["c"]]
    assert sent(recent, "e2") == []


def test_what_could_not_be_sent_stays_for_the_next_time(clock):
    recent = Recent()
    for batch in "abc":
        recent.keep("e1", [batch])
    recent.doubt()
    told: list[list[str]] = []

    def once(batch: list[str]) -> None:
        if told:
            raise StoreUnavailable("again")
        told.append(batch)

    with pytest.raises(StoreUnavailable):
        recent.resend("e1", once)
    assert told == [["a"]]
    assert sent(recent) == [["b"], ["c"]]


def test_a_second_crash_may_forget_what_was_sent_again(clock):
    recent = Recent()
    recent.keep("e1", ["a"])
    recent.doubt()
    assert sent(recent) == [["a"]]
    recent.doubt()
    assert sent(recent) == [["a"]]
