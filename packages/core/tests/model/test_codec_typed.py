# ruff: noqa: D101 (values and callbacks under test)
"""Typed codecs: what comes back is what was given, or nothing is stored (C3)."""

from __future__ import annotations

import dataclasses
import enum
import math
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, computed_field, field_validator
from typing_extensions import TypedDict

from keepstep.errors import (
    EventPayloadError,
    PayloadTooLargeError,
    SerializationError,
    UsageError,
    WorkflowParamsError,
)
from keepstep.model.codec import PLAIN, codec_for
from keepstep.model.exact import difference

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.StrEnum):
    SMALL = "small"


class Level(enum.IntEnum):
    HIGH = 3


class Item(BaseModel):
    sku: str
    price: Decimal
    tags: set[str] = Field(default_factory=set)
    raw: bytes = b""
    weight: float = 1.0


class SpecialItem(Item):
    why: str = ""


class Tree(BaseModel):
    name: str
    children: list[Tree] = Field(default_factory=list)


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    one: int = Field(alias="uno")
    two: int = Field(1, validation_alias="dos", serialization_alias="zwei")


class Box(BaseModel, Generic[T]):
    content: T


@dataclasses.dataclass(frozen=True)
class Address:
    street: str
    key: bytes = b""
    since: datetime | None = None


@dataclasses.dataclass(eq=False)
class Incomparable:
    value: int


class Options(TypedDict, total=False):
    colour: Colour
    until: date


class Point(NamedTuple):
    x: int
    y: Decimal


def has_whole_minutes(value: datetime) -> bool:
    """RFC 3339 writes offsets in minutes; local mean times of long ago had seconds."""
    offset = value.utcoffset()
    return offset is not None and offset % timedelta(minutes=1) == timedelta(0)


zoned = (
    st.datetimes(timezones=st.timezones())
    | st.datetimes(
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    )
).filter(has_whole_minutes)
texts = st.text(st.characters(exclude_categories=["Cs"]))
decimals = st.decimals(allow_nan=False, allow_infinity=False)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | floats | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)
items = st.builds(Item, sku=texts, price=decimals, tags=st.sets(texts), raw=st.binary(), weight=floats)
values = {
    "bytes": (bytes, st.binary()),
    "datetime": (datetime, zoned | st.datetimes()),
    "date": (date, st.dates()),
    "timedelta": (timedelta, st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6))),
    "Decimal": (Decimal, decimals),
    "UUID": (uuid.UUID, st.uuids()),
    "int": (int, st.integers()),
    "float": (float, floats),
    "str": (str, texts),
    "bool": (bool, st.booleans()),
    "Enum": (Colour, st.sampled_from(Colour)),
    "StrEnum": (Size, st.sampled_from(Size)),
    "IntEnum": (Level, st.sampled_from(Level)),
    "Literal": (Literal["a", 1], st.sampled_from(["a", 1])),
    "None": (None, st.none()),
    "model": (Item, items),
    "list of models": (list[Item], st.lists(items, max_size=3)),
    "optional model": (Item | None, st.none() | items),
    "Optional": (Optional[Decimal], st.none() | decimals),  # noqa: UP045 (the older form)
    "dataclass": (Address, st.builds(Address, texts, st.binary(), st.none() | zoned)),
    "TypedDict": (
        Options,
        st.fixed_dictionaries({}, optional={"colour": st.sampled_from(Colour), "until": st.dates()}),
    ),
    "NamedTuple": (Point, st.builds(Point, st.integers(), decimals)),
    "tuple": (tuple[int, str], st.tuples(st.integers(), texts)),
    "tuple of any length": (tuple[Decimal, ...], st.lists(decimals).map(tuple)),
    "set": (frozenset[uuid.UUID], st.frozensets(st.uuids())),
    "dict with int keys": (dict[int, Colour], st.dictionaries(st.integers(), st.sampled_from(Colour))),
    "dict with enum keys": (dict[Colour, bytes], st.dictionaries(st.sampled_from(Colour), st.binary())),
    "union": (int | str | Item, st.integers() | texts | items),
    "union of dataclasses": (
        Address | Point,
        st.builds(Address, texts) | st.builds(Point, st.integers(), decimals),
    ),
    "plain JSON in a list": (list[Any], st.lists(json_values)),
    "plain JSON in a dict": (dict[str, Any], st.dictionaries(texts, json_values)),
    "generic model": (Box[date], st.builds(Box[date], content=st.dates())),
}


@pytest.mark.parametrize("kind", values)
@given(data=st.data())
def test_values_come_back_as_they_are(kind, data):
    """C3: decode(encode(value)) equals the value, with the same types at every depth."""
    annotation, strategy = values[kind]
    value = data.draw(strategy)
    codec = codec_for(annotation)
    assert difference(value, codec.decode(codec.encode(value))) is None


@given(zoned)
def test_datetimes_keep_wall_time_and_offset(value):
    """C3: an aware datetime comes back with its wall time and offset; in a repeated hour, too."""
    back = codec_for(datetime).decode(codec_for(datetime).encode(value))
    assert back.replace(tzinfo=None) == value.replace(tzinfo=None, fold=0)
    assert back.utcoffset() == value.utcoffset()


def test_offsets_with_seconds_are_refused():
    """C3: an offset that RFC 3339 cannot write is refused, not rounded."""
    with pytest.raises(SerializationError, match="would be read back"):
        codec_for(datetime).encode(datetime(1890, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")))


def test_a_repeated_hour_is_kept():
    """C3: the second 2:30 of a night in which the clock is put back stays the second one."""
    second = datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert codec_for(datetime).encode(second) == '"2025-10-26T02:30:00+01:00"'


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (int, "5", "$"),
        (int, True, "$"),
        (int, 5.0, "$"),
        (str, 5, "$"),
        (bool, 1, "$"),
        (float, "1.5", "$"),
        (float, 2**53 + 1, "$"),
        (str, Size.SMALL, "$"),
        (int, Level.HIGH, "$"),
        (Size, "small", "$"),
        (Colour, "red", "$"),
        (Decimal, 1, "$"),
        (Decimal, "1", "$"),
        (date, datetime(2025, 1, 1, tzinfo=UTC), "$"),
        (datetime, "2025-01-01T00:00:00Z", "$"),
        (uuid.UUID, "00000000-0000-0000-0000-000000000000", "$"),
        (bytes, "text", "$"),
        (None, 0, "$"),
        (list[int], (1, 2), "$"),
        (tuple[int, ...], [1, 2], "$"),
        (list[int], [1, "2"], "$[1]"),
        (dict[str, int], {"a": 1, "b": "2"}, "$.b"),
        (dict[int, int], {True: 1}, "$"),
        (dict[str, Any], {"when": datetime(2025, 1, 1, tzinfo=UTC)}, "$.when"),
        (dict[str, Any], {"pair": (1, 2)}, "$.pair"),
        (dict[str, Any], {"odd key": [{"size": Size.SMALL}]}, "$['odd key'][0].size"),
        (dict, {1: 2}, "$"),
        (list[Any], [Item(sku="a", price=Decimal(1))], "$[0]"),
        (Item, {"sku": "a", "price": 1}, "$"),
        (Item, SpecialItem(sku="a", price=Decimal(1)), "$"),
        (list[Item], [SpecialItem(sku="a", price=Decimal(1))], "$[0]"),
        (Item, Item.model_construct(sku="a", price=1), "$.price"),
        (
            Box[list[Item]],
            Box[list[Item]](content=[Item.model_construct(sku=1, price=Decimal(1))]),
            "$.content[0].sku",
        ),
        (Point, Point(1, 2), "$[1]"),
        (Address, Address(5), "$.street"),
        (set[int], {True}, "$"),
        (SecretStr, SecretStr("hidden"), "$"),
        (int | None, "5", "$"),
    ],
)
def test_another_type_is_refused_not_converted(annotation, value, path):
    """C3: a value that would come back as another type is an error at encoding, which says where."""
    with pytest.raises(SerializationError) as caught:
        codec_for(annotation).encode(value, what="the result of step 'do:it'")
    assert caught.value.path == path
    assert "the result of step 'do:it' cannot be stored" in str(caught.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_nan_and_no_infinity(bad):
    """C3: JSON has no NaN and no infinity: they are refused with their path, not stored as null."""
    for annotation, value, path in [
        (float, bad, "$"),
        (float | None, bad, "$"),
        (list[float], [1.0, bad], "$[1]"),
        (dict[str, Any], {"items": [0, 1, {"price": bad}]}, "$.items[2].price"),
        (list[Item], [Item(sku="a", price=Decimal(1), weight=bad)], "$[0].weight"),
    ]:
        with pytest.raises(SerializationError, match="JSON has no") as caught:
            codec_for(annotation).encode(value)
        assert caught.value.path == path


def test_decimal_nan_is_refused():
    """C3: a Decimal that is no number does not come back equal."""
    with pytest.raises(SerializationError):
        codec_for(Decimal).encode(Decimal("NaN"))


def test_cycles_are_refused():
    """C3: a value that contains itself is refused with the path at which it does."""
    cycle: list[Any] = []
    cycle.append({"again": cycle})
    tree = Tree(name="a")
    tree.children.append(tree)
    with pytest.raises(SerializationError, match="contains itself") as caught:
        codec_for(list[Any]).encode(cycle)
    assert caught.value.path == "$[0].again"
    with pytest.raises(SerializationError, match="contains itself") as caught:
        codec_for(Tree).encode(tree)
    assert caught.value.path == "$.children[0]"


def test_deep_nesting_is_refused():
    """C3: what is nested deeper than the decoder goes is refused, not stored unreadable."""
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested deeper"):
        codec_for(list[Any]).encode(deep)


def test_lone_surrogates_are_refused():
    """C3: text that is no UTF-8 is refused with its path."""
    for annotation, value, path in [(str, "\ud800", "$"), (list[str], ["a", "\udfff"], "$[1]")]:
        with pytest.raises(SerializationError, match="lone surrogate") as caught:
            codec_for(annotation).encode(value)
        assert caught.value.path == path


def test_an_int_is_a_float():
    """C3: where the annotation says float an int is taken (PEP 484); first pass and replay both see the float."""
    back = codec_for(float).decode(codec_for(float).encode(3))
    assert type(back) is float
    assert back == 3


def test_integers_of_any_size_when_annotated():
    """C3: an annotated int keeps every digit beyond 64 bits."""
    assert codec_for(int).decode(codec_for(int).encode(-(2**200))) == -(2**200)


def test_bytes_are_base64_at_every_depth():
    """C3: bytes that are no UTF-8 come back from models, dataclasses and lists of them."""
    model = Box[list[Item | Address]](
        content=[Item(sku="a", price=Decimal(1), raw=b"\xff\x00"), Address("b", b"\xfe")]
    )
    codec = codec_for(Box[list[Item | Address]])
    assert codec.decode(codec.encode(model)) == model


def test_a_models_own_bytes_setting_holds():
    """C3: a model that says how its bytes are written is left alone."""

    class Hex(BaseModel):
        model_config = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex")
        raw: bytes

    assert codec_for(Hex).encode(Hex(raw=b"\xff")) == '{"raw":"ff"}'


def test_defaults_of_a_model_with_bytes_stay_untouched():
    """C3: filling in base64 does not copy or change the user's own default values."""
    shared = {"type": "bytes", "list": [1]}

    class Holder(BaseModel):
        raw: bytes = b"\xff"
        options: dict[str, Any] = shared

    codec = codec_for(Holder)
    assert codec.decode(codec.encode(Holder())) == Holder()
    assert codec.decode("{}").options == shared


def test_aliases_do_not_matter():
    """C3: values are stored by field name, whatever aliases say."""
    value = Aliased(uno=1, dos=2)
    assert codec_for(Aliased).encode(value) == '{"one":1,"two":2}'
    assert codec_for(Aliased).decode('{"one":1,"two":2}') == value


def test_computed_fields_are_not_stored():
    """C3: a computed field is computed again, also in a model that forbids extra fields."""

    class Square(BaseModel):
        model_config = ConfigDict(extra="forbid")
        side: int

        @computed_field
        @property
        def area(self) -> int:
            return self.side**2

    assert codec_for(Square).encode(Square(side=3)) == '{"side":3}'
    assert codec_for(Square).decode('{"side":3}').area == 9


def test_extra_fields_are_kept():
    """C3: the extra fields of a model that allows them come back."""

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        known: int

    value = Open(known=1, other=[1, 2])
    assert codec_for(Open).decode(codec_for(Open).encode(value)) == value


def test_private_attributes_are_refused_when_they_differ():
    """C3: private attributes are not stored: a model that has set one would come back different."""

    class Secretive(BaseModel):
        shown: int
        _hidden: int = PrivateAttr(default=0)

    value = Secretive(shown=1)
    codec_for(Secretive).encode(value)
    value._hidden = 5
    with pytest.raises(SerializationError) as caught:
        codec_for(Secretive).encode(value)
    assert caught.value.path == "$._hidden"


def test_a_validator_that_changes_its_input_is_noticed():
    """C3: a value that validation would change on the way back is refused."""

    class Doubling(BaseModel):
        value: int

        @field_validator("value")
        @classmethod
        def double(cls, value: int) -> int:
            return value * 2

    with pytest.raises(SerializationError, match="2 would be read back") as caught:
        codec_for(Doubling).encode(Doubling.model_construct(value=1))
    assert caught.value.path == "$.value"


def test_whatever_a_users_code_raises_is_a_serialization_error():
    """C3: an exception of a validator or comparison of the user's own does not pass as something else."""

    class Moody(BaseModel):
        value: int

        @field_validator("value")
        @classmethod
        def refuse(cls, value: int) -> int:
            raise KeyError(value)

    with pytest.raises(SerializationError, match=r".*Moody: at \$, KeyError: 1"):
        codec_for(Moody).encode(Moody.model_construct(value=1))
    with pytest.raises(SerializationError, match=r"cannot be read as .*Moody: KeyError: 1"):
        codec_for(Moody).decode('{"value":1}')
    with pytest.raises(SerializationError):
        codec_for(Annotated[Decimal, Field(allow_inf_nan=True)]).encode(Decimal("sNaN"))


def test_dataclasses_without_equality_are_compared_by_field():
    """C3: a dataclass need not define equality."""
    back = codec_for(Incomparable).decode(codec_for(Incomparable).encode(Incomparable(5)))
    assert back.value == 5


@given(texts)
def test_a_limit_is_in_utf8_bytes(text):
    """C10: the limit counts the bytes of the UTF-8 text that is stored; the message says both numbers."""
    encoded = codec_for(str).encode(text)
    size = len(encoded.encode())
    assert codec_for(str).encode(text, size) == encoded
    with pytest.raises(
        PayloadTooLargeError, match=f"params has {size:,} bytes as JSON; {size - 1:,} are allowed"
    ):
        codec_for(str).encode(text, size - 1, "params")


def test_decoding_what_does_not_fit_says_where():
    """C3: stored text that today's annotation does not take is an error with the path."""
    with pytest.raises(SerializationError, match="has changed since") as caught:
        codec_for(list[Item]).decode('[{"sku": "a", "price": "x"}]')
    assert caught.value.path == "$[0].price"


@pytest.mark.parametrize("text", ["", "{", "nul", "[1,]"])
@pytest.mark.parametrize("codec", [PLAIN, codec_for(list[int])], ids=repr)
def test_decoding_broken_text(codec, text):
    """C3: text that is no JSON is a SerializationError, not the parser's own."""
    with pytest.raises(SerializationError):
        codec.decode(text)


def test_unknown_types_are_usage_errors():
    """C3: a type that pydantic does not know is refused when the codec is built, with what to use instead."""

    class Opaque: ...

    with pytest.raises(UsageError, match=r"Opaque cannot be stored: .*Use a pydantic model"):
        codec_for(Opaque)


def test_a_codec_is_built_once():
    """C3: building costs a millisecond, so each annotation has one codec; an unhashable one gets a new one."""
    assert codec_for(list[Item]) is codec_for(list[Item])
    assert codec_for(Any) is PLAIN
    assert codec_for(object) is PLAIN
    assert codec_for(Annotated[int, {}]).encode(1) == "1"


def test_schemas():
    """C3: a codec gives the JSON Schema of its type."""
    assert codec_for(Address).schema()["properties"].keys() == {"street", "key", "since"}
    assert PLAIN.schema() == {}


def test_validating_lists_all_issues():
    """D6: what a caller gives is taken as a value or as data that fits; all that is wrong is listed with its place."""
    codec = codec_for(list[Item])
    assert codec.validate([{"sku": "a", "price": "1.50"}], WorkflowParamsError) == [
        Item(sku="a", price=Decimal("1.50"))
    ]
    with pytest.raises(WorkflowParamsError, match="params does not fit") as caught:
        codec.validate([{"sku": 5, "price": "x"}], WorkflowParamsError, "params")
    assert [issue["path"] for issue in caught.value.issues] == ["0.sku", "0.price"]
    assert all(set(issue) == {"path", "message", "type"} for issue in caught.value.issues)


def test_validating_json_text():
    """D6: JSON from outside is validated as JSON: bytes are base64, datetimes text, aliases count."""
    assert codec_for(Address).validate_json('{"street":"a","key":"_w=="}', EventPayloadError) == Address(
        "a", b"\xff"
    )
    assert codec_for(Aliased).validate_json('{"uno":1}', EventPayloadError).one == 1
    with pytest.raises(EventPayloadError, match="payload does not fit"):
        codec_for(Address).validate_json("{}", EventPayloadError, "payload")
