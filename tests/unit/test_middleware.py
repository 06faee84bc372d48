from __future__ import annotations

import asyncio
import functools

import pytest

from turnout.errors import ConfigError
from turnout.middleware import check_middleware, compose


def tag(name, log):
    def layer(subject, proceed):
        log.append(f"{name} in")
        try:
            return f"{name}({proceed(subject + name)})"
        finally:
            log.append(f"{name} out")

    return layer


def test_the_first_layer_is_the_outermost():
    log = []
    chain = compose([tag("a", log), tag("b", log)], lambda subject: f"run {subject}")
    assert chain("x") == "a(b(run xab))"
    assert log == ["a in", "b in", "b out", "a out"]


def test_the_chain_is_built_once_and_used_often():
    built = compose(iter([tag("a", []), tag("b", [])]), str)
    assert [built("x"), built("y")] == ["a(b(xab))", "a(b(yab))"]


def test_no_layers_are_the_call_itself():
    assert compose([], print) is print


def test_a_layer_may_answer_alone_and_errors_pass_through():
    assert compose([lambda *_: "no"], lambda _: 1 / 0)("x") == "no"
    log = []
    with pytest.raises(ZeroDivisionError):
        compose([tag("a", log)], lambda _: 1 / 0)("x")
    assert log == ["a in", "a out"]


def test_async_layers_wrap_async_calls():
    async def layer(subject, proceed):
        return f"a({await proceed(subject)})"

    async def run(subject):
        await asyncio.sleep(0)
        return subject

    assert asyncio.run(compose([layer, layer], run)("x")) == "a(a(x))"


class Callable:
    def __call__(self, job, proceed):
        return proceed(job)


@pytest.mark.parametrize(
    "fn",
    [lambda job, proceed: None, lambda *args: None, Callable(), functools.partial(pow, mod=3)],
)
def test_what_takes_job_and_proceed_is_middleware(fn):
    assert check_middleware(fn) is fn


def yields(job, proceed):
    yield


async def yields_async(job, proceed):
    yield


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (None, "function of"),
        ("fn", "function of"),
        (lambda: None, "must take"),
        (lambda job: None, "must take"),
        (lambda job, proceed, more: None, "must take"),
        (lambda job, proceed, *, more: None, "must take"),
        (yields, "yields"),
        (yields_async, "yields"),
    ],
)
def test_what_does_not_is_refused(fn, words):
    with pytest.raises(ConfigError, match=words):
        check_middleware(fn)
