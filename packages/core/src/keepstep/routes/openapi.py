"""The table of operations as an OpenAPI 3.1 document, from the models that requests and answers pass through."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Literal, cast

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from keepstep.client import wire
from keepstep.routes.operations import AnyOperation
from keepstep.routes.problems import MEDIA_TYPE

_REF = "#/components/schemas/{model}"
_PATH_PARAMETERS: Mapping[str, Any] = {"name": wire.WorkflowName, "id": wire.InstanceId}

Schemas = Mapping[tuple[type[BaseModel], Literal["validation", "serialization"]], dict[str, Any]]


def document(operations: Sequence[AnyOperation], prefix: str) -> dict[str, Any]:
    """Write the document, but for its ``servers``.

    Args:
        operations: what is offered.
        prefix: of every path.
    """
    schemas, definitions = _schemas(operations)
    parameters = {each.query: _query_parameters(each.query, definitions) for each in operations}
    for model in parameters:
        del definitions[model.__name__]
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(prefix + each.path, {})[each.method.lower()] = _operation(
            each, schemas, parameters[each.query]
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "keepstep",
            "version": version("keepstep"),
            "description": "Begin workflows, watch them, steer them. Refusals are problems (RFC 9457) with a stable code.",
        },
        "paths": paths,
        "components": {"schemas": definitions},
    }


def _schemas(operations: Iterable[AnyOperation]) -> tuple[Schemas, dict[str, Any]]:
    models: dict[tuple[type[BaseModel], Literal["validation", "serialization"]], None] = {}
    models[wire.Problem, "serialization"] = None
    for each in operations:
        models[each.query, "validation"] = None
        if each.takes_body:
            models[each.body, "validation"] = None
        models.update(((answer, "serialization"), None) for answer in each.answers.values())
    schemas, top = models_json_schema(list(models), ref_template=_REF)
    return cast("Schemas", schemas), top.get("$defs", {})


def _operation(operation: AnyOperation, schemas: Schemas, query: Sequence[dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": (inspect.getdoc(operation.handle) or "").splitlines()[0],
        "x-keepstep-access": list(operation.kinds),
        "parameters": [*_path_parameters(operation), *query],
        "responses": {
            str(status): _response(status, "application/json", schemas[model, "serialization"])
            for status, model in operation.answers.items()
        },
    }
    if operation.takes_body:
        required = any(each.is_required() for each in operation.body.model_fields.values())
        content = {"application/json": {"schema": schemas[operation.body, "validation"]}}
        described["requestBody"] = {"required": required, "content": content}
    refused = schemas[wire.Problem, "serialization"]
    for status in _refusals(operation):
        described["responses"][str(status)] = _response(status, MEDIA_TYPE, refused)
    return described


def _refusals(operation: AnyOperation) -> list[int]:
    """Every status with which this operation may refuse."""
    found = {401, 403, 500, 503}
    if operation.fragment is not None:
        found |= {400, 404, 422}
    elif "{name}" in operation.path:
        found.add(404)
    if "/instances/{id}" in operation.path or operation.query is not wire.NoQuery:
        found.add(400)
    if operation.query is not wire.NoQuery:
        found.add(422)
    if operation.takes_body:
        found |= {400, 413, 415, 422}
    if operation.conflicts:
        found.add(409)
    return sorted(found)


def _response(status: int, media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": {media: {"schema": schema}}}


def _path_parameters(operation: AnyOperation) -> list[dict[str, Any]]:
    known = _PATH_PARAMETERS if operation.fragment is None else operation.parameters
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": TypeAdapter(annotation).json_schema(),
        }
        for name, annotation in known.items()
        if f"{{{name}}}" in operation.path
    ]


def _query_parameters(model: type[wire.Query], definitions: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    needed = definitions[model.__name__].get("required", ())
    for name, property_ in definitions[model.__name__].get("properties", {}).items():
        schema = _without_null({key: held for key, held in property_.items() if key not in _ABOUT})
        about = {key: property_[key] for key in ("description",) if key in property_}
        required = name in needed
        found.append({"name": name, "in": "query", "required": required, "schema": schema, **about})
    return found


_ABOUT = frozenset({"title", "description"})


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave null out: a parameter of a query is given or not."""
    options = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return options[0] if len(options) == 1 else schema
