"""Hypothesis strategies for language models small enough to enumerate, and for contexts in them.

from hypothesis import given
from fkdsl.testing import assert_same_measure, table_models

@given(table_models(("a", "b")))
def test_my_rewriting(model):
    assert_same_measure(before.feynman_kac(model), after.feynman_kac(model))
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from hypothesis import strategies as st

from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.models.table import TableModel

Rows = dict[str, dict[str | None, float]]
"""The probabilities of the tokens after each text; None stands for EOS."""
ALPHABET = ("a", "b")
TEXTS = ("a", "b", " ", "ab", "aa", "\n", " a", "é", "0", "-")
"""Tokens that begin other tokens, join to them, end words or lines, or take several bytes."""
SHARES = (0, 1, 1, 2, 3)


def vocabularies(texts: Sequence[str] = TEXTS, size: int = 3) -> st.SearchStrategy[tuple[str, ...]]:
    """From one to `size` distinct tokens of the given texts."""
    return st.lists(st.sampled_from(texts), min_size=1, max_size=size, unique=True).map(tuple)


@st.composite
def tables(draw: st.DrawFn, vocabulary: Sequence[str] = ALPHABET, contexts: int = 2) -> Rows:
    """Rows of a table model over the tokens and EOS: one for any text, and up to `contexts` others.
    Some probabilities are zero."""
    tokens = (*vocabulary, None)
    suffixes = tuple(dict.fromkeys((*vocabulary, vocabulary[0] + vocabulary[-1])))
    shares = st.tuples(*[st.sampled_from(SHARES)] * len(tokens))
    # A row's shares are drawn with its context, so that shrinking removes the row as a whole.
    others = draw(
        st.lists(
            st.tuples(st.sampled_from(suffixes), shares),
            max_size=contexts,
            unique_by=lambda row: row[0],
        )
    )
    return {context: _row(tokens, drawn) for context, drawn in (("", draw(shares)), *others)}


def _row(tokens: Sequence[str | None], shares: Sequence[int]) -> dict[str | None, float]:
    """The positive probabilities; the first token has all of it where all shares are zero."""
    total = sum(shares)
    return (
        {token: s / total for token, s in zip(tokens, shares, strict=True) if s}
        if total
        else {tokens[0]: 1.0}
    )


@st.composite
def table_models(
    draw: st.DrawFn, vocabulary: Sequence[str] | None = None, contexts: int = 2
) -> TableModel:
    """Table models over the given tokens, or over drawn ones, for `Program.run(model=...)`."""
    if vocabulary is None:
        vocabulary = draw(vocabularies())
    return TableModel("drawn", draw(tables(vocabulary, contexts)))


class DrawnContext(NamedTuple):
    """A context, and the engine that it belongs to."""

    engine: CachedTransformer
    context: Context

    def __repr__(self) -> str:
        return f"DrawnContext({self.engine.raw(self.context).decode()!r} in {self.engine.model!r})"


@st.composite
def contexts(
    draw: st.DrawFn, vocabulary: Sequence[str] | None = None, length: int = 3
) -> DrawnContext:
    """Contexts of up to `length` tokens of a drawn table model, in an engine of their own."""
    model = draw(table_models(vocabulary))
    # The table's tokens have the ids below EOS; a table of EOS alone has none.
    chosen = [
        i
        for i in draw(st.lists(st.integers(0, max(model.eos - 1, 0)), max_size=length))
        if i < model.eos
    ]
    engine = CachedTransformer(model)
    return DrawnContext(engine, engine.extend(engine.root, chosen))


def table_text(rows: Rows, name: str = "m") -> str:
    """The rows as a program declares them."""
    lines = [f"model {name} = table:"]
    for context, row in rows.items():
        entries = ", ".join(
            f"{'EOS' if t is None else text_literal(t)}: {probability_text(p)}"
            for t, p in row.items()
        )
        lines.append(f"    {text_literal(context)} -> {entries}")
    return "\n".join(lines) + "\n"


def text_literal(text: str) -> str:
    """A text as the language writes it.

    >>> print(text_literal('a"b'), text_literal("two" + chr(10) + "lines"))
    "a\\"b" "two\\nlines"
    """
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    )
    return f'"{escaped}"'


def probability_text(p: float) -> str:
    """A probability as one would write it: a short decimal, else a fraction.

    >>> probability_text(0.5), probability_text(1 / 3), probability_text(0.123456)
    ('0.5', '1/3', '0.123456')
    """
    fraction = Fraction(p).limit_denominator(99)
    short = len(repr(p)) <= len("0.25")
    exactly = fraction.numerator / fraction.denominator == p
    return repr(p) if short or not exactly else f"{fraction.numerator}/{fraction.denominator}"
