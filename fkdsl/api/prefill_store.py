"""Prompts in a store that many processes and machines share: whoever computes one puts it there,
and a run whose prompt is there fetches instead of computing (Mooncake, Qin et al. 2024, arXiv
2407.00079).

    store = open_store("s3://team/prompts")
    put_prompts(program, store, engines)      # `fkdsl prefill --store`
    fetch_prompts(program, store, engines)    # `fkdsl run --prefill-store`
    program.run("smc", engines=engines)       # finds the prompts cached

Laws: the keys, values and rows that are fetched are those that were put, bit for bit. What is not
there, damaged, or does not come in time is computed here, and `notes` says so: a store never costs
an answer.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.api.prefill import begun_with, prompts
from fkdsl.base.deadline import check
from fkdsl.base.errors import CallError
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.models.prefill.use import StoreUse

if TYPE_CHECKING:
    from torch import Tensor

    from fkdsl.models.prefill.stores import Store

ROW_SLACK = 1 << 20
"""Bytes that an entry may have beside its numbers."""


def fetch_prompts(program: CalledProgram, store: Store, engines: Engines) -> StoreUse:
    """Fetches what the store has of the program's prompts into the engines' caches, where a run
    finds it. A program without a prompt before its first draw fetches nothing."""
    use = StoreUse(store.name)
    for name, context in begun_with(program, engines):
        use.prompts += 1
        use.tokens += context.length
        _Prompt(store, engines[name], context, use).fetch()
    return use


def fetch_for(program: CalledProgram, url: str | None, engines: Engines) -> list[str]:
    """Fetches the prompts of a run from the store that it names, if it names one, into engines
    whose models are loaded; notes on what the store did not give."""
    if url is None:
        return []
    from fkdsl.models.prefill.stores import open_store

    use = fetch_prompts(program, open_store(url), engines)
    engines.fetched = use
    return use.notes()


def put_prompts(program: CalledProgram, store: Store, engines: Engines) -> StoreUse:
    """Fetches what the store has of the program's prompts, computes the rest and puts it there.
    Raises CallError for a model without keys and values, and where the store cannot be written."""
    use = StoreUse(store.name)
    for name, context in prompts(program, engines):
        use.prompts += 1
        use.tokens += context.length
        prompt = _Prompt(store, engines[name], context, use)
        if prompt.fetch():
            continue
        if use.skipped:
            raise CallError(
                use.skipped[0], "a prefill is for transformers whose layers are all attention"
            )
        prompt.put()
    return use


class _Prompt:
    """A prompt of an engine and its entries in a store. blocks: how many of its blocks have been
    fetched."""

    def __init__(
        self, store: Store, engine: CachedTransformer, context: Context, use: StoreUse
    ) -> None:
        from fkdsl.models.prefill import blocks, contents

        self.store, self.engine, self.context, self.use = store, engine, context, use
        self.bounds = blocks.bounds(context.length)
        self.blocks = 0
        try:
            contents.check_tokens(engine.model, context.tokens)
            self.keys: tuple[str, ...] = blocks.block_keys(
                contents.identity(engine.model), context.tokens
            )
        except CallError as error:
            self.keys = ()
            use.skipped.append(error.message)

    def fetch(self) -> bool:
        """Whether the whole prompt and its row came; what came of its beginning is in the engine's
        cache."""
        from fkdsl.models.prefill import contents
        from fkdsl.models.prefill.blocks import Damaged
        from fkdsl.models.prefill.stores import Unreachable

        if not self.keys:
            return False
        tokens, model = self.context.tokens, self.engine.model
        shapes = contents.plane_shapes(model, tokens[0])
        if not shapes:
            self.keys = ()
            self.use.skipped.append(f"{model.name} keeps no keys and values for a store")
            return False
        began = time.perf_counter()
        planes: list[tuple[Tensor, ...]] = []
        row = None
        try:
            for first, stop in self.bounds:
                check()
                block = self._block(shapes, stop - first)
                if block is None:
                    break
                planes.append(block)
                self.blocks += 1
            if self.blocks == len(self.bounds):
                row = self._row()
        except Damaged as error:
            self.use.refused.append(f"an entry of the prompt was refused, {error}")
        except Unreachable as error:
            self.use.refused.append(error.message)
        if planes:
            self._adopt(planes, row)
        self.use.seconds += time.perf_counter() - began
        return row is not None

    def _adopt(self, planes: list[tuple[Tensor, ...]], row: Any) -> None:
        """Puts fetched blocks, and the row if it came, into the engine's cache."""
        import torch

        from fkdsl.models.prefill.contents import segment_of

        tokens = self.context.tokens[: self.bounds[len(planes) - 1][1]]
        whole = tuple(torch.cat(parts) for parts in zip(*planes, strict=True))
        segment = segment_of(self.engine.model, whole, tokens[0])
        numbers, sums = row if row is not None else (None, None)
        self.engine.adopt(tokens, segment, numbers, sums)
        self.use.fetched_tokens += len(tokens)

    def _entry(self, k: int, numbers: int) -> Any:
        """The k-th entry, with about `numbers` bytes of numbers; None if there is none."""
        from fkdsl.models.prefill.blocks import unpack

        data = self.store.get(self.keys[k], numbers + ROW_SLACK)
        if data is None:
            return None
        entry = unpack(self.keys[k], data)
        self.use.fetched_bytes += len(data)
        self.use.computing += entry.seconds
        return entry

    def _block(self, shapes: Any, n: int) -> tuple[Tensor, ...] | None:
        from fkdsl.models.prefill.blocks import planes_in
        from fkdsl.models.prefill.contents import pool_of

        pool = pool_of(self.engine.model)
        assert pool is not None
        entry = self._entry(self.blocks, n * pool.slot_bytes)
        return None if entry is None else planes_in(entry, shapes, n, pool.dtype)

    def _row(self) -> Any:
        from fkdsl.models.prefill.blocks import row_in

        size = self.engine.model.vocabulary.size
        entry = self._entry(len(self.bounds), 8 * size)
        if entry is None:
            return None
        row, sums = row_in(entry, size)
        return row.numpy(), None if sums is None else sums.numpy()

    def put(self) -> None:
        """Computes the prompt as far as it was not fetched, and puts the rest of its blocks and its
        row."""
        import torch

        from fkdsl.models.prefill.contents import planes_of

        engine, context = self.engine, self.context
        first = self.bounds[self.blocks - 1][1] if self.blocks else 0
        began = time.perf_counter()
        (row,) = engine.log_probs([context])
        seconds = time.perf_counter() - began
        computed = max(1, context.length - first)
        planes = planes_of(engine.model, engine.past(context), first)
        for k in range(self.blocks, len(self.bounds)):
            start, stop = self.bounds[k]
            part = {str(p): t[start - first : stop - first] for p, t in enumerate(planes)}
            self._put(k, part, seconds * (stop - start) / computed)
        numbers = {"row": torch.from_numpy(np.array(row))}
        sums = engine.sums(context, row)
        if sums is not None:
            numbers["sums"] = torch.from_numpy(np.array(sums))
        self._put(len(self.bounds), numbers, 0.0 if self.blocks < len(self.bounds) else seconds)

    def _put(self, k: int, tensors: dict[str, Tensor], seconds: float) -> None:
        from fkdsl.models.prefill.blocks import pack

        check()
        data = pack(self.keys[k], tensors, seconds)
        self.store.put(self.keys[k], data)
        self.use.put_bytes += len(data)
