"""Standard errors: the estimates of variance are unbiased, exactly, and their intervals cover about
as they say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.inference.assess import genealogy
from fkdsl.inference.assess.genealogy import FamilyTree
from fkdsl.inference.assess.uncertainty import Independent, Islands
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.run import run
from fkdsl.inference.samplers.rejection import rejection
from fkdsl.inference.samplers.smc import smc
from fkdsl.testing import Machine, exact_measure, machines

TWO = Machine(
    M=(((0.2, 0.8), (0.5, 0.5)), ((0.7, 0.3), (0.1, 0.9))),
    G=(((2.0, 0.5), (1.0, 1.0)), ((0.25, 3.0), (1.5, 0.4))),
)
THREE = Machine(M=(*TWO.M, TWO.M[0]), G=(*TWO.G, ((0.3, 1.0), (1.0, 2.0))))


def tree_of(model, steps, scheme="multinomial", merge=True):
    tree, before = FamilyTree(model, scheme, merge), None
    for step in steps:
        tree.take(step, before)
        before = step
    return tree


def moments(model, n, ess, merge, f, scheme="multinomial", read=None):
    """Var(sum w f) and E[V(f)] over every outcome of smc's randomness. read: whether the tree is
    read with merging."""
    first = second = estimated = 0.0
    for p, steps in enumerate_outcomes(
        lambda rng: list(smc(model, rng, n, ess, scheme, merge=merge))
    ):
        last = steps[-1]
        w = np.exp(last.log_weights)
        values = np.array([f(x) for x in last.states])
        total, alive = float(w @ values), w.sum()
        first, second = first + p * total, second + p * total**2
        if alive:
            tree = tree_of(model, steps, merge=merge if read is None else read).uncertainty(
                last.log_weights, range(n)
            )
            estimated += p * (total**2 - alive**2 * tree.pairs(values))
    return second - first**2, estimated


FUNCTIONS = {
    "one": lambda x: 1.0,
    "site": lambda x: 0.3 + x[1],
    "signed": lambda x: (-1.0) ** x[1] * x[0],
}


@pytest.mark.parametrize("f", FUNCTIONS)
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize(("n", "ess"), [(2, 0.0), (2, 1.0), (3, 0.8), (3, 1.0)])
def test_the_variance_estimate_is_unbiased(n, ess, merge, f):
    true, estimated = moments(TWO, n, ess, merge, FUNCTIONS[f])
    assert true > 1e-3
    assert abs(estimated - true) <= 1e-12


@given(
    model=machines(sites=2, steps=2),
    n=st.integers(2, 3),
    ess=st.sampled_from((0.0, 0.6, 0.9, 1.0)),
    merge=st.booleans(),
    f=st.sampled_from(list(FUNCTIONS)),
)
def test_the_variance_estimate_is_unbiased_on_drawn_models(model, n, ess, merge, f):
    true, estimated = moments(model, n, ess, merge, FUNCTIONS[f])
    assert abs(estimated - true) <= 1e-10 * max(1.0, sum(exact_measure(model).values()) ** 2)


@pytest.mark.parametrize("merge", [True, False])
def test_the_variance_estimate_is_unbiased_over_three_steps(merge):
    true, estimated = moments(THREE, 2, 1.0, merge, FUNCTIONS["one"])
    assert abs(estimated - true) <= 1e-12


PROGRAM = """model m = table:
    "" -> "a": 0.6, "b": 0.3, EOS: 0.1
program p() -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < 2:
        t ~ lm
        factor 0.8 if t == "a" else -0.3
        condition not contains(lm.text, "bb")
    return upper(lm.text)
"""


def test_the_variance_estimate_of_a_program_is_unbiased():
    """A program as it is run: its draws look ahead, its particles are merged where their texts are
    equal."""
    model = fkdsl.parse(PROGRAM).feynman_kac()
    true, estimated = moments(
        model, 2, 1.0, True, lambda x: len(model.value(x)) if model.finished(x) else 0.5
    )
    assert true > 1e-3
    assert abs(estimated - true) <= 1e-12


def test_a_tree_that_forgets_what_was_merged_is_caught():
    true, estimated = moments(TWO, 3, 1.0, True, FUNCTIONS["one"], read=False)
    assert abs(estimated - true) > 1e-3


@pytest.mark.parametrize("scheme", ["systematic", "residual"])
def test_a_scheme_whose_children_do_not_choose_independently_is_caught(scheme):
    true, estimated = moments(TWO, 3, 1.0, True, FUNCTIONS["one"], scheme)
    assert abs(estimated - true) > 1e-3


def test_a_tree_whose_sisters_are_no_pairs_is_caught(monkeypatch):
    """The bug: two children of a merged particle count as one, as if it were one particle."""
    real = FamilyTree._resample

    def broken(self, before, ancestors):
        real(self, before, ancestors)
        self._C[np.diag_indices(len(self._C))] = 0.0

    monkeypatch.setattr(FamilyTree, "_resample", broken)
    true, estimated = moments(TWO, 3, 1.0, True, FUNCTIONS["one"])
    assert abs(estimated - true) > 1e-3


# ------------------------------------------------------------------------------ the other estimates


@pytest.mark.parametrize(("samples", "attempts"), [(2, 4), (3, 4), (2, 2), (3, 6)])
def test_the_variance_estimate_of_rejection_is_unbiased_however_it_stops(samples, attempts):
    half = Machine(M=(((0.3, 0.7),) * 2,), G=(((1.0, 0.25),) * 2,))
    first = second = estimated = 0.0
    for p, (step,) in enumerate_outcomes(lambda rng: list(rejection(half, rng, samples, attempts))):
        z = math.exp(step.log_Z)
        first, second = first + p * z, second + p * z * z
        if step.particles:
            se = Independent.of(len(step.particles), samples, attempts, step.log_Z).log_z_se()
            estimated += p * (z * se) ** 2
    assert abs(estimated - (second - first**2)) <= 1e-12


def test_the_variance_estimate_of_islands_is_unbiased():
    found = []
    for p, lasts in enumerate_outcomes(lambda rng: [list(smc(TWO, rng, 1))[-1] for _ in range(3)]):
        log_Z = np.array([last.log_Z for last in lasts])
        z = float(np.exp(log_Z).mean())
        found.append((p, z, (z * Islands(np.arange(3), log_Z, log_Z).log_z_se()) ** 2))
    mean, square, estimated = (math.fsum(p * x for p, x in column) for column in zip(
        *(((p, z), (p, z * z), (p, v)) for p, z, v in found), strict=True))  # fmt: skip
    assert abs(estimated - (square - mean**2)) <= 1e-12


def test_without_resampling_every_scheme_has_the_error_of_independent_draws():
    result = run(TWO, "smc", 5, {"particles": 9, "ess": 0.0, "resampling": "ssp"})
    same = run(TWO, "importance", 5, {"particles": 9})
    w = np.exp([p.log_weight for p in result.particles]) * 9
    assert result.uncertainty.by == "independent"
    assert math.isclose(result.log_z_se, np.std(w, ddof=1) / 3 / w.mean(), rel_tol=1e-12)
    assert result.log_z_se == same.log_z_se
    f = np.array([float(p.value[1]) for p in result.particles])
    residuals = w * (f - w @ f / w.sum()) / w.mean()
    assert math.isclose(
        result.mean(lambda v: v[1]).se, math.sqrt(residuals @ residuals / 72), rel_tol=1e-12
    )


# ---------------------------------------------------------------------------------- what a run says


def walk(sites, T, spread, seed=1):
    """A machine of many sites and steps, drawn."""
    r = np.random.default_rng(seed)
    M = tuple(
        tuple(tuple(p / p.sum()) for p in r.gamma(1.0, size=(sites, sites))) for _ in range(T)
    )
    G = tuple(
        tuple(tuple(np.exp(spread * r.normal(size=sites))) for _ in range(sites)) for _ in range(T)
    )
    return Machine(M, G)


WALK = walk(8, 8, 0.5)


def test_a_run_says_its_errors_and_by_what_they_were_found():
    result = run(WALK, "smc", 2, {"particles": 64})
    assert result.uncertainty.by == "genealogy"
    assert result.log_z_se == result.uncertainty.log_z_se() > 0.0
    assert result.mean(lambda v: v[1]).se > 0.0
    assert result.mean(lambda v: 1.7).se == 0.0
    # In any unit.
    assert math.isclose(result.mean(lambda v: 1e9 * v[1]).se, 1e9 * result.mean(lambda v: v[1]).se)
    assert result.notes == ()


def test_a_resumed_run_says_the_same_errors():
    seen = []
    whole = run(WALK, "smc", 2, {"particles": 16}, observer=seen.append)
    for stopped in (1, 4, len(seen)):
        result = run(WALK, "smc", 2, {"particles": 16}, resume={0: seen[:stopped]})
        assert result.log_z_se == whole.log_z_se
        assert result.mean(lambda v: v[1]).se == whole.mean(lambda v: v[1]).se


@pytest.mark.parametrize(
    ("method", "options", "note"),
    [
        (
            "smc",
            {"resampling": "systematic", "ess": 1.0},
            "systematic resampling: --resampling multinomial",
        ),
        ("smc", {"particles": 1}, "one particle alone"),
        ("smc", {"particles": genealogy.MOST + 1, "ess": 1.0}, "more than 4096 particles"),
        ("steer", {}, "steer has no standard error from one run: --islands 8"),
        ("local", {}, "biased"),
    ],
)
def test_a_run_without_a_standard_error_says_why_and_what_to_do(method, options, note):
    result = run(walk(2, 3, 0.5), method, 1, options)
    assert result.log_z_se is None
    assert result.mean(lambda v: v[1]).se is None
    assert note in result.notes[0]


def test_few_ancestors_left_are_told():
    """Eight sites and potentials of e^2: the particles soon descend from one."""
    result = run(walk(8, 12, 2.0), "smc", 1, {"particles": 16})
    assert result.uncertainty.roots < 2
    assert "effective ancestors are left: the percentages" in result.notes[0]


@given(seed=st.integers(0, 1000), ess=st.sampled_from((0.0, 0.7, 1.0)))
def test_without_merging_the_effective_roots_are_those_of_the_tree(seed, ess):
    steps = list(smc(WALK, KeyedRng(seed), 12, ess, merge=False))
    roots = np.arange(12)
    for step in steps[1:]:
        roots = roots[list(step.ancestors)]
    w = np.exp(steps[-1].log_weights)
    shares = np.bincount(roots, weights=w / w.sum())
    tree = tree_of(WALK, steps, merge=False).uncertainty(steps[-1].log_weights, range(12))
    assert math.isclose(tree.roots, 1 / (shares @ shares), rel_tol=1e-9)


def coverage(model, n, runs):
    """Shares of runs whose interval of two standard errors has log Z in it, and the mean of f; the
    rms of se over the rms of the error of log Z."""
    masses = exact_measure(model)
    z = sum(masses.values())
    mean = sum(m * site for (_, _, site), m in masses.items()) / z
    log_z, means, ratio = [], [], []
    for seed in range(runs):
        result = run(model, "smc", seed, {"particles": n})
        error, estimate = result.log_z - math.log(z), result.mean(lambda v: v[1])
        log_z.append(result.log_z_se is not None and abs(error) <= 2 * result.log_z_se)
        means.append(estimate.se is not None and abs(estimate.mean - mean) <= 2 * estimate.se)
        ratio.append((result.log_z_se or 0.0, error))
    se, error = np.sqrt(np.square(ratio).mean(axis=0))
    return np.mean(log_z), np.mean(means), se / error


def test_two_standard_errors_cover_the_truth_about_as_often_as_they_say():
    log_z, mean, ratio = coverage(WALK, 64, 120)
    assert log_z >= 0.85
    assert mean >= 0.85
    assert 0.75 <= ratio <= 1.3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_two_standard_errors_cover_on_drawn_machines(seed):
    log_z, mean, ratio = coverage(walk(3 + 2 * seed, 4 + seed, 0.5, seed), 128, 300)
    assert log_z >= 0.88
    assert mean >= 0.88
    assert 0.8 <= ratio <= 1.25
