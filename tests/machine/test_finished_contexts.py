"""After the end comes nothing: no run ends because one particle drew EOS, whatever the program asks
of its context."""

import pytest

import fkdsl
from fkdsl.testing import assert_unbiased, exact_measure
from fkdsl.testing.laws import assert_same_masses
from tests.steering.oracle import oracle_measure

TABLE = """model m = table:
    "" -> "a": 0.5, "b": 0.2, EOS: 0.3
    "a" -> "a": 0.3, "b": 0.6, EOS: 0.1
"""
BODIES = {
    "two texts": 's ~ text(lm, until="b", max_tokens=2)\nr ~ text(lm, max_tokens=1)\nreturn [s, r]',
    "a condition on the second text": "s ~ text(lm, max_tokens=2)\nr ~ text(lm, max_tokens=1)\n"
    'condition r != "a"\nreturn s',
    "a condition that needs a second text": (
        "s ~ text(lm, max_tokens=1)\nr ~ text(lm, max_tokens=1)\n"
        'condition contains(r, "b")\nreturn s'
    ),
    "a loop": "for i in range(2):\n    t ~ lm\nreturn lm.text",
    "a loop with a condition": (
        'for i in range(2):\n    t ~ lm\n    condition t != "b"\nreturn lm.text'
    ),
    "a condition on the text so far": "for i in range(2):\n    t ~ lm\n"
    '    condition not contains(lm.text, "bb")\nreturn lm.text',
    "a choice": 's ~ text(lm, max_tokens=1)\nc ~ choice(lm, ["a", "bb"])\nreturn [s, c]',
    "a choice with an outcome for none": "s ~ text(lm, max_tokens=1)\n"
    'c ~ choice(lm, ["a", "ab", "bb"], other="none")\nreturn [s, c, lm.text]',
    "an observed token": 't ~ lm\nobserve "a" ~ lm\nreturn lm.text',
    "an observed end": "t ~ lm\nobserve EOS ~ lm\nreturn lm.text",
    "a probability": 't ~ lm\nfactor -1.0 if logprob(lm, "a") < -100.0 else 0.5\nreturn lm.text',
    "a product": 'x = prompt("a")\nt ~ lm\nu ~ lm * x\nreturn lm.text',
    "a temperature": "t ~ lm\nu ~ lm ** 0.5\nreturn lm.text",
    "an end that is no question": (
        "t ~ lm\nif lm.done:\n    r ~ text(lm)\n    return r\nreturn lm.text"
    ),
}


def program(body):
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    returns = "list[str]" if "return [" in body else "str"
    return f'{TABLE}\nprogram main() -> {returns}:\n    lm = prompt("")\n{lines}'


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_programs_go_on_past_the_end_as_the_oracle_reads_them(body):
    text = program(body)
    truth = oracle_measure(text)
    assert truth
    for parsed in (fkdsl.parse(text), fkdsl.parse(text).without()):
        assert_same_masses(exact_measure(parsed.feynman_kac()), truth, 1e-12)


@pytest.mark.parametrize("method", ["smc", "steer", "importance", "rejection"])
@pytest.mark.parametrize(
    "body", ["a condition that needs a second text", "a loop with a condition"]
)
def test_every_method_goes_on_past_the_end_without_bias(body, method):
    assert_unbiased(fkdsl.parse(program(BODIES[body])), method)


def test_words_of_a_finished_context_are_empty_and_appended_text_reopens_it():
    body = 'observe EOS ~ lm\nw ~ word(lm)\ns ~ text(lm)\nlm += "a"\nt ~ lm\nreturn [w, s, lm.text]'
    found = {tuple(a.value): a.probability for a in fkdsl.parse(program(body)).exact().posterior}
    assert found == pytest.approx({("", "", "aa"): 0.3, ("", "", "ab"): 0.6, ("", "", "a"): 0.1})


def test_a_population_that_only_draws_past_the_end_says_at_which_line_it_died():
    with pytest.raises(fkdsl.PopulationDied, match="line 8"):
        fkdsl.parse(program("observe EOS ~ lm\nt ~ lm\nreturn lm.text")).run(particles=2)


MIXED = {
    "plain": "t ~ mixture([lm * z, x], weights=[0.3, 0.7])\nreturn x.text",
    "guided": 't ~ mixture([lm * z, x], weights=[0.3, 0.7])\ncondition t != "b"\nreturn x.text',
    "in a mixture": (
        "t ~ mixture([x, mixture([lm * z, lm], weights=[0.5, 0.5])], "
        "weights=[0.2, 0.8])\nreturn x.text"
    ),
    "a finished one": "u ~ lm\nt ~ mixture([lm, x], weights=[0.4, 0.6])\nreturn x.text",
    "observed": "t ~ x\nobserve t ~ mixture([lm * z, lm], weights=[0.3, 0.7])\nreturn lm.text",
}


@pytest.mark.parametrize("body", MIXED.values(), ids=MIXED)
def test_a_component_that_cannot_draw_loses_its_share(body):
    rows = '    "a" -> "a": 0.3, "b": 0.6, EOS: 0.1\n    "z" -> "z": 1\n'
    text = program(f'x = prompt("a")\nz = prompt("z")\n{body}').replace(
        rows.splitlines()[0] + "\n", rows
    )
    truth = oracle_measure(text)
    for parsed in (fkdsl.parse(text), fkdsl.parse(text).without()):
        assert_same_masses(exact_measure(parsed.feynman_kac()), truth, 1e-12)
    assert_unbiased(fkdsl.parse(text), "smc", particles=1, ess=1.0)


def test_a_negative_power_turns_a_distribution_round():
    text = program('x = prompt("a")\nt ~ lm * x ** -0.5\nreturn x.text')
    assert_same_masses(exact_measure(fkdsl.parse(text).feynman_kac()), oracle_measure(text), 1e-12)
    raw = {"aa": 0.5 / 0.3**0.5, "b": 0.2 / 0.6**0.5, "": 0.3 / 0.1**0.5}
    found = {a.value: a.probability for a in fkdsl.parse(text).exact().posterior}
    assert found == pytest.approx(
        {k.replace("aa", "a"): v / sum(raw.values()) for k, v in raw.items()}
    )
