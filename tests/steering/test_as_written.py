"""`fkdsl test` and the laws hold what the optimiser makes of a program to the program as it is
written."""

import math

import pytest

import fkdsl
from fkdsl.api.outcomes import TestSettings
from fkdsl.api.test_blocks import run_test
from fkdsl.testing import assert_same_measure, assert_unbiased
from tests.proposals.test_values_that_change import NUMBER

TESTED = NUMBER + '\ntest "all live":\n    expect Z == 1.0\n    expect P(value == "b") == 0.3\n'


def old_values(monkeypatch):
    """A planted bug: a mask does not see what is assigned between the draw and the condition."""
    monkeypatch.setattr("fkdsl.ir.passes.masks.writes", lambda instr: set())


def outcome(text):
    program = fkdsl.parse(text)
    (test,) = program.checked.tests
    return run_test(program, test, TestSettings(runs=2))


def test_a_test_block_has_the_figures_of_the_program_as_it_is_written(monkeypatch):
    assert outcome(TESTED).outcome == "passed"
    old_values(monkeypatch)
    run = outcome(TESTED)
    assert [line.outcome for line in run.lines] == ["passed", "passed"]
    assert run.outcome == "failed"
    first = run.methods[0]
    assert first.variant == "the optimiser"
    assert "Z is 1 as the program is written, 0.5 as it is optimised" in first.reason


def test_a_method_is_unbiased_for_the_program_as_it_is_written(monkeypatch):
    assert_unbiased(NUMBER, "importance")
    old_values(monkeypatch)
    with pytest.raises(AssertionError, match="mass of"):
        assert_unbiased(NUMBER, "importance")


def test_two_programs_of_one_measure_are_held_to_what_is_written(monkeypatch):
    assert_same_measure(NUMBER, NUMBER)
    old_values(monkeypatch)
    with pytest.raises(AssertionError, match="optimised"):
        assert_same_measure(NUMBER, NUMBER)
    assert math.exp(fkdsl.parse(NUMBER).exact().log_z) == pytest.approx(0.5)
