"""A method is one object and one entry: a toy one that is added here works everywhere, and one with
a wrong weight is caught."""

import ast
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fkdsl
from fkdsl.api.outcomes import TestSettings
from fkdsl.api.test_blocks import run_test
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.cli.main import main
from fkdsl.inference.assess.variants import variants
from fkdsl.inference.method import Checks, Count, Method
from fkdsl.inference.methods import METHODS, check_options
from fkdsl.inference.options import PARTICLES, Option
from fkdsl.inference.population import check_steps, initial_step, make_step, mutate
from fkdsl.inference.run import run
from fkdsl.testing import Machine, assert_unbiased
from fkdsl.testing.laws import unbiased_methods

ROOT = Path(__file__).parent.parent.parent
TEXT = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2
    "a" -> "a": 0.4, EOS: 0.6
    "b" -> EOS: 1.0

program p() -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < 3:
        t ~ lm
        factor -0.5 if t == "a" else 0.0
    return lm.text

infer roulette(particles=4, survive=0.5)

test "its figures":
    expect P(value == "b") > 0.2
"""
TWO = Machine(
    M=(((0.2, 0.8), (0.5, 0.5)), ((0.7, 0.3), (0.1, 0.9))),
    G=(((1.0, 0.5), (1.0, 1.0)), ((0.25, 0.7), (0.0, 0.4))),
)


def roulette(model, rng, options, loop, wrong=1.0):
    """Independent runs; after each step a particle survives with probability `survive`, and then
    weighs by 1 / survive more. wrong: what a mistaken one multiplies that by."""
    N, survive = options["particles"], options["survive"]
    step = initial_step(model, rng, N, loop.observer)
    yield step
    while step.unfinished:
        t = step.t + 1
        check_steps(t, loop.max_steps)
        x, lw = mutate(model, rng, t, step.particles, step.log_weights, loop.observer)
        lw = np.array(lw)
        for i, particle in enumerate(x):
            lives = rng.split("survive", t, particle.lineage.hex()).choice([1.0 - survive, survive])
            lw[i] += math.log(wrong / survive) if lives else -math.inf
        step = make_step(model, t, x, lw, range(N), resampled=False)
        yield step


TOY = Method(
    name="roulette",
    doc="independent runs, of which some are given up and the others weigh more",
    options={"particles": PARTICLES, "survive": Option(0.9, 0.01, 1, doc="share that survives")},
    steps=roulette,
    takes_drafts=True,
    checks=Checks(enumerated={"particles": 1, "survive": 0.6}),
    count=Count("particles"),
)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(METHODS, TOY.name, TOY)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "p.fk"
    path.write_text(TEXT)
    return str(path)


def call(capsys, *args):
    status = main(list(args))
    out, err = capsys.readouterr()
    return status, out + err


@pytest.mark.usefixtures("toy")
def test_a_toy_method_runs_from_python():
    program = fkdsl.parse(TEXT)
    exact = program.exact()
    result = program.run(particles=4000, seed=3, survive=0.8)
    assert result.method == "roulette"
    assert abs(result.log_z - exact.log_z) <= 0.2
    assert abs(result.probability("b") - exact.probability("b")) <= 0.1
    assert fkdsl.run(TEXT, "roulette", seed=1, islands=5).log_z_se is not None
    assert "roulette has no standard error" in program.run(seed=2, survive=1.0).notes[0]
    assert run(TWO, "roulette", options={"survive": 1.0}).log_z < 0.0


@pytest.mark.usefixtures("toy")
def test_the_checker_and_the_command_line_know_a_toy_method(capsys, file):
    status, text = call(capsys, "run", file, "--survive", "0.95", "--seed", "4", "--islands", "2")
    assert status == 0
    assert "roulette(particles=4, survive=0.95)" in text
    status, text = call(capsys, "compare", file, "--methods", "roulette,exact", "--runs", "2")
    assert status == 0
    assert re.search(r"^roulette +\d+ ", text, re.MULTILINE)
    wrong = TEXT.replace("survive=0.5", "survive=7")
    with pytest.raises(fkdsl.ProgramError, match=r"survive must be between 0\.01 and 1"):
        fkdsl.parse(wrong)
    with pytest.raises(CallError, match="did you mean `survive`"):
        check_options("roulette", {"surviv": 0.5})


@pytest.mark.usefixtures("toy")
def test_a_toy_method_has_blame_and_a_trace(tmp_path):
    program, trace = fkdsl.parse(TEXT), tmp_path / "t.jsonl"
    result = program.run(particles=16, survive=1.0, seed=5, trace=trace, blame=True)
    assert any(line.log_weight < 0.0 for line in result.blame.lines)
    again = program.run(particles=16, survive=1.0, seed=5, resume=trace)
    assert again.posterior == result.posterior


@pytest.mark.usefixtures("toy")
def test_fkdsl_test_runs_a_toy_method(capsys, file):
    assert [v.settings for v in variants(["roulette"])] == [
        ({"particles": 2}, {"particles": 3}, {"particles": 4})
    ]
    status, text = call(capsys, "test", file, "-v", "--runs", "10")
    assert status == 0
    assert re.search(r"^ *agrees +roulette: \d0 runs", text, re.MULTILINE)


@pytest.mark.usefixtures("toy")
def test_the_exact_law_is_applied_to_a_toy_method_and_catches_a_wrong_weight(monkeypatch):
    assert "roulette" in unbiased_methods()
    for target in (TWO, TEXT.replace("tokens < 3", "tokens < 2")):
        assert_unbiased(target, "roulette")
    wrong = replace(TOY, steps=lambda *args: roulette(*args, wrong=1.01))
    monkeypatch.setitem(METHODS, TOY.name, wrong)
    with pytest.raises(AssertionError, match=r"E\[roulette\]"):
        assert_unbiased(TWO, "roulette")


def test_fkdsl_test_catches_a_toy_method_with_a_wrong_weight(monkeypatch):
    wrong = replace(TOY, steps=lambda *args: roulette(*args, wrong=3.0))
    monkeypatch.setitem(METHODS, TOY.name, wrong)
    program = fkdsl.parse(TEXT)
    (test,) = program.checked.tests
    (check,) = run_test(program, test, TestSettings(only=("roulette",), runs=100)).methods
    assert not check.passed
    assert "Z is " in check.reason


def test_a_method_that_is_not_added_is_unknown(capsys, file):
    status, text = call(capsys, "run", file)
    assert status == 1
    assert "unknown inference method `roulette`" in text


# ------------------------------------------------------------- every method's loop


class Moves:
    """A MoveObserver that keeps what it is told."""

    def __init__(self):
        self.begun, self.reported = 0, {}

    def begin(self, states):
        self.begun += 1

    def moved(self, t, before, after, log_weights):
        assert len(before) == len(after) == len(log_weights)
        assert all(x[0] == t - 1 for x in before)
        assert all(x[0] == t for x in after)
        self.reported[t] = self.reported.get(t, 0) + len(after)


@pytest.mark.parametrize("method", METHODS)
def test_every_loop_reports_its_moves_and_draws_the_same_without_an_observer(method):
    moves, steps = Moves(), []
    result = run(TWO, method, seed=3, account=moves, observer=steps.append)
    assert moves.begun >= 1
    assert set(moves.reported) == {1, 2}
    assert run(TWO, method, seed=3).particles == result.particles
    if steps[0].t == 0 and METHODS[method].draws:  # as many as its population has, at least
        assert moves.reported[1] >= len(steps[0].particles)


class Cancels:
    """A model that cancels its run's deadline at the start, and must not be stepped then."""

    def __init__(self, deadline):
        self.deadline = deadline

    def __getattr__(self, name):
        return getattr(TWO, name)

    def initial(self, rngs):
        self.deadline.cancel()
        return TWO.initial(rngs)

    def step(self, rngs, xp):
        raise AssertionError("it was stepped past its deadline")


@pytest.mark.parametrize("method", METHODS)
def test_every_loop_ends_at_its_deadline(method):
    deadline = Deadline()
    with pytest.raises(BudgetEnded, match=r"cancelled|timeout") as ended:
        run(Cancels(deadline), method, timeout=deadline)
    assert ended.value.unfinished is None or ended.value.unfinished.step == 0


# ------------------------------------------------------------------ the table


def test_nothing_compares_a_methods_name():
    """What a method is stands in its object; `exact` alone is named, as the reference of `compare`
    and as a command."""
    names = set(METHODS) - {"exact"}
    for path in sorted((ROOT / "fkdsl").rglob("*.py")):
        text = path.read_text("utf-8")
        if not any(f'"{name}"' in text for name in names):
            continue
        for node in ast.walk(ast.parse(text)):
            parts = []
            if isinstance(node, ast.Compare):
                parts = [node]
            elif isinstance(node, ast.match_case):  # `case "smc":`, no keyword within a pattern
                whole = node.pattern
                parts = whole.patterns if isinstance(whole, ast.MatchOr) else [whole]
                parts = [part for part in parts if isinstance(part, ast.MatchValue)]
            said = {n.value for part in parts for n in ast.walk(part)
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)}  # fmt: skip
            assert not said & names, path


def test_the_page_lists_every_method_with_its_options():
    page = (ROOT / "docs/inference.md").read_text("utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*) \|$",
        page.partition("## Methods")[2].partition("\n## ")[0],
        re.M,
    )

    def option(name, default):
        return f"{name}={json.dumps(default)}"

    assert [name for name, _, _ in rows] == list(METHODS)
    for name, options, doc in rows:
        method = METHODS[name]
        assert options == ", ".join(option(k, o.default) for k, o in method.options.items())
        assert re.sub(r"\[(.*?)\]\(.*?\)", r"\1", doc) == method.doc
