"""Our own routes of the folder's programs: what each takes, a run with its posterior and log Z, and
what is known without running it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from fkdsl.ir.printed import explain
from fkdsl.serve.answers import JsonAnswer
from fkdsl.serve.bodies import RunBody
from fkdsl.serve.failures import diagnostic
from fkdsl.serve.orders import Order
from fkdsl.serve.parameters import parameter_schema, text_parameter
from fkdsl.serve.registry import ServedProgram
from fkdsl.serve.service import Service
from fkdsl.serve.waiting import Events, outcome, sse, streamed


def card(served: ServedProgram, items: int | None = None) -> dict[str, Any]:
    """What a program takes and gives. items: of each list, at most."""
    program = served.program
    method, options = program.method
    return {
        "name": served.name,
        "doc": program.info.definition.doc,
        "parameters": parameter_schema(program, items),
        "text_parameter": text_parameter(program),
        "returns": str(program.info.returns),
        "method": method,
        "options": options,
        "models": served.models,
        "queries": [query.name for query in program.queries()],
    }


def program_routes(service: Service) -> APIRouter:
    """The routes over a service."""
    router = APIRouter(prefix="/v1/programs", tags=["programs"])
    registry, items = service.registry, service.settings.limits.items

    def find(name: str, request: Request) -> ServedProgram:
        served = registry.find(name)
        request.scope["fkdsl.program"] = served.name
        return served

    @router.get("")
    async def programs() -> dict[str, Any]:
        """Every program: its parameters as a JSON schema, its method, its models."""
        return {"programs": [card(served, items) for served in registry.values()]}

    @router.get("/{name}")
    async def program(name: str) -> dict[str, Any]:
        """One program."""
        return card(registry.find(name), items)

    @router.post("/{name}/run")
    async def run(name: str, body: RunBody, request: Request) -> Response:
        """A run: the posterior, log Z with its error, queries and notes; what `fkdsl run --json`
        prints. With `stream`, server-sent events: a `step` after each step of the population, then
        one `result` or `error`."""
        served, order = find(name, request), body.order()
        if not body.stream:
            answer = await outcome(service.run(served, order), request)
            return JsonAnswer(answer.json)
        events = Events()
        ticket = service.run(served, order, events.put)
        left = service.metrics.left.labels(served.name).inc
        return StreamingResponse(
            streamed(ticket, request, events, lambda a: [sse(a.json, "result")], left),
            media_type="text/event-stream",
        )

    @router.get("/{name}/check")
    async def check(name: str, request: Request) -> dict[str, Any]:
        """The warnings of a program; what is served has no mistakes."""
        warnings = find(name, request).program.warnings
        return {"ok": True, "diagnostics": [diagnostic(d) for d in warnings]}

    @router.get("/{name}/explain")
    async def explained(name: str, request: Request) -> dict[str, Any]:
        """The Feynman-Kac model that a program means, as `fkdsl explain` prints it."""
        served = find(name, request)
        ticket = service.work(lambda: explain(served.program.ir()), Order())
        return {"text": await outcome(ticket, request)}

    return router
