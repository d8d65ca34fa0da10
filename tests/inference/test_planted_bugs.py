"""Bugs that are easy to write, each of which the unbiasedness check must catch."""

import math

import numpy as np
import pytest

from fkdsl.base.logspace import log_sum_exp, normalised
from fkdsl.base.random import KeyedRng
from fkdsl.inference.enumeration import enumerate_outcomes, expectation
from fkdsl.inference.population import make_step
from fkdsl.inference.samplers import smc as smc_module
from fkdsl.inference.samplers import steer as steer_module
from fkdsl.inference.samplers.resampling import RESAMPLING, _certain, optimal_reduction
from fkdsl.inference.samplers.smc import smc
from fkdsl.inference.samplers.steer import steer
from fkdsl.testing import Machine, assert_unbiased

THREE = Machine(
    M=(((0.2, 0.5, 0.3),) * 3,),
    G=(((4.0, 0.5, 1.0),) * 3,),
    merge=False,
)
"""One step, six weights of which three are kept: N = 2 cannot show every form of a wrong alpha."""
TWO = Machine(
    M=(((0.2, 0.8), (0.5, 0.5)), ((0.7, 0.3), (0.1, 0.9))),
    G=(((2.0, 0.5), (1.0, 1.0)), ((0.25, 3.0), (1.5, 0.4))),
)
MORTAL = Machine(
    M=(((0.5, 0.5), (0.5, 0.5)), ((0.3, 0.7), (0.6, 0.4))),
    G=(((0.0, 2.0), (1.0, 1.0)), ((1.0, 0.5), (0.0, 3.0))),
)
"""Half of its particles die in the first step."""
STOPS = Machine(
    M=(((0.4, 0.6), (0.5, 0.5)), ((0.3, 0.7), (0.6, 0.4))),
    G=(((2.0, 0.5), (1.0, 1.0)), ((0.7, 1.5), (0.2, 3.0))),
    stops=frozenset({0}),
)
"""Some of its particles are finished while others go on."""


def literal_alpha(rng, log_weights, N):
    """The seed's algorithm box as printed: alpha has |I_det| below the line."""
    alive = [int(j) for j in np.flatnonzero(log_weights > -np.inf)]
    if len(alive) <= N:
        return alive, log_weights[alive]
    W, total = normalised(log_weights), log_sum_exp(log_weights)
    det = _certain(log_weights, alive, N)
    stoch = [j for j in alive if j not in det]
    rest = sum(W[j] for j in stoch)
    c = (N - len(det)) / rest
    alpha = rest / max(len(det), 1)
    strat, U = [], rng.uniform() * alpha
    for j in stoch:
        U = U - W[j]
        if U < 0:
            strat.append(j)
            U = U + alpha
    kept = sorted([*det, *strat])
    return kept, np.array([log_weights[j] if j in det else total - math.log(c) for j in kept])


def test_the_literal_alpha_is_biased_by_a_quarter_on_the_example_of_the_docs():
    ws = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    for reduce, ratio in ((literal_alpha, 0.75), (optimal_reduction, 1.0)):
        mean = expectation(
            lambda rng, r=reduce: r(rng, np.log(ws), 3), lambda kept: float(np.exp(kept[1]).sum())
        )
        assert abs(mean - ratio) <= 1e-12


def first_certain_counted_as_uncertain(rng, log_weights, N):
    """llamppl 0.2.3: the search for c takes the first certain weight for an uncertain one."""
    kept, lw = optimal_reduction(rng, log_weights, N)
    if len(kept) < np.isfinite(log_weights).sum() and any(
        j in kept for j in range(len(log_weights))
    ):
        W = normalised(log_weights)
        det = _certain(log_weights, [int(j) for j in np.flatnonzero(W)], N)
        if det:
            biggest = max(det, key=lambda j: W[j])
            rest = 1.0 - sum(W[j] for j in det) + W[biggest]
            c = (N - len(det) + 1) / rest
            lw = np.array(
                [
                    log_weights[j] if j in det else log_sum_exp(log_weights) - math.log(c)
                    for j in kept
                ]
            )
    return kept, lw


def zero_weight_survivors(rng, log_weights, N):
    """llamppl 0.2.3: with fewer than N alive, the dead are kept, and given weight."""
    n = min(N, len(log_weights))
    order = sorted(range(len(log_weights)), key=lambda j: -log_weights[j])[:n]
    return sorted(order), np.full(n, log_sum_exp(log_weights) - math.log(n))


def expand_without_the_k(model, step, t, N, K):
    """Each of the K copies keeps the whole weight."""
    x, _, A = EXPAND(model, step, t, N, K)
    return x, np.array([step.log_weights[a] for a in A]), A


def forgetful_expand(model, step, t, N, K):
    """Finished particles start again at weight 1/N."""
    x, lw, A = EXPAND(model, step, t, N, K)
    return (
        x,
        np.array(
            [-math.log(N) if model.finished(p.state) else w for p, w in zip(x, lw, strict=True)]
        ),
        A,
    )


EXPAND = steer_module.expand

STEER_CASES = {"three": (THREE, 3), "mortal": (MORTAL, 2), "stops": (STOPS, 2)}
"""Models, and the N that steer has on them with K = 2."""
STEER_BUGS = [
    ("optimal_reduction", literal_alpha, "three"),
    ("optimal_reduction", first_certain_counted_as_uncertain, "three"),
    ("optimal_reduction", zero_weight_survivors, "mortal"),
    ("expand", expand_without_the_k, "three"),
    ("expand", forgetful_expand, "stops"),
]


@pytest.mark.parametrize("case", STEER_CASES)
def test_steer_is_unbiased_where_bugs_are_planted(case):
    model, N = STEER_CASES[case]
    assert_unbiased(model, lambda rng: steer(model, rng, N, 2))


@pytest.mark.parametrize(
    ("name", "bug", "case"), STEER_BUGS, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_planted_bug_in_steer_is_caught(monkeypatch, name, bug, case):
    model, N = STEER_CASES[case]
    monkeypatch.setattr(steer_module, name, bug)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        assert_unbiased(model, lambda rng: steer(model, rng, N, 2))


def test_steer_spends_the_draws_of_merged_particles_on_what_they_merged_into():
    model = Machine(M=(((0.9, 0.1), (0.9, 0.1)),) * 3, G=(((1.0, 1.0), (1.0, 1.0)),) * 3)
    first, second, *_ = steer(model, KeyedRng(0), 50, 3)
    copies, _, ancestors = steer_module.expand(model, second, 2, 50, 3)
    assert (first.alive, second.alive) == (50, 2)
    assert 148 <= len(copies) <= 150
    heavy = int(np.argmax(second.log_weights))
    assert ancestors.count(heavy) > 5 * ancestors.count(1 - heavy)


def test_steer_never_returns_a_particle_of_weight_zero():
    for _, last in enumerate_outcomes(lambda rng: list(steer(MORTAL, rng, 2, 2))[-1]):
        assert last.alive == 0 or all(w > -math.inf for w in last.log_weights)


def divide_by_survivors(step, model):
    """Z_hat as the mean over those alive: conditioning on survival."""
    alive = max(step.alive, 1)
    lw = step.log_weights + math.log(len(step.log_weights) / alive)
    return make_step(model, step.t, step.particles, lw, step.ancestors, resampled=step.resampled)


def resample_at_the_end_and_forget(step, model):
    """A resampling after the last step that sets the weights to 1/N."""
    if step.log_Z == -math.inf:
        return step
    n = len(step.particles)
    A = [int(np.argmax(step.log_weights))] * n
    x = tuple(step.particles[a] for a in A)
    return make_step(model, step.t, x, np.full(n, -math.log(n)), A, resampled=True)


@pytest.mark.parametrize("bug", [divide_by_survivors, resample_at_the_end_and_forget])
def test_a_planted_bug_at_the_end_of_smc_is_caught(bug):
    def sampler(rng):
        *_, last = smc(MORTAL, rng, 2, 0.0)
        return [bug(last, MORTAL)]

    with pytest.raises(AssertionError):
        assert_unbiased(MORTAL, sampler)


def test_losing_z_when_all_die_is_caught():
    def sampler(rng):
        while True:
            *_, last = smc(MORTAL, rng, 1, 0.0)
            if last.log_Z > -math.inf or len(rng.taken) > 8:
                return [last]

    with pytest.raises(AssertionError):
        assert_unbiased(MORTAL, sampler)


def test_resampling_that_forgets_the_mean_weight_is_caught(monkeypatch):
    real = smc_module.make_step

    def forgets(model, t, x, lw, A, *, resampled):
        return real(model, t, x, lw - (0.3 if resampled else 0.0), A, resampled=resampled)

    monkeypatch.setattr(smc_module, "make_step", forgets)
    with pytest.raises(AssertionError):
        assert_unbiased(TWO, lambda rng: smc(TWO, rng, 2, 1.0))


def test_a_scheme_whose_offspring_are_biased_is_caught(monkeypatch):
    monkeypatch.setitem(RESAMPLING, "multinomial", lambda rng, W, N: [int(np.argmax(W))] * N)
    with pytest.raises(AssertionError):
        assert_unbiased(TWO, lambda rng: smc(TWO, rng, 2, 1.0))


class Masked:
    """MORTAL with its condition applied to the kernel as a mask whose mass is forgotten."""

    def __getattr__(self, name):
        return getattr(MORTAL, name)

    def step(self, rngs, xp):
        x = []
        for rng, (t, i) in zip(rngs, xp, strict=True):
            p = [m if MORTAL.G[t][i][j] > 0 else 0.0 for j, m in enumerate(MORTAL.M[t][i])]
            x.append((t + 1, rng.choice(p)))
        return x, np.array(
            [math.log(MORTAL.G[t][i][j]) for (t, i), (_, j) in zip(xp, x, strict=True)]
        )


def test_a_mask_without_its_mass_is_caught():
    from fkdsl.testing import assert_same_measure

    with pytest.raises(AssertionError):
        assert_same_measure(Masked(), MORTAL)
