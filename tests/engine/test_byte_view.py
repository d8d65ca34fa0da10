"""The byte view of a token model against sums over tokenisations: exact with all sequences, bounded
with few."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.errors import CallError
from fkdsl.engine import byte_view
from fkdsl.engine.byte_trie import END_SYMBOL, VIEW_SYMBOLS, VIEW_VOCABULARY, ByteTrie
from fkdsl.engine.byte_view import ByteView
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.interface import ForwardRow, Past
from fkdsl.models.table import TableModel
from fkdsl.models.vocabulary import Vocabulary
from tests.engine.tiny import V, tiny
from tests.engine.tokenisations import covering, covering_rows

TOKENS = ("a", "b", "c", "ab", "bc", "abc", "é")
CONTEXTS = ("", "a", "b", "ab", "bc", "c")
OVERLAPPING = TableModel(
    "toy",
    {
        "": {"a": 0.3, "ab": 0.2, "b": 0.1, "bc": 0.15, "c": 0.1, "abc": 0.05, None: 0.1},
        "a": {"b": 0.6, "bc": 0.1, None: 0.3},
        "b": {"c": 0.5, "a": 0.2, None: 0.3},
    },
)


@st.composite
def tables(draw):
    """Tables over tokens that overlap; some probabilities are zero."""
    rows = {}
    for context in ("", *sorted(draw(st.sets(st.sampled_from(CONTEXTS[1:]), max_size=3)))):
        shares = [draw(st.sampled_from((0, 1, 1, 2, 5))) for _ in range(len(TOKENS) + 1)]
        shares[0] += not any(shares)
        rows[context] = {
            t: s / sum(shares) for t, s in zip((*TOKENS, None), shares, strict=True) if s
        }
    return TableModel("drawn", rows)


def view_of(model, beam=None):
    return ByteView(CachedTransformer(model), beam)


def logprob(view, symbols):
    """log p of a sequence of symbols, by the view's rows."""
    total = 0.0
    for k, row in enumerate(rows_of(view, symbols)[:-1]):
        total += row[symbols[k]]
    return total


def rows_of(view, symbols):
    """The rows after each prefix, by one forward each."""
    return [
        view.forward([ForwardRow(None, tuple(symbols[:k]), (k - 1,) if k else ())])[0].log_probs[0]
        for k in range(len(symbols) + 1)
    ]


texts = st.text(alphabet="abcé", max_size=6)


@settings(max_examples=60)
@given(model=tables(), text=texts)
def test_a_texts_probability_is_the_sum_over_its_tokenisations(model, text):
    raw, view = text.encode(), view_of(model)
    for k in range(len(raw) + 1):
        exact = covering(model, raw[:k])
        if exact == 0.0:
            assert view.bounds(raw[:k]) == (-math.inf, -math.inf)
            return
        assert math.exp(logprob(view, raw[:k])) == pytest.approx(exact, abs=1e-10)
        assert view.bounds(raw[:k]) == pytest.approx((math.log(exact),) * 2, abs=1e-10)
        ended = covering(model, raw[:k], ended=True)
        assert math.exp(rows_of(view, raw[:k])[-1][END_SYMBOL]) * exact == pytest.approx(
            ended, abs=1e-10
        )


@settings(max_examples=40)
@given(model=tables(), text=texts, beam=st.integers(1, 3))
def test_what_a_beam_lets_go_bounds_its_error(model, text, beam):
    raw, view = text.encode(), view_of(model, beam)
    low, high = view.bounds(raw)
    assert math.exp(low) - 1e-12 <= covering(model, raw) <= math.exp(high) + 1e-12
    if low > -math.inf:
        # The view's own law is what was kept, over the shares of it that were kept at each byte.
        kept = sum(math.log1p(-share) for share in shares(model, raw, beam))
        assert logprob(view, raw) + kept == pytest.approx(low, abs=1e-10)


def shares(model, raw, beam):
    """The share let go at each byte."""
    totals = []
    for k in range(len(raw) + 1):
        view = view_of(model, beam)
        view.bounds(raw[:k])
        totals.append(view.lost.total)
    return [b - a for a, b in itertools.pairwise(totals)]


def test_a_beam_of_one_loses_mass_and_says_how_much():
    view = view_of(OVERLAPPING, 1)
    low, high = view.bounds(b"abc")
    exact = covering(OVERLAPPING, b"abc")
    assert math.exp(low) < exact - 0.01
    assert exact < math.exp(high)
    assert view.lost.symbols == 3
    assert 0.0 < view.lost.mean < view.lost.worst < 1.0


def test_over_texts_the_view_is_within_the_mass_it_loses_of_the_model():
    """TV(Q, p) <= E_Q[sum_t lost_t], here over all texts of three symbols."""
    view, distance, bound = view_of(OVERLAPPING, 1), 0.0, 0.0
    for symbols in itertools.product((*b"abc", END_SYMBOL), repeat=3):
        ended = [k for k, symbol in enumerate(symbols) if symbol == END_SYMBOL]
        if ended and symbols[ended[0] :] != (END_SYMBOL,) * (3 - ended[0]):
            continue
        said = symbols[: ended[0]] if ended else symbols
        p = covering(OVERLAPPING, bytes(said), ended=bool(ended))
        q = math.exp(logprob(view, said + (END_SYMBOL,) * bool(ended)))
        distance += abs(p - q) / 2
        bound += q * sum(shares(OVERLAPPING, bytes(said), 1))
    assert 0.0 < distance <= bound < 1.0


def test_rows_sum_to_one_and_never_draw_a_marker():
    rows = np.exp(rows_of(view_of(OVERLAPPING, 2), b"abcab"))
    assert rows.shape == (6, VIEW_SYMBOLS)
    assert np.abs(rows.sum(axis=1) - 1.0).max() <= 1e-12
    assert not rows[:, END_SYMBOL + 1 :].any()


def test_a_prompt_may_end_within_a_token_and_a_character():
    view = view_of(TableModel("t", {"": {"abc": 0.5, "aé": 0.5}}))
    assert np.exp(rows_of(view, b"a")[-1])[list(b"b\xc3")] == pytest.approx([0.5, 0.5])
    assert np.exp(rows_of(view, b"a\xc3")[-1])[0xA9] == pytest.approx(1.0)


def test_bytes_of_probability_zero_are_given_and_what_follows_goes_on_after_them():
    view = view_of(OVERLAPPING)
    given = rows_of(view, b"Hi: ")[-1]
    assert np.allclose(given, rows_of(view, b"")[-1])
    assert view.bounds(b"Hi: ") == (-math.inf, -math.inf)
    # After "a" as its own token and as the beginning of another: neither goes on with "x", both are
    # spelt.
    assert np.allclose(np.exp(rows_of(view, b"axa")[-1]), np.exp(rows_of(view, b"a")[-1]))


def test_bytes_without_a_token_are_followed_by_the_end():
    row = rows_of(view_of(tiny("gpt2")), b"\xff\xff")[-1]
    assert row[END_SYMBOL] == 0.0
    assert np.isneginf(row).sum() == VIEW_SYMBOLS - 1


def test_after_an_end_no_token_is_in_progress():
    view = view_of(OVERLAPPING)
    row = np.exp(rows_of(view, (*b"ab", END_SYMBOL))[-1])
    assert row[[*b"ca", END_SYMBOL]] == pytest.approx([0.5, 0.2, 0.3])
    assert row[ord("c")] != pytest.approx(np.exp(rows_of(view, b"ab")[-1])[ord("c")])


def test_a_row_of_the_model_is_asked_once_for_a_population():
    engine = CachedTransformer(OVERLAPPING)
    view = CachedTransformer(ByteView(engine, None))
    contexts = [view.start("ab" + end) for end in ("a", "b", "c", "c")]
    view.log_probs(contexts)
    assert (
        engine.stats.asked == len({c for c in engine.tree if engine.cached(c) is not None}) + 1
    )  # and the root


def test_known_text_is_asked_about_in_fewer_questions_and_no_answer_changes(monkeypatch):
    letters = dict.fromkeys("these a", 0.02)
    words = TableModel("words", {"": {"the ": 0.5, "sea ": 0.38, **letters}})
    for model, raw, fewer in (
        (words, b"the sea the sea the sea", True),
        (OVERLAPPING, b"abcabcababcbcaab", False),
    ):
        ahead, plain = view_of(model, 3), view_of(model, 3)
        found = ahead.bounds(raw)
        monkeypatch.setattr(byte_view, "FEW_TEXTS", 0)
        assert plain.bounds(raw) == found
        monkeypatch.undo()
        # Where most of what could be said is likely, more is foreseen than is kept; not without
        # bound.
        assert ahead.engine.stats.forwarded_tokens <= plain.engine.stats.forwarded_tokens * (
            1.5 if fewer else 4
        )
        if fewer:
            assert ahead.engine.stats.model_calls <= plain.engine.stats.model_calls / 2


def test_what_no_context_of_the_view_needs_is_freed_in_the_models_engine():
    engine = CachedTransformer(OVERLAPPING)
    view = CachedTransformer(ByteView(engine, None))
    contexts = [view.start("ab" * n) for n in range(1, 4)]
    view.log_probs(contexts)
    assert len(engine.tree) > 0
    del contexts
    assert len(view.tree) == len(engine.tree) == 0


@given(text=texts, cut=st.integers(0, 6), beam=st.sampled_from((1, 2, None)))
def test_a_past_and_what_follows_it_are_the_whole(text, cut, beam):
    ids, view = tuple(text.encode()), view_of(OVERLAPPING, beam)
    cut = min(cut, len(ids))
    first = view.forward([ForwardRow(None, ids[:cut], ())])[0]
    if 0 < cut < len(ids):
        rest = view.forward(
            [ForwardRow(Past(first.segment, cut), ids[cut:], (len(ids) - cut - 1,))]
        )[0]
        assert np.array_equal(rest.log_probs[0], rows_of(view, ids)[-1])


def test_a_view_of_a_transformer_is_the_sum_over_its_tokenisations():
    """Tokens are letters, two of some: 40 ids for 26. It cannot begin from nothing, so the first
    row is BOS's."""
    model = tiny("gpt2")
    view = view_of(model)
    raw = b"nab"
    first = np.exp(
        model.forward([ForwardRow(None, model.start(""), (0,))])[0].log_probs[0].astype(float)
    )
    spellings = itertools.product(
        *(
            [i for i, t in enumerate(model.vocabulary.tokens) if t[0] == b and i != V - 1]
            for b in raw
        )
    )
    exact = 0.0
    for ids in spellings:
        rows = np.exp(
            model.forward([ForwardRow(None, ids, tuple(range(len(ids))))])[0].log_probs.astype(
                float
            )
        )
        exact += first[ids[0]] * rows[0][ids[1]] * rows[1][ids[2]]
    assert math.exp(view.bounds(raw)[0]) == pytest.approx(exact, rel=1e-4)


def test_markers_stand_for_tokens_without_bytes_and_are_given():
    vocabulary = Vocabulary((b"a", b"", b"ab", b""), ends=frozenset({1}))
    trie = ByteTrie(vocabulary)
    assert trie.markers == {1: END_SYMBOL + 1, 3: END_SYMBOL + 2}

    class Chatty(TableModel):
        def chat(self, user, system=""):
            return (self.eos, *self.encode(user), self.eos)

    view = view_of(Chatty("chatty", {"": {"a": 0.5, "ab": 0.3, None: 0.2}, "a": {"b": 1.0}}))
    ids = view.chat("a")
    assert ids == (END_SYMBOL + 1, ord("a"), END_SYMBOL + 1)
    # "ab" in progress is no longer possible: the marker stands behind a whole token.
    assert np.allclose(rows_of(view, ids)[-1], rows_of(view, b"a")[0]) is False
    assert np.exp(rows_of(view, ids)[-1])[ord("b")] == pytest.approx(1.0)


def test_all_views_have_one_vocabulary():
    assert (
        view_of(OVERLAPPING).vocabulary.fingerprint == view_of(tiny("gpt2")).vocabulary.fingerprint
    )
    assert VIEW_VOCABULARY.text(view_of(OVERLAPPING).encode("né\n")) == "né\n"


def test_a_beam_keeps_at_least_one_sequence():
    with pytest.raises(CallError, match="at least 1"):
        view_of(OVERLAPPING, 0)


def test_a_view_without_longer_tokens_is_caught(monkeypatch):
    """A planted bug: a token is taken as soon as it is complete, as a tokenizer without overlaps
    would."""
    down = ByteView._down
    monkeypatch.setattr(
        ByteView,
        "_down",
        lambda self, item, symbol: (
            [i for i in down(self, item, symbol) if i.p is None] or down(self, item, symbol)
        ),
    )
    with pytest.raises(AssertionError):
        test_a_texts_probability_is_the_sum_over_its_tokenisations()


@pytest.mark.smollm2
def test_a_view_of_smollm2_is_the_sum_over_its_tokenisations(smollm2):
    engine = CachedTransformer(smollm2)
    # It has no law of a first token but after its BOS, which weighs the tokenisations and is in
    # none of them.
    begins = engine.start("")
    for raw in (b" sea", b"Hello", "né".encode(), b"x\n\n "):
        exact = covering_rows(engine, raw, begins)
        low, high = ByteView(engine, None).bounds(raw)
        assert low == high == pytest.approx(exact, abs=1e-4)
        low, high = ByteView(engine, 2).bounds(raw)
        assert low - 1e-4 <= exact <= high + 1e-4
        assert low < high


@pytest.mark.smollm2
def test_smollm2_goes_on_in_the_middle_of_a_word(smollm2):
    engine = CachedTransformer(smollm2)
    view = CachedTransformer(ByteView(engine))
    row = np.exp(view.log_probs([view.start("The capital of France is Par")])[0])
    assert row.sum() == pytest.approx(1.0, abs=1e-12)
    assert row[ord("i")] > 0.9
    assert view.model.lost.mean < 1e-4
