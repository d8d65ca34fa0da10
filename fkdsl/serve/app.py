"""The application: routes, errors, counters and the guard."""

from __future__ import annotations

import html
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from fkdsl.base.errors import FkdslError
from fkdsl.base.version import VERSION
from fkdsl.serve.answers import JsonAnswer
from fkdsl.serve.failures import INVALID, RequestError, body, failure
from fkdsl.serve.guard import App, Guard
from fkdsl.serve.openapi import documented
from fkdsl.serve.registry import Registry
from fkdsl.serve.routes_openai import openai_routes
from fkdsl.serve.routes_programs import program_routes
from fkdsl.serve.service import Service
from fkdsl.serve.settings import Settings
from fkdsl.serve.waiting import ClientLeft

LEFT = 499
"""The status, for the counters, of a request whose client left."""


def application(settings: Settings, registry: Registry) -> tuple[App, Service]:
    """(the ASGI application, the service behind it, which ends with it)."""
    service = Service(settings, registry)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="fkdsl", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan,
        default_response_class=JsonAnswer,
        description="Programs that steer language models, each a model of OpenAI's API.",
    )  # fmt: skip
    app.include_router(openai_routes(service))
    app.include_router(program_routes(service))
    if settings.allow_programs:
        from fkdsl.serve.routes_sources import source_routes

        app.include_router(source_routes(service))
    _add_pages(app, service)
    _add_errors(app, service)
    app.openapi = lambda: documented(app, registry, settings)  # type: ignore[method-assign]

    def count(program: str, status: int) -> None:
        service.metrics.requests.labels(program, str(status)).inc()

    return Guard(app, settings, count), service


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/health", tags=["server"])
    async def health() -> dict[str, Any]:
        """Whether the server answers, and how much it has to do. Needs no key."""
        going, waiting = service.runs.counts
        return {"status": "ok", "version": VERSION, "runs": going, "queue": waiting}

    @app.get("/metrics", tags=["server"])
    async def metrics() -> Response:
        """What Prometheus reads."""
        page, kind = service.metrics.page()
        return Response(page, media_type=kind)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page_of(app.openapi()))


def _add_errors(app: FastAPI, service: Service) -> None:
    async def answer(request: Request, error: Exception) -> JsonAnswer:
        status, text = failure(error)
        headers = error.headers if isinstance(error, RequestError) else {}
        return JsonAnswer(text, status, headers)

    async def left(request: Request, error: Exception) -> Response:
        service.metrics.left.labels(request.scope.get("fkdsl.program", "")).inc()
        return Response(status_code=LEFT)

    async def invalid(request: Request, error: Exception) -> JsonAnswer:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            why, at = first["ctx"]["error"], first["loc"][-1]
            message = f"the body is no JSON: {why}, at character {at}"
            return JsonAnswer(body(message, INVALID, "invalid_request"), 400)
        param = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{param}: {first['msg']}" if param else str(first["msg"])
        return JsonAnswer(body(message, INVALID, "invalid_request", param or None), 400)

    async def http(request: Request, error: Exception) -> JsonAnswer:
        assert isinstance(error, HTTPException)
        if error.status_code == 400:
            message = "the body of a request is JSON in UTF-8"
            return JsonAnswer(body(message, INVALID, "invalid_request"), 400)
        message = f"{error.detail}: {request.method} {request.url.path}"
        return JsonAnswer(body(message, INVALID, "not_found", help="see /docs"), error.status_code)

    app.add_exception_handler(FkdslError, answer)
    app.add_exception_handler(ClientLeft, left)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, answer)


def page_of(schema: dict[str, Any]) -> str:
    """The OpenAPI document as a page without scripts."""
    parts = []
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>")
            parts.append(f"<p>{html.escape(operation.get('description', ''))}</p>")
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                text = html.escape(json.dumps(content, indent=2))
                parts.append(f"<details><summary>body</summary><pre>{text}</pre></details>")
    components = html.escape(json.dumps(schema.get("components", {}), indent=2))
    return (
        "<!doctype html><meta charset='utf-8'><title>fkdsl</title>"
        "<style>body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
        "pre{background:#f4f4f4;padding:.5rem;overflow:auto}h2{font-size:1rem}</style>"
        f"<h1>{html.escape(schema['info']['title'])} {html.escape(schema['info']['version'])}</h1>"
        "<p>The same as data: <a href='/openapi.json'>/openapi.json</a>.</p>"
        f"{''.join(parts)}<h2>Schemas</h2><pre>{components}</pre>"
    )
