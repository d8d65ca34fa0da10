"""The OpenAPI document: the routes, and for each program its own parameters."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from fkdsl.serve.parameters import parameter_schema
from fkdsl.serve.registry import Registry
from fkdsl.serve.settings import Settings

RUN = "/v1/programs/{name}/run"
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "help": {"type": "string"},
                "line": {"type": "integer"},
                "column": {"type": "integer"},
            },
            "required": ["message", "type", "code"],
        }
    },
}


def documented(app: FastAPI, registry: Registry, settings: Settings) -> dict[str, Any]:
    """The document, made once: a run of each program stands as a path of its own, with the schema
    of its parameters."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = ERROR
    general = schema["paths"][RUN]["post"]
    for name, served in registry.items():
        operation = deepcopy(general)
        operation |= {
            "operationId": f"run_{name}",
            "summary": f"Run {name}",
            "description": served.program.info.definition.doc or general.get("description", ""),
            "parameters": [],
        }
        body = deepcopy(schemas["RunBody"])
        body["properties"]["parameters"] = parameter_schema(served.program, settings.limits.items)
        operation["requestBody"]["content"]["application/json"] = {"schema": body}
        schema["paths"][RUN.replace("{name}", name)] = {"post": operation}
    for methods in schema["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = {
                "description": "an error",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }
    if settings.key:
        schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"key": []}]
    app.openapi_schema = schema
    return schema
