"""The routes of OpenAI's API: `/v1/models`, `/v1/completions`, `/v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.responses import Response, StreamingResponse

from fkdsl.serve import openai_forms as forms
from fkdsl.serve.answers import JsonAnswer
from fkdsl.serve.failures import RequestError
from fkdsl.serve.service import Answer, Service
from fkdsl.serve.waiting import outcome, sse, streamed

PROMPT_EXAMPLE = {"model": "short_words", "prompt": "", "n": 3, "seed": 1}
CHAT_EXAMPLE = {"model": "short_words", "messages": [{"role": "user", "content": "Hello"}], "n": 3}


def openai_routes(service: Service) -> APIRouter:
    """The routes over a service."""
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.get("/models")
    async def list_models() -> dict[str, Any]:
        """The programs, each a model."""
        return forms.models(list(service.registry.values()))

    @router.get("/models/{name}")
    async def one_model(name: str) -> dict[str, Any]:
        """One program."""
        return forms.model_card(service.registry.find(name))

    @router.post("/completions")
    async def completions(
        request: Request, body: Annotated[dict[str, Any], Body(examples=[PROMPT_EXAMPLE])]
    ) -> Response:
        """`n` draws from the posterior of a program, whose text parameter is the prompt."""
        return await _answer(service, request, body, chat=False)

    @router.post("/chat/completions")
    async def chat(
        request: Request, body: Annotated[dict[str, Any], Body(examples=[CHAT_EXAMPLE])]
    ) -> Response:
        """`n` draws from the posterior of a program, whose parameters are what was said."""
        return await _answer(service, request, body, chat=True)

    return router


async def _answer(
    service: Service, request: Request, body: dict[str, Any], *, chat: bool
) -> Response:
    name = body.get("model")
    if not isinstance(name, str):
        raise RequestError("`model` is the name of a program", "GET /v1/models", param="model")
    served = service.registry.find(name)
    request.scope["fkdsl.program"] = served.name
    form = forms.read_form(body, served, service.settings.limits, chat=chat)
    ticket = service.run(served, form.order)
    answers = forms.Answers(served, form)
    if not form.stream:
        answer = await outcome(ticket, request)
        return JsonAnswer(answers.whole(answer.result, answer.prompt_tokens))

    def last(answer: Answer) -> list[str]:
        rest = answers.rest(answer.result, answer.prompt_tokens)
        return [*(sse(chunk) for chunk in rest), "data: [DONE]\n\n"]

    async def parts() -> Any:
        for chunk in answers.begin():
            yield sse(chunk)
        left = service.metrics.left.labels(served.name).inc
        async for part in streamed(ticket, request, None, last, left):
            # OpenAI's streams have no named events: an error is data like the rest.
            yield part.removeprefix("event: error\n")

    return StreamingResponse(parts(), media_type="text/event-stream")
