"""Requests and answers as OpenAI's API has them, for programs.

A program is a model. Its answers to a request are `n` draws from the posterior, by weight. What is
returned is a value and no sequence of tokens, so with `logprobs` the whole answer counts as one
token: its logprob is the log of its posterior probability, and `top_logprobs` are the likeliest
values. Fields that would change the posterior, such as `temperature`, are refused unless they say
what the program does anyway. Each answer has a field `fkdsl`: seed, log Z, its error, ESS, notes.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.result import Result
from fkdsl.serve.failures import RequestError
from fkdsl.serve.orders import Order
from fkdsl.serve.parameters import MAX_TOKENS, types_of, with_messages, with_text
from fkdsl.serve.registry import ServedProgram
from fkdsl.serve.settings import RequestLimits
from fkdsl.values.types import INT
from fkdsl.values.values import plain

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "stop": ([], ""),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "echo": (False,),
    "suffix": ("",),
    "best_of": (1,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
}
"""Fields that may be there with these values, or null, and change nothing."""
PASSED_OVER = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"}
)
READ = frozenset(
    {
        "model", "prompt", "messages", "n", "seed", "max_tokens", "max_completion_tokens",
        "logprobs", "top_logprobs", "stream", "stream_options", "parameters", "options", "method",
        "islands", "timeout", "lookahead",
    }
)  # fmt: skip
MOST_TOP = 20
BITS = 53
"""Of a seed that the server chooses: every reader of JSON has such numbers exactly."""


@dataclass(frozen=True)
class Form:
    """What a request asks for. chat: of which of the two kinds it is. logprobs: how many of the
    likeliest values to name, None for no logprobs."""

    order: Order
    chat: bool
    n: int
    logprobs: int | None
    stream: bool
    usage_at_end: bool


def read_form(
    body: Mapping[str, Any], served: ServedProgram, limits: RequestLimits, *, chat: bool
) -> Form:
    """What a request says. Raises RequestError for a field that cannot be honoured."""
    _check_fields(body)
    n = _integer(body, "n", 1, 1, limits.answers)
    seed = body.get("seed")
    if seed is None:
        seed = secrets.randbits(BITS)
    program = served.program
    if chat:
        messages = body.get("messages")
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise RequestError("`messages` is a list of messages", "send one", param="messages")
        if len(messages) > limits.items:
            raise RequestError("too many messages", "send fewer", param="messages")
        parameters = with_messages(program, messages)
        wants = body.get("logprobs") or False
        if not isinstance(wants, bool):
            raise RequestError("`logprobs` is true or false", param="logprobs")
        top = _integer(body, "top_logprobs", 0, 0, MOST_TOP) if wants else None
    else:
        prompt = body.get("prompt") or ""
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise RequestError(
                "`prompt` is one text: lists of prompts, and of tokens, are not read",
                "send a request for each",
                param="prompt",
            )
        parameters = with_text(program, prompt)
        given = body.get("logprobs")
        top = None if given is None else _integer(body, "logprobs", 0, 0, MOST_TOP)
    options = body.get("stream_options") or {}
    return Form(
        Order(
            parameters={**parameters, **_most(body, served), **_mapping(body, "parameters")},
            seed=_whole(seed, "seed"),
            method=_word(body, "method"),
            options=_mapping(body, "options"),
            islands=_integer(body, "islands", 1, 1, limits.particles),
            seconds=_number(body, "timeout"),
            samples=n,
            lookahead=_word(body, "lookahead") or "auto",
        ),
        chat,
        n,
        top,
        bool(body.get("stream") or False),
        bool(isinstance(options, dict) and options.get("include_usage")),
    )


def _check_fields(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name in READ or name in PASSED_OVER or value is None:
            continue
        if name in NEUTRAL and any(value == v for v in NEUTRAL[name]):
            continue
        if name in NEUTRAL:
            raise RequestError(
                f"`{name}` would change what the program means",
                "leave it out, and write it in the program",
                param=name,
                code="unsupported_parameter",
            )
        raise RequestError(
            f"there is no field `{name[:60]}`",
            "parameters of the program go into `parameters`",
            param=name[:60],
            code="unknown_parameter",
        )


def _most(body: Mapping[str, Any], served: ServedProgram) -> dict[str, Any]:
    """The program's own bound on its tokens, where it has one and the request asks for it."""
    given = {k: body[k] for k in (MAX_TOKENS, "max_completion_tokens") if body.get(k) is not None}
    if not given:
        return {}
    name, value = next(iter(given.items()))
    if types_of(served.program).get(MAX_TOKENS) != INT:
        raise RequestError(
            f"`{served.name}` has no parameter `max_tokens: int`",
            f"leave `{name}` out, or give the program one",
            param=name,
            code="unsupported_parameter",
        )
    return {MAX_TOKENS: _whole(value, name)}


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestError(f"`{name}` is a whole number", param=name)
    return value


def _integer(body: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = body.get(name)
    number = default if value is None else _whole(value, name)
    if not least <= number <= most:
        raise RequestError(
            f"`{name}` is from {least} to {most} on this server",
            param=name,
            code="limit_exceeded",
        )
    return number


def _number(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise RequestError(f"`{name}` is a number", param=name)
    return value


def _word(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise RequestError(f"`{name}` is a word", param=name)
    return value


def _mapping(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        raise RequestError(f"`{name}` is an object", param=name)
    return dict(value or {})


# ---------------------------------------------------------------------- answers


def text_of(value: Any) -> str:
    """A value as the text of an answer; what is no text is JSON."""
    return value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)


class Answers:
    """The answers of one request. served, form: of it."""

    def __init__(self, served: ServedProgram, form: Form) -> None:
        self.served, self.form = served, form
        kind = "chatcmpl" if form.chat else "cmpl"
        self.head = {
            "id": f"{kind}-{secrets.token_hex(12)}",
            "object": "chat.completion" if form.chat else "text_completion",
            "created": int(time.time()),
            "model": served.name,
        }

    def whole(self, result: Result, prompt_tokens: int) -> dict[str, Any]:
        """The whole answer at once. prompt_tokens: of the forwarded ones."""
        return {
            **self.head,
            "choices": self.choices(result),
            "usage": usage(result, prompt_tokens),
            "fkdsl": facts(result),
        }

    def choices(self, result: Result) -> list[dict[str, Any]]:
        """A choice for each draw from the posterior."""
        return [
            self._choice(i, value, result) for i, value in enumerate(result.samples(self.form.n))
        ]

    def _choice(self, i: int, value: Any, result: Result) -> dict[str, Any]:
        text = text_of(value)
        choice: dict[str, Any] = {"index": i, "finish_reason": "stop", "logprobs": None}
        if self.form.logprobs is not None:
            choice["logprobs"] = self._logprobs(value, result, self.form.logprobs)
        if self.form.chat:
            return {**choice, "message": {"role": "assistant", "content": text, "refusal": None}}
        return {**choice, "text": text}

    def _logprobs(self, value: Any, result: Result, top: int) -> dict[str, Any]:
        log_p = _log(result.probability(value))
        likeliest = [(text_of(a.value), _log(a.probability)) for a in result.posterior[:top]]
        text = text_of(value)
        if not self.form.chat:
            return {
                "tokens": [text],
                "token_logprobs": [log_p],
                "top_logprobs": [dict(likeliest)],
                "text_offset": [0],
            }
        return {
            "content": [{**_token(text, log_p), "top_logprobs": [_token(*t) for t in likeliest]}],
            "refusal": None,
        }

    def begin(self) -> Iterator[dict[str, Any]]:
        """What a stream sends at once: of a chat, who speaks."""
        if self.form.chat:
            for i in range(self.form.n):
                yield self._chunk(i, {"role": "assistant", "content": ""}, None, None)

    def rest(self, result: Result, prompt_tokens: int) -> Iterator[dict[str, Any]]:
        """What a stream sends when the run has ended: a draw is known only then."""
        for choice in self.choices(result):
            i = choice["index"]
            text = choice["message"]["content"] if self.form.chat else choice["text"]
            yield self._chunk(i, {"content": text}, choice["logprobs"], None)
            yield {**self._chunk(i, {}, None, "stop"), "fkdsl": facts(result)}
        if self.form.usage_at_end:
            yield {**self._chunks_head(), "choices": [], "usage": usage(result, prompt_tokens)}

    def _chunks_head(self) -> dict[str, Any]:
        return {**self.head, **({"object": "chat.completion.chunk"} if self.form.chat else {})}

    def _chunk(
        self, i: int, delta: dict[str, Any], logprobs: Any, finish: str | None
    ) -> dict[str, Any]:
        said = {"delta": delta} if self.form.chat else {"text": delta.get("content", "")}
        choice = {"index": i, **said, "logprobs": logprobs, "finish_reason": finish}
        return {**self._chunks_head(), "choices": [choice]}


def _log(p: float) -> float:
    return math.log(p) if p > 0.0 else -9999.0  # as OpenAI writes what has no finite logarithm


def _token(text: str, log_p: float) -> dict[str, Any]:
    return {"token": text, "logprob": log_p, "bytes": list(text.encode())}


def usage(result: Result, prompt_tokens: int) -> dict[str, int]:
    """Tokens that went through the models: those of prompts that other requests had computed
    already did not."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": result.forwarded_tokens - prompt_tokens,
        "total_tokens": result.forwarded_tokens,
    }


def facts(result: Result) -> dict[str, Any]:
    """What a reader must know of the run."""
    return {
        "seed": result.seed,
        "method": result.method,
        "log_z": result.estimated_log_z,
        "log_z_se": result.log_z_se,
        "ess": result.ess,
        "queries": {name: q.mean for name, q in result.queries.items()},
        "notes": list(result.notes),
    }


def model_card(served: ServedProgram) -> dict[str, Any]:
    """The program as `/v1/models` lists it."""
    return {"id": served.name, "object": "model", "created": served.created, "owned_by": "fkdsl"}


def models(all_of_them: Sequence[ServedProgram]) -> dict[str, Any]:
    return {"object": "list", "data": [model_card(served) for served in all_of_them]}
