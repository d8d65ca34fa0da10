"""Chat templates, rendered by a helper process that is bounded in time and memory
(fkdsl.models.chat_renderer).

>>> turns = [{"role": "user", "content": "hi"}]
>>> render_chat("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", {"messages": turns}, "m")
'<user>hi'

A template comes with a model's files, and jinja's sandbox keeps it from the machine but bounds
neither its loops nor its texts. The helper starts with the first chat, serves the following ones,
and ends with this process.
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
"""Of processor time that one chat may take; an honest template takes milliseconds."""
WALL_SECONDS = 30.0
"""After which a template is ended though the machine was busy with other work."""
CHAT_HELP = "write the prompt by hand, in the model's own format: prompt(...)"

_LOCK = threading.Lock()
_WORKERS: list[subprocess.Popen[str]] = []
"""The helper, if it runs; only touched by the holder of the lock."""


def render_chat(template: str, given: Mapping[str, Any], name: str) -> str:
    """The text of a template with these variables, which must be JSON. name: of the model, for
    errors.

    Raises CallError for a template that fails, that writes too much, or that takes too long or too
    much memory.
    """
    return _rendered(template, json.dumps(given), name)


@lru_cache(maxsize=256)
def _rendered(template: str, given: str, name: str) -> str:
    request = json.dumps(
        {"template": template, "given": json.loads(given), "seconds": RENDER_SECONDS}
    )
    with _LOCK:
        line = _asked(request)
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


def _asked(request: str) -> str:
    """The helper's answer, "" if it was ended meanwhile."""
    worker = _WORKERS.pop() if _WORKERS else _start()
    ended = threading.Timer(min(WALL_SECONDS, current().left), worker.kill)
    ended.daemon = True
    ended.start()
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
        ended.cancel()
        if line.endswith("\n"):
            _WORKERS.append(worker)
        else:  # it broke a bound, or Ctrl-C came before its answer
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
        start_new_session=True,  # Ctrl-C is for the caller, who ends the helper
    )
