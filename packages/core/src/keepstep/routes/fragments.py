"""Routes of mounted fragments as operations: ``/fragments/<name>/…``, each in a transaction of its own (G2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, RootModel, ValidationError, create_model

from keepstep.client import wire
from keepstep.errors import UsageError
from keepstep.fragment.mount import FragmentMount
from keepstep.fragment.route import Parameter, Route
from keepstep.routes.endpoints import Call, Reply
from keepstep.routes.incoming import unfit
from keepstep.routes.operations import AnyOperation, Operation


def operations_of(mounts: Iterable[FragmentMount]) -> list[AnyOperation]:
    """Make the operations of all mounted fragments.

    Raises:
        UsageError: a parameter or answer has a type that JSON Schema cannot tell; all are listed.
    """
    found: list[AnyOperation] = []
    wrong: list[str] = []
    for mount in mounts:
        for route in mount.fragment.routes:
            try:
                found.append(_operation(mount, route))
            except Exception as error:  # noqa: BLE001  # pydantic raises many kinds for a type that it cannot read
                wrong.append(f"{route.method} {route.path} of {mount!r}: {error}")
    if wrong:
        raise UsageError("these routes cannot be served: " + "; ".join(wrong))
    return found


def _operation(mount: FragmentMount, route: Route) -> AnyOperation:
    name = f"{mount.name}_{route.fn.__name__}"
    title = "".join(part.capitalize() for part in name.split("_"))
    paths = _model(f"{title}Path", route.path_parameters, wire.Query)
    query = _model(f"{title}Query", route.query, wire.Query) if route.query else wire.NoQuery
    body: Any = wire.NoBody if route.body is None else _root(f"{title}Body", route.body[1])
    answer = _root(f"{title}Answer", route.answer)
    answer.model_json_schema(mode="serialization")
    return Operation(
        method=route.method,
        path=f"/fragments/{mount.name}{route.path}",
        kinds=(route.kind,),
        handle=_handler(name, mount, route, paths, answer),
        answers={200: answer},
        body=body,
        query=query,
        conflicts=True,
        fragment=mount.name,
        parameters={each: found.annotation for each, found in route.path_parameters.items()},
    )


def _handler(
    name: str, mount: FragmentMount, route: Route, paths: type[BaseModel], answer: type[RootModel[Any]]
) -> Callable[[Call[Any, Any]], Awaitable[Reply]]:
    async def handle(call: Call[Any, Any]) -> Reply:
        given = dict(_path_of(call, paths))
        given.update((each, getattr(call.query, each)) for each in route.query)
        if route.body is not None:
            given[route.body[0]] = call.body.root
        return Reply(200, answer(await mount.call(route.fn, **given)))

    handle.__name__ = name
    handle.__doc__ = route.fn.__doc__ or f"{route.fn.__name__} of fragment {mount.name}."
    return handle


def _path_of(call: Call[Any, Any], paths: type[BaseModel]) -> Mapping[str, Any]:
    try:
        found = paths.model_validate(dict(call.request.path_params))
    except ValidationError as error:
        raise unfit(error, "the path") from None
    return {name: getattr(found, name) for name in paths.model_fields}


def _model(name: str, parameters: Mapping[str, Parameter], base: type[wire.Query]) -> type[wire.Query]:
    fields: dict[str, Any] = {
        each: (found.annotation, ... if found.required else found.default)
        for each, found in parameters.items()
    }
    return create_model(name, __base__=base, **fields)


def _root(name: str, annotation: Any) -> Any:
    return create_model(name, __base__=RootModel[annotation])
