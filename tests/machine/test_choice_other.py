"""`choice(lm, options, other=...)`: a partition of all that the model may say next, by
enumeration."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.errors import ProgramError
from fkdsl.ir.printed import explain
from fkdsl.machine.value_json import read_value, write_value
from fkdsl.models.table import TableModel
from fkdsl.testing import assert_unbiased, exact_measure
from fkdsl.testing.laws import assert_same_masses
from fkdsl.values.beginnings import log_probs_of_longest_beginning
from fkdsl.values.token_distributions import ChoiceOf
from fkdsl.values.values import ContextRef
from tests.steering.oracle import oracle_measure

METHODS = ("smc", "steer", "dpf", "importance", "rejection", "alive", "pgibbs")
TABLE = """model m = table:
    "" -> "a": 0.5, "b": 0.2, "c": 0.1, EOS: 0.2
    "a" -> "a": 0.3, "b": 0.6, EOS: 0.1
    "c" -> "a": 1
"""


def program(body, table=TABLE, returns="list[str]"):
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f'{table}\nprogram main() -> {returns}:\n    lm = prompt("")\n{lines}'


def answers(text):
    found = {tuple(a.value): a.probability for a in fkdsl.parse(text).exact().posterior}
    plain = {tuple(a.value): a.probability for a in fkdsl.parse(text).without().exact().posterior}
    assert plain == pytest.approx(found)
    return found


def test_other_is_what_is_left_and_nothing_is_renormalised():
    found = answers(program('c ~ choice(lm, ["a", "bb"], other="none")\nreturn [c, lm.text]'))
    bb = 0.2 * 0.2
    assert found == pytest.approx({("a", "a"): 0.5, ("bb", "bb"): bb, ("none", ""): 1.0 - 0.5 - bb})


def test_the_longest_option_comes_out_in_any_order():
    for options in ('["a", "ab", "aba"]', '["aba", "a", "ab"]'):
        found = answers(program(f'c ~ choice(lm, {options}, other="")\nreturn [c]'))
        aba = 0.5 * 0.6 * 0.5
        assert found == pytest.approx(
            {("a",): 0.5 * 0.4, ("ab",): 0.5 * 0.6 - aba, ("aba",): aba, ("",): 0.5}
        )


def test_an_option_gets_back_what_turns_off_on_the_way_to_a_longer_one():
    found = answers(program('c ~ choice(lm, ["a", "aba"], other="none")\nreturn [c]'))
    aba = 0.5 * 0.6 * 0.5
    assert found == pytest.approx({("a",): 0.5 - aba, ("aba",): aba, ("none",): 0.5})


def test_where_the_options_are_all_there_is_other_has_exactly_no_mass():
    table = 'model m = table:\n    "" -> "a": 0.1, "b": 0.7, "c": 0.2\n'
    found = answers(program('c ~ choice(lm, ["a", "b", "c"], other="d")\nreturn [c]', table))
    assert set(found) == {("a",), ("b",), ("c",)}


def test_after_other_the_model_goes_on_by_its_own_law():
    found = answers(program('c ~ choice(lm, ["a"], other="")\nt ~ lm\nreturn [c, lm.text]'))
    assert found == pytest.approx(
        {
            ("a", "aa"): 0.15, ("a", "ab"): 0.3, ("a", "a"): 0.05,
            ("", "a"): 0.25, ("", "b"): 0.1, ("", "c"): 0.05, ("", ""): 0.1,
        }
    )  # fmt: skip


OBSERVED = {"a": 0.5 - 0.3, "ab": 0.3, "none": 0.5, "b": 0.0}


@pytest.mark.parametrize(("value", "p"), OBSERVED.items())
def test_each_outcome_can_be_observed(value, p):
    body = f'observe "{value}" ~ choice(lm, ["a", "ab"], other="none")\nreturn [lm.text]'
    for parsed in (fkdsl.parse(program(body)), fkdsl.parse(program(body)).without()):
        text = "" if value == "none" else value
        found = exact_measure(parsed.feynman_kac())
        assert list(found.values()) == pytest.approx([p] if p else [])
        assert p == 0 or parsed.exact().posterior[0].value == (text,)


BODIES = {
    "a condition": 'c ~ choice(lm, ["a", "ab", "bb"], other="x")\ncondition c != "a"\nreturn [c]',
    "a mask on other": 'c ~ choice(lm, ["b", "ab"], other="x")\ncondition c == "x"\nreturn [c]',
    "a condition on the text": 'c ~ choice(lm, ["b", "ab"], other="x")\n'
    't ~ lm\ncondition contains(lm.text, "b")\nreturn [c, lm.text]',
    "in a loop": 'for i in range(2):\n    c ~ choice(lm, ["a", "ab"], other="x")\n'
    '    if c == "x" and not lm.done:\n        t ~ lm\n    factor 0.3 * len(c)\nreturn [lm.text]',
    "a weighed one": 'c ~ choice(lm, ["a", "c"], other="x")\nfactor -0.7 * len(c)\n'
    'condition c != "c" or lm.tokens == 1\nreturn [c, lm.text]',
}


@pytest.mark.parametrize("name", BODIES)
def test_programs_are_as_the_oracle_reads_them(name):
    text = program(BODIES[name])
    truth = oracle_measure(text)
    assert truth
    for parsed in (fkdsl.parse(text), fkdsl.parse(text).without()):
        assert_same_masses(exact_measure(parsed.feynman_kac()), truth, 1e-12)


def test_a_choice_that_a_variable_holds_is_drawn_from_where_the_context_then_is():
    held = 'd = choice(lm, ["a", "ab"], other="x")\nt ~ lm\nc ~ d\nreturn [c, lm.text]'
    written = 't ~ lm\nc ~ choice(lm, ["a", "ab"], other="x")\nreturn [c, lm.text]'
    assert answers(program(held)) == pytest.approx(answers(program(written)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["a condition", "a mask on other"])
def test_every_method_is_unbiased(name, method):
    assert_unbiased(fkdsl.parse(program(BODIES[name])), method)


def test_what_is_settled_of_the_next_token_holds_for_the_options():
    """After `word`, the next token goes on with the word or not, and the options are weighed by
    that."""
    table = 'model m = table:\n    "" -> "a": 1\n    "a" -> "b": 0.5, " ": 0.2, ".": 0.3\n'
    body = 'w ~ word(lm, max_tokens=1)\nc ~ choice(lm, ["b", " "], other="x")\nreturn [w, c]'
    assert answers(program(body, table)) == pytest.approx(
        {("a", "b"): 0.5, ("a", " "): 0.2, ("a", "x"): 0.3}
    )
    body = 'm ~ continues(lm)\nm ~ continues(lm)\nc ~ choice(lm, ["b", " "], other="x")\n'
    body += "return [str(m), c]"
    found = answers(program('lm += "a"\n' + body, table))
    assert found == pytest.approx({("true", "b"): 0.5, ("false", " "): 0.2, ("false", "x"): 0.3})


def test_a_byte_view_weighs_the_texts_whatever_their_tokens():
    table = """model m = table:
    "" -> "a": 0.3, "ab": 0.2, "b": 0.1, "é": 0.2, EOS: 0.2
model v = bytes(m, beam=none)
"""
    body = 'lm = prompt("", model=v)\nc ~ choice(lm, ["a", "ab", "é"], other="none")\nreturn [c]'
    ab = 0.2 + 0.3 * 0.1
    assert answers(program(body, table)) == pytest.approx(
        {("a",): 0.5 - ab, ("ab",): ab, ("é",): 0.2, ("none",): 0.3}
    )
    assert_unbiased(fkdsl.parse(program(body, table)), "smc")


def test_over_tokens_an_option_is_its_one_way_to_be_cut():
    table = 'model m = table:\n    "" -> "a": 0.3, "ab": 0.2, "b": 0.1, EOS: 0.4\n'
    found = answers(program('c ~ choice(lm, ["a", "ab"], other="none")\nreturn [c]', table))
    assert found == pytest.approx({("a",): 0.3, ("ab",): 0.2, ("none",): 0.5})


def test_a_held_choice_is_written_to_a_trace_and_read_back():
    for d in (ChoiceOf(ContextRef(1), ("a", "b"), "x"), ChoiceOf(ContextRef(0), ("a",))):
        assert read_value(write_value(d)) == d


class Caseless(TableModel):
    def encode(self, text):
        return super().encode(text.lower())


def test_options_that_the_model_cannot_tell_apart_are_refused():
    model = Caseless("m", {"": {"a": 0.5, "b": 0.3, None: 0.2}})
    text = program('c ~ choice(lm, ["a", "A"], other="none")\nreturn [c]', "")
    with pytest.raises(ProgramError, match="same tokens") as error:
        fkdsl.parse(text).run(model=model, particles=2)
    assert error.value.diagnostics[0].code == "FK402"


def test_an_other_that_is_an_option_is_refused_when_it_is_computed():
    text = program('x = lower("A")\nc ~ choice(lm, ["a", "b"], other=x)\nreturn [c]')
    with pytest.raises(ProgramError, match="an option too") as error:
        fkdsl.parse(text).run(particles=2)
    assert error.value.diagnostics[0].code == "FK402"


def test_explain_says_what_comes_out_for_none():
    text = program('c ~ choice(lm, ["a", "b"], other="none")\nreturn [c]')
    assert "`other`" in explain(fkdsl.parse(text).ir())
    assert "`other`" not in explain(fkdsl.parse(text.replace(', other="none"', "")).ir())


PATHS = st.sets(st.lists(st.integers(0, 2), max_size=3).map(tuple), min_size=1, max_size=4)


@given(PATHS, st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda p: sum(p) > 0.1))
def test_the_longest_beginning_is_that_of_every_text(paths, p):
    """Held to the sum over all sequences of four tokens, drawn independently."""
    p = np.array(p) / sum(p)
    with np.errstate(divide="ignore"):
        row = np.log(p)
    paths = sorted(paths)
    rows = {ids[:k]: row for ids in paths for k in range(len(ids))}
    truth = dict.fromkeys([*paths, None], 0.0)
    for whole in np.ndindex(3, 3, 3, 3):
        fits = [ids for ids in paths if whole[: len(ids)] == ids]
        truth[max(fits, key=len) if fits else None] += math.prod(p[i] for i in whole)
    found = np.exp(log_probs_of_longest_beginning(paths, rows))
    assert found.tolist() == pytest.approx(list(truth.values()), abs=1e-12)
