"""`fkdsl serve` in this process: equal answers, OpenAI's forms, our own routes."""

import json
import math
import threading

import pytest

import fkdsl
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.cli.main import main
from fkdsl.serve.failures import failure
from fkdsl.serve.settings import Settings
from tests.api.fake_workers import FakeWorkers
from tests.serve.asking import TABLE, error_of, events_of, post, serving

VARYING = ("seconds",)


# ------------------------------------------------------------------ equal answers


def test_run_python_serve_and_workers_elsewhere_give_equal_answers(client, capsys):
    file = client.service.settings.folder / "two_bits.fk"
    assert main(["run", str(file), "-p", "n=3", "--seed", "5", "--json", "--no-hint"]) == 0
    by_command = json.loads(capsys.readouterr().out)
    served = post(client, "/v1/programs/two_bits/run", parameters={"n": 3}, seed=5, samples=9)
    by_server = served.json()
    by_python = fkdsl.load(file)(n=3).run(seed=5)
    assert by_server.pop("samples") == by_python.samples(9)
    assert [(a["value"], a["probability"]) for a in by_server["posterior"]] == [
        (a.value, a.probability) for a in by_python.posterior
    ]
    elsewhere = fkdsl.load(file)(n=3).run(seed=5, on=FakeWorkers(2))
    assert (elsewhere.particles, elsewhere.log_z) == (by_python.particles, by_python.log_z)
    for answer in (by_command, by_server):
        for name in VARYING:
            del answer[name]
    assert by_command == by_server


def test_requests_at_once_are_not_mixed_up(client):
    def work(seed):
        body = {"seed": seed, "options": {"particles": 20}}
        answers[seed] = post(client, "/v1/programs/two_bits/run", **body).json()

    answers = {}
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    program = fkdsl.load(client.service.settings.folder / "two_bits.fk")
    for seed, answer in answers.items():
        assert answer["seed"] == seed
        expected = [p.value for p in program.run(seed=seed, particles=20).particles]
        assert [p["value"] for p in answer["particles"]] == expected


# ------------------------------------------------------------------ OpenAI's forms


def test_files_that_cannot_be_served_are_told_of_with_their_lines(client):
    (line,) = client.told
    assert line.startswith("wrong.fk is not served: error[FK203]: unknown name `y`")
    assert "wrong.fk:2:12" in line
    names = [m["id"] for m in client.get("/v1/models").json()["data"]]
    assert names == ["dead", "endless", "faulty", "say", "talk", "two_bits"]
    assert client.get("/v1/models/say").json()["owned_by"] == "fkdsl"


def test_a_completion_draws_n_answers_from_the_posterior(client):
    answer = post(
        client, "/v1/completions", model="say", prompt="ab", n=64, seed=3, logprobs=4, max_tokens=1
    ).json()
    texts = [c["text"] for c in answer["choices"]]
    assert set(texts) == {"ab0", "ab1"}
    result = fkdsl.load(client.service.settings.folder / "say.fk")(prompt="ab", max_tokens=1).run(
        seed=3
    )
    assert texts == result.samples(64)
    for choice in answer["choices"]:
        logprobs = choice["logprobs"]
        expected = math.log(result.probability(choice["text"]))
        assert logprobs["token_logprobs"] == [pytest.approx(expected, abs=1e-12)]
        assert set(logprobs["top_logprobs"][0]) == {"ab0", "ab1"}
    assert answer["usage"]["total_tokens"] == result.forwarded_tokens
    assert answer["fkdsl"]["log_z"] == pytest.approx(0.0)


def test_without_a_seed_the_server_chooses_one_and_says_it(client):
    first, second = (
        post(client, "/v1/completions", model="two_bits")  # no prompt: the program takes none
        for _ in range(2)
    )
    seed = first.json()["fkdsl"]["seed"]
    assert seed != second.json()["fkdsl"]["seed"]
    again = post(client, "/v1/completions", model="two_bits", seed=seed)
    assert again.json()["choices"] == first.json()["choices"]


def test_a_chat_goes_to_the_parameters_that_fit(client):
    said = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    answer = post(client, "/v1/chat/completions", model="say", messages=said, seed=1).json()
    assert answer["choices"][0]["message"]["content"].startswith("x")
    said = [{"role": "system", "content": "s"}, *said, {"role": "assistant", "content": None}]
    answer = post(client, "/v1/chat/completions", model="talk", messages=said, seed=1).json()
    assert json.loads(answer["choices"][0]["message"]["content"])[:3] == ["s", "x", ""]
    for messages in (said, [*said[1:], *said[1:]]):
        refused = post(client, "/v1/chat/completions", model="say", messages=messages)
        assert error_of(refused, 400, "invalid_request")["param"] == "messages"


def test_a_stream_ends_with_the_same_answers(client):
    body = {"model": "say", "messages": [{"role": "user", "content": "x"}], "n": 2, "seed": 4}
    body |= {"logprobs": True, "top_logprobs": 1}
    whole = post(client, "/v1/chat/completions", **body).json()
    options = {"include_usage": True}
    answer = post(client, "/v1/chat/completions", **body, stream=True, stream_options=options)
    *chunks, (_, done) = events_of(answer.text)
    assert done == "[DONE]"
    texts, logprobs = ["", ""], [None, None]
    for _, chunk in chunks[:-1]:
        assert chunk["object"] == "chat.completion.chunk"
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["delta"].get("content", "")
        logprobs[choice["index"]] = choice["logprobs"] or logprobs[choice["index"]]
    assert texts == [c["message"]["content"] for c in whole["choices"]]
    assert logprobs == [c["logprobs"] for c in whole["choices"]]
    assert chunks[-1][1]["usage"] == whole["usage"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"tools": [{}]}, "tools"),
        ({"stop": ["x"]}, "stop"),
        ({"best_of": 1000}, "best_of"),
        ({"n": 129}, "n"),
        ({"n": -1}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [[1, 2, 3]]}, "prompt"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"guided_regex": "(a+)+$"}, "guided_regex"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"parameters": []}, "parameters"),
        ({"timeout": 1e9}, "timeout"),
        ({"seed": -1}, "seed"),
        ({"model": 7}, "model"),
    ],
)
def test_fields_that_cannot_be_honoured_are_refused(client, fields, param):
    answer = post(client, "/v1/completions", **{"model": "say", "prompt": "a", **fields})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    neutral = {"temperature": 1.0, "top_p": 1, "stop": None, "user": "u", "tools": []}
    assert post(client, "/v1/completions", model="say", prompt="a", **neutral).status_code == 200


def test_a_text_that_a_program_does_not_take_is_refused_with_what_to_do(client):
    error = error_of(
        post(client, "/v1/completions", model="two_bits", prompt="x"), 400, "invalid_request"
    )
    assert "its parameters are n: int" in error["message"]
    assert "/v1/programs/two_bits/run" in error["help"]
    answer = post(client, "/v1/completions", model="two_bits", prompt="", max_tokens=3)
    assert error_of(answer, 400, "unsupported_parameter")["param"] == "max_tokens"
    answer = post(client, "/v1/completions", model="two_bit", prompt="")
    assert error_of(answer, 404, "model_not_found")["help"] == "did you mean `two_bits`?"


# ------------------------------------------------------------------ our own routes


def test_the_schema_says_what_a_run_takes(client):
    card = client.get("/v1/programs/say").json()
    assert card["parameters"] == {
        "type": "object",
        "properties": {
            "prompt": {"type": "string"},
            "max_tokens": {"type": "integer", "default": 2},
        },
        "additionalProperties": False,
        "required": ["prompt"],
    }
    document = client.get("/openapi.json").json()
    run = document["paths"]["/v1/programs/say/run"]["post"]
    schema = run["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["parameters"] == card["parameters"]
    assert "<script" not in client.get("/docs").text


def test_a_run_streams_its_steps(client):
    answer = post(client, "/v1/programs/say/run", parameters={"prompt": ""}, stream=True)
    events = events_of(answer.text)
    assert [name for name, _ in events] == ["step"] * (len(events) - 1) + ["result"]
    assert [data["t"] for _, data in events[:-1]] == [0, 1, 2]
    assert events[1][1]["alive"] == events[1][1]["particles"] == 16
    texts = events[1][1]["texts"]
    assert {t["text"] for t in texts} == {"0", "1"}
    assert math.fsum(math.exp(t["log_weight"]) for t in texts) == pytest.approx(1.0)
    whole = post(client, "/v1/programs/say/run", parameters={"prompt": ""}).json()
    assert events[-1][1]["posterior"] == whole["posterior"]


def test_check_and_explain(client):
    assert client.get("/v1/programs/say/check").json() == {"ok": True, "diagnostics": []}
    assert "M_t" in client.get("/v1/programs/say/explain").json()["text"]


def test_a_program_that_goes_wrong_is_an_error_with_its_code_line_and_column(client):
    answer = post(client, "/v1/programs/faulty/run", parameters={"n": 0})
    error = error_of(answer, 422, "FK401")
    assert (error["file"], error["line"], error["column"]) == ("faulty.fk", 7, 12)
    error = error_of(post(client, "/v1/programs/dead/run"), 422, "population_died")
    assert error["facts"]
    error = error_of(post(client, "/v1/programs/say/run"), 400, "invalid_request")
    assert "needs its parameter `prompt`" in error["message"]
    assert error["help"] == 'set it in `parameters`: {"prompt": ...}'
    error_of(post(client, "/v1/programs/none/run"), 404, "model_not_found")
    error_of(client.get("/nothing"), 404, "not_found")
    streamed = post(client, "/v1/programs/dead/run", stream=True)
    assert events_of(streamed.text)[-1][1]["error"]["code"] == "population_died"


@pytest.mark.parametrize(
    "line", ['index notes = "none/*.md"', "condition valid_json(s, schema=file)"]
)
def test_no_message_says_where_the_folder_lies(tmp_path, line):
    index, condition = (line, "condition true") if line.startswith("index") else ("", line)
    file = tmp_path / "asks.fk"
    file.write_text(
        f"""{TABLE}
{index}
program asks(file: str = "unknown.json") -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=1)
    {condition}
    return s
""",
        "utf-8",
    )
    with pytest.raises(ProgramError) as raised:
        fkdsl.load(file).run()
    assert str(tmp_path) in raised.value.diagnostics[0].help
    # The server loads its files by their names within the folder.
    told = json.dumps(failure(raised.value)).replace(str(file), file.name)
    assert "looked for in the folder of the file" in told
    assert str(tmp_path) not in told


@pytest.mark.parametrize(
    "line",
    [
        'prompt("", image("../x.png"))',
        'prompt("", image("none.png"))',
        'prompt("", model="../x.fk")',
    ],
)
def test_no_message_of_a_file_outside_says_where_the_folder_lies(tmp_path, line):
    file = tmp_path / "asks.fk"
    file.write_text(f'{TABLE}\nprogram asks() -> str:\n    lm = {line}\n    return ""\n', "utf-8")
    with pytest.raises((ProgramError, CallError)) as raised:
        fkdsl.load(file).run()
    assert str(tmp_path) not in json.dumps(failure(raised.value)).replace(str(file), file.name)


def test_prometheus_reads_what_happened(client):
    post(client, "/v1/programs/dead/run")
    page = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if line[0] != "#")
    assert float(lines['fkdsl_particles_died_total{program="dead"}']) >= 16
    assert float(lines['fkdsl_requests_total{program="dead",status="422"}']) >= 1
    assert float(lines['fkdsl_ess_share_count{program="say"}']) >= 1
    assert lines["fkdsl_queue"] == "0.0"


def test_runs_on_one_model_share_its_forwards_and_prompts(tmp_path):
    program = """model "tiny"

program sea(prompt: str) -> str:
    lm = prompt(prompt)
    while not lm.done and lm.tokens < 4:
        t ~ lm
    return lm.text

infer smc(particles=4, draft="heads")
"""
    (tmp_path / "sea.fk").write_text(program)
    (tmp_path / "plain.fk").write_text(program.replace(', draft="heads"', ""))
    with serving(Settings(tmp_path)) as client:
        for name in ("sea", "plain"):
            answers = {}

            def work(seed, name=name, answers=answers):
                body = {"seed": seed, "parameters": {"prompt": "The sea is wide"}}
                answers[seed] = post(client, f"/v1/programs/{name}/run", **body).json()

            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            called = fkdsl.load(tmp_path / f"{name}.fk")(prompt="The sea is wide")
            for seed, answer in answers.items():
                result = called.run(seed=seed)
                assert [p["value"] for p in answer["particles"]] == [
                    p.value for p in result.particles
                ]
                assert answer["log_z"] == pytest.approx(result.log_z, abs=1e-4)
        (shared,) = client.service.registry.models.all()
        plain, heads = (f.counts for f in shared.forwards.all())
        assert plain.shared + heads.shared > 0
        assert shared.prompts.hits + plain.repeated + heads.repeated >= 3
        page = client.get("/metrics").text
        assert f'fkdsl_forwards_total{{model="tiny"}} {plain.forwards + heads.forwards}.0' in page
