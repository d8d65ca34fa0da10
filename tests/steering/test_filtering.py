"""`filtering` gives P_t of the program's own M_t and G_t, whatever the optimiser makes of its
kernels."""

import math

import pytest

import fkdsl
from fkdsl.base.logspace import log_sum_exp
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.smc import smc
from fkdsl.inference.samplers.steer import steer
from fkdsl.inference.search.exact import exact

TEXT = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2
    "a" -> "a": 0.25, "b": 0.75

program main() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=2)
    condition s in ["ab", "a", "aa"] and not contains(s, "aa")
    return s
"""
LOOP = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2

program main() -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < 2:
        t ~ lm
        factor -0.5 * lm.tokens
        condition t != "b" or lm.tokens == 2
    return lm.text
"""
CHECKPOINTS = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2
    "b" -> "b": 0.5, EOS: 0.5

program main() -> str:
    lm = prompt("")
    t ~ lm
    condition t != EOS
    u ~ uniform_int(0, 1)
    checkpoint
    s ~ text(lm, max_tokens=1)
    condition matches(s, "b*") and (u == 1 or t == "b")
    return lm.text
"""


def described(model, states, log_weights):
    found = {}
    for x, w in zip(states, log_weights, strict=True):
        if w > -math.inf:
            found[model.describe(x)] = found.get(model.describe(x), 0.0) + math.exp(w)
    return found


def own(text):
    """Unnormalised P_t of each step, of the program without any optimisation."""
    model = fkdsl.parse(text).without().feynman_kac()
    return [described(model, level.states, level.log_weights) for level in exact(model)]


def expected(model, sampler, steps):
    """E[sum_i w_i 1{x_i}] after each of so many steps of a method; a population that has ended
    stays as it is."""
    found = [{} for _ in range(steps)]
    for p, taken in enumerate_outcomes(lambda rng: list(sampler(rng))):
        for t in range(steps):
            step = taken[min(t, len(taken) - 1)]
            states = [particle.state for particle in step.particles]
            for x, w in described(model, states, step.log_weights).items():
                found[t][x] = found[t].get(x, 0.0) + p * w
    return found


def the_filtering_program(text, monkeypatch):
    """The model that a run with filtering runs."""
    seen = []
    real = fkdsl.Program.feynman_kac
    monkeypatch.setattr(
        fkdsl.Program, "feynman_kac", lambda self, **more: seen.append(self) or real(self, **more)
    )
    fkdsl.parse(text).run("smc", particles=4, filtering=True)
    monkeypatch.undo()
    (program,) = seen
    return program


def test_filtering_posteriors_of_a_guided_text_are_the_programs_own_by_hand():
    result = fkdsl.parse(TEXT).exact(filtering=True)
    first = {a.value: a.probability for a in result.filtering[1]}
    # The condition stands behind the text: of what one token is, only "", which has ended, is
    # refused.
    assert first == {"a": pytest.approx(0.625), "b": pytest.approx(0.375)}
    assert math.exp(result.log_z) == pytest.approx(0.5 * 0.75)


@pytest.mark.parametrize("text", [TEXT, LOOP, CHECKPOINTS])
def test_exact_with_filtering_gives_what_it_gives_without_the_optimiser(text):
    with_it, without = (
        fkdsl.parse(text).exact(filtering=True),
        fkdsl.parse(text).without().exact(filtering=True),
    )
    assert len(with_it.filtering) == len(without.filtering)
    for a, b in zip(with_it.filtering, without.filtering, strict=True):
        assert {x.value: pytest.approx(x.probability, abs=1e-12) for x in a} == {
            x.value: x.probability for x in b
        }


@pytest.mark.parametrize("text", [TEXT, LOOP, CHECKPOINTS])
@pytest.mark.parametrize(
    "sampler", [lambda m, rng: smc(m, rng, 2, 1.0), lambda m, rng: steer(m, rng, 1, 2)]
)
def test_the_mean_of_the_filtering_estimate_is_the_programs_own_with_the_optimiser_on(
    text, sampler, monkeypatch
):
    program = the_filtering_program(text, monkeypatch)
    assert "fuse" not in program.off
    model = program.feynman_kac()
    truths = own(text)
    means = expected(model, lambda rng: sampler(model, rng), len(truths))
    for t, (found, truth) in enumerate(zip(means, truths, strict=True)):
        assert found == {x: pytest.approx(w, abs=1e-12) for x, w in truth.items()}, t


def test_kernels_that_guide_a_text_from_its_first_token_would_not_give_them():
    """A planted bug: the report of the rewritten kernels."""
    model = fkdsl.parse(TEXT).feynman_kac()
    levels = [described(model, level.states, level.log_weights) for level in exact(model)]
    assert levels[1] != own(TEXT)[1]
    assert log_sum_exp([math.log(w) for w in levels[-1].values()]) == pytest.approx(
        math.log(sum(own(TEXT)[-1].values()))
    )


def test_contradicting_conditions_are_still_told_with_filtering():
    text = TEXT.replace('not contains(s, "aa")', 's == "x" and s == "y"')
    with pytest.raises(fkdsl.ProgramError, match="no text satisfies"):
        fkdsl.parse(text).run(filtering=True)
