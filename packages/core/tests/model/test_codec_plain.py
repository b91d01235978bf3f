# ruff: noqa: D101 (values and callbacks under test)
"""The codec of callbacks without an annotation: plain JSON, nothing else (C3)."""

from __future__ import annotations

import dataclasses
import enum
import math
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from keepstep.errors import PayloadTooLargeError, SerializationError
from keepstep.model.codec import PLAIN
from keepstep.model.exact import difference


class Text(str):
    __slots__ = ()


class Mapping(dict[str, Any]):
    pass


class Size(enum.StrEnum):
    SMALL = "small"


class Level(enum.IntEnum):
    HIGH = 3


class Model(BaseModel):
    value: int = 1


@dataclasses.dataclass
class Data:
    value: int = 1


texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=30,
)
strange = st.sampled_from(
    [
        math.nan, math.inf, -math.inf, (), (1, 2), {1}, b"x", bytearray(b"x"), Text("x"), Mapping(a=1), Size.SMALL,
        Level.HIGH, Model(), Data(), uuid.UUID(int=1), datetime(2025, 1, 1, tzinfo=UTC), 2**64, -(2**63) - 1, "\ud800",
        {1: 2}, {None: 1}, {Size.SMALL: 1}, {Text("a"): 1}, {"\udc00": 1}, object(), len, 1j,
    ]
)  # fmt: skip


@given(plain)
def test_plain_json_comes_back_as_it_is(value):
    """C3: plain JSON values come back equal, with equal types at every depth."""
    assert difference(value, PLAIN.decode(PLAIN.encode(value))) is None


@given(strange, st.lists(st.sampled_from(["key", "odd key", 0, 2])))
def test_anything_else_is_refused_with_its_path(value, steps):
    """C3: what JSON does not hold exactly is refused wherever it stands, and the path leads to it."""
    path = "$"
    for step in reversed(steps):
        value = {"a": 1, step: value} if isinstance(step, str) else [*([None] * step), value]
    for step in steps:
        path += f"[{step!r}]" if step != "key" else ".key"
    with pytest.raises(SerializationError) as caught:
        PLAIN.encode(value)
    assert caught.value.path == path


def test_the_message_says_what_to_do():
    """C3: the refusal of a typed value says to annotate the return type."""
    with pytest.raises(SerializationError, match="annotate the return type"):
        PLAIN.encode({"at": datetime(2025, 1, 1, tzinfo=UTC)}, what="the result of step 'do:x'")


def test_cycles_and_depth():
    """C3: a value that contains itself or is nested too deep is refused, not a crash."""
    cycle: dict[str, Any] = {}
    cycle["self"] = [cycle]
    deep: Any = None
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(SerializationError, match="contains itself") as caught:
        PLAIN.encode(cycle)
    assert caught.value.path == "$.self[0]"
    with pytest.raises(SerializationError, match="nested deeper"):
        PLAIN.encode(deep)


def test_shared_values_are_no_cycles():
    """C3: one list at two places is stored twice."""
    shared = [1]
    assert PLAIN.encode({"a": shared, "b": [shared]}) == '{"a":[1],"b":[[1]]}'


def test_null_is_a_value():
    """C3: None is stored as null, also inside."""
    assert PLAIN.encode(None) == "null"
    assert PLAIN.decode("[null]") == [None]


def test_the_limit():
    """C10: the largest payload that fits is taken, one byte more is not."""
    assert PLAIN.encode("ab", 4) == '"ab"'
    with pytest.raises(PayloadTooLargeError, match="1,048,577 bytes as JSON; 1,048,576 are allowed"):
        PLAIN.encode("a" * (1_048_576 - 1), 1_048_576)
