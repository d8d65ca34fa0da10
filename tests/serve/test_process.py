"""`fkdsl serve` as a process: OpenAI's own client, clients that leave, and how it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import fkdsl
from tests.serve.asking import folder_of

KEY = "a-key-that-is-long-enough"
pytestmark = pytest.mark.slow


class Process:
    """A server in a process of its own."""

    def __init__(self, folder, *flags):
        command = [sys.executable, "-m", "fkdsl", "serve", str(folder), "--port", "0", *flags]
        environment = {"FKDSL_API_KEY": KEY, "PATH": "/usr/bin:/bin", "PYTHONPATH": "."}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.said = ""
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError(self.said)

    def post(self, path, **body):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def health(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=30) as answer:
            return json.loads(answer.read())

    def started(self):
        """The processes that it has started, and theirs."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                new = [int(child) for child in task.read_text().split()]
                found, todo = found + new, todo + new
        return found


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(*flags):
        servers.append(Process(folder_of(tmp_path), *flags))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_openais_client_asks_a_program(serve):
    openai = pytest.importorskip("openai", reason="the client is installed by hand")
    server = serve()
    base = f"http://127.0.0.1:{server.port}/v1"
    client = openai.OpenAI(base_url=base, api_key=KEY, max_retries=0)
    assert "say" in [model.id for model in client.models.list()]
    answer = client.completions.create(model="say", prompt="ab", n=3, seed=2, logprobs=1)
    program = fkdsl.load(server_folder(server) / "say.fk")
    expected = program(prompt="ab").run(seed=2)
    assert [choice.text for choice in answer.choices] == expected.samples(3)
    assert answer.fkdsl["seed"] == 2
    said = [{"role": "user", "content": "ab"}]
    chat = client.chat.completions.create(model="say", messages=said, seed=2, max_tokens=1)
    assert chat.choices[0].message.content in ("ab0", "ab1")
    stream = client.chat.completions.create(
        model="say",
        messages=said,
        seed=2,
        n=2,
        stream=True,
        extra_body={"options": {"particles": 4}},
    )
    texts = ["", ""]
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == program(prompt="ab").run(seed=2, particles=4).samples(2)
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="say", prompt="ab", temperature=0.5)
    assert refused.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=base, api_key="another", max_retries=0).models.list()


def server_folder(server):
    return Path(server.process.args[4])


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_client_that_closes_its_connection_ends_its_run(serve, stream):
    server = serve()
    body = f'{{"options": {{"particles": 2}}, "stream": {stream}}}'
    head = (
        f"POST /v1/programs/endless/run HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall((head + body).encode())
        wait_for(lambda: server.health()["runs"] == 1)
    wait_for(lambda: server.health()["runs"] == 0)


def test_sigterm_lets_runs_end_and_leaves_nothing(serve):
    server, answers = serve("--allow-programs", "--grace", "3"), []

    def ask(**body):
        answers.append(server.post("/v1/programs/endless/run", **body))

    threads = [
        threading.Thread(target=ask, kwargs={"timeout": 1.5, "options": {"particles": 2}}),
        threading.Thread(target=ask, kwargs={"options": {"particles": 2}}),
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: server.health()["runs"] == 2)
    wait_for(lambda: server.started())
    started = server.started()
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(30)
    assert server.process.wait(30) == 0
    assert 1.0 < time.monotonic() - began < 12.0
    errors = {status: answer["error"]["message"] for status, answer in answers}
    assert errors[504].startswith("time ran out after 1.5 s")  # it had the time that it asked for
    assert errors[503] == "the server is ending"
    wait_for(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()])


def test_a_port_that_is_taken_and_a_host_without_a_key_are_clear_errors(serve, tmp_path):
    server = serve()
    command = [sys.executable, "-m", "fkdsl", "serve", str(tmp_path)]
    taken = subprocess.run(
        [*command, "--port", str(server.port)], capture_output=True, text=True, check=False
    )
    assert taken.returncode == 2
    assert "Address already in use" in taken.stderr
    assert "--port" in taken.stderr
    open_to_all = subprocess.run(
        [*command, "--host", "0.0.0.0"], capture_output=True, text=True, check=False
    )
    assert open_to_all.returncode == 2
    assert "no API key" in open_to_all.stderr
