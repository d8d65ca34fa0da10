"""The layers of a model for multi-token prediction (MTP), on contexts whose states lie in a pool.

Layer i reads at position p the embedding of token p and layer i - 1's output at position p - 1, and
attends to the positions before p. The trunk's head on its output gives the law of token p + 1
(DeepSeek-V3, arXiv:2412.19437, section 2.2, equations 21 to 23).

    x_i(p) = layer_i(embedding(token p), x_(i-1)(p - 1)) for p > i
    x_(-1) = the trunk's hidden states, after its norm

After a context of n tokens and m drafted ones, x_(m-1)(n + m - 1) gives the law of the next token.
The layers are the library's own, `transformers.modeling_layers.MtpModel`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.compat.caches import kept_by
from fkdsl.models.compat.multi_token import head, layers_cache, run_layer
from fkdsl.models.interface import Past
from fkdsl.models.kv_pool import KVPool, KVSegment

LAYER_TOKENS = 8192
"""Most tokens of one run of a layer, unless a single context has more."""

LAYER_ROUNDING = {8: (1e-12, 1e-6), 4: (1e-5, 1e-2), 2: (1e-2, 0.2)}
"""By the bytes of a number, (a, b): rounding may change a layer's states by a times their norm plus
b times the part of them that depends on the context."""


@dataclass(eq=False)
class TokenRun:
    """A run of tokens of one forward. states: its slots in the pool. ids: int64, of the whole
    context up to the run's end. before: the position that the run continues. ready: whether the
    layers' keys, values and outputs for the run are in the pool."""

    states: KVSegment
    ids: NDArray[np.int64]
    before: RunPosition | None
    ready: bool = False


@dataclass(frozen=True, eq=False)
class RunPosition:
    """The position after token stop - 1 of a run: an item of `ForwardResult.head_outputs`."""

    run: TokenRun
    stop: int

    @property
    def length(self) -> int:
        """Tokens of the context before the position."""
        return len(self.run.ids) - self.run.states.length + self.stop


class MtpLayers:
    """The MTP layers of the library's `model`. Plane i of the pool holds x_(i-1), which layer i
    reads; after these come the planes of each layer's keys and values. The layers run over a run of
    tokens when a draft first needs it."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.reach: int = len(model.layers)
        self.width: int = model.config.hidden_size
        with torch.inference_mode():
            self.pool = self._pool()
            for i in range(self.reach):
                self._verify_cached(i)

    def _verify_cached(self, i: int) -> None:
        """Raises ValueError unless layer i gives the same output for four positions at once as for
        the last of them after the keys and values of the others, up to rounding: a release of the
        library may have renamed the argument of the cache."""
        like = self.model.layers[0].enorm.weight
        states = (
            torch.sin(torch.arange(4 * self.width, device=like.device).float())
            .view(1, 4, -1)
            .to(like.dtype)
        )
        ids = torch.arange(i + 5, device=like.device)[None]
        nothing = torch.empty((1, 0), dtype=torch.long, device=like.device)

        def output(parts: Sequence[tuple[int, int]]) -> Tensor:
            cache = self._cache(nothing, self.reach)
            for a, b in parts:
                last = self._run(i, states[:, a:b], i + 1 + a, ids, cache)[:, -1]
            return last.double()

        whole, cached, alone = output([(0, 4)]), output([(0, 3), (3, 4)]), output([(3, 4)])
        a, b = LAYER_ROUNDING[like.element_size()]
        if not (whole - cached).norm() <= a * whole.norm() + b * (whole - alone).norm():
            raise ValueError(f"layer {i} gives another output for a context read in two parts")

    def _pool(self) -> KVPool:
        """An empty pool, with the shapes that running each layer on one token shows."""
        like = self.model.layers[0].enorm.weight
        cache = self._cache(torch.empty((1, 0), dtype=torch.long, device=like.device), self.reach)
        for i in range(self.reach):
            ids = torch.zeros((1, i + 2), dtype=torch.long, device=like.device)
            self._run(i, like.new_zeros((1, 1, self.width)), i + 1, ids, cache)
        shapes = [(t.shape[1], t.shape[3]) for layer in cache.layers for t in _kept(layer)]
        return KVPool([(1, self.width)] * self.reach + shapes, like.dtype, like.device)

    def keep(
        self, read: Sequence[tuple[tuple[int, ...], RunPosition | None, Tensor]]
    ) -> list[TokenRun]:
        """The runs of a forward, whose hidden states are written into the pool. read: (ids, the
        position that they continue, hidden states (len(ids), width)) of each."""
        runs: list[TokenRun] = []
        for tokens, before, _ in read:
            past, ids = None, np.array(tokens, dtype=np.int64)
            if before is not None:
                past = Past(before.run.states, before.stop)
                ids = np.concatenate((before.run.ids[: before.length], ids))
            runs.append(
                TokenRun(KVSegment(self.pool, past, self.pool.take(len(tokens))), ids, before)
            )
        slots = np.concatenate([run.states.table[-run.states.length :] for run in runs])
        hidden = torch.cat([hidden for _, _, hidden in read])
        self._write(0, torch.from_numpy(slots).to(hidden.device), hidden[:, None])
        return runs

    # ------------------------------------------------------------------ drafts

    def draft_log_probs(
        self, drafts: Sequence[tuple[RunPosition, tuple[int, ...]]]
    ) -> list[NDArray[Any]]:
        """(V,) log-probabilities (nats) after each position and its 1 to `reach` tokens. In batches
        of equal lengths, since the library's layers take no padding."""
        self._prepare([place.run for place, _ in drafts])
        rows: dict[int, NDArray[Any]] = {}
        for (n, m), part in _batches([(place.length, len(tokens)) for place, tokens in drafts]):
            rows.update(zip(part, self._draft(n, m, [drafts[i] for i in part]), strict=True))
        return [rows[i] for i in range(len(drafts))]

    def _prepare(self, runs: Sequence[TokenRun]) -> None:
        """Runs the layers over the runs that are not ready, those that they continue first."""
        depths: dict[TokenRun, int] = {}
        for last in runs:
            path: list[TokenRun] = []
            run: TokenRun | None = last
            while run is not None and not run.ready and run not in depths:
                path.append(run)
                run = run.before.run if run.before is not None else None
            for new in reversed(path):
                depths[new] = 1 + (depths.get(new.before.run, 0) if new.before is not None else 0)
        levels: dict[int, list[TokenRun]] = defaultdict(list)
        for new, depth in depths.items():
            levels[depth].append(new)
        for _, level in sorted(levels.items()):
            for (n, length), part in _batches([(len(new.ids), new.states.length) for new in level]):
                self._run_over(n, length, [level[k] for k in part])

    def _run_over(self, n: int, length: int, runs: Sequence[TokenRun]) -> None:
        """Runs every layer over the last `length` tokens of contexts of n tokens."""
        table = self._table([run.states.table for run in runs])
        ids = self._ids([run.ids for run in runs])
        cache = self._cache(table[:, : n - length], self.reach)
        # Layer i begins at position i + 1, the first with an x_(i-1) before it.
        for i in range(min(self.reach, n - 1)):
            begin = max(n - length, i + 1)
            output = self._run(
                i, self.pool.planes[i][table[:, begin - 1 : n - 1], 0], begin, ids, cache
            )
            slots = table[:, begin:].reshape(-1)
            if i + 1 < self.reach:
                self._write(i + 1, slots, output.flatten(0, 1)[:, None])
            layer = cache.layers[i]
            for plane, kept in zip(self._planes(i), _kept(layer), strict=True):
                self._write(plane, slots, kept[:, :, begin - n :].transpose(1, 2).flatten(0, 1))
        for run in runs:
            run.ready = True

    def _draft(
        self, n: int, m: int, drafts: Sequence[tuple[RunPosition, tuple[int, ...]]]
    ) -> NDArray[Any]:
        """(B, V) log-probabilities after contexts of n tokens and m drafted ones, by layers 0 to
        m - 1."""
        table = self._table([place.run.states.table[:n] for place, _ in drafts])
        ids = self._ids([np.append(place.run.ids[:n], tokens) for place, tokens in drafts])
        cache = self._cache(table, m)
        states = torch.empty(
            (len(drafts), 0, self.width), dtype=self.pool.dtype, device=self.pool.device
        )
        for i in range(m):
            begin = max(n, i + 1)
            if begin == n:
                states = torch.cat((self.pool.planes[i][table[:, n - 1 :], 0], states), dim=1)
            states = self._run(i, states, begin, ids, cache)  # (B, positions begin to n + i, width)
        logits = head(self.model, states[:, -1])
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        rows: NDArray[Any] = torch.log_softmax(logits.to(wide), dim=-1).cpu().numpy()
        return rows

    # ------------------------------------------------------------------ a layer

    def _run(self, i: int, states: Tensor, begin: int, ids: Tensor, cache: Any) -> Tensor:
        """x_i at the L positions from `begin` on. states: (B, L, width), x_(i-1) at the positions
        before these; ids: (B, length), of the whole contexts."""
        B, L, _ = states.shape
        places = torch.arange(begin, begin + L, device=states.device).expand(B, L)
        return run_layer(self.model, i, states, places, cache, ids[:, begin : begin + L])

    def _cache(self, table: Tensor, layers: int) -> Any:
        """The library's cache with the keys and values of the first `layers` layers. table: (B, n)
        the slots of the contexts."""

        def kept(i: int) -> tuple[Tensor, Tensor] | None:
            if table.shape[1] <= i + 1:
                return None
            keys, values = (
                self.pool.planes[p][table[:, i + 1 :]].transpose(1, 2) for p in self._planes(i)
            )
            return keys, values

        return layers_cache(self.model.config, [kept(i) for i in range(layers)])

    def _planes(self, i: int) -> tuple[int, int]:
        """The planes of layer i's keys and of its values."""
        return self.reach + 2 * i, self.reach + 2 * i + 1

    def _write(self, plane: int, slots: Tensor, values: Tensor) -> None:
        self.pool.planes[plane].index_copy_(0, slots.long(), values.to(self.pool.dtype))

    def _table(self, tables: Sequence[NDArray[np.int32]]) -> Tensor:
        return torch.from_numpy(np.stack(tables)).long().to(self.pool.device)

    def _ids(self, ids: Sequence[NDArray[np.int64]]) -> Tensor:
        return torch.from_numpy(np.stack(ids)).to(self.pool.device)


def _kept(layer: Any) -> tuple[Tensor, Tensor]:
    kept = kept_by(layer)
    if kept is None:
        raise ValueError("a layer keeps no keys and values")
    return kept


def _batches(sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """(a size, the indices of items of that size), in batches of at most LAYER_TOKENS tokens. A
    size: (tokens of the context, tokens that a layer runs over)."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, size in enumerate(sizes):
        groups[size].append(i)
    for size, members in groups.items():
        most = max(1, LAYER_TOKENS // size[1])
        for begin in range(0, len(members), most):
            yield size, members[begin : begin + most]
