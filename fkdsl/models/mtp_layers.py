"""The layers of a model for multi-token prediction (MTP), over contexts whose states lie in a pool.

Layer i reads, at position p, the embedding of token p and what layer i - 1 made of position p - 1,
attends to the positions before p, and ends in the trunk's head: the law of token p + 1
(DeepSeek-V3, arXiv:2412.19437, section 2.2, equations 21 to 23).

    x_i(p) = layer_i(embedding(token p), x_(i-1)(p - 1)),  p > i;   x_(-1): the trunk's hidden states, after its norm

After a context of n tokens with m more drafted, x_(m-1)(n + m - 1) speaks. The layers are the
library's, `transformers.modeling_layers.MtpModel`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.models.compat.caches import kept_by
from fkdsl.models.compat.multi_token import head, layers_cache, run_layer
from fkdsl.models.interface import Past
from fkdsl.models.kv_pool import KVPool, KVSegment

LAYER_TOKENS = 8192
"""Most tokens that one run of a layer takes, but for a single context that has more."""

LAYER_ROUNDING = {8: (1e-12, 1e-6), 4: (1e-5, 1e-2), 2: (1e-2, 0.2)}
"""By a number's bytes: what rounding may change of a layer's states, and of what the context makes
of them."""


@dataclass(eq=False)
class TokenRun:
    """A run of tokens that a forward read. states: their slots. ids: int64, of the whole context up
    to the run's end. before: where the run goes on from. ready: whether the layers have been over
    it."""

    states: KVSegment
    ids: NDArray[np.int64]
    before: RunPosition | None
    ready: bool = False


@dataclass(frozen=True, eq=False)
class RunPosition:
    """A position, the token stop - 1 of a run; what `ForwardResult.head_outputs` holds."""

    run: TokenRun
    stop: int

    @property
    def length(self) -> int:
        """Tokens of the context that ends here."""
        return len(self.run.ids) - self.run.states.length + self.stop


class MtpLayers:
    """model: the library's. Plane i of the pool holds what layer i reads, x_(i-1); behind these lie
    each layer's keys and values. The planes of layers are written when a draft is first asked for
    after a run."""

    def __init__(self, model: Any) -> None:
        self.model = model.eval()
        self.reach: int = len(model.layers)
        self.width: int = model.config.hidden_size
        with torch.inference_mode():
            self.pool = self._pool()
            for i in range(self.reach):
                self._verify_cached(i)

    def _verify_cached(self, i: int) -> None:
        """Raises ValueError unless layer i makes the same of four positions at once and of the last
        after the others' keys and values, up to rounding; a release of the library may have renamed
        what it takes them by."""
        like = self.model.layers[0].enorm.weight
        states = (
            torch.sin(torch.arange(4 * self.width, device=like.device).float())
            .view(1, 4, -1)
            .to(like.dtype)
        )
        ids = torch.arange(i + 5, device=like.device)[None]
        nothing = torch.empty((1, 0), dtype=torch.long, device=like.device)

        def made(parts: Sequence[tuple[int, int]]) -> Tensor:
            cache = self._cache(nothing, self.reach)
            for a, b in parts:
                last = self._run(i, states[:, a:b], i + 1 + a, ids, cache)[:, -1]
            return last.double()

        whole, cached, alone = made([(0, 4)]), made([(0, 3), (3, 4)]), made([(3, 4)])
        least, part = LAYER_ROUNDING[like.element_size()]
        if not (whole - cached).norm() <= least * whole.norm() + part * (whole - alone).norm():
            raise ValueError(
                f"layer {i} makes something else of a context that it read in two parts"
            )

    def _pool(self) -> KVPool:
        """A pool of the shapes that one token gives when it goes through each layer."""
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
        """The runs of tokens that a forward read: (ids, where they go on from, hidden states
        (len(ids), width))."""
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
        self, asked: Sequence[tuple[RunPosition, tuple[int, ...]]]
    ) -> list[NDArray[Any]]:
        """(V,) log-probabilities after each place and its tokens, 1 to `reach` of them. Batches of
        equal lengths: the library's layers take no padding."""
        self._prepare([place.run for place, _ in asked])
        answers: dict[int, NDArray[Any]] = {}
        for (n, m), part in _batches([(place.length, len(tokens)) for place, tokens in asked]):
            answers.update(zip(part, self._draft(n, m, [asked[i] for i in part]), strict=True))
        return [answers[i] for i in range(len(asked))]

    def _prepare(self, runs: Sequence[TokenRun]) -> None:
        """Takes the layers over the runs, and those that they go on from, once each."""
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
                self._go_over(n, length, [level[k] for k in part])

    def _go_over(self, n: int, length: int, runs: Sequence[TokenRun]) -> None:
        """Every layer over the last tokens, `length` of them, of contexts of n."""
        table = self._table([run.states.table for run in runs])
        ids = self._ids([run.ids for run in runs])
        cache = self._cache(table[:, : n - length], self.reach)
        # Layer i begins at position i + 1: those before have no x_(i-1) behind them.
        for i in range(min(self.reach, n - 1)):
            begin = max(n - length, i + 1)
            made = self._run(
                i, self.pool.planes[i][table[:, begin - 1 : n - 1], 0], begin, ids, cache
            )
            slots = table[:, begin:].reshape(-1)
            if i + 1 < self.reach:
                self._write(i + 1, slots, made.flatten(0, 1)[:, None])
            layer = cache.layers[i]
            for plane, kept in zip(self._planes(i), _kept(layer), strict=True):
                self._write(plane, slots, kept[:, :, begin - n :].transpose(1, 2).flatten(0, 1))
        for run in runs:
            run.ready = True

    def _draft(
        self, n: int, m: int, asked: Sequence[tuple[RunPosition, tuple[int, ...]]]
    ) -> NDArray[Any]:
        """(B, V) log-probabilities after contexts of n tokens and m more, by layers 0 to m - 1."""
        table = self._table([place.run.states.table[:n] for place, _ in asked])
        ids = self._ids([np.append(place.run.ids[:n], tokens) for place, tokens in asked])
        cache = self._cache(table, m)
        made = torch.empty(
            (len(asked), 0, self.width), dtype=self.pool.dtype, device=self.pool.device
        )
        for i in range(m):
            begin = max(n, i + 1)
            if begin == n:
                made = torch.cat((self.pool.planes[i][table[:, n - 1 :], 0], made), dim=1)
            made = self._run(i, made, begin, ids, cache)  # (B, positions begin to n + i, width)
        logits = head(self.model, made[:, -1])
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        found: NDArray[Any] = torch.log_softmax(logits.to(wide), dim=-1).cpu().numpy()
        return found

    # ------------------------------------------------------------------ a layer

    def _run(self, i: int, states: Tensor, begin: int, ids: Tensor, cache: Any) -> Tensor:
        """x_i at positions begin, begin + 1, .., from what it reads there, states (B, L, width).
        ids: (B, all)."""
        B, L, _ = states.shape
        places = torch.arange(begin, begin + L, device=states.device).expand(B, L)
        return run_layer(self.model, i, states, places, cache, ids[:, begin : begin + L])

    def _cache(self, table: Tensor, layers: int) -> Any:
        """The library's cache with the keys and values of the first layers, over contexts of slots
        table (B, n)."""

        def kept(i: int) -> tuple[Tensor, Tensor] | None:
            if table.shape[1] <= i + 1:
                return None
            keys, values = (
                self.pool.planes[p][table[:, i + 1 :]].transpose(1, 2) for p in self._planes(i)
            )
            return keys, values

        return layers_cache(self.model.config, [kept(i) for i in range(layers)])

    def _planes(self, i: int) -> tuple[int, int]:
        """Where layer i's keys and values lie."""
        return self.reach + 2 * i, self.reach + 2 * i + 1

    def _write(self, plane: int, slots: Tensor, made: Tensor) -> None:
        self.pool.planes[plane].index_copy_(0, slots.long(), made.to(self.pool.dtype))

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
    """The indices of equal sizes (tokens of the context, tokens to take), in batches of at most
    LAYER_TOKENS to take."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, size in enumerate(sizes):
        groups[size].append(i)
    for size, members in groups.items():
        most = max(1, LAYER_TOKENS // size[1])
        for begin in range(0, len(members), most):
            yield size, members[begin : begin + most]
