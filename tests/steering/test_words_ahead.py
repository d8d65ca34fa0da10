"""Draws of words look ahead to what is asked of all the words of a loop: the measure is that
without, whatever the surrogate, and where that is the model every run gives Z."""

import numpy as np
import pytest

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.engine.constraints.syllable_counts import syllable_table
from fkdsl.inference.methods import METHODS
from fkdsl.inference.run import steps_of
from fkdsl.inference.samplers.smc import importance, smc
from fkdsl.ir import nodes
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals import completion
from fkdsl.testing.laws import assert_same_masses, expected_measure, named_sampler
from fkdsl.values.library.syllables import syllables_of
from tests.steering.test_completion import ahead, as_written, model_of, surrogate

TABLE = """\
model m = table:
    ""  -> "a": 0.5, "x": 0.25, " ": 0.25
    "a" -> "a": 0.25, "x": 0.25, " ": 0.5
    "x" -> "a": 0.25, "x": 0.25, " ": 0.25, EOS: 0.25
    " " -> "a": 0.5, "x": 0.375, " ": 0.125

"""
PROGRAMS = {
    "as many": """\
    for i in range(2):
        w ~ word(lm, max_tokens=2)
        condition len(w) == 1
        made += [w]
""",
    "until a sum": """\
    n = 0
    while n < 2:
        w ~ word(lm, max_tokens=2)
        condition w != "" and w != "ax"
        n += syllables(w)
        condition n <= 2
        made += [w]
""",
    "each its own": """\
    for k in ["a", "x"]:
        w ~ word(lm, max_tokens=2)
        condition starts_with(w, k)
        made += [w]
""",
    "behind": """\
    n = 1
    for i in range(2):
        w ~ word(lm, max_tokens=2)
        if contains(w, "x"):
            n += 1
        made += [w]
    condition n == 2
""",
    "in all": """\
    n = 0
    for i in range(2):
        w ~ word(lm, max_tokens=2)
        n += len(w)
        made += [w]
    condition n == 3 and made[0] != "x"
""",
    "one alone": """\
    w ~ word(lm, max_tokens=3)
    condition len(w) == 2
    made += [w]
""",
    "short": """\
    w ~ word(lm, max_tokens=1)
    condition w != ""
""",
}


def program_of(name, table=TABLE):
    head = 'program p() -> str:\n    lm = prompt("")\n    made = []\n'
    return fkdsl.parse(f'{table}{head}{PROGRAMS[name]}    return join(made, "|") + lm.text\n')


def plans(program):
    functions = program.ir().functions.values()
    return [
        i.plan
        for f in functions
        for i in f.body
        if isinstance(i, nodes.Draw) and i.plan is not None and i.plan.words is not None
    ]


FAST = [("as many", "random"), ("one alone", "bad"), ("short", "random")]
SLOW = [(n, k) for n in PROGRAMS for k in ("random", "bad") if (n, k) not in FAST]


@pytest.mark.parametrize(
    ("name", "kind"), [*FAST, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW)]
)
def test_the_measure_is_that_without(name, kind):
    program = program_of(name)
    assert len(plans(program)) == 2
    lookahead = ahead(program, surrogate(program, 1, kind), power=0.5)
    model = model_of(program, lookahead)
    found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
    assert lookahead.tilted > 0
    assert_same_masses(found, as_written(program))


@pytest.mark.parametrize(("method", "options"), [("alive", {}), ("dpf", {})])
def test_methods_are_unbiased(method, options):
    program = program_of("short")
    model = model_of(program, ahead(program, surrogate(program, 2)))
    found = expected_measure(model, named_sampler(model, method, options))
    assert_same_masses(found, as_written(program))


def test_two_particles_that_are_resampled_are_unbiased():
    program = program_of("short")
    model = model_of(program, ahead(program, surrogate(program, 3)))
    found = expected_measure(model, lambda rng: smc(model, rng, particles=2, ess=0.9))
    assert_same_masses(found, as_written(program))


@pytest.mark.parametrize("bug", ["not taken back", "of other tokens"])
def test_a_guess_that_is_used_without_its_weight_is_seen(monkeypatch, bug):
    program = program_of("as many")
    lookahead = ahead(program, surrogate(program, 1))
    model = model_of(program, lookahead)

    def forgets(particle, drawn_from, guess=None):
        look_ahead(particle, drawn_from, guess)
        particle.guesses.pop(completion.OWNER, None)

    def turned(self, *args):
        tilt = parts(self, *args)
        return None if tilt is None else tilt._replace(h=tilt.h[::-1].copy())

    look_ahead, parts = completion.look_ahead, completion.CompletionLookahead._tilt_of_parts
    if bug == "not taken back":
        monkeypatch.setattr("fkdsl.proposals.propose.look_ahead", forgets)
        found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
        with pytest.raises(AssertionError):
            assert_same_masses(found, as_written(program))
    else:  # any h is exact: a wrong one shows in the spread alone
        monkeypatch.setattr(completion.CompletionLookahead, "_tilt_of_parts", turned)
        assert max(map(spread, runs_by_the_model("as many"))) > 0.1


ENDLESS = TABLE.replace(', " ": 0.25, EOS: 0.25', ', " ": 0.5')


def runs_by_the_model(name):
    """Runs in which the surrogate is the table: the hidden state is the token that it emits."""
    program = program_of(name, ENDLESS)
    model = program.engines()["m"].model
    ids = [model.encode(t)[0] for t in "ax "]

    def row(text):
        return np.exp(model._row(text.encode()))[ids]

    emission = np.zeros((3, model.vocabulary.size))
    emission[range(3), ids] = 1.0
    itself = Surrogate.of(row(""), [row(t) for t in "ax "], emission, "")
    lookahead = ahead(program, itself, floor=0.0)
    call = METHODS["smc"].call({"particles": 4})
    for seed in range(4):
        yield list(steps_of(model_of(program, lookahead), KeyedRng(seed), call))


def spread(steps):
    """The largest difference of log weights at any time, nats."""
    return max(float(np.ptp(step.log_weights)) for step in steps[1:])


@pytest.mark.parametrize("name", ["as many", "in all"])
def test_no_particle_weighs_more_than_another_where_the_surrogate_is_the_model(name, monkeypatch):
    # More tokens than a program's own bound on a word: the guess knows none.
    monkeypatch.setitem(
        PROGRAMS, name, PROGRAMS[name].replace(", max_tokens=2", ", max_tokens=200")
    )
    monkeypatch.setattr("fkdsl.engine.constraints.drawn_words.MORE", 400)
    runs = list(runs_by_the_model(name))
    assert max(map(spread, runs)) < 1e-6
    found = [run[-1].log_Z for run in runs]
    assert np.ptp(found) < 1e-6


def test_syllables_are_counted_about():
    text = (
        "an old silent pond a frog jumps into the makes waves boxes walked wanted little well-known"
    )
    right = 0
    for w in text.split():
        n = syllables_of(w)
        table, partition = syllable_table(n, n)
        state = 0
        for symbol in partition.classes_of(w):
            state = table.after[state, symbol]
        right += bool(table.accepting[state])
    assert right == len(text.split())


def test_what_guesses_alone_draws_as_it_is_written_without_them():
    text = PROGRAMS["behind"].replace("    condition", "    u ~ bernoulli(0.5)\n    condition")
    head = 'program p() -> str:\n    lm = prompt("")\n    made = []\n'
    late = '    return join(made, "|")\n'
    program = fkdsl.parse(TABLE + head + text + late)
    assert [plan.guesses_only for plan in plans(program)] == [True, True]
    found = program.run("smc", particles=4, seed=1, lookahead="none")
    plain = program.without("texts").run("smc", particles=4, seed=1, lookahead="none")
    assert (found.particles, found.log_z) == (plain.particles, plain.log_z)


def test_a_loop_in_which_something_else_goes_into_the_context_is_left_alone():
    text = PROGRAMS["as many"].replace("        made", '        lm += "a"\n        made')
    head = 'program p() -> str:\n    lm = prompt("")\n    made = []\n'
    assert not plans(fkdsl.parse(f'{TABLE}{head}{text}    return join(made, "|")\n'))
