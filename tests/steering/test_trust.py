"""How far texts trust a surrogate that exaggerates; and that a run which did so says it."""

import json
import math

import numpy as np
import pytest

import fkdsl
from fkdsl.api.lookahead import doubts
from fkdsl.base.random import KeyedRng
from fkdsl.engine.constraints.backward import BackwardMessages
from fkdsl.inference.methods import METHODS
from fkdsl.inference.run import steps_of
from fkdsl.inference.samplers.smc import importance, smc
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.proposals import completion
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.tilted import Tilted
from fkdsl.proposals.trust import CAUTION, DOUBTFUL, trusted_power
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure

LISTS = """\
model m = table:
    ""  -> "a": 0.9, "b": 0.1
    "a" -> "b": 0.75, EOS: 0.25
    "b" -> "a": 0.95, EOS: 0.05

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens={tokens})
    condition matches(s, "a(ba)*")
    return s
"""
"""The model knows the form. Long texts weigh more than the shortest."""


def lists(tokens):
    return fkdsl.parse(LISTS.format(tokens=tokens))


def unigram(program, others=0.9):
    """Of one state. others: the probability of what is no part of the form."""
    model = program.engines()["m"].model
    V = model.vocabulary.size
    emission = np.full((1, V), 1e-9)
    ids = [model.encode(t)[0] for t in ("a", "b")] + [model.eos]
    emission[0, ids] = (1.0 - others) / 3
    emission[0, next(i for i in range(V) if i not in ids)] += others
    return Surrogate.of([1.0], [[1.0]], emission, model.vocabulary.fingerprint)


def ahead(program, **options):
    options = {"power": 0.75, **options}
    return CompletionLookahead({"": unigram(program)}, **options)


def model_of(program, lookahead):
    return program.feynman_kac(proposals=ProposalSettings(lookahead=lookahead))


@pytest.mark.parametrize("caution", [0.0, 0.5, CAUTION, math.inf])
def test_the_measure_is_that_without_whatever_is_trusted(caution):
    program = lists(5)
    lookahead = ahead(program, caution=caution)
    model = model_of(program, lookahead)
    truth = exact_measure(program.without().feynman_kac())
    found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
    assert_same_masses(found, truth)
    assert lookahead.tilted > 0


def test_two_particles_that_are_resampled_are_unbiased():
    program = lists(3)
    model = model_of(program, ahead(program, caution=0.5))
    truth = exact_measure(program.without().feynman_kac())
    assert_same_masses(
        expected_measure(model, lambda rng: smc(model, rng, particles=2, ess=0.9)), truth
    )


def test_a_power_that_is_left_out_of_the_weight_is_caught(monkeypatch):
    propose = Tilted.propose

    def whole(self, rng, outcomes, lives):
        choice = propose(self, rng, outcomes, lives)
        by = 0.5 * math.log(self.h[choice.i]) if choice.i >= 0 else 0.0
        return choice._replace(log_w=choice.log_w - by)

    monkeypatch.setattr(Tilted, "propose", whole)
    program = lists(3)
    model = model_of(program, ahead(program, caution=0.5))
    truth = exact_measure(program.without().feynman_kac())
    with pytest.raises(AssertionError):
        assert_same_masses(
            expected_measure(model, lambda rng: importance(model, rng, particles=1)), truth
        )


def powers(lookahead, program, seed=1):
    call = METHODS["smc"].call({"particles": 8})
    steps = steps_of(model_of(program, lookahead), KeyedRng(seed), call)
    contexts = [c for step in steps for particle in step.particles for c in particle.state.contexts]
    return {c.guess.power for c in contexts if c.guess is not None}


def test_a_surrogate_that_exaggerates_is_trusted_less_and_a_text_trusts_it_alike_throughout():
    program = lists(12)
    (b,) = powers(ahead(program), program)
    assert 0.0 < b < 0.75
    assert powers(ahead(program, caution=math.inf), program) == {0.75}


def test_a_run_that_trusted_one_too_far_says_so_and_one_that_did_not_is_silent():
    program = lists(24)
    for caution, doubtful in ((math.inf, True), (CAUTION, False)):
        lookahead = ahead(program, caution=caution)
        fkdsl.run(model_of(program, lookahead), "smc", particles=16, seed=1)
        assert (lookahead.drifts.largest >= DOUBTFUL) == doubtful
        assert bool(doubts(lookahead.drifts.largest)) == doubtful


def test_five_words_of_tiny_are_not_in_doubt():
    program = fkdsl.parse(
        'model "tiny"\n\nprogram p() -> str:\n    lm = prompt("Once ")\n'
        '    s ~ text(lm, until="\\n", max_tokens=40)\n'
        '    condition len(words(s)) == 5 and ends_with(s, ".")\n    return s\n'
    )
    result = program.run(particles=4, seed=1, lookahead="both")
    assert any("look-ahead by a surrogate" in note for note in result.notes)
    assert not any("in doubt" in note for note in result.notes)


def test_a_run_says_it_beside_log_z(monkeypatch):
    program = lists(24)
    monkeypatch.setattr(
        "fkdsl.api.lookahead.CompletionLookahead",
        lambda *args, **options: CompletionLookahead(*args, **options, caution=math.inf),
    )
    result = program.run(particles=16, seed=1, lookahead=unigram(program))
    assert any("in doubt" in note and "--lookahead none" in note for note in result.notes)


def test_a_resumed_run_trusts_as_it_did(tmp_path):
    program, path = lists(12), tmp_path / "run.jsonl"
    surrogate = unigram(program)
    whole = program.run(particles=6, seed=4, trace=path, lookahead=surrogate)
    lines = path.read_text().splitlines(keepends=True)
    assert any('"guess":[0.' in line.replace(" ", "") for line in lines)
    for kept in (3, 6):
        path.write_text("".join(lines[:kept]))
        again = program.run(particles=6, seed=4, resume=path, lookahead=surrogate)
        assert (again.particles, again.log_z) == (whole.particles, whole.log_z)


def test_messages_and_tilts_that_are_kept_change_nothing(monkeypatch):
    program = lists(12)
    surrogate = unigram(program)
    results = [program.run(particles=12, seed=5, lookahead=surrogate) for _ in range(2)]
    monkeypatch.setattr(completion, "KEPT_NUMBERS", 0)
    together = CompletionLookahead.tilts

    def some_of_them_are_held(self, draws, counted=True):
        together(self, draws[:1], counted=False)
        return together(self, draws, counted)

    monkeypatch.setattr(CompletionLookahead, "tilts", some_of_them_are_held)
    for most in (0, 1, 4):
        monkeypatch.setattr(completion, "TILTS", most)
        results.append(program.run(particles=12, seed=5, lookahead=surrogate))
    assert len({result.log_z for result in results}) == 1
    assert len({result.particles for result in results}) == 1
    looked = [next(n for n in result.notes if "look-ahead" in n) for result in results]
    assert len(set(looked)) == 1


@pytest.mark.parametrize("power", [1.5, "x", -1])
def test_a_trace_whose_power_is_none_is_refused(tmp_path, power):
    program, path = lists(12), tmp_path / "run.jsonl"
    surrogate = unigram(program)
    program.run(particles=6, seed=4, trace=path, lookahead=surrogate)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    state = next(q["state"] for q in lines[2]["particles"] if isinstance(q.get("state"), dict))
    state["power"] = power
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(fkdsl.base.errors.CallError):
        program.run(particles=6, seed=4, resume=path, lookahead=surrogate)


def test_the_power_is_the_largest_that_caution_allows():
    rng = np.random.default_rng(3)
    limited = 0
    grid = np.linspace(0.0, 0.75, 1501)[:, None]
    for _ in range(100):
        p = rng.dirichlet(np.full(6, 0.5)) * rng.uniform(0.2, 1.0)
        h, log_h_0 = rng.uniform(1e-9, 1.0, size=6) ** 3, -rng.uniform(0.1, 20.0)
        caution = rng.uniform(0.0, 3.0)
        b = trusted_power(p, h, log_h_0, 0.75, caution)
        drifts = np.log(h**grid @ p) - grid[:, 0] * log_h_0
        assert abs(b - grid[drifts <= caution].max()) <= 0.75 / 700
        limited += b < 0.75
    assert 10 <= limited <= 90


def test_h_before_a_token_is_the_mean_of_h_under_the_surrogate():
    program = lists(5)
    lookahead, seen = ahead(program), []
    original = BackwardMessages.before

    def before(self, belief, position, tokens_left):
        result = original(self, belief, position, tokens_left)
        ids = np.arange(self.by_token.shape[0])
        texts = np.zeros(len(ids), dtype=np.intp)
        h = self.of_tokens(belief[None], [position], tokens_left, texts, ids)
        seen.append((result, float((self.by_token @ belief) @ h)))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BackwardMessages, "before", before)
        fkdsl.run(model_of(program, lookahead), "smc", particles=4, seed=1)
    assert seen
    for result, mean in seen:
        assert abs(result - mean) <= 1e-5 * mean
