"""Test blocks: exact figures to rounding, and methods that are wrong are found."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

import fkdsl
from fkdsl.api.outcomes import TestSettings
from fkdsl.api.test_blocks import program_lookahead, run_test
from fkdsl.base.logspace import log_sum_exp, normalised
from fkdsl.inference.assess.variants import variants
from fkdsl.inference.population import child, make_step
from fkdsl.inference.samplers import alive as alive_module
from fkdsl.inference.samplers import moves as moves_module
from fkdsl.inference.samplers import pgibbs as pgibbs_module
from fkdsl.inference.samplers import rejection as rejection_module
from fkdsl.inference.samplers import smc as smc_module
from fkdsl.inference.samplers import steer as steer_module
from fkdsl.inference.samplers.resampling import RESAMPLING, _certain
from fkdsl.testing import program_texts

EXACT = TestSettings(methods=False)
BITS = """model bits = table:
    ""  -> "0": 0.40, "1": 0.60
    "0" -> "0": 0.90, "1": 0.10
    "1" -> "0": 0.50, "1": 0.50

def ones(s: str) -> int:
    return count(s, "1")

program main(n: int = 2) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
    return lm.text

"""


def outcomes(text, settings=EXACT, **given):
    program = fkdsl.parse(text, **given)
    return [run_test(program, t, settings) for t in program.checked.tests]


def line_outcomes(*lines, before=BITS, settings=""):
    text = before + f'test "it"{settings}:\n' + "".join(f"    expect {line}\n" for line in lines)
    (run,) = outcomes(text)
    assert not run.error, run.error
    return [line.outcome for line in run.lines], run


def test_lines_hold_or_fail_by_the_exact_figures():
    found, run = line_outcomes(
        'P(value == "00") == 0.36', "E(ones(value)) == 0.94", "Z == 1", "log_Z == 0",
        'P(value == "00") == 0.3601', "E(ones(value)) * 2 - 0.88 == 1.0",
        "P(ones(value) == 1) < 0.34", "P(ones(value) == 1) <= 0.34",
        "0.33 < P(ones(value) == 1) < 0.35", 'P(value == "00") != 0.36', "not Z > 1",
        'support == ["11", "10", "01", "00"]', 'support == ["11", "10", "01"]', 'support != ["11"]',
        "all(len(v) == 2 for v in support)", "any(ones(value) > 2 for value in support)",
        'len(support) == 4 and "01" in support',
    )  # fmt: skip
    assert found == [
        {True: "passed", False: "failed"}[b]
        for b in (
            True,
            True,
            True,
            True,
            False,
            True,
            False,
            True,
            True,
            False,
            True,
            True,
            False,
            True,
            True,
            False,
            True,
        )
    ]
    assert run.outcome == "failed"
    assert run.lines[4].figures == (('P(value == "00")', "0.36"),)


def test_settings_choose_the_table_the_program_and_the_parameters():
    text = """model "no such model"
model toy = table:
    "" -> "x": 0.25, "y": 0.75

program one(n: int = 9, words: list[str] = ["x"]) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
    condition lm.text in words
    return lm.text

program two() -> bool:
    b ~ bernoulli(0.5)
    return b

test "first" with program=one, model=toy, n=2, words=["xy", "yy"]:
    expect Z == 3/4 and support == ["xy", "yy"]

test "second" with program=two:
    expect P(value) == 0.5
"""
    assert [run.outcome for run in outcomes(text, name="a.fk")] == ["passed", "passed"]


def test_a_program_of_no_mass_has_z_zero_and_no_means():
    text = (
        "program main() -> bool:\n    b ~ bernoulli(0.5)\n    condition not b and b\n    return b\n"
    )
    found, run = line_outcomes("Z == 0", "support == []", "P(value) == 0", before=text)
    assert found == ["passed", "passed", "failed"]
    assert "no value" in run.lines[2].note
    (checked,) = outcomes(text + 'test "dies":\n    expect Z == 0\n', TestSettings(runs=5))
    assert checked.outcome == "passed"
    assert all(m.passed and m.runs == 5 for m in checked.methods)


def test_a_mistake_that_shows_as_it_runs_is_an_error_with_its_place():
    (run,) = outcomes(BITS + 'test "it":\n    expect P(value[2] == "0") == 0.5\n', name="a.fk")
    assert run.outcome == "error"
    assert "a.fk:16:14" in run.error
    assert "FK406" in run.error


RECORD = 'program p() -> record:\n{draw}    return {{"n": 4, "s": "x"}}\n\n'
PLAIN = RECORD.format(draw="")
SAMPLED = 'model "tiny"\n\n' + RECORD.format(
    draw='    lm = prompt("A")\n    s ~ text(lm, max_tokens=9)\n'
)


@pytest.mark.parametrize(
    ("program", "figure", "said"),
    [
        (PLAIN, 'P(value["n"])', "expected a truth value inside `P`, found '4'"),
        (PLAIN, 'E(value["s"])', "expected a finite number, found 'x'"),
        (SAMPLED, 'P(value["n"])', "expected a truth value inside `P`, found '4'"),
    ],
)
def test_what_a_record_holds_is_of_the_figures_kind(program, figure, said):
    text = f'{program}test "it":\n    expect {figure} > 2\n'
    (run,) = outcomes(text, TestSettings(methods=False, seconds=2.0))
    assert said in run.error


def test_what_is_to_come_is_known_for_every_state_of_a_program():
    heavy = BITS.replace(
        "        t ~ lm\n", '        t ~ lm\n        factor log(3.0) if t == "1" else log(0.5)\n'
    )
    program = fkdsl.parse(heavy)
    found = program_lookahead(
        program, program.engines(), lambda value: np.array([1.0, value == "11"]), 2, 1000
    )
    assert np.allclose(
        found.total_of_start, [0.36 * 0.25 + 0.04 * 1.5 + 0.3 * 1.5 + 0.3 * 9.0, 0.3 * 9.0]
    )
    assert program_lookahead(program, program.engines(), lambda value: np.ones(1), 1, 2) is None


# ---------------------------------------------------------------- planted bugs

WEIGHED = """program main() -> list[int]:
    xs = [0]
    for i in range(3):
        a ~ uniform_int(0, 5)
        factor log([1.0, 0.4, 0.2, 0.2, 0.1, 0.1][a])
        xs = xs + [a]
    return xs

test "three weights":
    expect Z == (1/3) ** 3
    expect P(value[1] == 0) == 0.5
"""
MORTAL = """program main() -> int:
    a ~ bernoulli(0.5)
    condition a
    b ~ bernoulli(0.7)
    factor log(0.9) if b else log(0.2)
    return 1 if b else 0

test "half of them die":
    expect Z == 0.345
"""
SKEWED = """program main() -> int:
    a ~ uniform_int(0, 1)
    observe true ~ bernoulli(1.0 if a == 0 else 0.02)
    b ~ bernoulli(0.5)
    return a

test "one of two is hardly seen":
    expect Z == 0.51
    expect P(value == 0) == 0.5 / 0.51
"""


def literal_alpha(rng, log_weights, N):
    """The seed's algorithm box as printed: alpha has |I_det| below the line."""
    alive = [int(j) for j in np.flatnonzero(log_weights > -np.inf)]
    if len(alive) <= N:
        return alive, log_weights[alive]
    W, total = normalised(log_weights), log_sum_exp(log_weights)
    det = _certain(log_weights, alive, N)
    stoch = [j for j in alive if j not in det]
    rest = sum(W[j] for j in stoch)
    alpha = rest / max(len(det), 1)
    strat, U = [], rng.uniform() * alpha
    for j in stoch:
        U = U - W[j]
        if U < 0:
            strat.append(j)
            U = U + alpha
    kept = sorted([*det, *strat])
    c = (N - len(det)) / rest
    return kept, np.array([log_weights[j] if j in det else total - math.log(c) for j in kept])


def expand_without_the_k(model, step, t, N, K):
    x, _, A = EXPAND(model, step, t, N, K)
    return x, np.array([step.log_weights[a] for a in A]), A


EXPAND = steer_module.expand
TRIALS = alive_module.trials_until
IMPORTANCE = smc_module.importance


def among_survivors(model, rng, **options):
    """Z_hat as the mean over those alive."""
    for step in IMPORTANCE(model, rng, **options):
        alive = max(step.alive, 1)
        lw = step.log_weights + math.log(len(step.log_weights) / alive)
        yield make_step(model, step.t, step.particles, lw, step.ancestors, resampled=False)


def forgets_a_weight(model, t, x, lw, A, *, resampled):
    """The mean weight is lost by a quarter when the population is resampled."""
    return make_step(model, t, x, lw - (0.3 if resampled else 0.0), A, resampled=resampled)


def counts_the_last(*args):
    """Divides by every trial, the dropped one too."""
    *found, trials = TRIALS(*args)
    return (*found, trials + 1)


def draws_too_much(model, step, t, N, K):
    """A copy more than the weight was divided by."""
    x, lw, A = EXPAND(model, step, t, N, K)
    return (*x, child(x[0], t, K)), np.append(lw, lw[0]), [*A, A[0]]


def off_by_one(scheme):
    """Every offspring has the ancestor after its own."""
    return lambda rng, W, N: [(a + 1) % len(W) for a in scheme(rng, W, N)]


def keeps_every_proposal(old, new, k, power=1.0):
    """A move forgets what its potentials weigh."""
    return 0.0


def the_first_that_lives(log_weights):
    """A reference is taken whatever it weighs."""
    return np.eye(len(log_weights))[int(np.argmax(log_weights > -math.inf))]


BUGS = [
    ("steer", steer_module, "optimal_reduction", literal_alpha, WEIGHED),
    ("steer", steer_module, "expand", expand_without_the_k, WEIGHED),
    ("steer", steer_module, "expand", draws_too_much, WEIGHED),
    ("smc(residual)", smc_module, "make_step", forgets_a_weight, WEIGHED),
    ("importance", smc_module, "importance", among_survivors, MORTAL),
    ("alive", alive_module, "trials_until", counts_the_last, MORTAL),
    ("rejection", rejection_module, "_estimate", lambda x, m, n: x / n, MORTAL),
    ("smc(moves)", moves_module, "log_acceptance", keeps_every_proposal, SKEWED),
    ("tempered", moves_module, "log_acceptance", keeps_every_proposal, SKEWED),
    ("pgibbs", pgibbs_module, "normalised", the_first_that_lives, SKEWED),
]


def methods_of(text, only, runs=200):
    """Without the optimiser, so that particles die; only the variants of one method."""
    program = fkdsl.parse(text).without()
    run = run_test(program, program.checked.tests[0], TestSettings(only=only, runs=runs))
    return run, list(run.methods)


@pytest.mark.parametrize("text", [WEIGHED, MORTAL], ids=["weighed", "mortal"])
def test_methods_without_a_bug_pass(text):
    run, checks = methods_of(text, None, runs=60)
    assert run.outcome == "passed"
    assert [m.variant for m in checks] == [v.name for v in variants()]
    assert all(m.runs and not m.reason for m in checks)


@pytest.mark.parametrize(
    ("method", "module", "name", "bug", "text"), BUGS, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_planted_bug_in_a_method_is_caught(monkeypatch, method, module, name, bug, text):
    monkeypatch.setattr(module, name, bug)
    run, (check,) = methods_of(text, (method,))
    assert run.outcome == "failed"
    assert not check.passed
    assert check.reason


@pytest.mark.parametrize("scheme", RESAMPLING)
def test_a_planted_bug_in_a_resampling_scheme_is_caught(monkeypatch, scheme):
    monkeypatch.setitem(RESAMPLING, scheme, off_by_one(RESAMPLING[scheme]))
    run, (check,) = methods_of(WEIGHED, (f"smc({scheme})",))
    assert run.outcome == "failed"
    assert check.wrong.figure == "P(value[1] == 0)"


def test_a_value_of_probability_zero_is_wrong_without_any_bet(monkeypatch):
    def drop(model, rng, **options):
        *_, last = IMPORTANCE(model, rng, **options)
        states = [replace(p.state, value=9) for p in last.particles]
        particles = tuple(replace(p, state=x) for p, x in zip(last.particles, states, strict=True))
        yield replace(last, particles=particles)

    monkeypatch.setattr(smc_module, "importance", drop)
    _, (check,) = methods_of(MORTAL, ("importance",))
    assert check.runs < 20
    assert check.reason == "it returned '9', which has probability 0"


def test_the_runs_and_the_power_are_reported():
    (run,) = outcomes(
        BITS + 'test "it":\n    expect P(value == "00") == 0.36\n', TestSettings(runs=60)
    )
    assert [m.variant for m in run.methods] == [v.name for v in variants()]
    for m in run.methods:
        assert m.runs == 60
        assert 0.01 < m.detectable["Z"] < 0.3
        assert m.detectable["Z"] < m.detectable['P(value == "00")'] < 0.8
        assert m.by_step == (m.variant not in ("rejection", "smc(moves)", "pgibbs", "tempered"))


@settings(max_examples=4)
@given(program_texts())
def test_right_methods_pass_on_drawn_programs(text):
    program = fkdsl.parse(text + '\ntest "t":\n    expect Z >= 0\n')
    run = run_test(program, program.checked.tests[0], TestSettings(runs=20))
    assert run.outcome == "passed", run
