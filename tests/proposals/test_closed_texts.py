"""`closed=true`: a text that a stop or EOS must end, and that is guided to its end; held to an
enumeration by hand, to `condition not cut` and to the program without the optimiser."""

import math
from unittest.mock import patch

import pytest

import fkdsl
from fkdsl.engine.constraints.closed import ClosedMasks
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.inference.samplers.smc import importance
from fkdsl.ir.printed import explain
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure
from tests.proposals.test_ends_of_texts import CASES, MODEL, ends
from tests.proposals.test_guided_texts import Coin

CONDITIONS = [
    'not contains(s, "é")',
    'matches(s, "(a|b)*") and len(s) >= 2',
    'len(words(s)) <= 1 and s != "a"',
    'syllables(s) < 2 or starts_with(s, "a")',
]


def text_of(until, most, closed="true", conditions=(), begin='    lm += "xb"\n'):
    body = "".join(f"    condition {c}\n" for c in conditions)
    return (
        f'{MODEL}\n\nprogram p() -> str:\n    lm = prompt("")\n{begin}'
        f"    s ~ text(lm, until={until}, max_tokens={most}, closed={closed})\n{body}    return s\n"
    )


def cut_of(until, most, conditions=()):
    """The same by the idiom: the text is drawn as it comes, and then asked about."""
    body = "".join(f"    condition {c}\n" for c in ("not cut", *conditions))
    return (
        f'{MODEL}\n\nprogram p() -> str:\n    lm = prompt("")\n    lm += "xb"\n'
        f"    start = len(lm.text)\n    s ~ text(lm, until={until}, max_tokens={most})\n"
        f"    cut = not lm.done and lm.text[start:] == s\n{body}    return s\n"
    )


def measure(text, *off, whole=True):
    program = fkdsl.parse(text)
    return exact_measure((program if whole else program.without(*off)).feynman_kac())


@pytest.mark.parametrize(("until", "stops"), CASES)
@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_closed_text_is_one_that_was_not_cut(until, stops, most):
    law = {}
    for (s, end), p in ends(stops, most).items():
        if end != "max_tokens":
            law[s] = law.get(s, 0.0) + p
    text = text_of(until, most)
    assert_same_masses(measure(text), law, 1e-12)
    assert_same_masses(measure(text, whole=False), law, 1e-12)


@pytest.mark.parametrize(("until", "stops"), CASES)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_it_means_the_same_together_with_conditions(until, stops, condition):
    truth = measure(cut_of(until, 3, [condition]), whole=False)
    text = text_of(until, 3, conditions=[condition])
    assert_same_masses(measure(text), truth, 1e-12)
    assert_same_masses(measure(text, whole=False), truth, 1e-12)
    for off in ("automata", "lookahead", "fuse", "texts"):
        assert_same_masses(measure(text, off, whole=False), truth, 1e-12)


def test_each_draw_is_properly_weighted():
    text = text_of('"\\n"', 2, conditions=['s != "a"'])
    truth = measure(text, whole=False)
    model = fkdsl.parse(text).feynman_kac()
    assert_same_masses(expected_measure(model, lambda rng: importance(model, rng, 1)), truth)


@pytest.mark.parametrize("closed", ["x", "1 > 2", "false"])
def test_whether_it_is_closed_may_be_known_when_the_program_runs(closed):
    begin = '    lm += "xb"\n    x ~ bernoulli(0.5)\n'
    both = [measure(cut_of('"b"', 2), whole=False), measure(text_of('"b"', 2, "false"))]
    share = {"x": 0.5}.get(closed, 0.0)
    truth = {
        s: share * both[0].get(s, 0.0) + (1 - share) * both[1].get(s, 0.0)
        for s in {*both[0], *both[1]}
    }
    text = text_of('"b"', 2, closed, begin=begin)
    assert_same_masses(measure(text), truth, 1e-12)
    assert_same_masses(measure(text, whole=False), truth, 1e-12)


RARE = (
    'program p() -> str:\n    lm = prompt("")\n'
    '    s ~ text(lm, until="bb", max_tokens=4, closed=true)\n'
    '    condition not starts_with(s, "ab")\n    return s\n'
)


def endless():
    """A model of two letters and no end: only stops close its texts."""
    model = Coin()
    model.vocabulary = Vocabulary((b"a", b"b", b""), frozenset())
    return model


def alive(program, model=None, seeds=60):
    count = 0
    for seed in range(seeds):
        try:
            program.run("importance", particles=1, seed=seed, model=model or endless())
            count += 1
        except fkdsl.PopulationDied:
            pass
    return count


def test_particles_live_that_died_at_max_tokens():
    program = fkdsl.parse(RARE)
    assert alive(program) == 60
    assert alive(program.without("lookahead")) < 50
    assert alive(program.without()) < 35


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_budget_that_is_off_by_one_is_seen(shift):
    """Planted bugs: one too small changes the measure; one too large costs particles."""
    program, model = fkdsl.parse(RARE), endless()
    truth = exact_measure(program.without().feynman_kac(model))
    assert_same_masses(exact_measure(program.feynman_kac(model)), truth, 1e-12)
    right = ClosedMasks.mask

    def wrong(self, positions, tokens_left):
        return right(self, positions, None if tokens_left is None else tokens_left + shift)

    make_constraint.cache_clear()
    with patch.object(ClosedMasks, "mask", wrong):
        found, lives = exact_measure(program.feynman_kac(model)), alive(program)
    make_constraint.cache_clear()
    if shift > 0:
        assert_same_masses(found, truth, 1e-12)
        assert lives < 60
    else:
        with pytest.raises(AssertionError):
            assert_same_masses(found, truth, 1e-12)


def test_a_schema_leaves_room_for_the_end():
    text = (
        'model m = table:\n    "" -> "1": 0.4, "2": 0.2, "\\n": 0.2, EOS: 0.2\n\n'
        'program p() -> str:\n    lm = prompt("")\n'
        '    s ~ text(lm, until="\\n", max_tokens=3, closed=true)\n'
        '    condition valid_json(s, schema="{\\"type\\": \\"integer\\"}")\n    return s\n'
    )
    truth = {"1": 0.16, "2": 0.08, "11": 0.064, "12": 0.032, "21": 0.032, "22": 0.016}
    assert_same_masses(measure(text), truth, 1e-12)
    assert_same_masses(measure(text, whole=False), truth, 1e-12)
    assert alive(fkdsl.parse(text), "m", 20) == 20


def test_a_text_that_nothing_can_end_dies_before_a_model_is_asked():
    program = fkdsl.parse(RARE.replace('until="bb", ', "").replace("condition", "# "))
    engines = program.engines(endless())
    with pytest.raises(fkdsl.PopulationDied, match="closed=true"):
        program.run("smc", particles=4, engines=engines)
    assert engines.counts() == (0, 0)


def test_explain_and_blame_name_the_line_that_says_it():
    program = fkdsl.parse(text_of('"\\n"', 2, conditions=['not contains(s, "é")']))
    assert "line 7  by an automaton of the stops" in explain(program.ir())
    blamed = program.run("smc", particles=40, seed=1, blame=True)
    plain = program.run("smc", particles=40, seed=1)
    assert blamed.log_z == plain.log_z
    weights = {line.place.line: line.log_weight for line in blamed.blame.lines}
    assert weights[7] < 0.0
    deaths = program.without().run("smc", particles=400, seed=1, blame=True).blame.lines
    assert {line.place.line: line.deaths > 0 for line in deaths}[7]


def test_two_calls_have_each_their_own_end():
    text = (
        f'{MODEL}\n\nprogram p() -> list[str]:\n    lm = prompt("")\n'
        '    s ~ text(lm, until="\\n", max_tokens=2, closed=true)\n'
        '    r ~ text(lm, until="b", max_tokens=2)\n'
        '    u ~ text(lm, until="b", max_tokens=1, closed=true)\n    return [s, r, u]\n'
    )
    program = fkdsl.parse(text)
    assert_same_masses(measure(text), exact_measure(program.without().feynman_kac()), 1e-12)
    assert math.isfinite(program.run("smc", particles=50).log_z)
