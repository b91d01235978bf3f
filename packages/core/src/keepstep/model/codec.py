"""The codec: values to JSON text and back, as the same values of the same types (C3). No pickle, no I/O.

A typed codec writes with pydantic, reads its own text back, and compares: what would come back as anything else is
refused. So there are no rules about what is supported but one: ``decode(encode(value))`` is ``value``. A plain codec,
for callbacks without an annotation, takes what JSON itself can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import NoneType
from typing import Any, Literal, cast

import orjson
from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import SchemaSerializer, SchemaValidator
from pydantic_core.core_schema import CoreConfig

from keepstep.errors import PayloadTooLargeError, SerializationError, UsageError, ValidationIssuesError
from keepstep.model.annotations import MISSING, return_annotation
from keepstep.model.exact import Fault, difference, find_fault, is_plain, path_step

_BASE64 = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_EXACT_ONLY = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)
_SCALARS = frozenset({str, int, bool, type(None)})
"""What orjson writes exactly or refuses."""


class JsonText(str):
    """A value as JSON text, from outside or on its way there: :meth:`Codec.validate` reads it by the rules of JSON."""

    __slots__ = ()


class Codec:
    """Encodes and decodes the values of one annotation.

    Use :func:`codec_for`: building one costs a millisecond, so each is built once.

    Args:
        annotation: any type that pydantic knows.

    Attributes:
        annotation: the type whose values this codec takes.

    Raises:
        UsageError: pydantic does not know the type.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._adapter = _adapter(annotation)
        self._serializer, self._validator = _machinery(self._adapter)

    def encode(self, value: Any, limit: int | None = None, what: str = "value") -> str:
        """The JSON text of ``value``.

        Args:
            value: a value of the annotated type itself, not one that could be converted to it.
            limit: the most UTF-8 bytes, or None.
            what: names the value in errors, like ``"the result of step 'do:charge'"``.

        Raises:
            SerializationError: it would be read back as another value or type; ``path`` says where.
            PayloadTooLargeError: it is larger than ``limit``.
        """
        encoded = self._checked(value, what)
        if limit is not None and len(encoded) > limit:
            raise PayloadTooLargeError(
                f"{what} has {len(encoded):,} bytes as JSON; {limit:,} are allowed. "
                "Store what is large elsewhere and pass a reference to it"
            )
        return encoded.decode()

    def decode(self, text: str | bytes) -> Any:
        """The value that :meth:`encode` made ``text`` of.

        Raises:
            SerializationError: the text does not fit the annotation: the code has changed since it was stored.
        """
        try:
            return self._validator.validate_json(text, by_alias=False, by_name=True)
        except ValidationError as error:
            issue = error.errors(include_url=False)[0]
            raise SerializationError(
                f"a stored value does not fit {_name(self.annotation)} at {_path(issue['loc'])}: {issue['msg']}; "
                "if the type has changed since it was stored, let it still accept the old form",
                _path(issue["loc"]),
            ) from error
        except Exception as error:  # a validator of the user's own may raise anything
            raise SerializationError(
                f"a stored value cannot be read as {_name(self.annotation)}: {type(error).__name__}: {error}"
            ) from error

    def validate(self, value: Any, error: type[ValidationIssuesError], what: str = "value") -> Any:
        """Turn what a caller gave, a value of the type or data that fits it, into a value of the type.

        Args:
            value: a Python value, or :class:`JsonText`, as :meth:`validate_json` takes it.
            error: raised when it does not fit, with a list of all issues.
            what: names the value in the error.
        """
        if isinstance(value, JsonText):
            return self.validate_json(value, error, what)
        try:
            return self._validator.validate_python(value, by_alias=True, by_name=True)
        except ValidationError as raised:
            raise _with_issues(raised, error, what, self.annotation) from raised

    def validate_json(
        self, text: str | bytes, error: type[ValidationIssuesError], what: str = "value"
    ) -> Any:
        """Like :meth:`validate`, from JSON text that comes from outside."""
        try:
            return self._validator.validate_json(text, by_alias=True, by_name=True)
        except ValidationError as raised:
            raise _with_issues(raised, error, what, self.annotation) from raised

    def schema(self, mode: Literal["validation", "serialization"] = "validation") -> dict[str, Any]:
        """The JSON Schema of the annotated type."""
        return self._adapter.json_schema(mode=mode)

    def _checked(self, value: Any, what: str) -> bytes:
        try:
            encoded = self._serializer.to_json(value, by_alias=False, round_trip=True, warnings=False)
            fault = difference(value, self._validator.validate_json(encoded, by_alias=False, by_name=True))
        except ValidationError as error:
            issue = error.errors(include_url=False)[0]
            raise self._refused(value, Fault(_path(issue["loc"])[1:], issue["msg"]), what) from error
        except Exception as error:
            raise self._refused(value, Fault("", f"{type(error).__name__}: {error}"), what) from error
        if fault is not None:
            raise self._refused(value, fault, what)
        return encoded

    def _refused(self, value: Any, fault: Fault, what: str) -> SerializationError:
        path, reason = find_fault(value, plain=False) or Fault(f"${fault.path}", fault.reason)
        return SerializationError(
            f"{what} cannot be stored as {_name(self.annotation)}: at {path}, {reason}", path
        )

    def __repr__(self) -> str:
        return f"Codec({_name(self.annotation)})"


class _PlainCodec(Codec):
    """Takes None, bool, int of 64 bits, finite float, str, and lists and str-keyed dicts of these; nothing else."""

    def __init__(self) -> None:
        super().__init__(Any)

    def decode(self, text: str | bytes) -> Any:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise SerializationError(f"a stored value is not JSON: {error}") from error

    def _checked(self, value: Any, what: str) -> bytes:
        try:
            encoded = orjson.dumps(value, option=_EXACT_ONLY)
        except TypeError as error:
            raise self._refused(value, Fault("", str(error)), what) from error
        kind = type(cast("object", value))
        if kind in _SCALARS or ((kind is dict or kind is list) and is_plain(value)):
            return encoded
        if fault := find_fault(value, plain=True):
            raise self._refused(value, fault, what)
        return encoded

    def _refused(self, value: Any, fault: Fault, what: str) -> SerializationError:
        path, reason = find_fault(value, plain=True) or Fault(f"${fault.path}", fault.reason)
        return SerializationError(f"{what} cannot be stored: at {path}, {reason}", path)

    def __repr__(self) -> str:
        return "PLAIN"


def codec_for(annotation: Any) -> Codec:
    """The codec of an annotation, built once; of ``Any`` and ``object``, :data:`PLAIN`.

    Raises:
        UsageError: pydantic does not know the type.
    """
    if annotation is Any or annotation is object or annotation is MISSING:
        return PLAIN
    try:
        return _built(None if annotation is NoneType else annotation)
    except TypeError:  # an annotation that cannot be hashed, like Annotated[int, {}]
        return Codec(annotation)


@lru_cache(maxsize=4096)
def _built(annotation: Any) -> Codec:
    return Codec(annotation)


def return_codec(fn: Callable[..., Any]) -> Codec:
    """The codec of what ``fn`` returns, by its annotation; :data:`PLAIN` without one (C3).

    Raises:
        UsageError: the annotation cannot be resolved, or pydantic does not know it.
    """
    try:
        return codec_for(return_annotation(fn))
    except UsageError as error:
        raise UsageError(
            f"the result of {getattr(fn, '__qualname__', fn)!s} has no codec: {error}"
        ) from error


def params_codec(annotation: Any) -> Codec:
    """The codec of a workflow's params; ``None`` and ``Any`` as in :func:`codec_for`."""
    return codec_for(annotation)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        try:
            return TypeAdapter(annotation, config=_BASE64)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            return TypeAdapter(annotation)
    except (PydanticUserError, PydanticSchemaGenerationError, NameError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(
            f"{_name(annotation)} cannot be stored: {reason}. Use a pydantic model, a dataclass, a TypedDict, an Enum, "
            "datetime, Decimal, UUID, bytes, or lists and dicts of these"
        ) from error


def _machinery(adapter: TypeAdapter[Any]) -> tuple[SchemaSerializer, SchemaValidator]:
    """An adapter's serializer and validator, with bytes as base64 at every depth.

    A model, dataclass or TypedDict has a configuration of its own, which hides the adapter's; pydantic's default for
    bytes is UTF-8 text, which most bytes are not. Where the type says nothing about bytes, base64 is filled in.
    """
    schema = adapter.core_schema
    if not _mentions_bytes(schema):
        return adapter.serializer, cast("SchemaValidator", adapter.validator)
    schema = _with_base64(schema)
    config = CoreConfig(ser_json_bytes="base64", val_json_bytes="base64")
    # Without _use_prebuilt=False the models' own validators, built for UTF-8, would be taken.
    return SchemaSerializer(schema, config, _use_prebuilt=False), SchemaValidator(
        schema, config, _use_prebuilt=False
    )


_CONFIGURED = frozenset({"model", "dataclass", "typed-dict"})
_USER_DATA = frozenset({"default", "expected", "members", "metadata", "serialization"})
"""Keys of a core schema under which the user's own values stand, or nothing that holds a type."""


def _mentions_bytes(node: Any) -> bool:
    if isinstance(node, dict):
        found = cast("dict[str, Any]", node)
        return found.get("type") == "bytes" or any(map(_mentions_bytes, found.values()))
    return isinstance(node, (list, tuple)) and any(map(_mentions_bytes, cast("list[Any]", node)))


def _with_base64(node: Any) -> Any:
    if type(node) is list:
        return [_with_base64(held) for held in cast("list[Any]", node)]
    if type(node) is tuple:
        return tuple(_with_base64(held) for held in cast("tuple[Any, ...]", node))
    if type(node) is not dict:
        return node
    found = cast("dict[str, Any]", node)
    copy = {key: held if key in _USER_DATA else _with_base64(held) for key, held in found.items()}
    if found.get("type") in _CONFIGURED:
        copy["config"] = {**_BASE64, **cast("dict[str, Any]", found.get("config", {}))}
    return copy


def _with_issues(
    raised: ValidationError, error: type[ValidationIssuesError], what: str, annotation: Any
) -> ValidationIssuesError:
    issues = [
        {"path": ".".join(map(str, issue["loc"])), "message": issue["msg"], "type": issue["type"]}
        for issue in raised.errors(include_url=False, include_context=False, include_input=False)
    ]
    listed = "; ".join(f"{issue['path'] or 'value'}: {issue['message']}" for issue in issues)
    return error(f"{what} does not fit {_name(annotation)}: {listed}", issues)


def _path(loc: tuple[int | str, ...]) -> str:
    steps = loc[:-2] if loc[-1:] == ("[key]",) else loc  # pydantic's mark of a dict's key
    return "$" + "".join(map(path_step, steps))


def _name(annotation: Any) -> str:
    return (
        annotation.__qualname__
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else str(annotation)
    )


PLAIN: Codec = _PlainCodec()
"""The codec of callbacks without an annotation, and of ``Any``."""
