"""`--method auto`: the pilot's seeds are its own, what it takes is counted, and it says why."""

import json
import math

import pytest

import fkdsl
from fkdsl.api import auto
from fkdsl.api.auto import Pilot
from fkdsl.api.candidates import candidates
from fkdsl.api.request import RunRequest
from fkdsl.base.errors import CallError
from fkdsl.inference.samplers.adaptive import Aim
from tests.cli.test_cli import call

TABLE = """\
model m = table:
    "" -> "a": 0.4, "b": 0.4, "c": 0.2
    "b" -> "b": 0.6, "a": 0.2, "c": 0.2

"""
LONG = (
    TABLE
    + """\
program p(n: int = 5) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
        factor 0.6 if t == "a" else -0.4
    x ~ normal(0.0, 1.0)
    return lm.text

infer smc(particles=4)
"""
)
DEADLY = (
    TABLE
    + """\
program p() -> str:
    lm = prompt("")
    for i in range(3):
        t ~ lm
    x ~ normal(0.0, 1.0)
    condition x > 0.7
    return lm.text

infer smc(particles=4)
"""
)


def base(text=LONG, seed=3, **others):
    program = fkdsl.parse(text)
    return RunRequest.of(program, "smc", {}, seed=seed, **others)


def test_exact_is_chosen_where_it_ends():
    result = fkdsl.parse(LONG.replace("    x ~ normal(0.0, 1.0)\n", ""))(n=3).run("auto")
    assert result.method == "exact"
    assert any(n.startswith("auto chose exact: it ends after") for n in result.notes)


def test_what_cannot_be_enumerated_is_drawn_and_the_answer_is_right():
    program = fkdsl.parse(LONG)(n=4)
    result = program.run("auto", seed=1, target_se=0.1, budget_tokens=3000)
    plain = fkdsl.parse(LONG.replace("    x ~ normal(0.0, 1.0)\n", ""))(n=4).exact()
    assert result.method != "exact"
    assert abs(result.log_z - plain.log_z) <= 5 * max(result.log_z_se, 0.02)
    assert any(note.startswith("auto chose ") and "next best" in note for note in result.notes)


def test_by_one_seed_the_choice_and_the_answer_are_the_same():
    runs = [
        fkdsl.parse(LONG)(n=3).run("auto", seed=5, target_se=0.3, budget_tokens=600)
        for _ in range(2)
    ]
    assert runs[0].particles == runs[1].particles
    assert runs[0].notes == runs[1].notes


def test_the_seeds_of_the_pilot_are_no_islands_of_the_answer(monkeypatch):
    seeds, run = [], auto.run_method

    def watched(model, call, seed, *args, **others):
        if call != "exact":
            seeds.append(seed)
        return run(model, call, seed, *args, **others)

    monkeypatch.setattr(auto, "run_method", watched)
    choice = Pilot(base(aim=Aim(tokens=800))).choice()
    assert len(set(seeds)) == len(seeds) >= 4
    assert choice.request.seed == 3
    assert 3 not in seeds


def test_what_the_pilot_takes_is_counted():
    program = fkdsl.parse(LONG)
    engines = program.engines()
    request = RunRequest.of(program, "smc", {}, engines=engines, aim=Aim(tokens=500))
    result, choice = auto.auto_run(request)
    assert choice.tokens > 0
    assert result.forwarded_tokens == choice.tokens + engines.counts()[1]
    assert result.forwarded_tokens <= 1.3 * 500
    assert result.seconds > choice.seconds > 0.0


def test_a_file_says_how_many_particles_are_tried():
    sizes = [c.options["particles"] for c in candidates(base(LONG.replace("=4)", "=50)")))]
    assert sizes[0] == 50
    assert 200 in sizes
    assert len({c.name for c in candidates(base())}) == len(candidates(base()))


def test_alive_is_tried_where_deaths_dominate():
    pilot = Pilot(base(DEADLY, aim=Aim(tokens=900)))
    choice = pilot.choice()
    assert any(name.startswith("alive(") for name in choice.chosen.tried)
    assert not any(
        name.startswith("alive(") for name in Pilot(base(aim=Aim(tokens=900))).choice().chosen.tried
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--particles", "9"], "auto chooses the method's options"),
        (["--islands", "4"], "auto finds the number of islands"),
        (["--resume", "run.jsonl"], "is resumed by that method"),
    ],
)
def test_what_auto_chooses_itself_is_refused(tmp_path, capsys, flags, message):
    path = tmp_path / "p.fk"
    path.write_text(LONG)
    status, _, err = call(capsys, "run", str(path), "--method", "auto", *flags)
    assert status == 2
    assert message in err
    with pytest.raises(CallError, match="auto finds"):
        fkdsl.parse(LONG).run("auto", islands=3)


def test_json_has_the_choice_and_the_reason(tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text(LONG)
    flags = ["-p", "n=3", "--method", "auto", "--budget", "tokens=300", "--json"]
    status, out, _ = call(capsys, "run", str(path), *flags)
    assert status == 0
    answer = json.loads(out)
    choice = answer["auto"]
    assert choice["method"] == answer["method"]
    assert choice["islands"] == answer["islands"]
    assert choice["reason"] in answer["notes"]
    assert all(math.isfinite(c["error"]) for c in choice["candidates"].values())
    assert choice["pilot"]["forwarded_tokens"] < answer["forwarded_tokens"]


def test_a_program_that_nothing_lives_through_says_so(tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text(
        "program p() -> int:\n    u ~ bernoulli(0.5)\n    condition u and not u\n    return 1\n"
    )
    status, _, err = call(capsys, "run", str(path), "--method", "auto", "--no-opt")
    assert status == 3
    assert "died" in err


def test_time_that_runs_out_in_the_pilot_says_so(tmp_path, capsys):
    path = tmp_path / "p.fk"
    path.write_text(LONG)
    flags = ["--method", "auto", "--timeout", "0.02", "-p", "n=200"]
    status, _, err = call(capsys, "run", str(path), *flags)
    assert status == 3
    assert "in the pilot" in err
