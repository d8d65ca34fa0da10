"""assert_unbiased and assert_same_measure as a user meets them: what they take, what they refuse,
what they say."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings

import fkdsl
from fkdsl.base.errors import CallError
from fkdsl.base.value_keys import value_key
from fkdsl.inference.enumeration import NotAFunction, TooManyOutcomes
from fkdsl.inference.methods import METHODS
from fkdsl.inference.samplers.smc import smc
from fkdsl.models.table import TableModel
from fkdsl.testing import Machine, assert_same_measure, assert_unbiased, machines, programs
from fkdsl.testing.laws import SHOWN, UNFINISHED, assert_same_masses, key_text, unbiased_methods

ONE = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2

program main() -> str:
    lm = prompt("")
    t ~ lm
    condition t != "b"
    return lm.text
"""
OTHER = ONE.replace('t != "b"', 'not contains(t, "b")').replace("main", "again")
TWO = Machine(
    M=(((0.2, 0.8), (0.5, 0.5)), ((0.7, 0.3), (0.1, 0.9))),
    G=(((1.0, 0.5), (1.0, 1.0)), ((0.25, 0.7), (0.0, 0.4))),
)


@pytest.mark.parametrize("method", unbiased_methods())
def test_a_method_by_its_name_is_unbiased_for_a_text_a_program_and_a_model(method):
    for target in (ONE, fkdsl.parse(ONE), fkdsl.parse(ONE).feynman_kac(), TWO):
        assert_unbiased(target, method)


@pytest.mark.parametrize("method", unbiased_methods())
@settings(max_examples=10)
@given(model=machines(bounded=True))
def test_every_method_by_its_name_is_unbiased_on_drawn_models(method, model):
    assert_unbiased(model, method)


@settings(max_examples=10)
@given(programs())
def test_importance_is_unbiased_for_drawn_programs_by_name(program):
    assert_unbiased(program, "importance")


def test_every_method_is_either_unbiased_by_name_or_refused_with_the_names_of_those_that_are():
    for method in METHODS:
        if method not in unbiased_methods():
            with pytest.raises(CallError, match=r"not meant to be unbiased(.|\n)*smc, steer"):
                assert_unbiased(ONE, method)
    with pytest.raises(CallError, match="did you mean `smc`"):
        assert_unbiased(ONE, "smcc")


def test_options_are_the_methods_own():
    assert_unbiased(TWO, "smc", particles=3, resampling="residual")
    with pytest.raises(CallError, match="did you mean `particles`"):
        assert_unbiased(TWO, "smc", particels=3)
    with pytest.raises(CallError, match="not with a function: particles"):
        assert_unbiased(TWO, lambda rng: smc(TWO, rng, 2), particles=2)


def test_two_programs_or_texts_or_models_with_one_measure():
    for a in (ONE, fkdsl.parse(ONE)):
        for b in (OTHER, fkdsl.parse(OTHER), fkdsl.parse(OTHER).feynman_kac()):
            assert_same_measure(a, b)
    assert_same_measure(fkdsl.parse(ONE), fkdsl.parse(ONE).without())


def test_a_language_model_takes_the_place_of_the_programs_own():
    table = TableModel("other", {"": {"a": 0.9, "b": 0.1}})
    with pytest.raises(AssertionError):
        assert_same_measure(fkdsl.parse(ONE), fkdsl.parse(ONE).feynman_kac(table))
    a, b = (text.split("\n\n", 1)[1] for text in (ONE, OTHER))
    assert_same_measure(a, b, model=table)
    assert_unbiased(a, "smc", model=table)
    with pytest.raises(CallError, match="asks no language model"):
        assert_same_measure(TWO, TWO, model=table)


def test_a_difference_is_a_table_with_the_worst_value_first():
    with pytest.raises(AssertionError) as failure:
        assert_same_measure(ONE, ONE.replace('t != "b"', 't != "a"').replace("0.2", "0.2"))
    assert str(failure.value).splitlines()[1:] == [
        "  value              first        second",
        "  'a'                  0.5             0  <-",
        "  'b'                    0           0.3  <-",
        "  ''                   0.2           0.2",
        "  Z, the sum           0.7           0.5  <-",
    ]


def test_a_biased_method_is_told_from_the_exact_masses():
    def doubled(rng):
        *_, last = smc(TWO, rng, 1)
        yield last.__class__(**{**last.__dict__, "log_weights": last.log_weights + math.log(2.0)})

    with pytest.raises(AssertionError, match=r"E\[method\] +exact\n"):
        assert_unbiased(TWO, doubled)


def test_a_long_difference_is_cut():
    a = dict.fromkeys(range(100), 0.1)
    with pytest.raises(AssertionError, match=f"and {100 - SHOWN} values more"):
        assert_same_masses(a, {})
    assert_same_masses(a, dict(a))
    with pytest.raises(AssertionError):
        assert_same_masses({1: math.nan}, {1: 1.0})


def test_values_are_shown_as_people_write_them():
    assert key_text(value_key("a")) == "'a'"
    assert key_text(value_key(("a",))) == "('a',)"
    assert key_text(value_key({"a": [True, 1.5], "b": math.nan})) == "{'a': (True, 1.5), 'b': nan}"
    assert key_text(UNFINISHED) == "unfinished" != key_text(value_key("unfinished"))


def test_too_many_outcomes_are_said_with_what_to_do():
    with pytest.raises(TooManyOutcomes, match=r"more than 50 outcomes(.|\n)*fewer particles"):
        assert_unbiased(ONE, "smc", particles=16, limit=50)


class Wild:
    """A kernel that draws by another stream than its own."""

    def __getattr__(self, name):
        return getattr(TWO, name)

    def step(self, rngs, xp):
        x = [
            (t + 1, rng.choice([0.5, 0.5] if random.random() < 0.5 else [1.0]))
            for rng, (t, _) in zip(rngs, xp, strict=False)
        ]
        return x, np.zeros(len(x))


def often():
    for _ in range(50):
        assert_unbiased(Wild(), "importance", tolerance=10.0, particles=2)


def test_a_kernel_that_is_no_function_of_its_stream_is_told_so():
    random.seed(1)
    with pytest.raises(NotAFunction, match="by nothing else"):
        often()


def test_importing_the_tools_loads_no_deep_learning():
    heavy = "{'torch', 'transformers', 'llguidance'}"
    code = f"import fkdsl.testing, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
