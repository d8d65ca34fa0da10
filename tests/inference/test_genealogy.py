"""Standard errors from a family tree: the variance estimate is unbiased, exactly, and covers as often as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.genealogy import FamilyTree
from fkdsl.inference.smc import smc
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


def moments(model, n, ess, merge, f):
    """Var(sum w f) and E[V(f)] over every outcome of smc's randomness."""
    first = second = estimated = 0.0
    for p, steps in enumerate_outcomes(lambda rng: list(smc(model, rng, n, ess, "multinomial", merge=merge))):
        last = steps[-1]
        w = np.exp(last.log_weights)
        values = np.array([f(x) for x in last.states])
        total, alive = float(w @ values), w.sum()
        first, second = first + p * total, second + p * total**2
        if alive:
            tree = tree_of(model, steps, merge=merge).uncertainty(last.log_weights, range(n))
            estimated += p * (total**2 - alive**2 * tree.pairs(values))
    return second - first**2, estimated


FUNCTIONS = {"one": lambda x: 1.0, "site": lambda x: 0.3 + x[1], "signed": lambda x: (-1.0) ** x[1] * x[0]}


@pytest.mark.parametrize("f", FUNCTIONS)
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize(("n", "ess"), [(2, 0.0), (2, 1.0), (3, 0.8), (3, 1.0)])
def test_the_variance_estimate_is_unbiased(n, ess, merge, f):
    true, estimated = moments(TWO, n, ess, merge, FUNCTIONS[f])
    assert true > 1e-3
    assert abs(estimated - true) <= 1e-12


@given(model=machines(sites=2, steps=2), n=st.integers(2, 3), ess=st.sampled_from((0.0, 0.6, 0.9, 1.0)),
       merge=st.booleans(), f=st.sampled_from(list(FUNCTIONS)))  # fmt: skip
def test_the_variance_estimate_is_unbiased_on_drawn_models(model, n, ess, merge, f):
    true, estimated = moments(model, n, ess, merge, FUNCTIONS[f])
    assert abs(estimated - true) <= 1e-10 * max(1.0, sum(exact_measure(model).values()) ** 2)


@pytest.mark.parametrize("merge", [True, False])
def test_the_variance_estimate_is_unbiased_over_three_steps(merge):
    true, estimated = moments(THREE, 2, 1.0, merge, FUNCTIONS["one"])
    assert abs(estimated - true) <= 1e-12
