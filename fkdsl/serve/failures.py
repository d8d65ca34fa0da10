"""Errors as HTTP has them: a status, and a body in the form of OpenAI's errors.

    {"error": {"message": "unknown name `x`", "type": "invalid_request_error", "param": null,
               "code": "FK203", "line": 4, "column": 9, "help": "did you mean `y`?",
               "diagnostics": [...]}}

`line`, `column` and `diagnostics` are there where a program is wrong; `code` is then the mistake's
own, with a page in docs/errors. Other codes are those of CODES.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import (
    BudgetEnded,
    CallError,
    FkdslError,
    PopulationDied,
    ProgramError,
)
from fkdsl.cli.failure import diagnostic_json

FLAGS = {
    r"raise --timeout": "ask for fewer particles or shorter texts, or for more time by `timeout`",
    r"raise --(max-states|max-tokens)": r"raise `\1` in `options`",
    r"give it by -p (\w+)=\.\.\.": r'set it in `parameters`: {"\1": ...}',
    r"looked for in .*, the folder of": "looked for in the folder of",
}
"""What helps for the command line say, and what an answer says in their place. A client is not told
where the server's files lie."""
INVALID, SERVER = "invalid_request_error", "server_error"


class RequestError(CallError):
    """A request that is refused. status: of HTTP. code: a short name for programs. param: which
    field is to blame. headers: of the answer."""

    def __init__(
        self,
        message: str,
        help: str = "",
        *,
        status: int = 400,
        code: str = "invalid_request",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, help)
        self.status, self.code, self.param, self.headers = status, code, param, dict(headers or {})


class WorkerFailed(FkdslError):
    """What a worker process says of a job that failed. status, body: of the answer."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status, self.body = status, body
        super().__init__("a worker's job failed")


def failure(error: BaseException) -> tuple[int, dict[str, Any]]:
    """(status, body). What is no error of fkdsl's is our own mistake, and tells nothing of the
    inside."""
    if isinstance(error, WorkerFailed):
        return error.status, error.body
    if isinstance(error, RequestError):
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(error.status)
        kind = kind or (INVALID if error.status < 500 else SERVER)
        return error.status, body(error.message, kind, error.code, error.param, help=error.help)
    if isinstance(error, ProgramError):
        return 422, _program(error)
    if isinstance(error, PopulationDied):
        more: dict[str, Any] = {"died": error.details, "facts": list(error.facts)}
        text = body(error.message, INVALID, "population_died", help=error.help, **more)
        return 422, text
    if isinstance(error, BudgetEnded):
        unfinished = error.unfinished
        more = {"step": unfinished.step, "alive": unfinished.alive} if unfinished else {}
        late = error.message.startswith("time ran out")
        status, code = (504, "deadline_passed") if late else (422, "budget_ended")
        return status, body(error.message, INVALID, code, help=error.help, **more)
    if isinstance(error, FkdslError) and error.exit_status in (2, 3):
        status, code = (400, "invalid_request")
        if error.exit_status == 3:
            status, code = 422, "inference_failed"
        facts = list(error.facts)
        return status, body(error.message, INVALID, code, help=error.help, facts=facts)
    message = "the server failed at this request: please report it with the program that shows it"
    return 500, body(message, SERVER, "internal_error")


def _help(text: str) -> str:
    """A help that names a flag, for a reader who has fields of a request."""
    for flag, words in FLAGS.items():
        text = re.sub(flag, words, text)
    return text


def diagnostic(d: Diagnostic) -> dict[str, Any]:
    """A mistake or a warning of a program, as data for a client."""
    return {**diagnostic_json(d), "help": _help(d.help)}


def body(
    message: str, kind: str, code: str, param: str | None = None, **more: Any
) -> dict[str, Any]:
    """The body of an error."""
    more = {**more, "help": _help(more["help"])} if more.get("help") else more
    fields = {name: value for name, value in more.items() if value not in ("", [], None)}
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **fields}}


def _program(error: ProgramError) -> dict[str, Any]:
    """A program's mistakes: the first one as the error, and all of them."""
    all_of_them = [diagnostic(d) for d in error.diagnostics]
    first = next((d for d in all_of_them if d["severity"] == "error"), all_of_them[0])
    place = {name: first[name] for name in ("file", "line", "column")}
    return body(
        first["message"], INVALID, first["code"], help=first["help"], **place,
        diagnostics=all_of_them,
    )  # fmt: skip
