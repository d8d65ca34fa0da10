"""The same program, parameters and seed in one process, on Ray and from a server.

pytest -m cluster tests/cluster
"""

import json

import pytest

import fkdsl
from fkdsl.cli.main import main
from fkdsl.serve.settings import Settings
from tests.serve.asking import serving

pytestmark = pytest.mark.cluster
pytest.importorskip("ray", reason="it comes with the extra `ray`")

PROGRAM = """model m = table:
    "" -> "a": 0.4, "b": 0.5, EOS: 0.1

program p(most: int = 6) -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < most:
        t ~ lm
        factor 3.0 if t == "a" else -1.0
    return lm.text

query first = starts_with(value, "a")
"""


def test_run_ray_and_serve_give_equal_answers(tmp_path, capsys):
    import ray

    file = tmp_path / "p.fk"
    file.write_text(PROGRAM, "utf-8")
    call = ["run", str(file), "-p", "most=5", "--islands", "4", "--seed", "7", "--json"]
    answers = {}
    assert main([*call, "--no-hint"]) == 0
    answers["run"] = json.loads(capsys.readouterr().out)
    try:
        assert main([*call, "--no-hint", "--on", "ray,cpus=1"]) == 0
        answers["ray"] = json.loads(capsys.readouterr().out)
    finally:
        ray.shutdown()
    with serving(Settings(tmp_path)) as client:
        body = {"parameters": {"most": 5}, "islands": 4, "seed": 7}
        answers["serve"] = client.post("/v1/programs/p/run", json=body).json()
    by_python = fkdsl.load(file)(most=5).run(islands=4, seed=7)
    assert answers["run"]["log_z"] == by_python.log_z
    for answer in answers.values():
        del answer["seconds"]
    assert answers["run"] == answers["serve"]
    differs = {k for k in answers["run"] if answers["run"][k] != answers["ray"].get(k)}
    assert differs <= {"model_calls", "forwarded_tokens", "notes"}  # each worker has its cache
