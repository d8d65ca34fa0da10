"""Chat templates, rendered by a helper process with bounded time and memory
(fkdsl.models.chat_renderer).

>>> template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
>>> render_chat(template, {"messages": [{"role": "user", "content": "hi"}]}, "m")
'<user>hi'

A template comes with a model's files. jinja's sandbox keeps it from the machine but bounds neither
its loops nor its texts. The helper starts with the first chat, renders the following ones too, and
ends with this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from fkdsl.base.deadline import check, current
from fkdsl.base.errors import CallError

RENDER_SECONDS = 3
"""CPU time that one chat may take; an honest template takes milliseconds."""
WALL_SECONDS = 30.0
"""Time by the clock after which the helper is killed, however busy the machine was."""
CHAT_HELP = "write the prompt by hand, in the model's own format: prompt(...)"

_LOCK = threading.Lock()
_WORKERS: list[subprocess.Popen[str]] = []
"""The helper process, if one runs. Only the holder of _LOCK may use it."""


def render_chat(template: str, given: Mapping[str, Any], name: str) -> str:
    """The text of a template. given: the values of its variables, as JSON has them; name: of the
    model, for errors.

    Raises CallError for a template that fails, writes too much, or takes too long or too much
    memory.
    """
    return _rendered(template, json.dumps(given), name)


@lru_cache(maxsize=256)
def _rendered(template: str, given: str, name: str) -> str:
    request = json.dumps(
        {"template": template, "given": json.loads(given), "seconds": RENDER_SECONDS}
    )
    with _LOCK:
        line = _response(request)
    check()
    try:
        answer = json.loads(line)
    except ValueError:
        raise CallError(
            f"the chat template of {name} takes more than {RENDER_SECONDS} s", CHAT_HELP
        ) from None
    if "error" in answer:
        raise CallError(f"the chat template of {name} fails: {answer['error']}", CHAT_HELP)
    return str(answer["text"])


def _response(request: str) -> str:
    """The helper's response to a request, "" if the helper was killed before it."""
    worker = _WORKERS.pop() if _WORKERS else _start()
    timer = threading.Timer(min(WALL_SECONDS, current().left), worker.kill)
    timer.daemon = True
    timer.start()
    line = ""
    try:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(request + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except OSError:
        line = ""
    finally:
        timer.cancel()
        if line.endswith("\n"):
            _WORKERS.append(worker)
        else:  # the helper passed a bound, or Ctrl-C came before its response
            worker.kill()
            worker.communicate()
    return line


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("chat_renderer.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,  # Ctrl-C reaches only this process, which kills the helper
    )
