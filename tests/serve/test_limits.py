"""What a request may take, how runs end, and who is let in."""

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.cli.main import main
from fkdsl.serve.observers import Population
from fkdsl.serve.settings import RequestLimits
from tests.serve.asking import (
    ENDLESS,
    error_of,
    left_by_client,
    post,
    serving,
    settings_for,
    wait_for,
)

# ------------------------------------------------------------------ limits


@pytest.mark.parametrize(
    "body",
    [
        {"options": {"particles": 5000}},
        {"options": {"particles": 100}, "islands": 50},
        {"method": "beam", "options": {"width": 10**6}},
        {"method": "rejection", "options": {"samples": 10**6}},
        {"method": "exact", "options": {"max_states": 10**9}},
        {"samples": 10**6},
        {"timeout": 1e6},
        {"tokens": 10**9},
        {"method": "auto"},
        {"options": {"draft": "smollm2"}},
        {"parameters": {"prompt": ["a"] * 10_001}},
        {"twist": "/etc/passwd"},
        {"queries": {"x": "value"}},
    ],
)
def test_a_request_may_ask_for_less_and_never_for_more(client, body):
    answer = client.post("/v1/programs/say/run", json={"parameters": {"prompt": ""}, **body})
    assert answer.status_code == 400, answer.text


def test_time_tokens_and_memory_end_a_run(tmp_path):
    with serving(settings_for(tmp_path, limits=RequestLimits(tokens=500, memory=8 << 20))) as c:
        error = error_of(post(c, "/v1/programs/endless/run", **ENDLESS), 422, "budget_ended")
        assert "500 tokens" in error["message"]
        answer = post(c, "/v1/programs/endless/run", method="exact", options={"max_tokens": 10})
        assert answer.status_code == 422
        error = error_of(
            post(c, "/v1/programs/endless/run", **ENDLESS, timeout=0.001), 504, "deadline_passed"
        )
        assert "time ran out" in error["message"]
        long = {"parameters": {"prompt": "x" * 900_000}, "options": {"particles": 64}}
        assert error_of(post(c, "/v1/programs/say/run", **long), 422, "FK415")


def test_a_client_that_leaves_ends_its_run(client):
    runs = client.service.runs

    async def leave(path, body, after):
        return await left_by_client(client.app_behind, path, body, after)

    for stream in (False, True):
        path, body = "/v1/programs/endless/run", {**ENDLESS, "stream": stream}
        asyncio.run(leave(path, body, lambda: runs.counts[0] > 0))
        wait_for(lambda: runs.counts == (0, 0))
    body = {"model": "endless", "prompt": "", "stream": True}
    asyncio.run(leave("/v1/completions", body, lambda: runs.counts[0] > 0))
    wait_for(lambda: runs.counts == (0, 0))
    page = client.get("/metrics").text
    assert 'fkdsl_clients_left_total{program="endless"} 3.0' in page


def test_a_full_queue_says_when_to_come_again(tmp_path):
    with serving(settings_for(tmp_path, runs=1, queue=1)) as client:
        runs, answers = client.service.runs, []
        threads = [
            threading.Thread(
                target=lambda: answers.append(post(client, "/v1/programs/endless/run", **ENDLESS))
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        wait_for(lambda: runs.counts == (1, 1))
        answer = post(client, "/v1/programs/say/run", parameters={"prompt": ""})
        error_of(answer, 429, "queue_full")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert client.get("/health").json()["queue"] == 1
        runs.end()
        for thread in threads:
            thread.join(10)
        assert [a.status_code for a in answers] == [503, 503]
        assert error_of(post(client, "/v1/programs/dead/run"), 503, "ending")


# ------------------------------------------------------------------ who is let in


def test_every_path_but_health_asks_for_the_key(tmp_path):
    key = "a-key-of-some-length"
    with serving(settings_for(tmp_path, key=key)) as client:
        assert client.get("/health").status_code == 200
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/v1/programs/say"):
            answer = client.get(path)
            assert error_of(answer, 401, "invalid_api_key")
            assert answer.headers["www-authenticate"] == "Basic"
        for header in (key, f"Bearer {key}x", f"Bearer {key[:-1]}", "Basic !", "Bearer é"):
            answer = client.get("/v1/models", headers={"Authorization": header.encode("latin-1")})
            assert answer.status_code == 401
        bearer = {"Authorization": f"Bearer {key}"}
        assert client.get("/v1/models", headers=bearer).status_code == 200
        assert client.get("/docs", auth=("anybody", key)).status_code == 200


def test_a_page_of_a_browser_cannot_ask_a_server_without_a_key(client):
    answer = client.get("/v1/models", headers={"Host": "evil.example"})
    assert error_of(answer, 403, "wrong_host")
    answer = client.post("/v1/completions", content="{}", headers={"Content-Type": "text/plain"})
    assert error_of(answer, 415, "unsupported_media_type")


def test_a_body_is_bounded_whether_it_tells_its_length_or_not(client):
    json_header = {"Content-Type": "application/json"}
    for content in (b"x" * 1_000_001, (b"x" * 1000 for _ in range(1001))):
        answer = client.post("/v1/completions", content=content, headers=json_header)
        assert error_of(answer, 413, "body_too_large")
    answer = client.post("/v1/completions", content=b"{", headers=json_header)
    assert answer.status_code == 400
    deep = b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = client.post("/v1/completions", content=deep, headers=json_header)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "no API key"),
        ({"host": "::", "key": "short"}, "can be guessed"),
        ({"key": "a b"}, "printable"),
        ({"runs": 0}, "--runs"),
        ({"port": 70000}, "no port"),
        ({"limits": RequestLimits(tokens=0)}, "a bound"),
    ],
)
def test_settings_that_would_harm_are_refused(tmp_path, options, message):
    with pytest.raises(CallError, match=message):
        settings_for(tmp_path, **options).check()


def test_no_other_command_imports_what_serving_needs():
    code = (
        "import sys; from fkdsl.cli.main import main; "
        "main(['check', 'programs/two_bits.fk']); main(['exact', 'programs/two_bits.fk']); "
        "print([m for m in sys.modules if m.split('.')[0] in "
        "('fastapi', 'uvicorn', 'starlette', 'pydantic', 'prometheus_client')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_extra_is_named_where_it_is_not_here(monkeypatch, capsys):
    monkeypatch.setattr("fkdsl.cli.serve.find_spec", lambda name: None)
    assert main(["serve", "programs"]) == 2
    error = capsys.readouterr().err
    assert "fastapi, uvicorn, prometheus_client" in error
    assert "pip install 'fkdsl[serve]'" in error


def test_particles_that_are_many_are_bounded_together():
    states = [
        SimpleNamespace(frames=[SimpleNamespace(slots=("a" * 1000 + str(i),))], value=None)
        for i in range(1000)
    ]
    step = SimpleNamespace(states=states)
    Population(2 << 20)(step)
    with pytest.raises(BudgetEnded, match="together"):
        Population(1 << 20)(step)
    shared = "a" * 10**6
    for state in states:
        state.frames[0].slots = (shared,)
    Population(2 << 20)(step)  # counted once
