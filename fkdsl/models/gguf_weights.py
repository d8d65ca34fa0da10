"""The tensors of a gguf file of the Llama family, by transformers' names, in eight and four bits.

    weights = GgufWeights.of(path, header, shapes, heads=9, kv_heads=3, four=True)
    weights["model.layers.0.mlp.up_proj.weight"]       # GroupedWeight, the levels of the file
    weights["model.embed_tokens.weight"]               # RowWeight, if the file has it in Q8_0

Matrices of ggml's formats Q4_0, Q4_1 and Q4_K keep their levels: a scale and an offset for each 32
neighbours are what GroupedWeight has, too. Those of other formats are rounded to eight bits. Each
is read when it is asked for, so that one at a time is held beside what is made of it. The file is
read and not mapped: where somebody cuts it short, a read can say so; a mapping ends the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.base.errors import CallError
from fkdsl.models.gguf_header import GgufHeader, GgufTensor
from fkdsl.models.narrow_weights import CHUNK, GroupedWeight, RowWeight, Weight, fits_groups

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
"""ggml's names and transformers', without layers and endings."""

Bytes = NDArray[np.uint8]


class TensorBytes:
    """The bytes of a file's tensors. The file is held open, so that another one under its name
    changes nothing; where this one is changed or cut short while it is in use, CallError."""

    def __init__(self, path: Path, places: Mapping[str, GgufTensor]) -> None:
        self.path, self.places = path, places
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()
        self._identity = self._now()
        if any(place.first + place.bytes > self._identity[0] for place in places.values()):
            raise self._changed()

    def rows(self, name: str, first: int = 0, count: int | None = None) -> Bytes:
        """(count, bytes of a row) of a tensor, from its row `first` on; of a vector, which is one
        row, too. count: None for all that follow."""
        place = self.places[name]
        rows = place.shape[0] if len(place.shape) == 2 else 1
        wide = place.bytes // rows
        raw = np.empty(
            (rows - first if count is None else min(count, rows - first), wide), np.uint8
        )
        self._read(place.first + first * wide, raw)
        return raw

    def _read(self, at: int, into: Bytes) -> None:
        left = into.reshape(-1).data
        with self._lock:
            self._file.seek(at)
            while left:
                read = self._file.readinto(left)
                if not read:
                    raise self._changed()
                left = left[read:]
            if self._now() != self._identity:
                raise self._changed()

    def _now(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def _changed(self) -> CallError:
        return CallError(
            f"{self.path} was changed or cut short while it was in use",
            "run it again with the whole file; put a new version beside it and rename it",
        )


class GgufWeights(Mapping[str, Weight]):
    """The weights of a file: matrices RowWeight or GroupedWeight, vectors float32. four: whether
    formats of four bits stay in these; else they are rounded to eight."""

    def __init__(
        self, path: Path, places: Mapping[str, GgufTensor], heads: Mapping[str, int], four: bool
    ) -> None:
        self.places, self.four = places, four
        self.bytes = TensorBytes(path, places)
        self.heads = heads
        """By name of a matrix whose rows are in ggml's order, how many heads it has."""

    @classmethod
    def of(
        cls,
        path: Path,
        header: GgufHeader,
        shapes: Mapping[str, tuple[int, ...]],
        heads: Mapping[str, int],
        four: bool,
    ) -> GgufWeights | None:
        """The weights, if the file has tensors of these shapes, by ggml's names, and no others; the
        head over the vocabulary may be missing. heads: see __init__, by ggml's names."""
        places = header.places
        if not set(shapes) - {"output.weight"} <= set(places) <= set(shapes):
            return None
        if any(place.shape != shapes[n] or not _readable(place) for n, place in places.items()):
            return None
        return cls(
            path,
            {own_name(n): place for n, place in places.items()},
            {own_name(n): k for n, k in heads.items()},
            four,
        )

    def __getitem__(self, name: str) -> Weight:
        place = self.places[name]
        if len(place.shape) == 1:
            return _numbers(place, self.bytes.rows(name))[0]
        weight: Weight
        if self.four and place.kind in FOUR_BITS and fits_groups(place.shape):
            weight = FOUR_BITS[place.kind](self.bytes.rows(name))
        else:
            rows = max(1, CHUNK // place.shape[1])
            weight = RowWeight.of_chunks(
                _numbers(place, self.bytes.rows(name, first, rows))
                for first in range(0, place.shape[0], rows)
            )
        return weight.rows(self._order(name, place.shape[0])) if name in self.heads else weight

    def _order(self, name: str, rows: int) -> Tensor:
        """(rows,) for each row in transformers' order, which row of the file it is: in the file the
        coordinates that are rotated as a pair stand side by side, in transformers' they are half a
        head apart."""
        heads = self.heads[name]
        return torch.arange(rows).view(heads, -1, 2).transpose(1, 2).reshape(-1)

    def formats(self) -> str:
        """How the matrices are kept, for people: `Q4_1 as published, Q8_0 in int8`."""
        kinds = sorted({p.kind for p in self.places.values() if len(p.shape) == 2})
        return ", ".join(
            f"{GGMLQuantizationType(kind).name} "
            + ("as published" if self.four and kind in FOUR_BITS else "in int8")
            for kind in kinds
        )

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def own_name(name: str) -> str:
    """transformers' name of a tensor: model.layers.3.mlp.up_proj.weight of blk.3.ffn_up.weight."""
    *layer, kind, ending = name.split(".")
    prefix = f"model.layers.{layer[1]}." if layer else ""
    return f"{prefix}{NAMES[kind]}.{ending}"


class GgufEmbedding:
    """The vectors of tokens, each de-quantised when it is looked up: float32."""

    def __init__(self, weights: GgufWeights, name: str = "model.embed_tokens.weight") -> None:
        self.place, self.bytes, self.name = weights.places[name], weights.bytes, name

    def __call__(self, ids: Tensor) -> Tensor:
        rows = [self.bytes.rows(self.name, i, 1) for i in ids.tolist()]
        return _numbers(self.place, np.concatenate(rows))


def _readable(place: GgufTensor) -> bool:
    """Whether a tensor is a vector of float32 or float16, or a matrix whose rows are whole blocks
    of a format that the gguf package can read."""
    kind = GGMLQuantizationType(place.kind)
    if len(place.shape) == 1:
        return kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
    in_block, block_bytes = GGML_QUANT_SIZES[kind]
    if len(place.shape) != 2 or place.shape[1] % in_block:
        return False
    try:
        quants.dequantize(np.zeros((1, block_bytes), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _numbers(place: GgufTensor, raw: Bytes) -> Tensor:
    """(rows, in) float32 of some rows of a tensor."""
    numbers = quants.dequantize(np.ascontiguousarray(raw), GGMLQuantizationType(place.kind))
    return torch.from_numpy(np.array(numbers, dtype=np.float32, copy=True))


# --------------------------------------------------------- formats of four bits


def _halves(raw: Bytes) -> NDArray[np.float32]:
    """Numbers in half precision from the last axis's bytes."""
    return np.ascontiguousarray(raw).view(np.float16).astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """(..., 2 n): the lower halves of n bytes, then the upper ones."""
    return np.concatenate((packed & 15, packed >> 4), axis=-1)


def _grouped(levels: Bytes, scale: NDArray[Any], low: NDArray[Any]) -> GroupedWeight:
    rows = len(levels)
    return GroupedWeight(
        torch.from_numpy(levels.reshape(rows, -1)),
        torch.from_numpy(np.ascontiguousarray(scale.reshape(rows, -1))),
        torch.from_numpy(np.ascontiguousarray(low.reshape(rows, -1))),
    )


def _q4_0(raw: Bytes) -> GroupedWeight:
    """Blocks of 32: scale d, levels q; (q - 8) d."""
    blocks = raw.reshape(len(raw), -1, 18)
    scale = _halves(blocks[..., :2])
    return _grouped(_nibbles(blocks[..., 2:]), scale, -8 * scale)


def _q4_1(raw: Bytes) -> GroupedWeight:
    """Blocks of 32: scale d, least m, levels q; q d + m."""
    blocks = raw.reshape(len(raw), -1, 20)
    return _grouped(_nibbles(blocks[..., 4:]), _halves(blocks[..., :2]), _halves(blocks[..., 2:4]))


def _q4_k(raw: Bytes) -> GroupedWeight:
    """Blocks of 8 x 32: scales d and e, six bits a and b for each 32, levels q; q d a - e b."""
    blocks = raw.reshape(len(raw), -1, 144)
    d, e = _halves(blocks[..., :2]), _halves(blocks[..., 2:4])
    # Four bytes with the lower six bits of a, four with those of b, for the first four groups. Then
    # four with the lower halves of the others' a and b, the upper bits of which are in the first
    # eight.
    first, second, third = np.split(blocks[..., 4:16], 3, axis=-1)
    a = np.concatenate((first & 63, (third & 15) | (first >> 2 & 48)), axis=-1)
    b = np.concatenate((second & 63, (third >> 4) | (second >> 2 & 48)), axis=-1)
    levels = _nibbles(blocks[..., 16:].reshape(*blocks.shape[:2], 4, 32))
    return _grouped(levels, d * a, -(e * b))


FOUR_BITS = {
    int(GGMLQuantizationType.Q4_0): _q4_0,
    int(GGMLQuantizationType.Q4_1): _q4_1,
    int(GGMLQuantizationType.Q4_K): _q4_k,
}
"""By ggml's number of a format, how its bytes (rows, bytes of a row) are read."""
