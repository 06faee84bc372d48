from __future__ import annotations

from datetime import timedelta

import pytest

from turnout import Turnout
from turnout.config import load
from turnout.errors import ConfigError, JobNotFound
from turnout.ids import new_id
from turnout.tokens import Grant, read, sign

OLD, NEW = "o" * 32, "n" * 32
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("result", [True, False])
def test_a_token_says_what_was_signed(result):
    grant = Grant(new_id(), 2_000_000_000, result)
    token = sign(grant, NEW)
    assert len(token) == 64
    assert set(token) <= set(ALPHABET)
    assert read(token, [NEW]) == grant


def test_no_change_of_a_token_is_accepted():
    token = sign(Grant(new_id(), 2_000_000_000), NEW)
    for at, sign_there in enumerate(token):
        for bit in range(6):
            other = ALPHABET[ALPHABET.index(sign_there) ^ (1 << bit)]
            assert read(token[:at] + other + token[at + 1 :], [NEW]) is None, (at, bit)


@pytest.mark.parametrize("text", ["", "x", "A" * 63, "A" * 65, "é" * 64, "=" * 64, "A" * 64 + "\n"])
def test_what_is_no_token_is_refused(text):
    assert read(text, [NEW]) is None


def test_secrets_are_changed_without_breaking_tokens():
    token = sign(Grant(new_id(), 2_000_000_000), OLD)
    assert read(token, [NEW, OLD]) is not None
    assert read(token, [NEW]) is None
    assert read(token, []) is None


@pytest.fixture
def app():
    app = Turnout("memory:", secret=[NEW, OLD])
    app.store.setup()

    @app.task(name="shop.charge", unique=True)
    def charge(order_id: int) -> None: ...

    app.clock = lambda: 1_000.25
    yield app
    app.close()


def test_a_handle_signs_with_the_first_secret(app):
    job = app.tasks["shop.charge"].enqueue(1)
    assert read(job.status_token(), [NEW]) == Grant(job.id, 4_601)
    assert read(job.status_token(timedelta(minutes=1), result=True), [NEW]) == Grant(
        job.id, 1_061, True
    )


def test_a_job_that_was_refused_has_no_token(app):
    app.tasks["shop.charge"].enqueue(1)
    with pytest.raises(JobNotFound, match="refused"):
        app.tasks["shop.charge"].enqueue(1).status_token()


@pytest.mark.parametrize("ttl", [-1, float("nan"), float("inf"), "1h", 1e12])
def test_impossible_lifetimes_are_refused(app, ttl):
    with pytest.raises(ConfigError, match="ttl"):
        app.tasks["shop.charge"].enqueue(1).status_token(ttl)


def test_without_a_secret_there_are_no_tokens(monkeypatch):
    monkeypatch.delenv("TURNOUT_SECRET", raising=False)
    with pytest.raises(ConfigError, match="TURNOUT_SECRET"):
        Turnout("memory:").job(new_id()).status_token()


def test_secrets_come_from_argument_then_environment():
    environ = {"TURNOUT_SECRET": f"{NEW} {OLD}"}
    assert load(environ=environ).secret == (NEW, OLD)
    assert load(environ=environ, secret=None).secret == (NEW, OLD)
    assert load(environ=environ, secret="x" * 40).secret == ("x" * 40,)
    assert load(environ={}).secret == ()


@pytest.mark.parametrize("secret", ["short", [NEW, "short"], 7, "\n" * 40])
def test_a_weak_secret_is_refused_and_never_shown(secret):
    with pytest.raises(ConfigError, match="32 characters") as refused:
        load(secret=secret)
    assert "short" not in str(refused.value)
    assert NEW not in repr(load(secret=NEW))
