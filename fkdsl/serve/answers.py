"""Answers as JSON that every reader takes: no NaN, no infinite number, no half of a surrogate
pair, though a request may have said one."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from fkdsl.cli.output import json_text


class JsonAnswer(JSONResponse):
    """An object as `--json` prints it."""

    def render(self, content: Any) -> bytes:
        return json_text(content).encode()
