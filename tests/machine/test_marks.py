"""`special(name)`: one of the tokenizer's special tokens, appended, observed and asked about; no
text becomes one."""

import math

import pytest

import fkdsl
from fkdsl.base.errors import ProgramError
from fkdsl.base.value_keys import state_key
from fkdsl.machine.value_json import read_value, write_value
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.testing import assert_unbiased, exact_measure
from fkdsl.values.marks import Mark
from tests.reference.comparing import Given
from tests.reference.language_models import Table

TURN, MORE, END = "<|turn|>", "<|more|>", "<|end|>"
ROW = (0.4, 0.1, 0.2, 0.1, 0.2)


def given():
    """A model of "a", "b", two special tokens that end nothing and one that ends."""
    tokens = [b"a", b"b", b"", b"", b"", *(bytes([b]) for b in range(256))]
    model = Given(Table(tokens, {4}, {b"": (*ROW, *[0.0] * 256)}))
    marks = {TURN: 2, MORE: 3, END: 4}
    model.vocabulary = Vocabulary(tuple(tokens), frozenset({4}), marks)
    return model


def program(body, returns="list[str]"):
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f'program main() -> {returns}:\n    lm = prompt("")\n{lines}'


def answers(body):
    found = []
    for parsed in (fkdsl.parse(program(body)), fkdsl.parse(program(body)).without()):
        result = parsed.exact(model=given())
        found.append((result.log_z, {tuple(a.value): a.probability for a in result.posterior}))
    assert found[0] == found[1]
    return found[0]


def test_a_mark_is_a_token_without_text_and_weighs_nothing():
    body = f'lm += "a"\nlm += special("{TURN}")\nlm += "b"\n'
    assert answers(body + "return [lm.text, str(lm.tokens)]") == (0.0, {("ab", "3"): 1.0})


def test_the_token_that_is_appended_is_the_one_of_that_name():
    program_ = fkdsl.parse(program(f'lm += special("{MORE}")\nt ~ lm\nreturn [lm.text]'))
    model = program_.feynman_kac(given())
    (state,) = model.initial([None])[0]
    assert state.contexts[0].node.tokens == (3,)


def test_text_that_spells_a_mark_is_text():
    body = f'lm += "{TURN}"\nreturn [lm.text, str(lm.tokens)]'
    assert answers(body)[1] == {(TURN, str(len(TURN))): 1.0}


def test_a_context_goes_on_after_a_mark_that_ends_texts_as_after_any_that_is_appended():
    body = f'lm += special("{END}")\nt ~ lm\nreturn [lm.text, str(lm.tokens)]'
    log_z, found = answers(body)
    assert log_z == pytest.approx(0.0)
    assert found == pytest.approx({("a", "2"): 0.4, ("b", "2"): 0.1, ("", "2"): 0.5})


def test_a_mark_is_observed_with_its_own_probability_and_ends_where_it_does():
    log_z, found = answers(f'observe special("{TURN}") ~ lm\nreturn [str(lm.done)]')
    assert (log_z, found) == (pytest.approx(math.log(0.2)), {("false",): 1.0})
    log_z, found = answers(f'observe special("{END}") ~ lm ** 2.0\nreturn [str(lm.done)]')
    assert log_z == pytest.approx(math.log(0.04 / sum(p * p for p in ROW)))
    assert found == {("true",): 1.0}


def test_the_probability_of_a_mark_leaves_the_context_alone():
    body = f'factor logprob(lm, special("{MORE}"))\nreturn [str(lm.tokens)]'
    assert answers(body) == (pytest.approx(math.log(0.1)), {("0",): 1.0})


def test_marks_go_through_variables_lists_and_functions():
    text = f"""
def close(lm: context, m: mark) -> str:
    t ~ lm
    lm += m
    return t

program main() -> list[str]:
    lm = prompt("")
    marks = [special("{TURN}"), special("{MORE}")]
    s ~ close(lm, marks[1])
    condition s != "b"
    return [s, str(lm.tokens)]
"""
    parsed = fkdsl.parse(text)
    written = fkdsl.parse(text).without()
    masses = [exact_measure(p.feynman_kac(given())) for p in (parsed, written)]
    assert masses[0] == pytest.approx(masses[1])
    assert sum(masses[0].values()) == pytest.approx(0.9)
    assert_unbiased(parsed, "smc", model=given())


@pytest.mark.parametrize(
    ("name", "help"),
    [("<|trun|>", 'did you mean "<|turn|>"?'), ("<fim>", '"<|end|>", "<|more|>", "<|turn|>"')],
)
def test_a_name_that_the_model_lacks_is_a_mistake_with_the_names_that_it_has(name, help):
    with pytest.raises(ProgramError, match="no special token") as raised:
        fkdsl.parse(program(f'lm += special("{name}")\nreturn [lm.text]')).run(model=given())
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.code == "FK402"
    assert help in diagnostic.help


def test_a_model_without_special_tokens_says_so():
    table = 'model m = table:\n    "" -> "a": 0.5, EOS: 0.5\n\n'
    with pytest.raises(ProgramError, match="no special token"):
        fkdsl.parse(table + program('lm += special("<s>")\nreturn [lm.text]')).run()


def test_a_mark_in_a_state_is_written_and_read_back():
    assert read_value(write_value(Mark(TURN))) == Mark(TURN)
    assert state_key(Mark(TURN)) != state_key(TURN)
