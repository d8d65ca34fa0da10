"""The cached transformer: `f` of the paper (Lew et al. 2023, section 3), for a whole population at
once.

    engine = CachedTransformer(model)
    a = engine.start("Once upon a time")           # a handle; nothing is computed yet
    b = engine.extend(a, model.encode(" there"))
    rows = engine.log_probs([a, b, a])             # three (V,): one forward; each distinct context computed once

Laws: cached equals uncached, up to rounding. A context's row is computed once however many
particles share it, and only its new tokens go through the model. Forking copies nothing. A handle
never breaks: what the budget evicted is computed again.

Segments are opaque here: where their bytes lie is the model's affair (fkdsl.models.kv_pool).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.blocks import masked_sums
from fkdsl.base.deadline import check
from fkdsl.base.errors import CallError, InternalError
from fkdsl.engine.batching import Job, plan_waves
from fkdsl.engine.kv_cache import KVCache
from fkdsl.engine.meter import Meter
from fkdsl.engine.prefix_tree import Context, PrefixTree
from fkdsl.models.cost import Cost
from fkdsl.models.interface import ForwardRow, LanguageModel, Narrows, Past, Segment

__all__ = ["CachedTransformer", "Context", "Stats"]


@dataclass
class Stats:
    """model_calls: batched forwards. forwarded_tokens: tokens that went through the model. asked:
    rows asked for. hits: rows that were at hand."""

    model_calls: int = 0
    forwarded_tokens: int = 0
    asked: int = 0
    hits: int = 0


class CachedTransformer:
    """A language model with a prefix tree of everything it has been asked.

    memory_budget: bytes of segments and rows to keep, None for no bound. max_batch: rows in one
    forward. meter: takes the time of every forward, where there is one. repeated: tokens on the way
    to several new contexts that are computed once for each of them at most, rather than in a
    forward of their own; 0 is the least work, more the fewest forwards.
    """

    def __init__(
        self, model: LanguageModel, memory_budget: int | None = None, max_batch: int | None = None
    ) -> None:
        self.model = model
        self.max_batch = max_batch
        self.cache = KVCache(memory_budget)
        self.tree = PrefixTree(lambda node: self.cache.release(id(node)))
        self.stats = Stats()
        self.meter: Meter | None = None
        self.repeated = 0
        self._adopted: list[Context] = []

    def fresh(self) -> CachedTransformer:
        """The same model and bounds with an empty tree, an empty cache and zero stats."""
        return self.over(self.model)

    def over(self, model: LanguageModel) -> CachedTransformer:
        """Another model, with the same bounds, an empty tree, an empty cache and zero stats."""
        engine = CachedTransformer(model, self.cache.budget, self.max_batch)
        engine.repeated = self.repeated
        return engine

    @property
    def root(self) -> Context:
        """The empty sequence."""
        return self.tree.root

    def start(self, text: str) -> Context:
        """The context of a prompt."""
        return self.extend(self.root, self.model.start(text))

    def extend(self, context: Context, tokens: Sequence[int]) -> Context:
        """The context with tokens appended. Computes nothing. Raises CallError past the model's
        longest context."""
        longest = self.model.max_length
        if longest is not None and context.length + len(tokens) > longest:
            length = context.length + len(tokens)
            message = f"this context would have {length} tokens; {self.model.name} reads at most {longest}"
            raise CallError(message, "shorten the prompt, or bound the text by max_tokens")
        return self.tree.extend(context, tokens)

    def raw(self, context: Context) -> bytes:
        """The bytes of a context's tokens, those of the prompt among them."""
        if context.raw is None and context.parent is not None and context.parent.raw is not None:
            context.raw = context.parent.raw + self.model.vocabulary.tokens[context.token]
        if context.raw is None:
            after: list[Context] = []
            node = context
            while node.raw is None:
                assert node.parent is not None
                after.append(node)
                node = node.parent
            context.raw = node.raw + self.model.vocabulary.raw(n.token for n in reversed(after))
        return context.raw

    def cached(self, context: Context) -> NDArray[Any] | None:
        """The row after a context if it is at hand, else None. Computes nothing."""
        return self.cache.row(id(context))

    def ahead(self, context: Context) -> Any:
        """What the heads of a model that looks ahead made of a context whose row is at hand; None
        if it is not."""
        return self.cache.ahead(id(context))

    def sums(self, context: Context, row: NDArray[Any]) -> NDArray[np.float64] | None:
        """The sums of the blocks of exp(row), not to be written to, if this is the row at hand
        after the context and the model gave them."""
        return self.cache.sums(id(context)) if self.cached(context) is row else None

    def left(
        self, rows: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.float64]]:
        """For each row (V,), in nats, and mask (V,): the sums of exp(row) by blocks, of what the
        mask leaves."""
        if isinstance(self.model, Narrows):
            return self.model.left(rows, masks)
        return [masked_sums(row, mask) for row, mask in zip(rows, masks, strict=True)]

    def log_probs(self, contexts: Sequence[Context]) -> list[NDArray[Any]]:
        """For each context the (V,) log-probabilities (nats) of the token after it, not to be
        written to."""
        rows: dict[Context, NDArray[Any]] = {}
        missing: list[Context] = []
        self.stats.asked += len(contexts)
        for context in dict.fromkeys(contexts):
            row = self.cached(context)
            if row is None:
                missing.append(context)
            else:
                rows[context] = row
        self.stats.hits += len(contexts) - len(missing)
        rows.update(self._compute(missing))
        self.cache.shrink(len(missing))
        return [rows[c] for c in contexts]

    def look_ahead(self, contexts: Sequence[Context]) -> list[Any]:
        """What the heads of a model that looks ahead made of each context; computed again where it
        is not kept."""
        missing = [c for c in dict.fromkeys(contexts) if self.ahead(c) is None]
        self._compute(missing)
        found = [self.ahead(c) for c in contexts]
        self.cache.shrink(len(missing))
        return found

    def keep_rows(self, n: int) -> None:
        """From now on n rows of the vocabulary's length are kept at least, where the memory budget
        allows."""
        self.cache.row_budget = max(self.cache.row_budget, 4 * n * self.model.vocabulary.size)

    def logprob_of(self, context: Context, tokens: Sequence[int]) -> float:
        """log-probability (nats) of a sequence of tokens after a context; the context is left as it
        was."""
        if not tokens:
            return 0.0
        nodes = [self.extend(context, tokens[:k]) for k in range(len(tokens))]
        return float(sum(row[i] for row, i in zip(self.log_probs(nodes), tokens, strict=True)))

    # ----------------------------------------------------------------- prefill

    def past(self, context: Context) -> Past:
        """The cached segment that ends a context whose row was asked for before."""
        found = self._past(context)
        if found is None:
            raise InternalError("the empty context has no segment")
        return found

    def adopt(
        self,
        tokens: Sequence[int],
        segment: Segment,
        row: NDArray[Any],
        sums: NDArray[np.float64] | None = None,
    ) -> Context:
        """A context that was computed elsewhere: its segment, which stands for all of it, its row
        (V,) and the sums of the row's blocks. It is held for as long as this engine is."""
        context = self.extend(self.root, tokens)
        self.cache.put(segment, [id(node) for node in context.path()], id(self.root))
        self.cache.put_row(id(context), row, sums=sums)
        self._adopted.append(context)
        return context

    @property
    def has_adopted(self) -> bool:
        """Whether it holds contexts that were computed elsewhere."""
        return bool(self._adopted)

    # ----------------------------------------------------------------- forward

    def _usable(self, node: Context) -> bool:
        """Whether a forward can go on from a node: its segment is there, and so are those that it
        rests on."""
        slot = self.cache.slot(id(node))
        return slot is not None and (slot[0].sliceable or slot[1] == slot[0].length - 1)

    def _compute(self, missing: Sequence[Context]) -> dict[Context, NDArray[Any]]:
        """The rows of contexts, through the model."""
        rows: dict[Context, NDArray[Any]] = {}
        for wave in plan_waves(missing, self._usable, self.max_batch, self.repeated):
            rows.update(self._forward(wave))
        return rows

    def _forward(self, jobs: Sequence[Job]) -> dict[Context, NDArray[Any]]:
        """One batched forward; keeps its segments and rows, and gives the rows wanted."""
        batch = [
            ForwardRow(self._past(job.base), tuple(n.token for n in job.run), job.positions)
            for job in jobs
        ]
        check()
        began = time.perf_counter()
        answers = self.model.forward(batch)
        if self.meter is not None:
            self._measure(self.meter, jobs, batch, time.perf_counter() - began)
        self.stats.model_calls += 1
        self.stats.forwarded_tokens += sum(len(row.tokens) for row in batch)
        rows: dict[Context, NDArray[Any]] = {}
        for job, answer in zip(jobs, answers, strict=True):
            self.cache.put(answer.segment, [id(n) for n in job.run], id(job.base))
            ahead = answer.ahead if answer.ahead is not None else [None] * len(job.wanted)
            sums = answer.sums if answer.sums is not None else [None] * len(job.wanted)
            for node, row, heads, of_row in zip(
                job.wanted, answer.log_probs, ahead, sums, strict=True
            ):
                rows[node] = row
                self.cache.put_row(id(node), row, heads, of_row)
        return rows

    def _measure(
        self, meter: Meter, jobs: Sequence[Job], batch: Sequence[ForwardRow], seconds: float
    ) -> None:
        pasts = [job.base.length for job in jobs]
        cost: Cost | None = getattr(self.model, "cost", None)
        wanted = sum(len(row.wanted) for row in batch)
        taken = (
            cost.forward(pasts, [len(row.tokens) for row in batch], wanted)
            if cost is not None
            else None
        )
        meter.of(batch).add(pasts, batch, seconds, taken)

    def _past(self, base: Context) -> Past | None:
        """The cached segment that ends a context; the empty one has none."""
        if base.parent is None:
            return None
        slot = self.cache.slot(id(base))
        assert slot is not None
        return Past(slot[0], slot[1] + 1)
