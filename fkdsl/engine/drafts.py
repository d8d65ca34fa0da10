"""Drafts: cheap distributions q over next tokens, for blocks of tokens that the model verifies in
one forward.

A draft block begins at a base, a context whose row is cached. A draft gives the law of a token
after it:

    q(x | node), node 1 to `reach` tokens after the base     a DraftQuery; its row: (V,) log q

    HeadsDraft   the model's own heads for further tokens, read at the base (Gloeckle et al. 2024)
    ModelDraft   another model with the same vocabulary (Leviathan et al. 2023)
    NgramDraft   what followed the last tokens earlier in the same text (prompt lookup)

Law: a row depends on its query alone, up to rounding. So a particle's draws depend neither on the
cache nor on the other particles. Any q is correct: a bad one costs time, or variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError, InternalError
from fkdsl.base.locks import in_turn
from fkdsl.engine.byte_view import ByteView
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.models.interface import HasHeads, RunsHeads, TakesAttachments

DraftRow = NDArray[Any]

NO_LIMIT = 1 << 30
"""The reach of a draft that any number of tokens may follow."""


class DraftQuery(NamedTuple):
    """A request for q(x | node), the law of the token after `node`, in the draft block that begins
    at `base`, an ancestor of the node."""

    node: Context
    base: Context


class Draft(Protocol):
    """A source of q. name: for reports. reach: how many tokens after the base a node may be."""

    @property
    def name(self) -> str: ...

    @property
    def reach(self) -> int: ...

    def log_probs(self, queries: Sequence[DraftQuery]) -> list[DraftRow | None]:
        """For each query its row (V,), normalised log-probabilities (nats); None where this draft
        has no law to offer."""
        ...


def steps_from(node: Context, base: Context) -> int | None:
    """How many tokens a context has after `base`; None if it does not continue `base`."""
    steps = node.length - base.length
    for _ in range(steps):
        assert node.parent is not None
        node = node.parent
    return steps if node is base else None


def distance(node: Context, base: Context, most: int) -> int | None:
    """`steps_from`, if it is between 1 and `most`; else None."""
    return steps_from(node, base) if 1 <= node.length - base.length <= most else None


class HeadsDraft:
    """The draft by the heads of the engine's own model, which is one that RunsHeads."""

    name = "heads"

    def __init__(self, engine: CachedTransformer) -> None:
        self.engine = engine
        model: Any = engine.model
        self.model: RunsHeads = model
        self.reach = self.model.reach

    def log_probs(self, queries: Sequence[DraftQuery]) -> list[DraftRow | None]:
        heads = self.engine.compute_head_outputs([query.base for query in queries])
        after = [tokens_after(query) for query in queries]
        drafts = list(zip(heads, after, strict=True))
        return list(in_turn(self.model, self.model.draft_log_probs, drafts))


class ModelDraft:
    """The draft by another model, whose vocabulary is the same, ids included."""

    reach = NO_LIMIT

    def __init__(self, engine: CachedTransformer, name: str = "") -> None:
        self.engine, self.name = engine, name or engine.model.name
        self._takes_attachments = isinstance(engine.model, TakesAttachments)
        self._same: WeakKeyDictionary[Context, Context] = WeakKeyDictionary()

    def log_probs(self, queries: Sequence[DraftQuery]) -> list[DraftRow | None]:
        longest = self.engine.model.max_length
        nodes = [query.node for query in queries if longest is None or query.node.length <= longest]
        contexts = [self._context(node) for node in nodes]
        rows = dict(zip(nodes, self.engine.log_probs(contexts), strict=True))
        return [rows.get(query.node) for query in queries]

    def _context(self, node: Context) -> Context:
        """The draft model's own context of a node's tokens, kept for as long as the node lives."""
        new: list[Context] = []
        while node.parent is not None and node not in self._same:
            new.append(node)
            node = node.parent
        same = self._same[node] if node.parent is not None else self.engine.root
        for node in reversed(new):
            # What the draft's model cannot read is left out: a draft may have any law.
            if node.token >= 0 or self._takes_attachments:
                same = self.engine.extend(same, (node.token,))
            self._same[node] = same
        return same


class NgramDraft:
    """The draft by an n-gram of the text so far, prompt included, with interpolated Witten-Bell
    smoothing:

        p(x | h) = (c(hx) + D(h) p(x | h')) / (c(h) + D(h))

    c counts in the context, D(h) is how many different tokens followed h, and h' is h without its
    first token; the recursion ends below the empty h, with 1/V. It offers no law where the last
    `least` tokens do not stand earlier in the text.
    """

    reach = NO_LIMIT

    def __init__(self, size: int, order: int = 5, least: int = 2) -> None:
        self.size, self.order, self.least = size, order, least
        self.name = "ngram"

    def log_probs(self, queries: Sequence[DraftQuery]) -> list[DraftRow | None]:
        texts = [[i for i in query.node.tokens if i >= 0] for query in queries]
        return [self._row(np.array(text, dtype=np.int64)) for text in texts]

    def _row(self, text: NDArray[np.int64]) -> DraftRow | None:
        length = len(text)
        followers = np.arange(length)
        p = np.full(self.size, 1.0 / self.size)
        for n in range(self.order):
            if n:
                followers = followers[followers >= n]
                followers = followers[text[followers - n] == text[length - n]]
            if not len(followers):
                if n <= self.least:
                    return None
                break
            seen, count = np.unique(text[followers], return_counts=True)
            p *= len(seen)
            p[seen] += count
            p /= len(followers) + len(seen)
        row: DraftRow = np.log(p)
        return row


def tokens_after(query: DraftQuery) -> tuple[int, ...]:
    """The tokens between the query's base and its node, that of the node included."""
    tokens: list[int] = []
    node = query.node
    while node is not query.base:
        if node.parent is None:
            raise InternalError("the base of a draft block is no ancestor of its node")
        tokens.append(node.token)
        node = node.parent
    return tuple(reversed(tokens))


def check_vocabularies(draft: CachedTransformer, engine: CachedTransformer) -> None:
    """Raises CallError unless two engines' models have the same vocabulary, ids included."""
    if draft.model.vocabulary.fingerprint != engine.model.vocabulary.fingerprint:
        sizes = f"{draft.model.vocabulary.size:,} tokens against {engine.model.vocabulary.size:,}"
        help = (
            "a draft has the model's own tokens: a smaller model of its family, `heads` or `ngram`"
        )
        if isinstance(engine.model, ByteView):
            help = f"for a byte view, another one: `bytes({draft.model.name})`"
        raise CallError(
            f"{draft.model.name} cannot draft for {engine.model.name}: they have different "
            f"vocabularies ({sizes})",
            help,
        )


def with_heads(engine: CachedTransformer) -> CachedTransformer:
    """An engine over the same weights whose forwards run the model's heads too. Raises CallError
    where the model has none."""
    if not isinstance(engine.model, HasHeads):
        raise CallError(
            f"{engine.model.name} has no heads for tokens beyond the next one",
            "draft by `ngram`, or by a smaller model with the same vocabulary",
        )
    return engine.over(engine.model.with_heads())
