"""The beliefs of surrogates about texts in the midst of their drawing: the law of the hidden state
that emits the next token, filtered from the WINDOW tokens before the text on.

A context keeps its belief, as it keeps where automata stand, so that of a longer one is one step
from it. A belief is a function of the text and the tokens before it alone, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fkdsl.engine.cached_transformer import Context
from fkdsl.models.surrogate.model import WINDOW, Array, Surrogate

Text = tuple[Context, int]
"""A context, and how many tokens there are before the text that it ends in."""


def belief_at(surrogate: Surrogate, context: Context, begins: int) -> Array:
    """(H,) float32: the filter's law after a context in which a text begins after so many
    tokens."""
    key = (surrogate, begins)
    if key not in context.positions:
        filter_texts(surrogate, [(context, begins)])
    belief: Array = context.positions[key]
    return belief


def filter_texts(surrogate: Surrogate, texts: Iterable[Text]) -> None:
    """Has contexts keep their beliefs, those of a population together."""
    begun: dict[Text, None] = {}
    missing: dict[int, dict[Text, None]] = {}  # by the number of tokens of the text
    for context, begins in texts:
        node, key = context, (surrogate, begins)
        while key not in node.positions and node.length > begins:
            missing.setdefault(node.length - begins, {})[node, begins] = None
            assert node.parent is not None
            node = node.parent
        if key not in node.positions:
            begun[node, begins] = None
    if begun:
        found = surrogate.beliefs([tokens_before(node) for node, _ in begun])
        for (node, begins), belief in zip(begun, found, strict=True):
            node.positions[surrogate, begins] = belief
    for _, longer in sorted(missing.items()):
        _go_on(surrogate, longer)


def _go_on(surrogate: Surrogate, texts: Iterable[Text]) -> None:
    """Has contexts keep their beliefs whose parents have theirs."""
    known = []
    for node, begins in texts:
        assert node.parent is not None
        known.append(node.parent.positions[surrogate, begins])
    after = surrogate.after(np.array(known), [max(node.token, 0) for node, _ in texts])
    for (node, begins), before, belief in zip(texts, known, after, strict=True):
        # A surrogate knows no attachments, which have negative ids.
        node.positions[surrogate, begins] = belief if node.token >= 0 else before


def tokens_before(context: Context) -> tuple[int, ...]:
    """The tokens that a text's first belief depends on: one more than the window of a longer
    context, which begins otherwise."""
    tokens = context.tokens_from(max(0, context.length - WINDOW - 1))
    return tuple(i for i in tokens if i >= 0)
