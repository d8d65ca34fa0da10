"""Blame: what each line did, by figures worked out by hand; shares that sum to 1."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.errors import PopulationDied, ProgramError
from fkdsl.base.random import KeyedRng
from fkdsl.inference.assess import blame as blame_module
from fkdsl.inference.assess.blame import Account
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.testing import program_texts
from tests.steering.blamed import blame_of, program

METHODS = ("smc", "steer", "dpf", "importance", "exact")


# ------------------------------------------------------------- weights


def test_variance_shares_are_those_worked_out_by_hand():
    """c_1 is 1 or 0, c_2 0 or -2, each half of the time: Cov(c_1, C) = 3/4 and Cov(c_2, C) =
    3/2."""
    body = [
        "t ~ lm",
        'factor 1.0 if t == "a" else 0.0',
        'factor -2.0 if t == "b" else 0.0',
        "return t",
    ]
    first, second = blame_of(program(body, '"a": 0.5, "b": 0.5')).lines
    assert first.variance_share == pytest.approx(1 / 3, abs=1e-12)
    assert second.variance_share == pytest.approx(2 / 3, abs=1e-12)
    assert (first.log_weight, second.log_weight) == pytest.approx((0.5, -1.0), abs=1e-12)


def test_a_line_that_evens_weights_out_has_a_negative_share():
    body = [
        "t ~ lm",
        'factor 1.0 if t == "a" else 0.0',
        'factor -0.5 if t == "a" else 0.0',
        "return t",
    ]
    shares = [line.variance_share for line in blame_of(program(body)).lines]
    assert shares == pytest.approx([2.0, -1.0], abs=1e-12)


TWO_STEPS = [
    "t ~ lm",
    'factor log(3) if t == "a" else 0.0',
    "u ~ lm",
    'factor 1.0 if t == "a" else 0.0',
    "return t",
]


def two_step_shares():
    """log 3 over a fair choice, then 1 over one of odds 3 to 1: the weights before the step
    count."""
    first, second = math.log(3) ** 2 / 4, 3 / 16
    return [first / (first + second), second / (first + second)]


def test_particles_count_by_their_weights_before_the_step():
    shares = [
        line.variance_share for line in blame_of(program(TWO_STEPS, '"a": 0.5, "b": 0.5')).lines
    ]
    assert shares == pytest.approx(two_step_shares(), abs=1e-12)


def test_counting_every_particle_alike_is_a_bug_that_is_caught(monkeypatch):
    real = Account.moved

    def alike(self, t, before, after, log_weights):
        real(self, t, before, after, np.zeros(len(log_weights)))

    monkeypatch.setattr(blame_module.Account, "moved", alike)
    shares = [
        line.variance_share for line in blame_of(program(TWO_STEPS, '"a": 0.5, "b": 0.5')).lines
    ]
    assert abs(shares[0] - two_step_shares()[0]) > 0.01


def test_deaths_are_the_particles_that_a_line_killed():
    body = ["t ~ lm", 'condition lm.text != "b"', "u ~ lm", 'condition u != "c"', "return lm.text"]
    plain = program(body).without()
    first, second = blame_of(plain).lines
    assert (first.deaths, second.deaths) == (1, 2)
    assert (first.variance_share, first.log_weight) == (None, 0.0)
    result = plain.run("importance", particles=400, seed=2, blame=True)
    first, second = result.blame.lines
    assert first.deaths + second.deaths + len(result.particles) == 400
    assert (first.passed, second.passed) == (400 - first.deaths, len(result.particles))
    assert abs(first.deaths - 120) <= 45  # five standard deviations


def test_steers_deaths_are_counted_before_the_population_is_reduced():
    body = ["t ~ lm", 'condition lm.text != "b"', "return lm.text"]
    blame = program(body).without().run("steer", particles=100, factor=3, seed=1, blame=True).blame
    assert abs(blame.deaths - 90) <= 40
    assert blame.deaths + blame.lines[0].passed == 300


@pytest.mark.parametrize("method", ["exact", "dpf"])
def test_the_mass_of_a_mask_is_shared_by_what_each_condition_refuses(method):
    body = ["t ~ lm", 'condition t != "b"', 'condition t != "c" and t != "b"', "return t"]
    first, second = blame_of(program(body), method).lines
    assert first.log_weight == pytest.approx(math.log(0.5) * 0.6, abs=1e-12)
    assert second.log_weight == pytest.approx(math.log(0.5) * 0.4, abs=1e-12)


@pytest.mark.parametrize("method", ["exact", "dpf"])
def test_the_mass_of_trials_is_shared_by_where_the_outcomes_died(method):
    body = [
        "t ~ lm",
        'condition lm.text != "b"',
        'condition lm.text != "c"',
        'condition t != "d"',
        "return t",
    ]
    table = '"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1'
    found = [line.log_weight for line in blame_of(program(body, table), method).lines]
    assert found == pytest.approx([math.log(0.4) * x / 0.6 for x in (0.3, 0.2, 0.1)], abs=1e-12)


@pytest.mark.parametrize("method", ["exact", "dpf"])
def test_the_mass_of_an_automaton_is_shared_by_the_conditions_on_the_text(method):
    """Of the first token "b" is refused by the first condition, "c" by the second, and the last by
    both alone."""
    body = [
        "s ~ text(lm, max_tokens=1)",
        'condition not contains(s, "b")',
        "s ~ text(lm, max_tokens=0)",
        "return s",
    ]
    one = blame_of(program(body), method).lines
    assert [line.log_weight for line in one] == pytest.approx([math.log(0.7)], abs=1e-12)
    body[2:3] = ['condition not starts_with(s, "c")']
    first, second = blame_of(program(body), method).lines
    assert first.log_weight == pytest.approx(math.log(0.5) * 0.6, abs=1e-12)
    assert second.log_weight == pytest.approx(math.log(0.5) * 0.4, abs=1e-12)


@settings(max_examples=25)
@given(
    program_texts(),
    st.sampled_from((*METHODS, "rejection", "local", "beam")),
    st.booleans(),
    st.integers(1, 2),
)
def test_shares_sum_to_one_and_blame_changes_no_answer(text, method, optimised, islands):
    p = fkdsl.parse(text) if optimised else fkdsl.parse(text).without()
    options = {"particles": 6} if method not in ("exact", "rejection", "beam") else {}
    options |= {"islands": islands} if method not in ("exact", "beam") else {}
    try:
        quiet = p.run(method, seed=3, **options)
        blamed = p.run(method, seed=3, blame=True, **options)
    except (PopulationDied, ProgramError, fkdsl.CallError):
        return
    assert blamed.posterior == quiet.posterior
    assert blamed.log_z == quiet.log_z
    blame = blamed.blame
    shares = [line.variance_share for line in blame.lines]
    assert all(s is None for s in shares) or abs(math.fsum(shares) - 1.0) <= 1e-9
    times = [line.time_share for line in blame.lines]
    assert abs(math.fsum([*times, blame.model_share, blame.other_share]) - 1.0) <= 1e-9
    assert min([*times, blame.model_share, blame.other_share], default=0.0) >= 0.0
    assert not blame.conflicts


@settings(max_examples=25)
@given(program_texts(), st.booleans())
def test_charges_sum_to_log_g_with_and_without_blame(text, optimised):
    p = fkdsl.parse(text) if optimised else fkdsl.parse(text).without()
    for blamed in (False, True):
        watch, real = [], SteeringModel.step

        def step(self, rngs, xp, watch=watch, real=real):
            states, log_G = real(self, rngs, xp)
            watch.extend(
                (sum(c for _, c in x.charges), g) for x, g in zip(states, log_G, strict=True)
            )
            return states, log_G

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SteeringModel, "step", step)
            try:
                p.run("importance", particles=8, blame=blamed)
            except (PopulationDied, ProgramError):
                continue
        assert all(a == g or abs(a - g) <= 1e-12 * max(1.0, abs(g)) for a, g in watch)


def test_a_slow_line_has_most_of_the_time():
    body = [
        "t ~ lm",
        "condition sum([i for i in range(30000)]) > 0",
        'condition t != "b"',
        "return t",
    ]
    slow, quick = program(body).run(particles=4, blame=True).blame.lines
    assert slow.time_share > 0.5
    assert slow.time_share > 10 * quick.time_share


def test_lines_of_imported_files_and_of_branches_are_told_apart(tmp_path):
    (tmp_path / "rules.fk").write_text(
        'def checked(t: str) -> str:\n    condition t != "b"\n    return t\n'
    )
    (tmp_path / "main.fk").write_text(
        'import "rules.fk"\nmodel m = table:\n    "" -> "a": 0.5, "b": 0.5\n\nprogram p() -> str:\n'
        '    lm = prompt("")\n    t ~ lm\n    u ~ checked(t)\n    factor 0.5\n    return u\n'
    )
    blame = fkdsl.load(tmp_path / "main.fk").without().exact(blame=True).blame
    assert [
        (line.place.source.name.rsplit("/", 1)[-1], line.place.line) for line in blame.lines
    ] == [
        ("main.fk", 9),
        ("rules.fk", 2),
    ]
    assert [line.deaths for line in blame.lines] == [0, 1]


@pytest.mark.smollm2
def test_on_a_real_model_each_of_two_patterns_bears_what_it_refuses():
    program = fkdsl.load("programs/email.fk")
    blame = program.run(particles=4, seed=1, blame=True, lookahead="none").blame
    form, name = blame.lines
    assert form.log_weight < 0.0
    assert name.log_weight < 0.0
    assert abs(form.variance_share + name.variance_share - 1.0) <= 1e-9
    assert blame.model_share > 0.5
    assert (blame.deaths, blame.conflicts) == (0, ())


# ------------------------------------------------------------- charges


@settings(max_examples=25)
@given(program_texts(), st.integers(0, 9))
def test_what_a_step_was_charged_with_sums_to_its_potential(text, seed):
    model = fkdsl.parse(text).feynman_kac()
    states, log_G = model.initial([KeyedRng(seed)])
    while log_G[0] > -math.inf and not model.finished(states[0]):
        states, log_G = model.step([KeyedRng(seed).split(len(states[0].frames))], states)
        assert math.fsum(c.log_weight for c in model.charges(states[0])) == pytest.approx(
            log_G[0], abs=1e-12
        )


def test_each_draw_of_a_step_of_many_is_told_and_charged_once():
    """Without checkpoints between them: what is tried for one draw must not tell of the draws
    before it again."""
    body = [
        "for i in range(12):",
        "    t ~ lm",
        '    condition t != "c" and count(lm.text, "b") < 13',
        "checkpoint",
        "return lm.text",
    ]
    model = program(body).feynman_kac()
    (x,), _ = model.initial([KeyedRng(1)])
    (x,), log_G = model.step([KeyedRng(1)], [x])
    assert len(x.drawn) == 12
    assert log_G[0] == pytest.approx(12 * math.log(0.8))
    assert math.fsum(c.log_weight for c in x.charges) == pytest.approx(log_G[0])
