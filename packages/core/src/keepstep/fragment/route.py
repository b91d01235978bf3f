"""Routes of a fragment: transaction scripts that answer requests, as data (G2). Whoever serves HTTP mounts them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple

from pydantic import BaseModel

from keepstep.errors import UsageError
from keepstep.model.access import Kind
from keepstep.model.annotations import MISSING, resolved, return_annotation

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_WITH_BODY = ("POST", "PUT", "PATCH")
_NAMED = re.compile(r"{(\w+)}")
_PATH = re.compile(r"(/([A-Za-z0-9._~-]+|{[A-Za-z_]\w*}))+")


class Parameter(NamedTuple):
    """One parameter of a handler: its annotation, and its default where it has one (else ``Parameter.empty``)."""

    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether a request must give it."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Route:
    """A route of a fragment.

    Attributes:
        method: ``"GET"``, ``"POST"`` …
        path: below the fragment's own, ``"/invoices/{order_id}"``.
        fn: the handler: ``fn(tx, …)``.
        kind: of operation, for the host's authorization (G3).
        path_parameters: those that the path names.
        query: those that the query may give.
        body: the name and the type of the one that is the request's body, or None.
        answer: what it returns.
    """

    method: str
    path: str
    fn: Callable[..., Any]
    kind: Kind
    path_parameters: Mapping[str, Parameter]
    query: Mapping[str, Parameter]
    body: tuple[str, Any] | None
    answer: Any


def define_route(owner: object, method: str, path: str, kind: str, fn: Callable[..., Any]) -> Route:
    """Make a function a route.

    Raises:
        UsageError: the method, path or kind is none, or the function's parameters do not fit them.
    """
    shown = f"route {method} {path} of {owner!r}"
    if method not in METHODS:
        raise UsageError(f"{shown}: the method is one of {', '.join(METHODS)}")
    if kind not in list(Kind):
        raise UsageError(f"{shown}: {kind!r} is no kind of operation; the kinds are {', '.join(Kind)}")
    if not isinstance(fn, FunctionType) or inspect.iscoroutinefunction(fn):
        raise UsageError(f"{shown}: a handler is a plain def function fn(tx, …), as a service is, not {fn!r}")
    parameters = _parameters(fn, shown)
    named = check_path(shown, path)
    if missing := sorted(named - set(parameters)):
        raise UsageError(f"{shown}: {fn.__name__} does not take {', '.join(missing)}, which the path names")
    rest = {name: each for name, each in parameters.items() if name not in named}
    bodies = [name for name, each in rest.items() if _is_model(each.annotation)]
    if len(bodies) > 1 or (bodies and method not in _WITH_BODY):
        raise UsageError(
            f"{shown}: one parameter may be a model, the body of POST, PUT or PATCH; not {bodies}"
        )
    answer = return_annotation(fn)
    return Route(
        method,
        path,
        fn,
        Kind(kind),
        {name: parameters[name] for name in parameters if name in named},
        {name: each for name, each in rest.items() if name not in bodies},
        (bodies[0], rest[bodies[0]].annotation) if bodies else None,
        Any if answer is MISSING else answer,
    )


def check_path(shown: str, path: str) -> frozenset[str]:
    """The names in a path.

    Raises:
        UsageError: it is no path, or has one name twice.
    """
    if not path.startswith("/"):
        raise UsageError(f"{shown}: its path begins with '/'")
    if not _PATH.fullmatch(path):
        raise UsageError(f"{shown}: a path is like '/invoices/{{order_id}}'")
    names = _NAMED.findall(path)
    if len(set(names)) < len(names):
        raise UsageError(f"{shown}: the path has one name twice")
    return frozenset(names)


def _parameters(fn: FunctionType, shown: str) -> dict[str, Parameter]:
    first, *others = [*inspect.signature(fn).parameters.values(), None]
    if first is None or first.kind is first.KEYWORD_ONLY:
        raise UsageError(
            f"{shown}: {fn.__name__} takes {inspect.signature(fn)}; its first parameter is the Tx"
        )
    found: dict[str, Parameter] = {}
    for each in others:
        if each is None:
            continue
        if each.kind in {each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY}:
            raise UsageError(f"{shown}: {fn.__name__} takes {each}, which no request can give")
        annotation = fn.__annotations__.get(each.name, MISSING)
        kind = str if annotation is MISSING else resolved(fn, annotation, f"annotation of {each.name!r}")
        found[each.name] = Parameter(kind, each.default)
    return found


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and (
        issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
    )
