"""Draws of a population that look ahead, made together: the choices that Tilted and Masked make of
each, to the last bit."""

import math
from unittest.mock import patch

import numpy as np
import pytest

import fkdsl
from fkdsl.engine.constraints.backward import BackwardMessages, Way
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.languages import Matches
from fkdsl.engine.prefix_tree import PrefixTree
from fkdsl.models.surrogate.model import WINDOW, Surrogate
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.proposals import tilted_together
from fkdsl.proposals.filtering import belief_at, filter_texts
from fkdsl.proposals.outcomes import TokenOutcomes
from fkdsl.proposals.tilts import Guided, TiltSettings, tilts_of

SENTENCE = """
model "tiny"

program sentence() -> str:
    lm = prompt("KING:\\n")
    s ~ text(lm, until="\\n\\n", max_tokens=24)
    condition ends_with(s, ".") and len(words(s)) == 4
    t ~ text(lm, until="\\n", max_tokens=8)
    condition contains(t, "e")
    return s + t
"""
LOOP = """
model "tiny"

program loop() -> str:
    lm = prompt("KING:\\n")
    for i in range(20):
        t ~ lm
        condition all(letters(w) <= 3 for w in words(lm.text))
    return lm.text
"""


def outcome(program, way, particles=8):
    result = fkdsl.parse(program).run("smc", particles=particles, seed=3, lookahead=way)
    return result.log_z, [(p.value, p.log_weight) for p in result.particles]


@pytest.mark.parametrize("way", ["both", "twist"])
@pytest.mark.parametrize("program", [SENTENCE, LOOP])
def test_a_run_is_the_same_whether_tilted_draws_are_made_together_or_one_by_one(program, way):
    made = []
    choose = tilted_together._choose

    def counted(draws, p, h):
        made.extend(draw for same in draws for draw in same)
        choose(draws, p, h)

    with patch.object(tilted_together, "_choose", counted):
        expected = outcome(program, way)
    assert len(made) > 40
    with patch("fkdsl.steering.rounds.choose_together", lambda draws, settings: None):
        assert outcome(program, way) == expected
    with patch.object(tilted_together, "MOST", 1):
        assert outcome(program, way) == expected


def test_a_choice_that_is_not_divided_by_h_is_caught():
    expected, choose = outcome(SENTENCE, "both"), tilted_together._choose

    def undivided(draws, p, h):
        choose(draws, p * h, None)

    with patch.object(tilted_together, "_choose", undivided):
        assert outcome(SENTENCE, "both") != expected


def test_where_masks_leave_nothing_or_nothing_that_can_be_completed_the_weight_stays():
    vocabulary = Vocabulary((b"a", b"b", b""), frozenset({2}))
    surrogate = Surrogate.of([1.0], [[1.0]], [[0.3, 0.3, 0.4]], vocabulary.fingerprint)
    masks = make_constraint(Matches("a*b"), "", vocabulary).regular
    messages = (BackwardMessages(Way(masks), surrogate),)
    row = np.log(np.array([0.2, 0.3, 0.5], dtype=np.float32))
    outcomes = [TokenOutcomes(row, (), vocabulary, np.arange(3) == i) for i in (3, 2, 1)]
    none = TokenOutcomes(row, (), vocabulary)
    none.p, none.ids = row[:0], np.zeros(0, dtype=np.int64)
    draws = [
        Guided(each, surrogate.start, messages, (0,), 2, 0.75, -0.9) for each in [*outcomes, none]
    ]
    tilts = tilts_of(draws, TiltSettings(0.75, 1e-3, 1.5))
    assert [len(tilt.h) for tilt, _ in tilts] == [3, 3, 3, 0]
    # What masks refuse of the second is paid for by what was expected.
    assert math.isclose(tilts[1][0].log_scale, -0.9 - math.log(0.5), rel_tol=1e-6)
    assert [tilt.log_scale == -0.9 for tilt, _ in tilts] == [True, False, False, True]
    assert [math.isnan(drift) for _, drift in tilts] == [True, True, False, True]


def test_no_outcome_is_lost_where_h_is_as_small_as_the_numbers_it_is_kept_in():
    """The floor of such an h was 0 in float32, and so was the draw's probability of a token."""
    tokens = (b"a", b"b", *(bytes([97, 99 + k // 10, 99 + k % 10]) for k in range(96)), b"")
    vocabulary = Vocabulary(tokens, frozenset({len(tokens) - 1}))
    masks = make_constraint(Matches("a{6}b.*"), "", vocabulary).regular
    outcomes = TokenOutcomes(np.full(len(tokens), -math.log(len(tokens)), "f4"), (), vocabulary)
    for nats in range(-60, 0):
        emission = np.ones(len(tokens))
        emission[:2] = 1e-6, math.exp(nats)
        surrogate = Surrogate.of([1.0], [[1.0]], [emission], vocabulary.fingerprint)
        messages = (BackwardMessages(Way(masks), surrogate),)
        draw = Guided(outcomes, surrogate.start, messages, (0,), 8, 1.0, -0.3)
        ((tilt, _),) = tilts_of([draw], TiltSettings(1.0, 1e-3, 1.5))
        assert (outcomes.p * tilt.h > 0.0).all(), nats


def filtered(surrogate, tokens, start):
    """The law of the state after some tokens, by sums."""
    belief = start.astype(np.float64)
    for token in tokens:
        belief = (belief * surrogate.emission[:, token]) @ surrogate.transition
        belief /= belief.sum()
    return belief


def test_beliefs_are_filtered_from_the_window_before_the_text_on_in_whatever_order():
    rng = np.random.default_rng(1)
    start, moves = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5), 5)
    surrogate = Surrogate.of(start, moves, rng.dirichlet(np.ones(9), 5), "")
    tree, short, long = PrefixTree(lambda node: None), (1, 2), tuple(rng.integers(9, size=30))
    for before, start in ((short, surrogate.start), (long, surrogate.stationary)):
        context = tree.extend(tree.root, before)
        texts = [tuple(rng.integers(9, size=k)) for k in (0, 1, 2, 7, 7, 20)]
        nodes = [tree.extend(context, text) for text in texts]
        filter_texts(surrogate, [(node, len(before)) for node in nodes])
        for node, text in zip(nodes, texts, strict=True):
            belief = belief_at(surrogate, node, len(before))
            tokens = (*before[-WINDOW:], *text)
            np.testing.assert_allclose(belief, filtered(surrogate, tokens, start), atol=1e-6)
            other = PrefixTree(lambda node: None)
            alone = belief_at(surrogate, other.extend(other.root, (*before, *text)), len(before))
            assert (belief == alone).all()


def test_what_a_surrogate_does_not_know_leaves_its_belief():
    surrogate = Surrogate.of([0.2, 0.8], [[0.9, 0.1], [0.3, 0.7]], [[0.5, 0.5], [0.1, 0.9]], "")
    tree = PrefixTree(lambda node: None)
    before = belief_at(surrogate, tree.extend(tree.root, (0, 1)), 1)
    image = tree.extend(tree.root, (0, 1, -2))
    assert (belief_at(surrogate, image, 1) == before).all()


def test_a_tilt_over_a_long_vocabulary_is_the_same_whichever_are_made_with_it():
    rng, V = np.random.default_rng(1), 20_001
    tokens = tuple(b"%d" % i for i in range(V - 1))
    vocabulary = Vocabulary((*tokens, b""), frozenset({V - 1}))
    emission = rng.dirichlet(np.ones(V), 2)
    surrogate = Surrogate.of([0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]], emission, "")
    masks = make_constraint(Matches("[0-9]*7"), "", vocabulary).regular
    messages = (BackwardMessages(Way(masks), surrogate),)
    rows = np.log(rng.dirichlet(np.ones(V), 5).astype(np.float32))
    draws = [
        Guided(TokenOutcomes(row, (), vocabulary), surrogate.start, messages, (0,), 2, 0.75, -0.9)
        for row in rows
    ]
    settings = TiltSettings(0.75, 0.9, 1.5)
    for draw, (tilt, drift) in zip(draws, tilts_of(draws, settings), strict=True):
        ((alone, drift_alone),) = tilts_of([draw], settings)
        assert (tilt.h == alone.h).all()
        assert (tilt[1:], drift) == (alone[1:], drift_alone)
