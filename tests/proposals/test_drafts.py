"""Drafts: the measure is the same with any draft, by enumeration; running ahead changes no draw and
saves forwards."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.drafts import DraftQuery, ModelDraft, NgramDraft
from fkdsl.inference.enumeration import enumerate_outcomes, expectation
from fkdsl.inference.run import run
from fkdsl.inference.samplers.smc import importance
from fkdsl.machine.places import Places
from fkdsl.machine.state_json import state_from_json, state_to_json
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.models.table import TableModel
from fkdsl.proposals.completion import CompletionLookahead
from fkdsl.proposals.drafting import PINNED, Drafting, DraftOf
from fkdsl.proposals.outcomes import Outcomes
from fkdsl.proposals.rejection import weighted_rejection
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.proposals.speculative import DraftBlocks, draw_by_draft
from fkdsl.proposals.tilted import TiltedOutcomes
from fkdsl.steering.particle_step import ParticleStep
from fkdsl.steering.precompute import Precompute
from fkdsl.testing import assert_same_measure, assert_unbiased
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure

TABLE = {
    "": {"a": 0.5, "b": 0.3, None: 0.2},
    "a": {"a": 0.1, "b": 0.6, None: 0.3},
    "b": {"a": 0.7, "b": 0.0, None: 0.3},
    "ab": {"a": 0.25, "b": 0.25, None: 0.5},
}
OTHER = {
    "": {"a": 0.2, "b": 0.4, None: 0.4},
    "b": {"a": 0.3, "b": 0.5, None: 0.2},
}
PLAIN = """
program main(n: int = 4) -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < n:
        t ~ lm
    return lm.text
"""
CONDITIONED = """
program main(n: int = 4) -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < n:
        t ~ lm
        condition not contains(lm.text, "bb")
        condition len(lm.text) < 3 or lm.text[0] == lm.text[2]
        factor 0.3 if t == "a" else 0.0
    return lm.text
"""
TEXTS = """
program main() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=3)
    condition matches(s, "a?(ba)*")
    return s
"""
WORDS = """
program main() -> str:
    lm = prompt("")
    w ~ word(lm, max_tokens=2)
    if lm.done:
        return w
    x ~ choice(lm, ["ab", "b"])
    lm += "a"
    t ~ lm
    if t != EOS:
        observe "b" ~ lm
    return w + "," + x + "," + str(t)
"""
BLOCKS = """
program main() -> str:
    lm = prompt("")
    other = prompt("a")
    while not lm.done and lm.tokens < 3:
        t ~ lm
        if t == "b" and not other.done:
            u ~ other
            condition u != EOS
        checkpoint
    return lm.text + "," + other.text
"""
OTHERS = """
program main() -> str:
    lm = prompt("")
    t ~ lm
    c ~ choice(lm, ["a", "ab"], other="x")
    u ~ lm
    condition c != "ab" or u != EOS
    return lm.text + "," + c
"""
PROGRAMS = {
    "plain": PLAIN,
    "conditioned": CONDITIONED,
    "texts": TEXTS,
    "words": WORDS,
    "checkpoints": BLOCKS,
    "others": OTHERS,
}


class OfThree(NgramDraft):
    """The n-gram of the tokens that the tables have: a, b and EOS. A table's 256 bytes would be 256
    outcomes more."""

    def log_probs(self, questions):
        rows = super().log_probs(questions)
        return [
            None if row is None else np.concatenate((row, np.full(256, -np.inf))) for row in rows
        ]


def drafting(draft="other", block=2, weighs=False):
    made = (
        OfThree(3, least=1)
        if draft == "ngram"
        else ModelDraft(CachedTransformer(TableModel("other", OTHER)))
    )
    return Drafting({"": DraftOf(made, block, weighs, uniform=0.0)})


def drafted(text, draft="other", block=2, weighs=False, **bounds):
    """The model of a program over TABLE, its tokens drafted."""
    program = fkdsl.parse(text)
    engines = program.engines(TableModel("table", TABLE))
    how = drafting(draft, block, weighs)
    return program.feynman_kac(engines=engines, proposals=ProposalSettings(drafting=how, **bounds))


def plain(text):
    return fkdsl.parse(text).without().feynman_kac(TableModel("table", TABLE))


shares = st.lists(st.integers(0, 5), min_size=3, max_size=3).filter(any)


@given(shares, shares)
def test_a_speculative_draw_has_the_models_law_for_any_draft(p, q):
    """q min(1, p/q) + (1 - sum min(p, q)) (p - q)+ / sum (p - q)+ = p."""
    p, q = np.array(p) / sum(p), np.array(q) / sum(q)
    found = {}
    for chance, (i, _) in enumerate_outcomes(lambda rng: draw_by_draft(rng, p, q)):
        found[i] = found.get(i, 0.0) + chance
    assert all(abs(found.get(i, 0.0) - p[i]) <= 1e-14 for i in range(3))


@given(shares, shares)
def test_a_speculative_draw_is_the_drafts_as_often_as_can_be(p, q):
    """P(kept) = sum min(p, q), the most of any coupling."""
    p, q = np.array(p) / sum(p), np.array(q) / sum(q)
    kept = expectation(lambda rng: draw_by_draft(rng, p, q), lambda result: result[1])
    assert abs(kept - np.minimum(p, q).sum()) <= 1e-12


def test_a_draft_that_is_kept_too_often_is_caught():
    """A planted bug: keeping by min(1, q/p)."""
    p, q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])

    def wrong(rng):
        d = rng.choice(q)
        return d if rng.uniform() * p[d] < q[d] else rng.choice(np.maximum(p - q, 0.0))

    found = expectation(wrong, lambda i: i == 0)
    assert abs(found - p[0]) > 0.05


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=4)
)
def test_weighted_rejection_by_way_of_a_draft_is_properly_weighted(entries):
    p, q = (np.array([float(entry[k]) for entry in entries]) for k in (0, 1))
    if not p.any():
        return
    p, e = p / p.sum(), [entry[2] for entry in entries]
    for v in range(len(p)):
        found = expectation(
            lambda rng: weighted_rejection(
                rng, p.copy(), lambda i: e[i], 2, DraftBlocks(q.copy(), 2)
            ),
            lambda result, v=v: result[1] * (result[0] == v),
        )
        assert abs(found - p[v] * e[v]) <= 1e-14


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("draft", ["other", "ngram"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_measure_is_the_same_with_a_draft(name, draft, weighs):
    for block in (1, 3):
        assert_same_measure(drafted(PROGRAMS[name], draft, block, weighs), plain(PROGRAMS[name]))


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("name", ["conditioned", "texts"])
def test_the_measure_is_the_same_where_drafted_tokens_are_tried_by_rejection(name, weighs):
    text = PROGRAMS[name].replace("n: int = 4", "n: int = 2")
    model = drafted(text, weighs=weighs, enumerated=0, head=2.0, enough=0.0)
    assert_unbiased(model, "importance", particles=1)


LOOP = """
program main(n: int = 3) -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < n:
        t ~ lm
    condition matches(lm.text, "a?(ba)*b?")
    return lm.text
"""


def guess(seed):
    """A surrogate of the table's vocabulary, drawn at random."""
    rng = np.random.default_rng(seed)
    V = TableModel("table", TABLE).vocabulary
    emission = rng.dirichlet(np.full(V.size, 0.05), size=2) + 1e-300
    transition = rng.dirichlet(np.ones(2), size=2)
    return Surrogate.of(rng.dirichlet(np.ones(2)), transition, emission, V.fingerprint)


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize("draft", ["other", "ngram"])
@pytest.mark.parametrize("text", [TEXTS, LOOP], ids=["a text", "a loop"])
def test_the_measure_is_the_same_where_drafted_tokens_look_ahead(text, draft, weighs):
    lookahead = CompletionLookahead({"": guess(1)})
    model = drafted(text, draft, 2, weighs, lookahead=lookahead)
    found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
    assert_same_masses(found, exact_measure(plain(text)), 1e-10)
    assert lookahead.tilted > 0


@pytest.mark.parametrize("wrong", ["the draft as it is", "log q of q h"])
def test_a_draft_that_is_tilted_wrongly_is_caught(monkeypatch, wrong):
    right = TiltedOutcomes.__init__

    def init(self, of, h):
        right(self, of, h)
        if wrong == "the draft as it is":
            self.p = of.p  # drawn by p, weighed as if by p h
        else:
            self.of = self

    monkeypatch.setattr(TiltedOutcomes, "__init__", init)
    if wrong == "log q of q h":
        monkeypatch.setattr(TiltedOutcomes, "log_probability", Outcomes.log_probability)
    weighs = wrong == "log q of q h"
    model = drafted(TEXTS, weighs=weighs, lookahead=CompletionLookahead({"": guess(1)}))
    found = expected_measure(model, lambda rng: importance(model, rng, particles=1))
    with pytest.raises(AssertionError):
        assert_same_masses(found, exact_measure(plain(TEXTS)), 1e-10)


@pytest.mark.parametrize("weighs", [False, True])
@pytest.mark.parametrize(("method", "particles"), [("smc", 2), ("steer", 1)])
def test_z_hat_is_unbiased_with_a_draft(method, particles, weighs):
    text = CONDITIONED.replace("n: int = 4", "n: int = 2")
    assert_unbiased(drafted(text, weighs=weighs), method, particles=particles)


def test_a_draft_that_is_not_weighed_is_caught(monkeypatch):
    """A planted bug: the draft's tokens at the model's weight."""
    monkeypatch.setattr(
        ParticleStep, "apply_corrections", lambda self: self.pending_corrections.clear()
    )
    with pytest.raises(AssertionError):
        assert_same_measure(drafted(PLAIN, weighs=True), plain(PLAIN))


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(sorted(PROGRAMS)),
    st.sampled_from(["other", "ngram"]),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_running_ahead_changes_no_draw(name, draft, block, seed):
    """The same particles, weights and states, whether rows are computed ahead or one by one."""
    ran = []
    for ahead in (True, False):
        bounds = {"lookahead": CompletionLookahead({"": guess(2)})} if seed % 2 else {}
        model = drafted(PROGRAMS[name], draft, block, **bounds)
        with pytest.MonkeyPatch.context() as patch:
            if not ahead:
                patch.setattr(Precompute, "contexts_wanted", lambda *args: {})
            try:
                result = run(model, "smc", seed, {"particles": 5})
            except fkdsl.PopulationDied as died:
                ran.append(str(died))
            else:
                ran.append([(p.value, p.weight) for p in result.particles])
    assert ran[0] == ran[1]


def test_a_block_is_verified_in_one_forward():
    """A draft that is the model itself is always kept: 4 tokens a forward with blocks of 3."""
    text = PLAIN.replace("n: int = 4", "n: int = 13").replace("not lm.done and ", "")
    rows = {"": {"a": 0.5, "b": 0.5}, "a": {"a": 0.3, "b": 0.7}}
    for weighs in (False, True):
        program = fkdsl.parse(text)
        engines = program.engines(TableModel("table", rows))
        draft = ModelDraft(CachedTransformer(TableModel("same", rows)))
        how = Drafting({"": DraftOf(draft, 3, weighs, uniform=0.0)})
        model = program.feynman_kac(engines=engines, proposals=ProposalSettings(drafting=how))
        result = run(model, "importance", 3, {"particles": 4})
        # One for the prompt, and with it the first token; then three for the twelve that follow.
        assert engines[""].stats.model_calls == 1 + 12 // 4
        assert how.counts.drafted == 4 * 9
        assert abs(result.log_z) < (1e-9 if not weighs else 1.0)
        if not weighs:
            assert how.counts.kept == how.counts.drafted


def test_tokens_are_kept_as_often_as_model_and_draft_agree():
    text = PLAIN.replace("n: int = 4", "n: int = 9").replace("not lm.done and ", "")
    rows = {"": {"a": 0.5, "b": 0.5}}
    other = {"": {"a": 0.9, "b": 0.1}}
    program = fkdsl.parse(text)
    engines = program.engines(TableModel("table", rows))
    how = Drafting({"": DraftOf(ModelDraft(CachedTransformer(TableModel("other", other))), 3)})
    run(
        program.feynman_kac(engines=engines, proposals=ProposalSettings(drafting=how)),
        "importance",
        1,
        {"particles": 300},
    )
    # sum min(p, q) = 0.6, to five standard deviations.
    share = how.counts.kept / how.counts.drafted
    assert abs(share - 0.6) < 5 * math.sqrt(0.24 / how.counts.drafted)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_the_n_gram_is_witten_bell_over_the_text_so_far(tokens):
    def p(x, n):
        if n < 0:
            return 1.0 / 3.0
        h = tokens[len(tokens) - n :]
        followed = [tokens[i] for i in range(n, len(tokens)) if tokens[i - n : i] == h]
        if not followed:
            return p(x, n - 1)
        kinds = len(set(followed))
        return (followed.count(x) + kinds * p(x, n - 1)) / (len(followed) + kinds)

    engine = CachedTransformer(TableModel("t", {"": {"a": 0.5, "b": 0.25, "c": 0.25}}))
    node = engine.extend(engine.root, tokens)
    (row,) = NgramDraft(3, order=4, least=1).log_probs([DraftQuery(node, engine.root)])
    told = any(tokens[i - 1] == tokens[-1] for i in range(1, len(tokens)))
    assert (row is not None) == told
    if row is not None:
        assert np.allclose(np.exp(row), [p(x, min(3, len(tokens) - 1)) for x in range(3)])


def test_a_particle_draws_the_same_after_its_state_was_written_and_read():
    """The block it is in is part of what is written."""
    model = drafted(PLAIN.replace("t ~ lm", "t ~ lm\n        condition t != EOS"), "other", 3)
    (state, *_), _ = model.initial([KeyedRng(0)])
    for t in range(3):
        places = Places.of(model.code)
        again = state_from_json(state_to_json(state, places), model.engines, places)
        assert again.draft_block == state.draft_block
        ((state,), _), ((other,), _) = (model.step([KeyedRng(t)], [x]) for x in (state, again))
        assert other.key() == state.key()
        assert other.draft_block == state.draft_block


def test_answers_that_nobody_asks_for_are_let_go():
    """Those of a draft with nothing to say too: they hold contexts."""
    engine = CachedTransformer(TableModel("table", TABLE))
    how = drafting("ngram", block=2)
    for i in range(40):
        how.new_step()
        node = engine.extend(engine.root, (0, i % 2, *[1] * i))
        how.log_probs("", [DraftQuery(node, engine.root)])
        assert len(how.answers) <= PINNED * 2 + 1
    (again,) = how.log_probs("", [DraftQuery(node, engine.root)])
    assert again is how.answers[DraftQuery(node, engine.root)][1]
