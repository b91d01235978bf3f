"""What JSON can and cannot hold: where a value breaks, and whether what was read back is what was written (C3).

Walks over values, for :mod:`keepstep.model.codec` only. Nothing here encodes or decodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any, NamedTuple, cast
from uuid import UUID

from pydantic import BaseModel

_EXACT = frozenset({type(None), bool, int, str})
_PLAIN = frozenset({*_EXACT, float, list, dict})
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_LEAVES = frozenset({*_EXACT, float, bytes, Decimal, UUID})
"""Equal values of one of these types are the same."""
_SHOWN_MAX = 80
DEPTH_MAX = 200
"""Nesting that encoder and decoder both take."""


class Fault(NamedTuple):
    """Why a value cannot be stored, and where in it, like ``$.items[2].price``."""

    path: str
    reason: str


def is_plain(value: object) -> bool:
    """Whether a list or dict that orjson has encoded holds only plain JSON types and finite numbers.

    orjson refuses sets, bytes, huge integers and subclasses of plain types, but silently takes tuples, enums and UUIDs
    and turns NaN and infinity into null. Types are gathered per container at C speed: a walk node by node costs more
    than the encoding.
    """
    held = cast("dict[str, object]", value).values() if type(value) is dict else cast("list[object]", value)
    kinds = set(map(type, held))
    if kinds <= _EXACT:
        return True
    if not kinds <= _PLAIN:
        return False
    for item in held:
        kind = type(item)
        if kind is float:
            if not math.isfinite(cast("float", item)):
                return False
        elif (kind is dict or kind is list) and not is_plain(item):
            return False
    return True


def find_fault(value: object, *, plain: bool) -> Fault | None:
    """Where JSON cannot hold ``value``: NaN, infinity, lone surrogates, cycles; with ``plain`` also any other type."""
    return _fault(value, "$", plain, ())


def _fault(value: object, path: str, plain: bool, above: tuple[int, ...]) -> Fault | None:
    if reason := _leaf_fault(value, plain):
        return Fault(path, reason)
    parts = _parts(value)
    if parts is None:
        return None
    if id(value) in above:
        return Fault(path, "the value contains itself")
    if len(above) >= DEPTH_MAX:
        return Fault(path, f"it is nested deeper than {DEPTH_MAX} levels")
    for key, child in parts.items():
        if parts is value and (reason := _key_fault(key, plain)):
            return Fault(path, reason)
        if found := _fault(child, path + path_step(key), plain, (*above, id(value))):
            return found
    return None


def _leaf_fault(value: object, plain: bool) -> str | None:
    kind = type(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"JSON has no {value}"
    if isinstance(value, str) and (reason := _surrogate(value)):
        return reason
    if plain and kind not in _PLAIN:
        return f"{_named(kind)} is no plain JSON value; annotate the return type, so that it reads back as what it was"
    if plain and kind is int and not _INT_MIN <= cast("int", value) <= _INT_MAX:
        return "the integer has more than 64 bits; annotate the return type"
    return None


def _key_fault(key: object, plain: bool) -> str | None:
    if isinstance(key, str) and (reason := _surrogate(key)):
        return f"in the key {key!r}, {reason}"
    if plain and type(key) is not str:
        return f"the key {_shown(key)} is of type {_named(type(key))}, and JSON's are str; annotate the return type"
    return None


def _surrogate(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"the text has a lone surrogate at position {error.start}"
    return None


def difference(written: Any, read: object) -> Fault | None:
    """Where ``read`` is not what was ``written``: another type or value, at any depth; None if they are the same.

    An ``int`` where the annotation says ``float`` is taken (PEP 484 allows it), if the number is the same. Datetimes
    are the same with equal wall time and offset: a zone's name is not kept.
    """
    kind, given = type(read), type(cast("object", written))
    if given is not kind:
        if kind is float and given is int and written == read:
            return None
        return Fault("", f"{_named(given)} was given, and {_named(kind)} would be read back")
    if kind in _LEAVES:
        return None if written == read else Fault("", f"{_shown(read)} would be read back")
    if isinstance(read, (list, tuple)):
        return _sequences_differ(written, cast("Sequence[Any]", read))
    if isinstance(read, dict):
        return _dicts_differ(written, cast("dict[Any, Any]", read))
    if isinstance(read, BaseModel):
        return _mappings_differ(_model_parts(written), _model_parts(read))
    if is_dataclass(read) and not isinstance(read, type):
        return _mappings_differ(_dataclass_parts(written), _dataclass_parts(read))
    return None if _same_leaf(kind, written, read) else Fault("", f"{_shown(read)} would be read back")


def _dicts_differ(written: dict[Any, Any], read: dict[Any, Any]) -> Fault | None:
    if set(map(type, written)) != set(map(type, read)):  # True and 1 are equal keys
        return Fault("", f"{_keys(read)} would be read back in place of {_keys(written)}")
    return _mappings_differ(written, read)


def _sequences_differ(written: Sequence[Any], read: Sequence[Any]) -> Fault | None:
    if len(written) != len(read):
        return Fault("", f"{len(read)} items would be read back in place of {len(written)}")
    for index, value in enumerate(read):
        if found := difference(written[index], value):
            return Fault(f"[{index}]{found.path}", found.reason)
    return None


def _mappings_differ(written: Mapping[Any, Any], read: Mapping[Any, Any]) -> Fault | None:
    if written.keys() != read.keys():
        return Fault("", f"{_keys(read)} would be read back in place of {_keys(written)}")
    for key, value in read.items():
        if found := difference(written[key], value):
            return Fault(path_step(key) + found.path, found.reason)
    return None


def _same_leaf(kind: type, written: Any, read: Any) -> bool:
    if kind is datetime or kind is time:
        # Aware datetimes of two zones are never equal in a repeated hour: compare what is stored.
        return (
            written.replace(tzinfo=None, fold=0) == read.replace(tzinfo=None)
            and written.utcoffset() == read.utcoffset()
        )
    if kind is set or kind is frozenset:
        return {(type(item), item) for item in written} == {(type(item), item) for item in read}
    return bool(written == read)


def _parts(value: object) -> Mapping[Any, Any] | None:
    """What a dict, list, tuple, model or dataclass holds, by key, position or field; None for everything else."""
    if isinstance(value, dict):
        return cast("dict[Any, Any]", value)
    if isinstance(value, (list, tuple)):
        return dict(enumerate(cast("Sequence[Any]", value)))
    if isinstance(value, BaseModel):
        return _model_parts(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _dataclass_parts(value)
    return None


def _model_parts(model: BaseModel) -> Mapping[str, Any]:
    extra, private = model.__pydantic_extra__, model.__pydantic_private__
    return {**model.__dict__, **(extra or {}), **(private or {})} if extra or private else model.__dict__


def _dataclass_parts(value: Any) -> Mapping[str, Any]:
    return {field.name: getattr(value, field.name, None) for field in fields(value)}


def path_step(key: Any) -> str:
    """One step of a path: ``.name``, ``[0]`` or ``['odd key']``."""
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


def _named(kind: type) -> str:
    return (
        kind.__name__
        if kind.__module__ in {"builtins", "datetime", "decimal"}
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _keys(mapping: Mapping[Any, Any]) -> str:
    return f"the keys {_shown(list(mapping))}"


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"
