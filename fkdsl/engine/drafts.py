"""Drafts: cheap distributions q over next tokens, for blocks of tokens that the model verifies in
one forward.

A block begins at a base, a context whose row is at hand. A draft speaks of the tokens after it:

    q(x | node), node 1 to `reach` tokens after the base         a DraftQuery, answered by a row (V,) of log-probabilities

    HeadsDraft     the model's own heads for further tokens, read at the base         (Gloeckle et al. 2024)
    ModelDraft     another model with the same vocabulary                             (Leviathan et al. 2023)
    NgramDraft     what followed the last tokens earlier in the same text             (prompt lookup)

Law: an answer depends on the query alone, up to rounding. So what is drawn with a draft depends
neither on what is cached nor on the other particles. Any q serves: a bad one costs time (or
variance), never correctness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError, InternalError
from fkdsl.engine.byte_view import ByteView
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.models.interface import HasHeads, LooksAhead

Row = NDArray[Any]

FAR = 1 << 30
"""The reach of a draft that may go as far as it likes."""


class DraftQuery(NamedTuple):
    """What does the draft say of the token after `node`, in the block that begins at `base`, an
    ancestor of it?"""

    node: Context
    base: Context


class Draft(Protocol):
    """name: for reports. reach: tokens after the base that it can speak of."""

    @property
    def name(self) -> str: ...

    @property
    def reach(self) -> int: ...

    def log_probs(self, queries: Sequence[DraftQuery]) -> list[Row | None]:
        """For each query the (V,) log-probabilities (nats), normalised; None where the draft has
        nothing to say."""
        ...


def steps_from(node: Context, base: Context) -> int | None:
    """How many tokens after `base` a context is; None if it is no continuation of it."""
    steps = node.length - base.length
    for _ in range(steps):
        assert node.parent is not None
        node = node.parent
    return steps if node is base else None


def distance(node: Context, base: Context, most: int) -> int | None:
    """`steps_from` of 1 to `most`; None of others."""
    return steps_from(node, base) if 1 <= node.length - base.length <= most else None


class HeadsDraft:
    """The heads of the engine's own model, which is one that looks ahead."""

    name = "heads"

    def __init__(self, engine: CachedTransformer) -> None:
        self.engine = engine
        model: Any = engine.model
        self.model: LooksAhead = model
        self.reach = self.model.reach

    def log_probs(self, queries: Sequence[DraftQuery]) -> list[Row | None]:
        heads = self.engine.look_ahead([query.base for query in queries])
        after = [tokens_after(query) for query in queries]
        return list(self.model.drafted(list(zip(heads, after, strict=True))))


class ModelDraft:
    """Another model, which reads the same tokens by the same ids."""

    reach = FAR

    def __init__(self, engine: CachedTransformer, name: str = "") -> None:
        self.engine, self.name = engine, name or engine.model.name
        self._same: WeakKeyDictionary[Context, Context] = WeakKeyDictionary()

    def log_probs(self, queries: Sequence[DraftQuery]) -> list[Row | None]:
        longest = self.engine.model.max_length
        read = [query.node for query in queries if longest is None or query.node.length <= longest]
        rows = dict(
            zip(read, self.engine.log_probs([self._context(node) for node in read]), strict=True)
        )
        return [rows.get(query.node) for query in queries]

    def _context(self, node: Context) -> Context:
        """The draft model's own context of the same tokens, kept for as long as the other is."""
        new: list[Context] = []
        while node.parent is not None and node not in self._same:
            new.append(node)
            node = node.parent
        same = self._same[node] if node.parent is not None else self.engine.root
        for node in reversed(new):
            same = self.engine.extend(same, (node.token,))
            self._same[node] = same
        return same


class NgramDraft:
    """The n-gram of the text so far, the prompt among it, with interpolated Witten-Bell smoothing:

        p(x | h) = (c(hx) + D(h) p(x | h')) / (c(h) + D(h))

    c counts in the context, D(h) is how many different tokens followed h, h' is h without its first
    token, and p(x) after less than nothing is 1/V. It has nothing to say where the last `least`
    tokens have not been there before.
    """

    reach = FAR

    def __init__(self, size: int, order: int = 5, least: int = 2) -> None:
        self.size, self.order, self.least = size, order, least
        self.name = "ngram"

    def log_probs(self, queries: Sequence[DraftQuery]) -> list[Row | None]:
        return [self._row(np.array(query.node.tokens)) for query in queries]

    def _row(self, text: NDArray[np.int64]) -> Row | None:
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
        row: Row = np.log(p)
        return row


def tokens_after(query: DraftQuery) -> tuple[int, ...]:
    """The tokens from the base to the node."""
    tokens: list[int] = []
    node = query.node
    while node is not query.base:
        if node.parent is None:
            raise InternalError("a block's base is not on the way to its tokens")
        tokens.append(node.token)
        node = node.parent
    return tuple(reversed(tokens))


def check_vocabularies(draft: CachedTransformer, engine: CachedTransformer) -> None:
    """Raises CallError unless a model can draft for another: by the same tokens, under the same
    ids."""
    if draft.model.vocabulary.fingerprint != engine.model.vocabulary.fingerprint:
        sizes = f"{draft.model.vocabulary.size:,} tokens against {engine.model.vocabulary.size:,}"
        help = (
            "a draft has the model's own tokens: a smaller model of its family, `heads` or `ngram`"
        )
        if isinstance(engine.model, ByteView):
            help = f"for a byte view, another one: `bytes({draft.model.name})`"
        raise CallError(
            f"{draft.model.name} cannot draft for {engine.model.name}: they have different vocabularies ({sizes})",
            help,
        )


def with_heads(engine: CachedTransformer) -> CachedTransformer:
    """An engine over the same weights whose forwards run the model's heads too. CallError where it
    has none."""
    if not isinstance(engine.model, HasHeads):
        raise CallError(
            f"{engine.model.name} has no heads for tokens beyond the next one",
            "draft by `ngram`, or by a smaller model with the same vocabulary",
        )
    return engine.over(engine.model.looking_ahead())
