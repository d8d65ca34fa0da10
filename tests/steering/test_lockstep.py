"""Particles in lock step come to where each comes alone: equal states, weights and charges, bit for
bit."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.errors import PopulationDied, ProgramError
from fkdsl.base.probability_blocks import block_sums
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.machine import columns
from fkdsl.machine.state import Status
from fkdsl.steering import lockstep
from fkdsl.steering.lockstep import Lockstep
from fkdsl.steering.members import Members
from fkdsl.testing import program_texts

HEAD = 'model "tiny"\n\nprogram main(most: int = 14) -> str:\n    lm = prompt("The sea is ")\n'
LOOP = HEAD + "    while not lm.done and lm.tokens < most:\n        t ~ lm\n"
PROGRAMS = {
    "nothing asked": LOOP + "    return lm.text\n",
    "a mask": LOOP + '        condition t != "e" and t != EOS\n    return lm.text\n',
    "words so far": LOOP + "        condition all(letters(w) <= 4 for w in words(lm.text))\n"
    "    return lm.text\n",
    "of what goes on": LOOP + "        if t == EOS:\n            break\n"
    "        condition len(words(lm.text)) < 3\n    return lm.text\n",
    "variables": HEAD + "    n = 0\n    seen = []\n    while not lm.done and n < most:\n"
    "        t ~ lm\n        n += 1\n        seen += [str(t)]\n"
    '        condition not contains(t, "a")\n    return join(seen, "")\n',
    "two draws and a fork": HEAD + "    other = fork(lm)\n"
    "    while not lm.done and not other.done and lm.tokens < most:\n"
    "        t ~ lm\n        u ~ other\n"
    '        condition u != "e"\n        factor 0.1 if t == "o" else -0.2\n'
    '    return lm.text + "|" + other.text\n',
    "twists, deaths": LOOP + '        twist 1.0 if t == "t" else 0.0\n'
    '        factor log(0.0) if t == "q" or t == "i" else 0.5\n    return lm.text\n',
    "outcomes that are tried": LOOP + "        condition lm.tokens < 9 or contains(lm.text, t)\n"
    "    return lm.text\n",
    "what asks the model": LOOP + '        if t == " ":\n'
    '            factor logprob(lm, "the")\n    return lm.text\n',
    "contexts that come and go": LOOP + '        if t == "s":\n            kept = fork(lm)\n'
    '            kept += "!"\n            u ~ kept\n    return lm.text\n',
    "texts in a function": HEAD + "    a ~ text(lm, max_tokens=5)\n"
    "    b ~ text(lm, max_tokens=most)\n    return a + b\n",
    "a constrained text": HEAD + '    s ~ text(lm, until=".", max_tokens=most)\n'
    '    condition matches(s, "[a-z ]+")\n    return s\n',
    "two texts in one context": HEAD + '    a ~ text(lm, until=" ", max_tokens=6)\n'
    '    condition not contains(a, "e")\n    k = len(a)\n'
    '    b ~ text(lm, until=[".", ","], max_tokens=most)\n'
    "    condition len(words(b)) <= 3 and letters(b) >= k\n    return a + b\n",
    "few tokens": HEAD + "    s ~ text(lm, max_tokens=most)\n"
    '    condition matches(s, "[aeiou ]+[rst]?[aeiou ]*")\n    return s\n',
    "tokens that are left": HEAD + '    s ~ text(lm, until=".", max_tokens=most - 4)\n'
    "    condition len(words(s)) >= 4\n    return s\n",
    "texts that a grammar guides": HEAD + '    s ~ text(lm, until=".", max_tokens=most)\n'
    "    condition valid_json(s)\n    return s\n",
    "numbers that are equal and not alike": HEAD + "    x = 0\n    y = 0.0\n"
    "    for i in range(most):\n        if lm.done:\n            break\n        t ~ lm\n"
    '        y = -y if t == "e" else (1.0 if t == "t" else 0.0)\n'
    '        x = x + 1 if t == " " or t == "n" else x\n'
    '        factor 0.25 if str(y) == "-0.0" else 0.125 * x\n'
    "    return lm.text + str(x) + str(y)\n",
    "words": HEAD
    + "    w ~ word(lm)\n    v ~ word(lm)\n    condition letters(v) <= 6\n    return w + v\n",
}


ALONE = "texts that a grammar guides", "words", "outcomes that are tried"


def picture(x):
    """All that a state is, its report included, without the objects of its own engine."""
    return (
        x.status,
        [(f.function, f.pc, f.target, repr(f.slots)) for f in x.frames],
        [(c.model, c.node.tokens, *c[2:]) for c in x.contexts],
        (repr(x.value), x.died, x.twist, x.guesses, x.evidence),
        (x.charges, [(place, repr(value)) for place, value in x.drawn], x.alternatives),
        x.unmeasured,
    )


def steps_of(program, method="smc", **options):
    """The steps of a run as plain values, or what its mistake says."""
    steps = []

    def observe(step):
        weights = np.asarray(step.log_weights).tobytes()
        lineages = [p.lineage for p in step.particles]
        steps.append((step.ancestors, lineages, weights, [*map(picture, step.states)]))

    try:
        result = program.run(method, observer=observe, **options)
    except (PopulationDied, ProgramError) as error:
        return steps, str(error)
    return steps, (result.log_z, result.forwarded_tokens, result.model_calls)


def both_ways(program, **options):
    """(steps in lock step, steps of each alone, how many of the former were made in lock step)."""
    step, moved = Lockstep.step, []
    options = {"lookahead": "none"} | options

    def watched(self, members, rows):
        ends = step(self, members, rows)
        moved.append(sum(isinstance(x, tuple) for x in ends))  # a kept state keeps its rows
        return ends

    with patch.object(Lockstep, "step", watched):
        together = steps_of(program, **options)
    with patch.object(Lockstep, "members", lambda *_: Members()):
        alone = steps_of(program, **options)
    return together, alone, sum(moved)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_step_in_lockstep_as_each_particle_alone(name):
    program = fkdsl.parse(PROGRAMS[name])()
    ess = 0.0 if name in ("nothing asked", "words so far") else 1.0
    together, alone, n = both_ways(program, particles=12, seed=3, ess=ess)
    assert together == alone
    assert (n == 0) == (name in ALONE)


@settings(max_examples=40)
@given(program_texts(), st.integers(0, 1000), st.sampled_from([1, 3, 8]))
def test_drawn_programs_step_in_lockstep_as_each_particle_alone(text, seed, particles):
    program = fkdsl.parse(text)()
    sums = lambda self, context, row: block_sums(np.exp(row))  # noqa: E731  tables give none
    with patch.object(CachedTransformer, "sums", sums):
        together, alone, _ = both_ways(program, particles=particles, seed=seed, ess=1.0)
    assert together == alone


def test_draws_that_look_ahead_go_alone():
    program = fkdsl.parse(PROGRAMS["words so far"])()
    together, alone, n = both_ways(program, particles=4, seed=1, lookahead="both")
    assert together == alone
    assert n == 0


def test_a_mistake_of_a_particle_is_that_which_it_meets_alone():
    text = LOOP + '        x = 1 if t != "e" else int(lm.text)\n    return lm.text\n'
    together, alone, n = both_ways(fkdsl.parse(text)(), particles=12, seed=1)
    assert n > 0
    assert "in particle" in together[1]
    assert together == alone


def test_a_step_that_takes_the_wrong_token_is_seen():
    program = fkdsl.parse(PROGRAMS["a mask"])()
    choose = lockstep.choose_tokens

    def wrong(*args):
        return [c and (c[0] ^ 1, c[1]) for c in choose(*args)]

    with patch.object(lockstep, "choose_tokens", wrong):
        together, alone, _ = both_ways(program, particles=4, seed=2)
    assert together != alone


def test_values_that_are_taken_for_others_are_seen():
    program = fkdsl.parse(PROGRAMS["numbers that are equal and not alike"])()
    with patch.object(columns, "_key", lambda value: value):  # 0.0 for -0.0
        together, alone, _ = both_ways(program, particles=24, seed=3, ess=0.0)
    assert together != alone


def test_pythons_own_functions_are_called_for_each_particle(tmp_path):
    called = tmp_path / "called.txt"
    python = f"def weigh(n):\n    open({str(called)!r}, 'a').write(f'{{n}} ')\n    return 0.1\n"
    (tmp_path / "own.py").write_text(python)
    text = LOOP + "        factor weigh(lm.tokens)\n    return lm.text\n"
    text = text.replace("\n\n", '\n\nextern def weigh(n: int) -> float from "own.py"\n\n', 1)
    program = fkdsl.parse(text, folder=tmp_path, allow_extern=True)()
    together, alone, n = both_ways(program, particles=4, seed=3)
    assert together == alone
    assert n > 0
    calls = called.read_text().split()
    assert sorted(calls[: len(calls) // 2]) == sorted(calls[len(calls) // 2 :])


def test_who_is_recorded_or_chooses_its_own_steps_goes_alone(tmp_path):
    text = LOOP + "        checkpoint\n    return lm.text\n"
    assert both_ways(fkdsl.parse(text)(), particles=3, seed=1)[2] == 0
    program = fkdsl.parse(PROGRAMS["a mask"])()
    assert both_ways(program, particles=3, seed=1, blame=True)[2] == 0
    assert both_ways(program, particles=3, seed=1)[2] > 0


def test_states_made_in_lockstep_equal_and_hash_as_others():
    states = []
    program = fkdsl.parse(PROGRAMS["words so far"])()
    program.run("smc", particles=4, seed=1, observer=lambda step: states.extend(step.states))
    running = [x for x in states if x.status is Status.RUNNING and x.drawn]
    assert running
    for x in running:
        fields = {f: getattr(x, f) for f in type(x).__dataclass_fields__}
        assert type(x)(**fields) == x
        assert repr(type(x)(**fields)) == repr(x)
