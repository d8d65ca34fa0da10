"""The routes for programs that come in the request (`--allow-programs`)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from fkdsl.serve.answers import JsonAnswer
from fkdsl.serve.bodies import SourceBody
from fkdsl.serve.service import STRANGER, Service
from fkdsl.serve.strangers import Source
from fkdsl.serve.waiting import Events, outcome, sse, streamed


def source_of(body: SourceBody) -> Source:
    """The program of a body. Raises RequestError for files that cannot be."""
    return Source(body.source, body.files, body.program).check()


def source_routes(service: Service) -> APIRouter:
    """The routes over a service."""
    router = APIRouter(prefix="/v1", tags=["programs in the request"])

    @router.post("/run")
    async def run(body: SourceBody, request: Request) -> Response:
        """A run of the request's own program, as of one of the folder's: in a process of its own,
        with the files of the request alone, and without Python."""
        request.scope["fkdsl.program"] = STRANGER
        source, order = source_of(body), body.order()
        if not body.stream:
            return JsonAnswer(await outcome(service.do("run", source, order), request))
        events = Events()
        ticket = service.do("run", source, order, events.put)
        left = service.metrics.left.labels(STRANGER).inc
        return StreamingResponse(
            streamed(ticket, request, events, lambda answer: [sse(answer, "result")], left),
            media_type="text/event-stream",
        )

    @router.post("/check")
    async def check(body: SourceBody, request: Request) -> dict[str, Any]:
        """The mistakes and warnings of the request's own program."""
        return await _done(service, request, body, "check")

    @router.post("/explain")
    async def explain(body: SourceBody, request: Request) -> dict[str, Any]:
        """The Feynman-Kac model that the request's own program means."""
        return await _done(service, request, body, "explain")

    return router


async def _done(
    service: Service, request: Request, body: SourceBody, action: str
) -> dict[str, Any]:
    request.scope["fkdsl.program"] = STRANGER
    return await outcome(service.do(action, source_of(body), body.order()), request)
