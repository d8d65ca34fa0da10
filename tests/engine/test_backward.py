"""Messages of a surrogate through an automaton equal sums over all token sequences and hidden
paths, in plain Python."""

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product

import numpy as np
import pytest

from fkdsl.base.deadline import Deadline, DeadlinePassed
from fkdsl.base.deadline import until as until_deadline
from fkdsl.base.locks import taking_turns
from fkdsl.engine.constraints import backward, message_steps, regular
from fkdsl.engine.constraints.backward import (
    BackwardMessages,
    Way,
    products,
    why_no_messages,
    why_not,
)
from fkdsl.engine.constraints.constraint import make_constraint
from fkdsl.engine.constraints.languages import Matches
from fkdsl.engine.constraints.message_steps import MessageSteps
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.constraints.token_classes import Behaviours
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.proposals.completion import used_messages

TOKENS = (b"a", b"b", b"ab", b".", b"b\na", b"")
END = 5
VOCABULARY = Vocabulary(TOKENS, ends=frozenset({END}))
HIDDEN = 2
CASES = [
    (r"[ab]*b", ""),
    (r"(a|b){2,3}\.?", ""),
    (r"[ab.]*\.", "\n"),
    (r"a.*", "."),
    (r"b*", "\n"),
]


def surrogate(seed=3, impossible=()):
    rng = np.random.default_rng(seed)
    emission = rng.dirichlet(np.ones(len(TOKENS)), size=HIDDEN)
    for z, x in impossible:
        emission[z, x] = 0.0
    return Surrogate.of(
        rng.dirichlet(np.ones(HIDDEN)),
        rng.dirichlet(np.ones(HIDDEN), size=HIDDEN),
        emission,
        VOCABULARY.fingerprint,
    )


def is_met(pattern, until, ids, left):
    """Whether the text of these tokens is complete, and in the language; None if it goes on."""
    text = ""
    for n, x in enumerate(ids):
        if x == END:
            return re.fullmatch(pattern, text) is not None
        text += TOKENS[x].decode()
        if until and until in text:
            return re.fullmatch(pattern, text[: text.index(until)]) is not None
        if n + 1 == left:
            return re.fullmatch(pattern, text) is not None
    return None


def by_paths(model, belief, pattern, until, prefix, x, left):
    """h(x) after the prefix: every sequence of tokens that may follow, with every hidden path."""
    start, A, B = belief.tolist(), model.transition.tolist(), model.emission.tolist()
    most = len(prefix) + 1 + left
    met = whole = 0.0
    for path in product(range(HIDDEN), repeat=1 + left):
        hidden = start[path[0]]
        for z, after in pairwise(path):
            hidden *= A[z][after]
        whole += hidden * B[path[0]][x]
        for more in product(range(len(TOKENS)), repeat=left):
            p = hidden * B[path[0]][x]
            for z, y in zip(path[1:], more, strict=True):
                p *= B[z][y]
            met += p * bool(is_met(pattern, until, (*prefix, x, *more), most))
    return met / whole


def messages_of(pattern, until, model):
    masks = make_constraint(Matches(pattern), until, VOCABULARY).regular
    return BackwardMessages(Way(masks), model), masks


def h_of(messages, belief, position, tokens_left, ids):
    """h of tokens after one text."""
    texts = np.zeros(len(ids), dtype=np.intp)
    return messages.of_tokens(belief[None], [position], tokens_left, texts, ids)


def averages_of(messages, belief, position, tokens_left):
    """Those of one text."""
    averages, exponents = messages.averages(belief[None], [position], tokens_left)
    return np.ldexp(averages, exponents[:, None])[0]


@pytest.mark.parametrize("left", [0, 1, 2, 3])
@pytest.mark.parametrize(("pattern", "until"), CASES)
def test_h_equals_the_sum_over_all_sequences_and_hidden_paths(pattern, until, left):
    model = surrogate()
    messages, masks = messages_of(pattern, until, model)
    belief = np.array([0.3, 0.7], dtype=np.float32)
    for prefix in [(), (0,), (1, 0)]:
        if is_met(pattern, until, prefix, 99) is not None:
            continue
        h = h_of(messages, belief, masks.position(prefix), left, np.arange(len(TOKENS)))
        expected = [
            by_paths(model, belief, pattern, until, prefix, x, left) for x in range(len(TOKENS))
        ]
        np.testing.assert_allclose(h, expected, atol=2e-7)  # rows sum to 1 as float32


@pytest.mark.parametrize(("pattern", "until"), CASES)
def test_a_budget_that_is_off_by_one_gives_another_h(pattern, until):
    messages, masks = messages_of(pattern, until, surrogate())
    belief = np.array([0.3, 0.7], dtype=np.float32)
    at = masks.position(())
    one, two = (h_of(messages, belief, at, left, np.arange(END)) for left in (1, 2))
    assert np.abs(one - two).max() > 1e-3


def test_averages_are_those_of_the_tokens_that_lead_to_the_same_state():
    model = surrogate()
    messages, masks = messages_of(r"[ab]*b", "", model)
    belief = np.array([0.3, 0.7])
    at = masks.position((0,))
    h = h_of(messages, belief, at, 2, np.arange(len(TOKENS)))
    averages = averages_of(messages, belief, at, 2)
    p = belief @ model.emission
    after = messages.states_after(at, None)
    for state in set(after.tolist()):
        alike = after == state
        expected = (p * h)[alike].sum() / p[alike].sum()
        np.testing.assert_allclose(averages[alike], expected, atol=1e-6)


def test_what_is_said_of_texts_together_is_what_is_said_of_each_to_the_last_bit():
    tokens = (b"a", "é".encode()[:1], "é".encode()[1:], b"b", b"")
    vocabulary = Vocabulary(tokens, ends=frozenset({4}))
    rng = np.random.default_rng(3)
    rows = rng.dirichlet(np.full(5, 0.4), size=19)
    model = Surrogate.of(
        rng.dirichlet(np.ones(19)),
        rng.dirichlet(np.ones(19), size=19),
        rows,
        vocabulary.fingerprint,
    )
    masks = make_constraint(Matches("[ab]*éb*"), "", vocabulary).regular
    messages = BackwardMessages(Way(masks), model)
    prefixes = [(), (0,), (1,), (3, 1, 2), (0, 1), (3, 1, 2), (3,)]  # some within a character
    positions = [masks.position(prefix) for prefix in prefixes]
    beliefs = rng.dirichlet(np.ones(19), size=len(prefixes)).astype(np.float32)
    texts, ids = rng.integers(len(prefixes), size=300), rng.integers(5, size=300)
    together = messages.of_tokens(beliefs, positions, 4, texts, ids)
    averages, _ = messages.averages(beliefs, positions, 4)
    for j, (belief, position) in enumerate(zip(beliefs, positions, strict=True)):
        alone = h_of(messages, belief, position, 4, ids[texts == j])
        assert (together[texts == j] == alone).all()
        assert (averages[j] == averages_of(messages, belief, position, 4)).all()
    assert len(set(together.tolist())) > 10


def test_tokens_that_do_the_same_from_every_state_are_one_behaviour():
    messages, masks = messages_of(r"[ab]*", "", surrogate())
    assert messages.behaviours == 3  # letters, other texts, the end
    assert masks.automaton.size > 1


def test_a_token_that_is_impossible_to_the_surrogate_has_an_h():
    model = surrogate(impossible=[(0, 0), (1, 0)])
    messages, masks = messages_of(r"[ab]*b", "", model)
    h = h_of(messages, np.array([0.5, 0.5]), masks.position(()), 3, np.arange(len(TOKENS)))
    assert np.isfinite(h).all()
    assert h[0] > 0.0


def test_a_text_behind_its_stop_is_complete():
    messages, masks = messages_of(r"b*", "\n", surrogate())
    at = masks.position((1,))
    h = h_of(messages, np.array([0.5, 0.5]), at, 3, np.array([4]))
    assert h.tolist() == [1.0]


def test_unfinished_characters_are_estimated_by_the_character_that_they_lead_to():
    tokens = (b"a", "é".encode()[:1], "é".encode()[1:], b"")
    vocabulary = Vocabulary(tokens, ends=frozenset({3}))
    model = Surrogate.of([1.0], [[1.0]], [[0.4, 0.2, 0.2, 0.2]], vocabulary.fingerprint)
    masks = make_constraint(Matches("a*é"), "", vocabulary).regular
    messages = BackwardMessages(Way(masks), model)
    belief = np.ones(1, dtype=np.float32)
    first = h_of(messages, belief, masks.position(()), 3, np.arange(4))
    assert first[1] > 0.0
    assert first[3] == 0.0
    at = masks.position((0, 1))
    assert at[1]
    second = h_of(messages, belief, at, 1, np.arange(4))
    np.testing.assert_allclose(second[2], 0.2, atol=1e-6)
    assert averages_of(messages, belief, at, 1)[2] > 0.0


@pytest.mark.parametrize(("pattern", "until"), CASES)
def test_messages_of_which_not_all_are_kept_are_the_same_in_any_order(pattern, until, monkeypatch):
    masks = make_constraint(Matches(pattern), until, VOCABULARY).regular
    every = [BackwardMessages(Way(masks), surrogate()).moved(n).copy() for n in range(30)]
    monkeypatch.setattr(MessageSteps.__init__, "__defaults__", (1,))
    monkeypatch.setattr(message_steps, "LARGE", 1)
    few = BackwardMessages(Way(masks), surrogate())
    found = {n: few.moved(n).copy() for n in reversed(range(30))}
    for n, moved in enumerate(every):
        np.testing.assert_allclose(found[n], moved, rtol=1e-5, atol=0.0)
    again = BackwardMessages(Way(masks), surrogate())
    for n in (3, 15, 20, 5, 29, 11, 12, 0, 17):  # in another order they are these, to the last bit
        assert again.moved(n).tolist() == few.moved(n).tolist() == found[n].tolist()


def test_who_waits_for_messages_of_another_thread_heeds_its_deadline():
    masks, model = make_constraint(Matches("[ab]{3}"), "", VOCABULARY).regular, surrogate()
    way = Way(masks)
    messages = used_messages(way, model)
    for taken, call in (
        (messages, lambda: messages.moved(3)),
        (model, lambda: used_messages(way, model)),
    ):
        with ThreadPoolExecutor(1) as pool, taking_turns(taken):

            def late(call=call):
                with pytest.raises(DeadlinePassed), until_deadline(Deadline(0.01)):
                    call()

            pool.submit(late).result(10)
        call()


@pytest.mark.parametrize(("pattern", "until"), CASES)
def test_behaviours_are_those_of_each_token_read_from_each_state(pattern, until):
    automaton = make_constraint(Matches(pattern), until, VOCABULARY).regular.automaton
    masks = RegularMasks(automaton, VOCABULARY)
    found = Behaviours.of(masks.classes, automaton.table[: automaton.size])
    of_token = found.of_node[masks.classes.node]
    for i, token in enumerate(TOKENS):
        expected = [automaton.read(q, token.decode()) for q in range(automaton.size)]
        assert found.after[of_token[i]].tolist() == expected
    assert len({row.tobytes() for row in found.after}) == len(found.after)
    masks.distances()  # rows of next states then come from what is known of all states
    after = [masks.after_tokens(q)[:END].tolist() for q in range(automaton.size)]
    plain = RegularMasks(automaton, VOCABULARY)
    assert after == [plain.after_tokens(q)[:END].tolist() for q in range(automaton.size)]


@pytest.mark.parametrize("pattern", ["a*é", "[ab]*(é|a).", "(?s).{2,3}"])
def test_what_leads_on_from_all_states_is_what_leads_on_from_each(pattern):
    raw = "é€".encode()
    tokens = (b"a", b"b", b"ab", raw[:1], raw[1:2], raw[:3], raw[3:], b"a" + raw[:1], b"\xff", b"")
    vocabulary = Vocabulary(tokens, ends=frozenset({9}))
    masks = make_constraint(Matches(pattern), "", vocabulary).regular
    after, kinds = masks.onward_from_all()
    for q in range(masks.automaton.size):
        distances = masks.distances()
        expected, found = masks.onward((q, b""))[:9], after[q][kinds][:9]
        assert distances[found].tolist() == distances[expected].tolist()
        same = [0, 1, 2, 8]
        assert found[same].tolist() == expected[same].tolist()


def test_what_is_too_large_has_a_reason(monkeypatch):
    masks = make_constraint(Matches(r"[ab]{3}"), "", VOCABULARY).regular
    model = surrogate()
    assert why_not(masks, model, 10) == ""
    assert why_no_messages([Way(masks), Way(masks)], model, 10) == ""
    with monkeypatch.context() as patched:
        most = 2 * products(masks, model, 10)
        patched.setattr(backward, "MOST_PRODUCTS", most)
        assert why_no_messages([Way(masks), Way(masks)], model, 10) == ""
        patched.setattr(backward, "MOST_PRODUCTS", most - 1)
        assert "are too many" in why_no_messages([Way(masks), Way(masks)], model, 10)
        assert why_no_messages([Way(masks)], model, 10) == ""
    monkeypatch.setattr(backward, "MOST_NUMBERS", 20)
    assert "are too many" in why_not(masks, model, 10)
    monkeypatch.setattr(regular, "MEASURED", 20)
    masks = RegularMasks(masks.automaton, VOCABULARY)
    assert "is too large" in why_not(masks, model, 10)
