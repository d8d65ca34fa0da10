"""Texts that look ahead to their end by a surrogate: the measure is that without, by every method,
whatever the surrogate says; and no variance is left where it says the truth."""

import math
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.inference.methods import METHODS
from fkdsl.inference.run import steps_of
from fkdsl.inference.samplers.smc import importance, smc
from fkdsl.models.surrogate.head import Head
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals import completion
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing.laws import (
    assert_same_masses,
    exact_measure,
    expected_measure,
    named_sampler,
    unbiased_methods,
)

TABLE = """\
model m = table:
    ""  -> "a": 0.5, "b": 0.25, EOS: 0.25
    "a" -> "a": 0.25, "b": 0.5, EOS: 0.25
    "b" -> "a": 0.5, "b": 0.25, EOS: 0.25

"""
PROGRAMS = {
    "a pattern": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=3)
    condition matches(s, "[ab]*b")
    return s
""",
    "a stop, behind a prompt": """\
program p() -> str:
    lm = prompt("b")
    s ~ text(lm, until="bb", max_tokens=3)
    condition len(s) == 2
    return s
""",
    "two texts, a draw between them and a factor": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=2)
    condition ends_with(s, "b")
    u ~ bernoulli(0.25)
    factor 0.7 if u else -0.2
    if lm.done:
        return s
    t ~ text(lm, until="a", max_tokens=2)
    condition len(t) >= 1
    return s + t
""",
    "a text that must be closed": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, until="ba", max_tokens=3, closed=true)
    condition contains(s, "a")
    return s
""",
    "a grammar": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=3)
    condition parses(s, grammar='start: ("a" | "b")* "b"')
    return s
""",
    "a grammar of a stopped text, and a length": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, until="bb", max_tokens=3)
    condition parses(s, grammar='start: "a"+ "b"? "a"*') and len(s) >= 2
    return s
""",
    "one of two grammars, closed": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, until="ba", max_tokens=3, closed=true)
    condition parses(s, grammar='start: "a"+') or parses(s, grammar='start: "b"') and s != ""
    return s
""",
    "a grammar whose rules lead back": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=4)
    condition parses(s, grammar='start: "a" start "b" | "b"')
    return s
""",
    "what no automaton decides": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=3)
    condition starts_with(s, "a")
    condition count(s, "a") == 2
    return s
""",
    "conditions inside a while": """\
program p() -> str:
    lm = prompt("b")
    while not lm.done and lm.tokens < 3 and not contains(lm.text, "ab"):
        t ~ lm
        condition not contains(lm.text, "bb") and not contains(lm.text, "aa")
    return lm.text
""",
    "conditions inside a for, of texts that go on": """\
program p() -> str:
    lm = prompt("")
    for i in range(3):
        t ~ lm
        condition not contains(lm.text, "bb")
        if t == EOS:
            break
        condition matches(lm.text, "(ab?)*")
    u ~ bernoulli(0.5)
    return lm.text + str(u)
""",
    "a loop of draws, with a condition inside": """\
program p() -> str:
    lm = prompt("b")
    while not lm.done and lm.tokens < 3:
        t ~ lm
        condition not contains(lm.text, "bb")
    condition matches(lm.text, "[ab]*b|a")
    return lm.text
""",
    "with a twist of its own": """\
program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=2)
    condition contains(s, "b")
    twist 0.4 * count(s, "a")
    t ~ lm
    condition t != EOS
    return s + str(t)
""",
}
USES = {"proposal": (True, False), "twist": (False, True), "both": (True, True)}
HIDDEN = 3


def surrogate(program, seed, kind="random"):
    """Of the table's vocabulary. bad: with hidden states that hold most tokens to be impossible.
    head: with a head. bad head: with one that is sure of one state or another."""
    rng = np.random.default_rng(seed)
    V = program.engines()[program.model_names()[0]].model.vocabulary
    emission = rng.dirichlet(np.full(V.size, 0.05), size=HIDDEN) + 1e-300
    if kind == "bad":
        emission = np.where(rng.random(emission.shape) < 0.7, 0.0, emission)
        emission[:, -1] = 1e-6
    head = None
    if kind.endswith("head"):
        weights = rng.normal(size=(V.size, HIDDEN)) * (1e4 if kind == "bad head" else 1.0)
        bias = np.zeros(HIDDEN, dtype=np.float32)
        head = Head(np.arange(V.size), weights.astype(np.float32), bias, 0.5)
    return Surrogate.of(
        rng.dirichlet(np.ones(HIDDEN)),
        rng.dirichlet(np.full(HIDDEN, 0.3), size=HIDDEN),
        emission,
        V.fingerprint,
        head=head,
    )


def ahead(program, model, use="both", **options):
    proposal, twist = USES[use]
    names = dict.fromkeys(program.model_names(), model)
    return CompletionLookahead(names, proposal, twist, **options)


def model_of(program, lookahead):
    return program.feynman_kac(proposals=ProposalSettings(lookahead=lookahead))


def as_written(program):
    """The measure of a program that its text alone says, without the optimiser."""
    return measure_of(program.checked.module.source.text)


@cache
def measure_of(text):
    return exact_measure(fkdsl.parse(text).without().feynman_kac())


METHODS_AHEAD = [
    *((name, {}) for name in sorted(unbiased_methods()) if METHODS[name].looks_ahead),
    ("smc", {"moves": 1, "particles": 1}),
    ("smc", {"resampling": "systematic", "ess": 0.7}),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(("method", "options"), METHODS_AHEAD)
def test_every_method_is_unbiased(method, options, use):
    program = fkdsl.parse(TABLE + PROGRAMS["a pattern"].replace("max_tokens=3", "max_tokens=2"))
    lookahead = ahead(program, surrogate(program, 1), use)
    model = model_of(program, lookahead)
    found = expected_measure(model, named_sampler(model, method, options))
    assert lookahead.tilted > 0
    assert_same_masses(found, as_written(program))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # nothing is possible to it
@pytest.mark.parametrize(
    ("kind", "use"),
    [
        *(("random", use) for use in USES),
        *((kind, "both") for kind in ("bad", "head", "bad head")),
        *(
            pytest.param(kind, use, marks=pytest.mark.slow)
            for kind in ("bad", "head", "bad head")
            for use in ("proposal", "twist")
        ),
    ],
)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_measure_is_that_without(name, kind, use):
    program = fkdsl.parse(TABLE + PROGRAMS[name])
    for seed in (1, 2):
        lookahead = ahead(program, surrogate(program, seed, kind), use, power=(1.0, 0.5)[seed - 1])
        model = model_of(program, lookahead)
        found = expected_measure(model, lambda rng, m=model: importance(m, rng, particles=1))
        assert_same_masses(found, as_written(program))
    assert lookahead.tilted > 0


@pytest.mark.parametrize("use", USES)
def test_two_particles_that_are_resampled_are_unbiased(use):
    program = fkdsl.parse(TABLE + PROGRAMS["a stop, behind a prompt"])
    model = model_of(program, ahead(program, surrogate(program, 3), use))
    found = expected_measure(model, lambda rng: smc(model, rng, particles=2, ess=0.9))
    assert_same_masses(found, as_written(program))


# ---------------------------------------------------------------- zero variance


def as_hidden_markov_model(program, head=False):
    """The bigram table itself: the hidden state is the token that it emits. head: whether a head
    tells the state, whose law is the row itself; the filter then begins wrongly, and moves so."""
    engine = program.engines()[program.model_names()[0]]
    model, V = engine.model, engine.model.vocabulary.size
    ids = [model.encode(t)[0] for t in ("a", "b")] + [model.eos]

    def row(text):
        return np.exp(model._row(text.encode()))[ids]

    emission = np.zeros((3, V))
    emission[range(3), ids] = 1.0
    start, moves = row(""), [row("a"), row("b"), row("")]
    if head:
        start = [0.1, 0.1, 0.8]
    of_row = Head(np.array(ids), np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32))
    return Surrogate.of(start, moves, emission, "", head=of_row if head else None)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "a pattern",
        "a stop, behind a prompt",
        "a text that must be closed",
        "a grammar",
        "a grammar of a stopped text, and a length",
        "one of two grammars, closed",
        "conditions inside a while",
        "conditions inside a for, of texts that go on",
    ],
)
def test_every_run_gives_z_where_the_surrogate_is_the_model(name, head):
    program = fkdsl.parse(TABLE + PROGRAMS[name].replace("max_tokens=3", "max_tokens=6"))
    truth = math.log(sum(as_written(program).values()))
    lookahead = ahead(program, as_hidden_markov_model(program, head), floor=0.0)
    for seed in range(20):
        *_, last = steps_of(
            model_of(program, lookahead), KeyedRng(seed), METHODS["smc"].call({"particles": 3})
        )
        # A head's numbers are of 32 bits.
        assert abs(last.log_Z - truth) <= (1e-6 if head else 1e-10)
        assert last.alive == 3
    assert lookahead.tilted == lookahead.draws


def test_a_head_knows_what_the_filter_does_not():
    """Behind the prompt x all tokens are by one law, behind y by another. The filter holds both to
    be likely; the first row says which it is."""
    laws = {"x": {"a": 0.6, "b": 0.2, "EOS": 0.2}, "y": {"a": 0.1, "b": 0.7, "EOS": 0.2}}
    written = {k: ", ".join(f'"{t}": {p}' for t, p in law.items()) for k, law in laws.items()}
    words = ["".join(w) for n in range(4) for w in product("ab", repeat=n)]
    rows = [f'    "{k}{w}" -> {law}' for k, law in written.items() for w in words]
    table = "\n".join(["model m = table:", '    "" -> "x": 0.5, "y": 0.5', *rows, ""])
    program = fkdsl.parse(
        table.replace('"EOS"', "EOS") + PROGRAMS["a pattern"].replace('prompt("")', 'prompt("x")')
    )
    model = program.engines()["m"].model
    ids = [*(model.encode(t)[0] for t in "ab"), model.eos]
    emission = np.zeros((2, model.vocabulary.size))
    emission[:, [model.encode(t)[0] for t in "xy"]] = 1e-9
    for z, law in enumerate(laws.values()):
        emission[z, ids] = list(law.values())
    weights = np.array([[100.0, 0.0]], dtype=np.float32)
    head = Head(np.array(ids[:1]), weights, np.array([-100 * math.log(0.25), 0], dtype=np.float32))
    guess = Surrogate.of([0.5, 0.5], np.eye(2), emission, "", head=head)
    truth = math.log(sum(as_written(program).values()))
    errors = {}
    for by in (head, None):
        lookahead = ahead(program, replace(guess, head=by), floor=0.0)
        steps = steps_of(
            model_of(program, lookahead), KeyedRng(1), METHODS["smc"].call({"particles": 3})
        )
        *_, last = steps
        errors[by is None] = abs(last.log_Z - truth)
    assert errors[False] <= 1e-5
    assert errors[True] > 1e-3


def test_more_constraints_than_are_kept_look_ahead_to_nothing(monkeypatch):
    text = (
        TABLE
        + """\
program p() -> str:
    lm = prompt("")
    n ~ uniform_int(1, 3)
    s ~ text(lm, max_tokens=4)
    condition matches(s, "[ab]*b") and len(s) == n
    return s
"""
    )
    program = fkdsl.parse(text)
    for tables, looks in ((16, True), (2, False)):
        monkeypatch.setattr(completion, "TABLES", tables)
        lookahead = ahead(program, surrogate(program, 1))
        fkdsl.run(model_of(program, lookahead), "smc", particles=32, seed=1)
        assert (lookahead.tilted == lookahead.draws) == looks
    assert list(lookahead.left_out) == ["too many different constraints at once"]
