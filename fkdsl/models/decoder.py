"""The decoder of the Llama family, written out so that a decoding step costs little beyond reading
its weights.

Llama, Mistral, Qwen2 and Qwen3 share it: RMS norms, rotary positions, grouped queries, a gated MLP.
The tokens of all rows go through the packed linear maps as one flat batch. Each layer writes its
keys and values into the pool and attends to the slots of each row's context, gathered from the
pool; what all rows begin with is read once (fkdsl.models.shared_attention). A test compares its
rows with those of transformers' own module (fkdsl.models.huggingface).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import rms_norm

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.attention import Queries, attend_apart, queries_of
from fkdsl.models.compat.packed_memory import addresses_of
from fkdsl.models.cost import Cost
from fkdsl.models.decoder_weights import (
    DecoderLayer,
    DecoderShape,
    Embedding,
    LayerPacking,
    WeightsFile,
)
from fkdsl.models.interface import ForwardRow
from fkdsl.models.kv_pool import KVPool, KVSegment, table_of
from fkdsl.models.narrow_weights import Weight
from fkdsl.models.shared_attention import (
    SharedBeginning,
    attend,
    gathered,
    shared_beginning,
    slots_of,
)

EXACT_ROWS = 16
"""Linear maps of more rows get filler rows up to a multiple of four. A CPU builds a kernel for each
number of rows, which takes 5 to 15 ms at SmolLM2's size, and is slow on rows that do not come in
fours."""


def filler_rows(n: int) -> int:
    """How many filler rows are added to n rows."""
    return -n % 4 if n > EXACT_ROWS else 0


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """(n, d) x divided by the root of each row's mean square and eps, times the weight, (d,).

    In float32 on a CPU, from fewer operators than torch's own: between maps, whose weights drive
    everything else out of the caches, an operator costs ten times its work.
    """
    if x.dtype != torch.float32 or x.device.type != "cpu":
        return rms_norm(x, weight.shape, weight, eps)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    mean = torch.addcmul(_single(eps), length, length, value=1 / x.shape[-1])
    return x.mul(mean.rsqrt_()).mul_(weight)


@cache
def _single(number: float) -> Tensor:
    """A number as a tensor, made once."""
    return torch.tensor(number)


@dataclass(frozen=True)
class Batch:
    """The n new tokens of a forward's rows, one row after the other, and then filler.

    ids, slots: (n,) token ids, and their slots in the pool. rotations: (n, 1, width / 2) complex
    factors. index: the slots of each row's context, padded, of `slots_of`. positions: in their
    contexts, of the rows' tokens. lengths: (rows,) new tokens of each row. all: the Queries of
    every new token. shared: what the rows' contexts begin with, where each has one new token and it
    pays to read it once.
    """

    ids: Tensor
    slots: Tensor
    rotations: Tensor
    index: slice | Tensor
    longest: int
    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]
    all: Queries
    shared: SharedBeginning | None = None

    @property
    def rows(self) -> int:
        return len(self.lengths)


class Decoder:
    """A decoder and its pool of keys and values. weights: by the names that transformers gives
    them; the decoder keeps packed copies. precision: a name of linear.DTYPES. file: how to read
    them, if they lie in a file; then the embedding stays in it. embed: (n,) ids -> (n, d) float32,
    the vectors of tokens on a CPU; None for the table among the weights."""

    segment_kind: type[KVSegment] = KVSegment
    """The class of the segments that it makes."""

    def __init__(
        self,
        shape: DecoderShape,
        weights: Mapping[str, Weight],
        precision: str,
        file: WeightsFile | None = None,
        embed: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.shape, self.precision = shape, precision
        self.heads, self.kv_heads, self.width, self.eps = (
            shape.heads,
            shape.kv_heads,
            shape.width,
            shape.eps,
        )
        packing = LayerPacking(weights, shape.width, precision, file)
        self.dtype, self.device = torch.float32, torch.device("cpu")
        if embed is None:
            table = packing.plain("model.embed_tokens.weight")
            self.dtype, self.device = table.dtype, table.device
            embed = Embedding(table if file is not None else table.clone())
        self.embed = embed
        self.norm = packing.plain("model.norm.weight").clone()
        head = "lm_head" if "lm_head.weight" in weights else "model.embed_tokens"
        self.head = packing.head(head)
        self.layers = [packing.layer(f"model.layers.{i}") for i in range(shape.layers)]
        self.cost = self._cost()
        self._rotations = self._rotations_to(256)
        self.pool = self.pool_of(shape.layers)

    def pool_of(self, layers: int) -> KVPool:
        """An empty pool with a plane for each of `layers` layers."""
        return KVPool([(2 * self.kv_heads, self.width)] * layers, self.dtype, self.device)

    def weights_at(self) -> list[tuple[int, int]]:
        """The addresses of the weights of its linear maps, on a CPU: of the first byte of each, and
        behind its last one."""
        maps = [*(f for layer in self.layers for f in layer.maps), self.head]
        return [addresses_of(tensor) for f in maps for tensor in f.kept()]

    def _cost(self) -> Cost:
        """The cost of a forward, by the shapes of the weights."""
        maps = [f for layer in self.layers for f in layer.maps]
        slot = 2 * self.kv_heads * self.width * self.shape.layers * self.dtype.itemsize
        return Cost(
            linear=sum(f.weights for f in maps),
            head=self.head.weights,
            attended=self.heads * self.width * self.shape.layers,
            weight_bytes=float(sum(f.weight_bytes for f in (*maps, self.head))),
            slot_bytes=slot,
        )

    @classmethod
    def of_module(cls, module: Any, precision: str) -> Decoder:
        """The decoder of a transformers module."""
        rotary = module.model.rotary_emb
        shape = DecoderShape.of(module.config, rotary.inv_freq, float(rotary.attention_scaling))
        return cls(shape, module.state_dict(), precision)

    # ---------------------------------------------------------------- rotation

    def _rotations_to(self, length: int) -> Tensor:
        """(length, 1, width / 2) the complex factor of each position and pair."""
        return self.rotations_of(torch.arange(length, device=self.shape.frequencies.device))

    def rotations_of(self, positions: Tensor) -> Tensor:
        """(n, 1, width / 2) the complex factors of some positions (n,)."""
        angles = positions.float()[:, None] * self.shape.frequencies
        return torch.polar(torch.full_like(angles, self.shape.scaling), angles)[:, None]

    def _rotate(self, x: Tensor, rotations: Tensor) -> None:
        """Rotates each pair of coordinates of x, (n, heads, width), by its position's factor, in
        place."""
        pairs = x.float().view(*x.shape[:-1], -1, 2)  # x itself in float32
        torch.view_as_complex(pairs).mul_(rotations)
        if x.dtype != torch.float32:
            x.copy_(pairs.flatten(-2))

    # ----------------------------------------------------------------- forward

    def forward(self, rows: Sequence[ForwardRow]) -> tuple[Tensor, list[KVSegment]]:
        """((n, V) the logits of all wanted positions, row after row; the segment of each row)."""
        filler = filler_rows(sum(len(row.tokens) for row in rows))
        if all(len(row.tokens) == 1 for row in rows):
            more = [ForwardRow(row.past, row.tokens, ()) for row in rows[-1:]] * filler
            batch, segments = self.batch([*rows, *more], self.pool)
        else:
            batch, segments = self.batch(rows, self.pool, filler)
        x = self.through(self.layers, self.pool, batch)
        starts = np.cumsum(batch.lengths) - batch.lengths
        wanted = [
            int(start) + w for start, row in zip(starts, rows, strict=False) for w in row.wanted
        ]
        n = len(wanted)
        if n < len(x):
            wanted += wanted[-1:] * filler_rows(n)
            x = x[torch.tensor(wanted, dtype=torch.long, device=x.device)]
        return self.logits(x)[:n], segments[: len(rows)]

    def through(self, layers: Sequence[DecoderLayer], pool: KVPool, batch: Batch) -> Tensor:
        """(n, d) the output of the first layers for all new tokens."""
        x = self.embed(batch.ids)
        for layer, plane in zip(layers, pool.planes, strict=False):
            x = self.layer_output(layer, plane, batch, batch.all, x)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """(n, V) the logits of the last layer's outputs x, (n, d)."""
        return self.head(normed(x, self.norm, self.eps))

    def batch(
        self, rows: Sequence[ForwardRow], pool: KVPool, filler: int = 0
    ) -> tuple[Batch, list[KVSegment]]:
        """(the batch of some rows, the segment of each row), with slots of the pool taken for the
        new tokens. filler: how many tokens go through the layers beside those of the rows; none
        where each row has one token."""
        lengths = np.array([len(row.tokens) for row in rows])
        tokens = int(lengths.sum())
        slots = pool.take(tokens + filler)
        pool.give_back(slots[tokens:])  # to be taken again after this forward, which writes them
        ends = np.cumsum(lengths)
        segments = [
            self.segment_kind(pool, row.past, slots[end - n : end])
            for row, n, end in zip(rows, lengths, ends, strict=True)
        ]
        tables = [segment.table for segment in segments]
        longest = max(map(len, tables))
        index = np.zeros((len(rows), longest), dtype=np.int64)
        for i, table in enumerate(tables):
            index[i, : len(table)] = table
        pasts = np.array([len(table_of(row.past)) for row in rows])
        positions = np.concatenate(
            [np.arange(p, p + n) for p, n in zip(pasts, lengths, strict=True)]
        )
        while positions.max() >= len(self._rotations):
            self._rotations = self._rotations_to(2 * len(self._rotations))
        unused = [0] * filler
        batch = Batch(
            ids=self._put(np.concatenate([*(row.tokens for row in rows), unused]).astype(np.int64)),
            slots=self._put(slots.astype(np.int64)),
            rotations=self._rotations.index_select(
                0, self._put(np.append(positions, unused).astype(np.int64))
            ),
            index=slots_of(index, self._put),
            longest=longest,
            positions=positions,
            lengths=lengths,
            all=self._queries(positions, lengths, longest, None, filler),
            shared=(
                shared_beginning(index, positions + 1, self._put, self.dtype)
                if (lengths == 1).all()
                else None
            ),
        )
        return batch, segments

    def queries(self, batch: Batch, wanted: Sequence[Sequence[int]]) -> Queries:
        """The queries of some new tokens. wanted: for each row the ascending indices of its
        tokens."""
        counts = np.array([len(indices) for indices in wanted])
        if counts.sum() == len(batch.positions):
            return batch.all
        starts = np.cumsum(batch.lengths) - batch.lengths
        at = np.concatenate(
            [
                start + np.array(indices, dtype=np.int64)
                for start, indices in zip(starts, wanted, strict=True)
            ]
        )
        return self._queries(batch.positions[at], counts, batch.longest, self._put(at))

    def _queries(
        self,
        positions: NDArray[np.int64],
        counts: NDArray[np.int64],
        longest: int,
        at: Tensor | None,
        filler: int = 0,
    ) -> Queries:
        """See queries_of."""
        put, dtype = self._put, self.dtype
        return queries_of(positions, counts, longest, at, put, dtype, filler)

    def layer_output(
        self, layer: DecoderLayer, plane: Tensor, batch: Batch, queries: Queries, x: Tensor
    ) -> Tensor:
        """(m, d) the layer's output for the queries. x: (n, d) the outputs of the layer before for
        all new tokens, whose keys and values are written into the layer's plane."""
        q = self.written(self.projected(layer, x), batch.rotations, batch.slots, plane)
        if queries.at is not None:
            q, x = q[queries.at], x[queries.at]
            if not len(x):
                return x
        K = self.kv_heads
        if batch.shared is not None and queries is batch.all:
            y = attend(q, plane, batch.shared, K)
            return self.after_attention(layer, y, x)
        context = gathered(plane, batch.index, batch.rows)
        y = attend_apart(q, context[:, :K], context[:, K:], queries)
        return self.after_attention(layer, y, x)

    def written(self, qkv: Tensor, rotations: Tensor, slots: Tensor, plane: Tensor) -> Tensor:
        """(n, heads, width) the rotated queries of n tokens, whose keys and values are written into
        a layer's plane. qkv: as `projected` gives it, which is rotated in place. rotations: (n, 1,
        width / 2). slots: (n,) int64."""
        H, K = self.heads, self.kv_heads
        self._rotate(qkv[:, : H + K], rotations)
        plane.index_copy_(0, slots, qkv[:, H:])
        return qkv[:, :H]

    def projected(self, layer: DecoderLayer, x: Tensor) -> Tensor:
        """(n, heads + 2 x kv heads, width) the queries, keys and values of n tokens, with their
        norms where the family has them, not rotated yet. x: (n, d)."""
        H, K, W = self.heads, self.kv_heads, self.width
        qkv = layer.qkv(normed(x, layer.norm, self.eps)).view(-1, H + 2 * K, W)
        if layer.q_norm is None or layer.k_norm is None:
            return qkv
        q, k = qkv[:, :H], qkv[:, H : H + K]
        q = rms_norm(q, (W,), layer.q_norm, self.eps)
        k = rms_norm(k, (W,), layer.k_norm, self.eps)
        return torch.cat((q, k, qkv[:, H + K :]), dim=1)

    def after_attention(self, layer: DecoderLayer, y: Tensor, x: Tensor) -> Tensor:
        """(m, d) the layer's output. y: (m, heads x width) of its attention. x: (m, d) of the layer
        before."""
        x = layer.out.plus(y, x)
        h = normed(x, layer.mlp_norm, self.eps)
        return layer.down.plus(layer.gated(h), x)

    def _put(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.device)
