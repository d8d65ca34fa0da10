"""The cached transformer: `f` of the paper (Lew et al. 2023, section 3), for a whole population at
once.

>>> from fkdsl.models.table import TableModel
>>> model = TableModel("bits", {"": {"0": 0.4, "1": 0.6}, "0": {"0": 0.9, "1": 0.1}})
>>> engine = CachedTransformer(model)
>>> a = engine.start("1")  # a handle; nothing is computed yet
>>> b = engine.extend(a, model.encode("0"))
>>> rows = engine.log_probs([a, b, a])  # three (V,) rows by one forward
>>> [np.exp(row[:2]).round(3).tolist() for row in rows]
[[0.4, 0.6], [0.9, 0.1], [0.4, 0.6]]

Laws: cached rows equal uncached ones, up to rounding. The engine computes the row of a context once
however many particles share it, and sends only its new tokens through the model. A fork copies
nothing. A handle stays valid: what the memory budget evicted is computed again.

The model decides where the bytes of a segment lie (fkdsl.models.kv_pool); the engine never looks
into one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import check
from fkdsl.base.errors import CallError, InternalError
from fkdsl.base.locks import in_turn
from fkdsl.base.probability_blocks import masked_sums
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.batching import Job, plan_waves
from fkdsl.engine.kv_cache import Computed, KVCache, Step
from fkdsl.engine.meter import ForwardMeter
from fkdsl.engine.prefix_tree import Context, PrefixTree
from fkdsl.engine.shared_prompts import SharedPrompts
from fkdsl.engine.token_budget import TokenBudget
from fkdsl.models.cost import Cost
from fkdsl.models.interface import (
    CacheSegment,
    ExpectsContexts,
    ForwardResult,
    ForwardRow,
    HasEncoder,
    LanguageModel,
    Past,
    SumsMaskedRows,
)

__all__ = ["CachedTransformer", "Context", "Stats"]
ONLY = (0,)
"""The index of what is wanted of a run of one token."""


@dataclass
class Stats:
    """Counts of an engine's work. model_calls: batched forwards. forwarded_tokens: tokens that went
    through the model. asked: rows asked for. hits: of these, rows that were cached."""

    model_calls: int = 0
    forwarded_tokens: int = 0
    asked: int = 0
    hits: int = 0


class CachedTransformer:
    """A language model with a prefix tree of the contexts that it was asked about.

    memory_budget: bytes of segments and rows to keep, None for no bound. max_batch: most rows of
    one forward. meter: measures every forward, if it is set. repeated: a run of new tokens that
    several contexts share is computed again in each of them if it has at most so many tokens,
    instead of in a forward of its own; 0 computes no token twice, more takes fewer forwards.
    prompts: beginnings of texts that engines of the same model share; token_budget: what may be
    sent through the model; each if it is set.
    """

    def __init__(
        self, model: LanguageModel, memory_budget: int | None = None, max_batch: int | None = None
    ) -> None:
        self.model = model
        self.max_batch = max_batch
        self.cache = cache = KVCache(memory_budget)
        self.tree = PrefixTree(lambda node: cache.release(id(node)))
        self.stats = Stats()
        self.meter: ForwardMeter | None = None
        self.repeated = 0
        self.prompts: SharedPrompts | None = None
        self.token_budget: TokenBudget | None = None
        self._adopted: list[Context] = []
        # Asked once: Python takes long to find what a protocol has.
        self._sums_masked_rows = isinstance(model, SumsMaskedRows)
        self._expects_contexts = isinstance(model, ExpectsContexts)
        self._has_encoder = isinstance(model, HasEncoder)

    def fresh(self) -> CachedTransformer:
        """An engine of the same model and bounds, with an empty tree and an empty cache."""
        return self.over(self.model)

    def over(self, model: LanguageModel) -> CachedTransformer:
        """An engine of another model with the same bounds, an empty tree and an empty cache."""
        engine = CachedTransformer(model, self.cache.budget, self.max_batch)
        engine.repeated, engine.token_budget = self.repeated, self.token_budget
        engine.prompts = self.prompts if model is self.model else None
        return engine

    @property
    def root(self) -> Context:
        """The empty sequence."""
        return self.tree.root

    def start(self, text: str) -> Context:
        """The context of a prompt."""
        return self.extend(self.root, in_turn(self.model, self.model.start, text))

    def extend(self, context: Context, tokens: Sequence[int]) -> Context:
        """The context with tokens appended. Computes nothing. Raises CallError if that is longer
        than the model can read."""
        longest = self.model.max_length
        length = context.length + len(tokens)
        if longest is not None and length > longest:
            raise CallError(
                f"this context would have {length} tokens; {self.model.name} reads at most "
                f"{longest}",
                "shorten the prompt, or bound the text by max_tokens",
            )
        return self.tree.extend(context, tokens)

    def child(self, context: Context, token: int) -> Context:
        """`extend` by one token."""
        longest = self.model.max_length
        if longest is not None and context.length >= longest:
            return self.extend(context, (token,))  # which says so
        return self.tree.child(context, token)

    def raw(self, context: Context) -> bytes:
        """The bytes of a context's tokens, the prompt's included."""
        if context.raw is None and context.parent is not None and context.parent.raw is not None:
            context.raw = context.parent.raw + self.model.vocabulary.bytes_of(context.token)
        if context.raw is None:
            nodes: list[Context] = []
            node = context
            while node.raw is None:
                assert node.parent is not None
                nodes.append(node)
                node = node.parent
            context.raw = node.raw + self.model.vocabulary.raw(n.token for n in reversed(nodes))
        return context.raw

    def cached(self, context: Context) -> NDArray[Any] | None:
        """The (V,) row after a context if it is cached, else None. Computes nothing."""
        return self.cache.row(id(context))

    def head_outputs(self, context: Context) -> Any:
        """What the heads of a model that RunsHeads gave for a context (ForwardResult.head_outputs);
        None if its row is not cached."""
        return self.cache.head_outputs(id(context))

    def sums(self, context: Context, row: NDArray[Any]) -> NDArray[np.float64] | None:
        """(blocks,) the sums of exp(row) over blocks of the vocabulary
        (fkdsl.base.probability_blocks), not to
        be written to; None if `row` is not the cached row of the context, or the model gives no
        sums."""
        sums = self.cache.sums_of(id(context), row)
        if sums is not None or type(row) is np.ndarray:
            return sums
        # A row that was left on the device that computed it (fkdsl.models.device.rows) has its own.
        return getattr(row, "sums", None) if self.cached(context) is row else None

    def masked_block_sums(
        self, rows: Sequence[NDArray[Any]], masks: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.float64]]:
        """For each row (V,), in nats, and its mask (V,): the sums (blocks,) of exp(row) over the
        tokens of each block that the mask allows."""
        if self._sums_masked_rows:
            model = cast(SumsMaskedRows, self.model)
            return model.masked_block_sums(rows, masks)
        return [masked_sums(row, mask) for row, mask in zip(rows, masks, strict=True)]

    def log_probs(self, contexts: Sequence[Context]) -> list[NDArray[Any]]:
        """For each context the (V,) log-probabilities (nats) of the token after it, not to be
        written to."""
        rows: dict[Context, NDArray[Any]] = {}
        missing: list[Context] = []
        self.stats.asked += len(contexts)
        distinct = list(dict.fromkeys(contexts))
        cached = self.cache.rows([id(context) for context in distinct])
        for context, row in zip(distinct, cached, strict=True):
            if row is None:
                missing.append(context)
            else:
                rows[context] = row
        self.stats.hits += len(contexts) - len(missing)
        rows.update(self._compute(missing))
        self.cache.shrink(len(missing))
        return [rows[c] for c in contexts]

    def compute_head_outputs(self, contexts: Sequence[Context]) -> list[Any]:
        """What the heads of a model that RunsHeads give for each context; computed where it is not
        cached."""
        missing = [c for c in dict.fromkeys(contexts) if self.head_outputs(c) is None]
        self._compute(missing)
        outputs = [self.head_outputs(c) for c in contexts]
        self.cache.shrink(len(missing))
        return outputs

    def keep_rows(self, n: int) -> None:
        """From now on the cache keeps at least n rows of the vocabulary's length, where the memory
        budget allows."""
        self.cache.row_budget = max(self.cache.row_budget, 4 * n * self.model.vocabulary.size)

    def expect(self, contexts: int) -> None:
        """Tells a model that makes room for contexts how many may be asked about together."""
        if self._expects_contexts:
            cast(ExpectsContexts, self.model).expect(contexts)

    def keep_row(self, context: Context) -> None:
        """From now on the row of a context stays cached for as long as somebody holds the context,
        where the memory budget allows. Computed again it would come from another forward, so with
        another rounding."""
        self.cache.keep_row(id(context))

    def logprob_of(self, context: Context, tokens: Sequence[int]) -> float:
        """The log-probability (nats) of a sequence of tokens after a context, which stays as it
        is."""
        if not tokens:
            return 0.0
        nodes = [self.extend(context, tokens[:k]) for k in range(len(tokens))]
        return float(sum(row[i] for row, i in zip(self.log_probs(nodes), tokens, strict=True)))

    # ----------------------------------------------------------------- prefill

    def past(self, context: Context) -> Past:
        """The cached segment that ends with a context. The context's row must have been computed;
        InternalError for the empty context, which has no segment."""
        past = self._past(context)
        if past is None:
            raise InternalError("the empty context has no segment")
        return past

    def adopt(
        self,
        tokens: Sequence[int],
        segment: CacheSegment,
        row: NDArray[Any] | None,
        sums: NDArray[np.float64] | None = None,
    ) -> Context:
        """The context of tokens that another process computed. segment: of all its tokens; row:
        (V,), nats, or None where only the segment is known; sums: (blocks,) of the row. The engine
        holds the context for as long as it lives."""
        context = self.extend(self.root, tokens)
        self.cache.put(segment, [id(node) for node in context.path()], id(self.root))
        if row is not None:
            self.cache.put_row(id(context), row, sums=sums)
        self._adopted.append(context)
        return context

    @property
    def has_adopted(self) -> bool:
        """Whether it holds contexts that another process computed (`adopt`)."""
        return bool(self._adopted)

    # ----------------------------------------------------------------- forward

    def _usable(self, node: Context) -> bool:
        """Whether a forward can start from a node: its segment is cached, and a past may end at the
        node."""
        place = self.cache.place(id(node))
        return place is not None and (place[0].sliceable or place[1] == place[0].length - 1)

    def _compute(self, missing: Sequence[Context]) -> dict[Context, NDArray[Any]]:
        """The rows of contexts, computed by the model."""
        rows: dict[Context, NDArray[Any]] = {}
        if self.prompts is not None:
            missing, rows = self._take_prompts(self.prompts, missing)
        for wave in plan_waves(missing, self._usable, self.max_batch, self.repeated):
            rows.update(self._forward(wave))
        return rows

    def _take_prompts(
        self, prompts: SharedPrompts, missing: Sequence[Context]
    ) -> tuple[list[Context], dict[Context, NDArray[Any]]]:
        """Puts what is shared of the contexts into the cache; (the contexts that are still to be
        computed, the rows of the others)."""
        rows: dict[Context, NDArray[Any]] = {}
        for context in missing:
            path = context.path()
            if any(self.cache.slot(id(node)) is not None for node in path):
                continue
            if (shared := prompts.longest([node.token for node in path])) is not None:
                nodes = path[: shared.tokens]
                self.cache.put(shared.segment, [id(node) for node in nodes], id(self.root))
                if shared.row is not None and nodes[-1] is context:
                    rows[context] = shared.row
                    self.cache.put_row(id(context), shared.row, sums=shared.sums)
        return [context for context in missing if context not in rows], rows

    def _forward(self, jobs: Sequence[Job]) -> dict[Context, NDArray[Any]]:
        """The wanted rows of one batched forward, whose segments and rows go into the cache."""
        batch = self._batch(jobs)
        check()
        if self.token_budget is not None:
            self.token_budget.take(batch, self.model.vocabulary.size)
        began = time.perf_counter()
        encoder = cast(HasEncoder, self.model).encoder_work if self._has_encoder else None
        before = replace(encoder) if encoder is not None else None
        results = in_turn(self.model, self.model.forward, batch)
        if self.meter is not None:
            self._measure(self.meter, jobs, batch, time.perf_counter() - began)
            if encoder is not None and before is not None:
                self.meter.encoder.add(
                    encoder.passes - before.passes,
                    encoder.tokens - before.tokens,
                    encoder.seconds - before.seconds,
                )
        self.stats.model_calls += 1
        self.stats.forwarded_tokens += sum([len(row.tokens) for row in batch])
        if all(run is wanted and base.parent is not None for base, run, wanted in jobs):
            return self._keep_steps(jobs, results)
        return self._keep(jobs, results)

    def _keep_steps(
        self, jobs: Sequence[Job], results: Sequence[ForwardResult]
    ) -> dict[Context, NDArray[Any]]:
        """`_keep` of jobs of one token each (`single_tokens`), as are all of a decoding step."""
        rows: dict[Context, NDArray[Any]] = {}
        steps: list[Step] = []
        for (base, (node,), _), (log_p, segment, heads, sums) in zip(jobs, results, strict=True):
            rows[node] = row = log_p[0]
            after = None if heads is None else heads[0], None if sums is None else sums[0]
            steps.append((segment, id(node), id(base), row, *after))
        self.cache.put_steps(steps)
        return rows

    def _keep(
        self, jobs: Sequence[Job], results: Sequence[ForwardResult]
    ) -> dict[Context, NDArray[Any]]:
        """The wanted rows; with the segments, they go into the cache."""
        rows: dict[Context, NDArray[Any]] = {}
        computed: list[Computed] = []
        for (base, run, wanted), result in zip(jobs, results, strict=True):
            # An array makes a new view each time that it is gone through.
            log_probs, ids = list(result.log_probs), list(map(id, wanted))
            nothing = [None] * len(ids)
            head_outputs = nothing if result.head_outputs is None else result.head_outputs
            sums = nothing if result.sums is None else result.sums
            rows.update(zip(wanted, log_probs, strict=True))
            their = list(zip(ids, log_probs, head_outputs, sums, strict=True))
            nodes = ids if run is wanted else list(map(id, run))
            computed.append((result.segment, nodes, id(base), their))
            if self.prompts is not None and base.parent is None and run:
                ends = wanted[-1:] == run[-1:]
                self.prompts.keep(
                    tuple(node.token for node in run),
                    result.segment,
                    result.log_probs[-1] if ends else None,
                    result.sums[-1] if ends and result.sums is not None else None,
                )
        self.cache.put_all(computed)
        return rows

    def _batch(self, jobs: Sequence[Job]) -> list[ForwardRow]:
        """The rows of a forward."""
        slots = self.cache.slots([id(job.base) for job in jobs])
        batch = []
        for job, slot in zip(jobs, slots, strict=True):
            base, run, wanted = job
            assert slot is not None or base.parent is None
            past = None if slot is None or base.parent is None else Past(slot[0], slot[1] + 1)
            if run is wanted and len(run) == 1:
                batch.append(ForwardRow(past, (run[0].token,), ONLY))
            else:
                tokens = tuple([node.token for node in run])
                batch.append(ForwardRow(past, tokens, job.positions))
        return batch

    def _measure(
        self, meter: ForwardMeter, jobs: Sequence[Job], batch: Sequence[ForwardRow], seconds: float
    ) -> None:
        pasts = [job.base.length for job in jobs]
        cost: Cost | None = getattr(self.model, "cost", None)
        wanted = sum(len(row.wanted) for row in batch)
        operations = (
            cost.forward(pasts, [len(row.tokens) for row in batch], wanted)
            if cost is not None
            else None
        )
        meter.work_of(batch).add(pasts, batch, seconds, operations)

    def _past(self, base: Context) -> Past | None:
        """The cached segment that ends with a context; None for the empty one."""
        if base.parent is None:
            return None
        slot = self.cache.slot(id(base))
        assert slot is not None
        return Past(slot[0], slot[1] + 1)
