from __future__ import annotations

import enum
import math
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict
from zoneinfo import ZoneInfo

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from turnout.codec import Signature, decode_value, encode_value
from turnout.errors import ArgumentError, ConfigError, PayloadTooLarge

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


class Plain:
    pass


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    id: uuid.UUID
    when: datetime
    alias: int = pydantic.Field(default=1, alias="someAlias")


class Nested(pydantic.BaseModel):
    models: list[Model]


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
    assert sign.call('{"order_id":7}') == ((7, "x"), {"k": 1})


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

    def task(a: int = 5, b: object = marker, c: list[int] = shared):  # noqa: B006
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


TYPED = annotated(
    dict[str, tuple[datetime, Decimal, uuid.UUID, timedelta, bytes, set[int] | None]]
)


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
    back_args, back_kwargs = round_trip(signature(task), *args, **kwargs)
    assert task(*back_args, **back_kwargs) == task(*args, **kwargs)


def test_subclasses_of_json_types_travel_when_nothing_is_lost():
    class Safe(str):
        __slots__ = ()

    assert round_trip(LOOSE, Safe("x")) == (("x",), {})
    assert round_trip(LOOSE, OrderedDict(a=1)) == (({"a": 1},), {})
    assert round_trip(LOOSE, defaultdict(int, a=1)) == (({"a": 1},), {})


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
    ids=lambda value: value[:20].encode("ascii", "replace").decode()
    if isinstance(value, str)
    else type(value).__name__,
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
        (Line, Line(uuid.uuid4(), 5.5), "$.x.price"),
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
    for word in ("shop.task", "1,222 bytes", "1,000 (max_payload)", "'blob' with 1,202", "its id"):
        assert word in message
    assert len(signature(task).encode((1, "x" * 977), {}, 1000)) == 1000


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


# ---- unique keys and results


def test_keys_are_equal_when_the_arguments_are():
    def task(a, b=2, *, c: set[str] = frozenset()):
        pass

    sign = signature(task)
    assert sign.encode_key((1,), {}) == sign.encode_key((), {"b": 2, "a": 1}) == '{"a":1}'
    assert sign.encode_key((1,), {"c": {"y", "x", "z"}}) == '{"a":1,"c":["x","y","z"]}'
    assert sign.encode_key(({"y": 1, "x": 2},), {}) == sign.encode_key(({"x": 2, "y": 1},), {})
    assert sign.encode_key((1, 3), {}) != sign.encode_key((1,), {})
    with pytest.raises(ArgumentError):
        sign.encode_key((Plain(),), {})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Any, [1, None, "x"]),
        (int, 7),
        (datetime, datetime(2024, 1, 1, tzinfo=UTC)),
        (Order, Order([LINE], {"a"})),
        (Model, MODEL),
        (type(None), None),
    ],
)
def test_results_come_back(kind, value):
    assert decode_value(encode_value(value), kind) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Plain(), "the result is of type"),
        ([1, math.nan], "the result[1] is nan"),
        (User(id=1), "database record"),
        ("\ud800", "lone surrogate"),
        (circular(), "nested too deeply"),
        (generator(), "list(...)"),
    ],
)
def test_results_that_cannot_be_kept_say_why(value, words):
    with pytest.raises(ArgumentError) as caught:
        encode_value(value)
    assert words in str(caught.value)


def test_a_result_that_does_not_read_says_so():
    for text, kind in (("nope", Any), ('"x"', int), ("", Any)):
        with pytest.raises(ArgumentError, match="does not read"):
            decode_value(text, kind)
