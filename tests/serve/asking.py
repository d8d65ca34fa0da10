"""A server in this process, over a folder of small programs."""

import asyncio
import json
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

from starlette.testclient import TestClient

from fkdsl.serve.app import application
from fkdsl.serve.registry import Registry
from fkdsl.serve.settings import Settings

PROGRAMS = Path(__file__).parent.parent.parent / "programs"
TABLE = """model bits = table:
    "" -> "0": 0.4, "1": 0.6
"""
FILES = {
    "say": TABLE
    + """
program say(prompt: str, max_tokens: int = 2) -> str:
    \"\"\"The prompt, and bits after it.\"\"\"
    lm = prompt("")
    while lm.tokens < max_tokens:
        t ~ lm
    return prompt + lm.text
""",
    "talk": TABLE
    + """
program talk(messages: list[str]) -> list[str]:
    lm = prompt("")
    t ~ lm
    return messages + [str(t)]
""",
    "dead": TABLE
    + """
program dead() -> str:
    lm = prompt("")
    t ~ lm
    condition str(t) == "2"
    return lm.text
""",
    "faulty": TABLE
    + """
program faulty(n: int) -> int:
    lm = prompt("")
    t ~ lm
    return 1 // n
""",
    "endless": TABLE
    + """
program endless() -> str:
    lm = prompt("")
    while true:
        t ~ lm
    return lm.text
""",
    "wrong": "program wrong() -> str:\n    return y\n",
    "functions": "def one() -> int:\n    return 1\n",
}
ENDLESS = {"seed": 1, "options": {"particles": 2}}


def folder_of(path):
    """The folder of the programs above and `two_bits`."""
    shutil.copy(PROGRAMS / "two_bits.fk", path)
    for name, text in FILES.items():
        (path / f"{name}.fk").write_text(text, "utf-8")
    return path


@contextmanager
def serving(settings, told=None):
    """(a client, the service) of a server in this process."""
    registry = Registry.of(settings.check(), (lambda line: None) if told is None else told.append)
    app, service = application(settings, registry)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        client.app_behind, client.service = app, service
        yield client


def settings_for(path, **options):
    return Settings(folder_of(path), **options)


def error_of(answer, status, code):
    """The error of an answer, which has this status and code."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    return error


def events_of(text):
    """(name, data) of the server-sent events in a text."""
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        if "data" in fields:
            data = fields["data"]
            events.append((fields.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return events


def post(client, path, **body):
    return client.post(path, json=body)


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


async def left_by_client(app, path, body, after):
    """Sends a request to an ASGI application and leaves once `after()` is true; what was sent."""
    sent = []
    parts = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive():
        if parts:
            return parts.pop()
        while not after():
            await asyncio.sleep(0.005)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 20)
    return sent
