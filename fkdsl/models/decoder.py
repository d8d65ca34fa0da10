"""A decoder of the Llama family, written out: what a decoding step costs beyond its weights is kept
small.

Llama, Mistral, Qwen2 and Qwen3 share it: RMS norms, rotary positions, grouped queries, a gated MLP.
All rows' tokens go flat through the linear maps, packed once; each layer writes its keys and values
to the pool and attends to a gather of each row's slots. The reference is the library's own module
(fkdsl.models.huggingface); a test holds both together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding, rms_norm, scaled_dot_product_attention

from fkdsl.models.cost import Cost
from fkdsl.models.interface import ForwardRow
from fkdsl.models.kv_pool import KVPool, KVSegment, table_of
from fkdsl.models.linear import Linear, pack

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
ROTARY = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary positions whose frequencies do not depend on the length."""
LONG_CONTEXT = 256
"""Tokens of a context from which on a CPU attends quicker, in bfloat16, with every query head on
its own."""

EXACT_ROWS = 16
"""Rows of a linear map beyond which they are filled up to a multiple of four: a CPU makes its
kernels for each number of rows anew, which takes it 5 to 15 ms at SmolLM2's size, and what four
rows cannot share it does slowly."""


def filler_rows(n: int) -> int:
    """How many rows of filling n rows take."""
    return -n % 4 if n > EXACT_ROWS else 0


def has_decoder_form(config: Any) -> bool:
    """Whether a model of this configuration is a decoder of this form."""
    layers = getattr(config, "layer_types", None) or []
    rotary = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in FAMILIES
        and getattr(config, "hidden_act", "") == "silu"
        and all(kind == "full_attention" for kind in layers)
        and (bool(layers) or getattr(config, "sliding_window", None) is None)
        and rotary.get("rope_type", "") in ROTARY
        and rotary.get("partial_rotary_factor", 1.0) == 1.0
        and getattr(config, "pretraining_tp", 1) == 1
    )


@dataclass(frozen=True)
class Layer:
    """One block. qkv: queries, keys and values in one map. q_norm, k_norm: of each head, None where
    there is none."""

    norm: Tensor
    qkv: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Linear
    mlp_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear


@dataclass(frozen=True)
class Queries:
    """Which of a batch's new tokens ask, row after row: what the others leave is keys and values.

    at: (m,) where they are in the flat order, None for all. mask: (rows, 1, most, longest) to be
    added to the scores, None where nothing is to be hidden. places: (rows, most) which of the m
    each row's are, padded, None where each row has one; flat: where the m are in (rows x most).
    """

    at: Tensor | None
    mask: Tensor | None
    places: Tensor | None
    flat: Tensor | None


@dataclass(frozen=True)
class Batch:
    """What a forward needs of its rows, flat: tokens of all rows one after the other.

    ids, slots: (n,). turns: (n, 1, width / 2) by which each turns. index: (rows x longest,) the
    slots of each row's context, padded. positions: (n,) of the tokens in their contexts. lengths:
    (rows,) new tokens of each. all: every new token asks.
    """

    ids: Tensor
    slots: Tensor
    turns: Tensor
    index: Tensor
    longest: int
    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]
    all: Queries

    @property
    def rows(self) -> int:
        return len(self.lengths)


@dataclass(frozen=True)
class Shape:
    """frequencies: (width / 2,) radians a position, by which each pair of coordinates turns;
    scaling: what the turned are multiplied by."""

    layers: int
    heads: int
    kv_heads: int
    width: int
    eps: float
    frequencies: Tensor
    scaling: float

    @classmethod
    def of(cls, config: Any, frequencies: Tensor, scaling: float) -> Shape:
        """The shape that a transformers configuration describes."""
        heads = config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            width=getattr(config, "head_dim", None) or config.hidden_size // heads,
            eps=config.rms_norm_eps,
            frequencies=frequencies.detach().float(),
            scaling=scaling,
        )


class Packing:
    """Weights by name, packed: what a Decoder is made of. precision: a dtype's name, or "int8"."""

    def __init__(self, weights: Mapping[str, Tensor], width: int, precision: str) -> None:
        self.weights, self.width, self.precision = weights, width, precision

    def map(self, *names: str) -> Linear:
        """One or more projections as one map; queries and keys with every head's coordinates in
        pairs."""
        found = [self._interleaved(name) for name in names]
        biases = [b for _, b in found if b is not None]
        bias = torch.cat(biases) if biases else None
        return pack(torch.cat([w for w, _ in found]), bias, self.precision)

    def layer(self, at: str) -> Layer:
        """The block whose weights' names begin so."""
        attention = f"{at}.self_attn"
        norms = [
            self.weights[f"{attention}.{n}.weight"][self._pairs()]
            if f"{attention}.{n}.weight" in self.weights
            else None
            for n in ("q_norm", "k_norm")
        ]
        return Layer(
            norm=self.weights[f"{at}.input_layernorm.weight"].clone(),
            qkv=self.map(*(f"{attention}.{n}_proj" for n in "qkv")),
            q_norm=norms[0],
            k_norm=norms[1],
            out=self.map(f"{attention}.o_proj"),
            mlp_norm=self.weights[f"{at}.post_attention_layernorm.weight"].clone(),
            gate=self.map(f"{at}.mlp.gate_proj"),
            up=self.map(f"{at}.mlp.up_proj"),
            down=self.map(f"{at}.mlp.down_proj"),
        )

    def _pairs(self) -> Tensor:
        """(width,) coordinates i and i + width/2, which turn together, side by side: each pair is a
        complex number."""
        half = self.width // 2
        return torch.arange(self.width).view(2, half).t().reshape(-1)

    def _interleaved(self, name: str) -> tuple[Tensor, Tensor | None]:
        """A projection's weight and bias; of queries and keys with every head's coordinates in
        pairs, by which scores do not change."""
        weight, bias = self.weights[f"{name}.weight"].detach(), self.weights.get(f"{name}.bias")
        if not name.endswith(("q_proj", "k_proj")):
            return weight, bias
        heads = weight.shape[0] // self.width
        order = (torch.arange(heads)[:, None] * self.width + self._pairs()).view(-1)
        return weight[order], None if bias is None else bias[order]


class Decoder:
    """weights: by the names that transformers gives them; packed. precision: a dtype's name, or
    "int8"."""

    def __init__(self, shape: Shape, weights: Mapping[str, Tensor], precision: str) -> None:
        self.shape, self.precision = shape, precision
        self.heads, self.kv_heads, self.width, self.eps = (
            shape.heads,
            shape.kv_heads,
            shape.width,
            shape.eps,
        )
        packing = Packing(weights, shape.width, precision)
        self.embedding = weights["model.embed_tokens.weight"].detach().clone()
        self.norm = weights["model.norm.weight"].detach().clone()
        head = "lm_head" if "lm_head.weight" in weights else "model.embed_tokens"
        self.head = packing.map(head)
        self.layers = [packing.layer(f"model.layers.{i}") for i in range(shape.layers)]
        self.cost = self._cost(weights, head)
        self._turns = self._turns_to(256)
        self.pool = self.pool_of(shape.layers)

    def pool_of(self, layers: int) -> KVPool:
        """An empty pool, a plane for each of so many layers."""
        return KVPool(
            [(2 * self.kv_heads, self.width)] * layers, self.embedding.dtype, self.embedding.device
        )

    def _cost(self, weights: Mapping[str, Tensor], head: str) -> Cost:
        """What a forward takes, by the weights' shapes."""
        maps = sum(w.numel() for name, w in weights.items() if w.dim() == 2 and ".layers." in name)
        of_head = weights[f"{head}.weight"].numel()
        size = 1 if self.precision == "int8" else self.embedding.element_size()
        slot = 2 * self.kv_heads * self.width * self.shape.layers * self.embedding.element_size()
        return Cost(
            maps,
            of_head,
            self.heads * self.width * self.shape.layers,
            float((maps + of_head) * size),
            slot,
        )

    @classmethod
    def of_module(cls, module: Any, precision: str) -> Decoder:
        """The decoder of a transformers module."""
        rotary = module.model.rotary_emb
        shape = Shape.of(module.config, rotary.inv_freq, float(rotary.attention_scaling))
        return cls(shape, module.state_dict(), precision)

    # ---------------------------------------------------------------- rotation

    def _turns_to(self, length: int) -> Tensor:
        """(length, 1, width / 2) the complex factor of each position and pair."""
        frequencies = self.shape.frequencies
        angles = torch.arange(length, device=frequencies.device).float()[:, None] * frequencies
        return torch.polar(torch.full_like(angles, self.shape.scaling), angles)[:, None]

    def _turned(self, x: Tensor, turns: Tensor) -> Tensor:
        """(n, heads, width) turned by the factors of their positions."""
        pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turns).view(x.shape).to(x.dtype)

    # ----------------------------------------------------------------- forward

    def forward(self, rows: Sequence[ForwardRow]) -> tuple[Tensor, list[KVSegment]]:
        """(logits of all wanted positions, row after row: (n, V)), and each row's segment."""
        tokens = sum(len(row.tokens) for row in rows)
        filler = (
            [ForwardRow(rows[-1].past, rows[-1].tokens[:1], ())] * filler_rows(tokens)
            if rows
            else []
        )
        batch, segments = self.batch([*rows, *filler], self.pool)
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

    def through(self, layers: Sequence[Layer], pool: KVPool, batch: Batch) -> Tensor:
        """(n, d) what the first layers make of all new tokens."""
        x = embedding(batch.ids, self.embedding)
        for layer, plane in zip(layers, pool.planes, strict=False):
            x = self.block(layer, plane, batch, batch.all, x)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """(n, V) of what the last layer made, (n, d)."""
        return self.head(rms_norm(x, self.norm.shape, self.norm, self.eps))

    def batch(self, rows: Sequence[ForwardRow], pool: KVPool) -> tuple[Batch, list[KVSegment]]:
        """The rows with slots of a pool taken for their new tokens, and each row's segment of
        these."""
        lengths = np.array([len(row.tokens) for row in rows])
        slots = pool.take(int(lengths.sum()))
        ends = np.cumsum(lengths)
        segments = [
            KVSegment(pool, row.past, slots[end - n : end])
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
        while positions.max() >= len(self._turns):
            self._turns = self._turns_to(2 * len(self._turns))
        batch = Batch(
            ids=self._put(np.concatenate([row.tokens for row in rows])),
            slots=self._put(slots.astype(np.int64)),
            turns=self._turns.index_select(0, self._put(positions)),
            index=self._put(index.reshape(-1)),
            longest=longest,
            positions=positions,
            lengths=lengths,
            all=self._queries(positions, lengths, longest, None),
        )
        return batch, segments

    def queries(self, batch: Batch, asked: Sequence[Sequence[int]]) -> Queries:
        """Those of a batch of which each row's new tokens with the indices `asked`, ascending,
        ask."""
        counts = np.array([len(a) for a in asked])
        if counts.sum() == len(batch.ids):
            return batch.all
        starts = np.cumsum(batch.lengths) - batch.lengths
        at = np.concatenate(
            [start + np.array(a, dtype=np.int64) for start, a in zip(starts, asked, strict=True)]
        )
        return self._queries(batch.positions[at], counts, batch.longest, self._put(at))

    def _queries(
        self,
        positions: NDArray[np.int64],
        counts: NDArray[np.int64],
        longest: int,
        at: Tensor | None,
    ) -> Queries:
        """positions: (m,) of those that ask, counts: (rows,) how many of each row."""
        most = int(counts.max())
        real = np.arange(most) < counts[:, None]  # (rows, most), the others pad
        last = np.zeros(real.shape, dtype=np.int64)
        last[real] = positions
        mask = places = flat = None
        if not (counts == 1).all():
            order = np.zeros(real.shape, dtype=np.int64)
            order[real] = np.arange(len(positions))
            places, flat = self._put(order), self._put(np.flatnonzero(real))
        if places is not None or (last + 1 != longest).any():
            # A token sees those up to its own position; what pads a row comes after all of its own.
            seen = np.arange(longest) <= last[:, :, None]
            mask = self._put(np.where(seen, np.float32(0), np.float32(-np.inf)))[:, None].to(
                self.embedding.dtype
            )
        return Queries(at, mask, places, flat)

    def block(
        self, layer: Layer, plane: Tensor, batch: Batch, queries: Queries, x: Tensor
    ) -> Tensor:
        """(m, d) what a layer makes of those that ask; keys and values of all, x (n, d), are
        written to its plane."""
        H, K, W = self.heads, self.kv_heads, self.width
        qkv = layer.qkv(rms_norm(x, layer.norm.shape, layer.norm, self.eps)).view(-1, H + 2 * K, W)
        q, k = qkv[:, :H], qkv[:, H : H + K]
        if layer.q_norm is not None and layer.k_norm is not None:
            q = rms_norm(q, (W,), layer.q_norm, self.eps)
            k = rms_norm(k, (W,), layer.k_norm, self.eps)
            qk = self._turned(torch.cat((q, k), dim=1), batch.turns)
        else:
            qk = self._turned(qkv[:, : H + K], batch.turns)
        plane[:, :K].index_copy_(0, batch.slots, qk[:, H:])
        plane[:, K:].index_copy_(0, batch.slots, qkv[:, H + K :])
        q = qk[:, :H]
        if queries.at is not None:
            q, x = q[queries.at], x[queries.at]
            if not len(x):
                return x
        context = (
            plane.index_select(0, batch.index)
            .view(batch.rows, batch.longest, 2 * K, W)
            .transpose(1, 2)
        )
        y = self._attend(q, context[:, :K], context[:, K:], queries)
        x = layer.out.plus(y, x)
        h = rms_norm(x, layer.mlp_norm.shape, layer.mlp_norm, self.eps)
        return layer.down.plus(layer.up.times(h, layer.gate.swish(h)), x)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, queries: Queries) -> Tensor:
        """(m, heads x width). q: (m, heads, width); keys, values: (rows, kv heads, longest,
        width)."""
        H, K, W = self.heads, self.kv_heads, self.width
        mask = queries.mask
        if queries.places is None:
            # One query a row: those that share a head's keys are its sequence, so no key is
            # repeated. torch's own way for them is quicker on a CPU in bfloat16 where contexts are
            # long, by some 20 %, and slower elsewhere.
            apart = (
                q.dtype == torch.bfloat16
                and q.device.type == "cpu"
                and keys.shape[2] > LONG_CONTEXT
            )
            q = q.reshape(len(q), H, 1, W) if apart else q.reshape(len(q), K, H // K, W)
            y = scaled_dot_product_attention(q, keys, values, mask, enable_gqa=apart and H != K)
            return y.reshape(len(q), H * W)
        assert queries.flat is not None
        y = scaled_dot_product_attention(
            q[queries.places].transpose(1, 2), keys, values, mask, enable_gqa=H != K
        )
        return y.transpose(1, 2).reshape(-1, H * W)[queries.flat]

    def _put(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.embedding.device)
