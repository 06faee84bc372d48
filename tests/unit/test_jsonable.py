from __future__ import annotations

import enum
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pydantic
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from turnout.codec import Signature
from turnout.errors import ArgumentError, ConfigError, PayloadTooLarge

MB = 1_048_576


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Line:
    product: uuid.UUID
    price: Decimal
    at: datetime | None = None


class Node(msgspec.Struct):
    value: int
    below: list[Node] = []


class Plain:
    pass


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: uuid.UUID
    when: datetime
    alias: int = pydantic.Field(default=1, alias="someAlias")


class Table(DeclarativeBase):
    pass


class User(Table):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)


class DataTable(MappedAsDataclass, DeclarativeBase):
    pass


class DataUser(DataTable):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)


class DjangoUser:
    _meta = SimpleNamespace(pk="id")


class PeeweeUser:
    _meta = SimpleNamespace(primary_key="id")


class StateOnly:
    _sa_instance_state = 1


def signature(fn):
    return Signature(fn, "shop.task")


def loose(x):
    """Take anything, unannotated."""


LOOSE = signature(loose)


def annotated(kind):
    def fn(x):
        pass

    fn.__annotations__ = {"x": kind}
    return signature(fn)


def round_trip(sign, *args, **kwargs):
    return sign.decode(sign.encode(args, kwargs, MB))


def refusal(sign, *args, **kwargs):
    with pytest.raises(ArgumentError) as caught:
        sign.encode(args, kwargs, MB)
    message = str(caught.value)
    message.encode()
    assert "shop.task" in message
    return message


LINE = Line(uuid.uuid4(), Decimal("9.90"), datetime(2024, 1, 2, tzinfo=UTC))
MODEL = Model(id=uuid.uuid4(), when=datetime(2024, 1, 2, tzinfo=UTC), someAlias=5)


# ---- values that do not


def generator():
    yield 1


async def coroutine():
    pass


class BadEqual:
    def __eq__(self, other):
        raise RuntimeError

    __hash__ = None


def circular():
    value: list[Any] = []
    value.append(value)
    return value


def deep(levels):
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((1, 2), "$.x: tuple came back as list; annotate the parameter with tuple[...]"),
        ({1}, "set came back as list"),
        (Point(1, 2), "Point[...]"),
        ({1: 2}, "the key 1 is of type int"),
        ({None: 2}, "key of type NoneType"),
        ({(1, 2): 3}, "key of type tuple"),
        (datetime(2024, 1, 1, tzinfo=UTC), "$.x: datetime came back as str; annotate"),
        ([{"when": date.min}], "$.x[0].when: date came back as str"),
        ({"a b": {"c": b"x"}}, "$.x['a b'].c: bytes came back as str"),
        (Decimal(1), "Decimal came back as str"),
        (uuid.uuid4(), "UUID came back as str"),
        (Colour.RED, "Colour came back as str"),
        (Word.YES, "Word came back as str"),
        ([1, Word.YES], "$.x[1]:"),
        (LINE, "Line came back as dict"),
        (MODEL, "Model came back as dict"),
        (math.nan, "$.x is nan"),
        ([1.0, -math.inf], "$.x[1] is -inf"),
        (Decimal("NaN"), "$.x is NaN"),
        ("\ud800", "$.x holds a lone surrogate"),
        ([{"\udfff": 1}], "a key of $.x[0] holds a lone surrogate"),
        (circular(), "$.x is nested too deeply"),
        (deep(100_000), "$.x is nested too deeply"),
        (User(id=1), "User): pass its id"),
        ([User(id=1)], "$.x[0] is a database record"),
        (DataUser(id=1), "pass its id"),
        ({"a": [DataUser(id=1)]}, "$.x.a[0] is a database record"),
        (DjangoUser(), "pass its id"),
        (PeeweeUser(), "pass its id"),
        (StateOnly(), "pass its id"),
        (generator(), "pass list(...)"),
        (map(str, []), "pass list(...)"),
        (lambda: 0, "$.x is code (function)"),
        (print, "$.x is code"),
        (int, "a class: pass its name"),
        (ValueError("x"), "an exception: pass str()"),
        (object(), "$.x is of type object"),
        (Plain(), "pass its id or plain values"),
        (BadEqual(), "BadEqual"),
        (range(3), "range"),
        (1j, "complex"),
    ],
    ids=lambda value: (
        value[:20].encode("ascii", "replace").decode()
        if isinstance(value, str)
        else type(value).__name__
    ),
)
def test_what_json_cannot_bring_back_is_refused_with_path_and_advice(value, words):
    assert words in refusal(LOOSE, value)


def test_an_open_file_and_a_coroutine_are_refused(tmp_path):
    with (tmp_path / "x").open("w") as file:
        assert "an open file: pass its path" in refusal(LOOSE, file)
    waiting = coroutine()
    assert "await it first" in refusal(LOOSE, waiting)
    waiting.close()


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (int, "7", "Expected `int`, got `str` - at `$.x`"),
        (int, True, "Expected `int`, got `bool`"),
        (int, 1.5, "Expected `int`, got `float`"),
        (int, None, "got `null`"),
        (str, 7, "Expected `str`, got `int`"),
        (float, math.nan, "$.x is nan"),
        (float | None, math.inf, "$.x is inf"),
        (float, 2**60 + 1, "int came back as float"),
        (Decimal, Decimal("sNaN"), "$.x is sNaN"),
        (datetime, "yesterday", "$.x"),
        (list[int], [1, "x"], "$.x[1]"),
        (list[int], (1,), "tuple came back as list"),
        (Colour, "red", "str came back as"),
        (Line, Line(uuid.uuid4(), 0.1), "$.x.price: float came back"),
        (Annotated[int, msgspec.Meta(ge=0)], -1, ">= 0"),
        (list[Any], [(1,)], "$.x[0]: tuple came back as list"),
        (Model, {"id": 1}, "$.x"),
        (Literal["a"], "b", "$.x"),
        (str, "\ud800", "$.x holds a lone surrogate"),
    ],
)
def test_what_does_not_fit_the_annotation_is_refused(kind, value, words):
    assert words in refusal(annotated(kind), value)


def test_faults_among_the_starred_are_named():
    def task(*args, **kwargs):
        pass

    assert "$.*[1]: tuple" in refusal(signature(task), 1, (2,))
    assert "$.**.k: set" in refusal(signature(task), 1, k={2})


def test_comparing_may_fail_without_a_traceback_of_its_own():
    @dataclass
    class Odd:
        x: int

        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    (back,), _ = round_trip(annotated(Odd), Odd(3))
    assert back.x == 3


def test_too_large_says_how_large_and_what_to_do():
    def task(small, blob):
        pass

    with pytest.raises(PayloadTooLarge) as caught:
        signature(task).encode((1, "\xe9" * 600), {}, 1000)
    message = str(caught.value)
    for word in ("shop.task", "1,221 bytes", "1,000 (max_payload)", "'blob' with 1,202", "its id"):
        assert word in message
    assert len(signature(task).encode((1, "x" * 979), {}, 1000)) == 1000


# ---- annotations


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Plain, "JSON cannot carry"),
        (list[Plain], "Plain"),
        (Plain | None, "Plain"),
        (Callable[[int], int], "Callable"),
        (complex, "complex"),
        (User, "database record: take its id"),
        (DataUser, "database record: take its id"),
        (list[User], "database record"),
        (DjangoUser, "database record"),
        (Word | date, "more than one str-like"),
        ("int[", ""),
    ],
)
def test_annotations_that_cannot_travel_are_refused_at_decoration(kind, words):
    with pytest.raises(ConfigError) as caught:
        annotated(kind)
    assert "task shop.task, parameter 'x'" in str(caught.value)
    assert words in str(caught.value)


def test_a_forward_reference_is_resolved_at_first_use():
    def task(x: Later) -> Later:  # noqa: F821
        pass

    sign = signature(task)
    assert sign.result_type is Any
    with pytest.raises(ConfigError, match="parameter 'x': its annotation cannot be resolved"):
        sign.encode((1,), {}, MB)
    with pytest.raises(ConfigError, match="Later"):
        sign.decode("{}")
    globals()["Later"] = date
    try:
        assert round_trip(sign, date.min) == ((date.min,), {})
        assert sign.result_type is date
    finally:
        del globals()["Later"]


def test_a_result_type_that_cannot_travel_is_any():
    def task(x) -> Plain:
        pass

    assert signature(task).result_type is Any
    assert signature(loose).result_type is Any

    def nothing() -> None:
        pass

    assert signature(nothing).result_type is type(None)


def test_what_has_no_signature_is_refused():
    with pytest.raises(ConfigError, match="no signature"):
        Signature(5, "shop.task")
