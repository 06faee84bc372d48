from __future__ import annotations

import enum
import uuid
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.codec import Signature
from turnout.errors import ArgumentError

MB = 1_048_576


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    title: str
    year: int


@dataclass
class Line:
    product: uuid.UUID
    price: Decimal
    at: datetime | None = None


@dataclass
class Order:
    lines: list[Line]
    tags: set[str] = field(default_factory=set)


@dataclass(eq=False)
class Unequal:
    number: int


class Node(msgspec.Struct):
    value: int
    below: list[Node] = []


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: uuid.UUID
    when: datetime
    alias: int = pydantic.Field(default=1, alias="someAlias")


class Nested(pydantic.BaseModel):
    models: list[Model]


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


# ---- the wire


def test_the_wire_is_an_object_by_parameter_name():
    def task(order_id: int, note: str = "x", *more: int, k: int = 1, **rest: int):
        pass

    sign = signature(task)
    assert sign.encode((7,), {}, MB) == '{"order_id":7}'
    assert sign.encode((), {"order_id": 7}, MB) == '{"order_id":7}'
    text = sign.encode((7, "y", 8, 9), {"k": 2, "z": 3}, MB)
    assert text == '{"order_id":7,"note":"y","*":[8,9],"k":2,"**":{"z":3}}'
    assert sign.decode(text) == ((7, "y", 8, 9), {"k": 2, "z": 3})
    assert sign.decode('{"order_id":7}') == ((7, "x"), {"k": 1})


def test_an_array_is_read_as_positional_arguments():
    def task(a: int, when: date = date.min, *more: int):
        pass

    sign = signature(task)
    assert sign.decode(' [1, "2024-02-29", 3, 4]') == ((1, date(2024, 2, 29), 3, 4), {})
    assert sign.decode("[1]") == ((1, date.min), {})
    for bad in ("[]", '["x"]', "[1,2]", "[1", '[1,"2024-02-29","x"]'):
        with pytest.raises(ArgumentError, match="another version"):
            sign.decode(bad)
    with pytest.raises(ArgumentError):
        LOOSE.decode("[1,2]")


def test_defaults_stay_the_tasks_own():
    marker, shared = object(), [1]

    def task(a: int = 5, b: object = marker, c: list[int] = shared):
        pass

    sign = signature(task)
    assert sign.encode((), {}, MB) == "{}"
    (a, b, c), kwargs = sign.decode("{}")
    assert (a, kwargs) == (5, {})
    assert b is marker
    assert c is shared


def test_awkward_parameter_names_are_no_matter():
    def task(self, cls, __struct_fields__, _private, x, /, name, *, class_, type):  # noqa: A002
        pass

    args, kwargs = (1, 2, 3, 4, 5, 6), {"class_": 7, "type": 8}
    assert round_trip(signature(task), *args, **kwargs) == (args, kwargs)


def test_no_parameters_and_async_functions():
    async def task() -> int:
        return 1

    sign = signature(task)
    assert sign.encode((), {}, MB) == "{}"
    assert sign.decode("{}") == ((), {})
    assert sign.result_type is int


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'order_id'"),
        ((1, 2, 3), {}, "too many positional"),
        ((1,), {"order_id": 2}, "multiple values"),
        ((1,), {"zzz": 2}, "unexpected keyword argument 'zzz'"),
    ],
)
def test_arguments_that_do_not_bind_name_task_and_signature(args, kwargs, words):
    def task(order_id: int, when: datetime | None = None):
        pass

    message = refusal(signature(task), *args, **kwargs)
    assert words in message
    assert "shop.task(order_id: int, when: datetime.datetime | None = None)" in message
    with pytest.raises(TypeError):
        signature(task).encode(args, kwargs, MB)


# ---- types that travel


LINE = Line(uuid.uuid4(), Decimal("9.90"), datetime(2024, 1, 2, tzinfo=UTC))
MODEL = Model(id=uuid.uuid4(), when=datetime(2024, 1, 2, tzinfo=UTC), someAlias=5)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 2**70),
        (int, -(2**63)),
        (float, 0.1),
        (float, 1),
        (str, "a\0\U0001f600\u2028"),
        (bool, True),
        (None, None),
        (datetime, datetime(2024, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001
        (datetime, datetime(2024, 7, 2, tzinfo=ZoneInfo("Europe/Paris"))),
        (date, date.max),
        (time, time(1, 2, 3)),
        (timedelta, timedelta(days=-1, microseconds=3)),
        (uuid.UUID, uuid.uuid4()),
        (Decimal, Decimal("1.10")),
        (bytes, b"\0\xff"),
        (Colour, Colour.RED),
        (Word, Word.YES),
        (Point, Point(1, 2)),
        (Movie, {"title": "x", "year": 1}),
        (Line, LINE),
        (Order, Order([LINE], {"a", "b"})),
        (Node, Node(1, [Node(2)])),
        (Unequal, Unequal(3)),
        (Literal["a", "b"], "b"),
        (Optional[int], None),  # noqa: UP045
        (int | str | None, "x"),
        (list[datetime], [datetime(2024, 1, 1, tzinfo=UTC)]),
        (dict[int, date], {1: date.min}),
        (dict[uuid.UUID, int], {uuid.uuid4(): 1}),
        (set[int], {1, 2}),
        (frozenset[str], frozenset("ab")),
        (tuple[int, str], (1, "x")),
        (tuple[int, ...], (1, 2, 3)),
        (tuple, (1, "x")),
        (Annotated[int, msgspec.Meta(ge=0)], 5),
        (Model, MODEL),
        (list[Model], [MODEL, MODEL]),
        (dict[str, Nested], {"a": Nested(models=[MODEL])}),
        (Model | None, MODEL),
        (list[Any], [1, None, "x", {"y": [2.5]}]),
        (object, [1]),
    ],
)
def test_values_come_back_as_their_annotation_says(kind, value):
    (back,), kwargs = round_trip(annotated(kind), value)
    assert kwargs == {}
    if kind is Unequal:
        assert back.number == value.number
        value = back
    assert back == value
    assert kind is float or type(back) is type(value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_json_values_come_back_from_unannotated_parameters(value):
    assert round_trip(LOOSE, value) == ((value,), {})


TYPED = annotated(dict[str, tuple[datetime, Decimal, uuid.UUID, timedelta, bytes, set[int] | None]])


@given(
    st.dictionaries(
        st.text(),
        st.tuples(
            st.datetimes(timezones=st.none() | st.just(UTC)),
            st.decimals(allow_nan=False, allow_infinity=False),
            st.uuids(),
            st.timedeltas(timedelta(-1000), timedelta(1000)),
            st.binary(),
            st.none() | st.sets(st.integers()),
        ),
        max_size=3,
    )
)
def test_typed_values_come_back(value):
    assert round_trip(TYPED, value) == ((value,), {})


@given(st.lists(st.integers(), max_size=6), st.dictionaries(st.text(min_size=1), st.integers()))
def test_any_call_that_binds_comes_back(args, kwargs):
    def task(a=0, /, b=0, *more, c=0, **rest):
        return a, b, more, c, rest

    if len(args) > 1:
        kwargs.pop("b", None)
    kwargs.pop("a", None)  # inspect.Signature.bind refuses what the call itself would take
    back_args, back_kwargs = round_trip(signature(task), *args, **kwargs)
    assert task(*back_args, **back_kwargs) == task(*args, **kwargs)


def test_subclasses_of_json_types_travel_when_nothing_is_lost():
    class Safe(str):
        __slots__ = ()

    assert round_trip(LOOSE, Safe("x")) == (("x",), {})
    assert round_trip(LOOSE, OrderedDict(a=1)) == (({"a": 1},), {})
    assert round_trip(LOOSE, defaultdict(int, a=1)) == (({"a": 1},), {})


# ---- decoding


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "truncated"),
        ("nope", "malformed"),
        ('{"orderid":1}', "unknown field `orderid`"),
        ('{"order_id":1,"*":[2]}', "unknown field `*`"),
        ("{}", "missing required field `order_id`"),
        ('{"order_id":"1"}', "Expected `int`, got `str`"),
        ("7", "Expected `object`"),
        ("\ud800", ""),
        ("[" * 100_000, ""),
    ],
)
def test_arguments_that_cannot_be_read_say_why(text, words):
    def task(order_id: int):
        pass

    with pytest.raises(ArgumentError) as caught:
        signature(task).decode(text)
    message = str(caught.value)
    assert "shop.task(order_id: int)" in message
    assert words in message


def test_a_validator_that_raises_anything_is_an_argument_error():
    class Explosive(pydantic.BaseModel):
        n: int

        @pydantic.field_validator("n")
        @classmethod
        def check(cls, n):
            raise ZeroDivisionError

    with pytest.raises(ArgumentError):
        annotated(Explosive).decode('{"x":{"n":1}}')
