"""Tools for testing programs, kernels and inference: Hypothesis strategies, exact expectations, and
their assertions.

from hypothesis import given
from fkdsl.testing import assert_unbiased, machines

@given(machines())
def test_my_method(model):
    assert_unbiased(model, lambda rng: my_method(model, rng))
"""

from fkdsl.inference.enumeration import EnumeratingRng, enumerate_outcomes, expectation
from fkdsl.testing.feynman_kac import Machine, machines
from fkdsl.testing.laws import assert_same_measure, assert_unbiased, exact_measure, expected_measure
from fkdsl.testing.paths import assert_stationary, exact_paths
from fkdsl.testing.programs import program_texts, programs
from fkdsl.testing.tables import DrawnContext, contexts, table_models, tables, vocabularies

__all__ = [
    "DrawnContext",
    "EnumeratingRng",
    "Machine",
    "assert_same_measure",
    "assert_stationary",
    "assert_unbiased",
    "contexts",
    "enumerate_outcomes",
    "exact_measure",
    "exact_paths",
    "expectation",
    "expected_measure",
    "machines",
    "program_texts",
    "programs",
    "table_models",
    "tables",
    "vocabularies",
]
