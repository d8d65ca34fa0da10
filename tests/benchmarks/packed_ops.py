"""The linear maps of SmolLM2 by torch's own packed operators, in narrow formats, beside those that
fkdsl uses: `python tests/benchmarks/packed_ops.py [--rows 1,4,8,16,64] [--maps float32,int8]`.

Milliseconds of processor time for all linear maps of a forward of that many tokens, attention and
all else left out: float32, bfloat16, int8 and int4 of fkdsl.models.linear, and what fkdsl does not
use of torch: `_weight_int8pack_mm` (weights by output channel, activations in bfloat16), fbgemm's
`linear_dynamic` (8 bits, activations too), and 4 bits that are unpacked at every forward, some
outputs at a time, and multiplied in bfloat16 or float32. ONEDNN_MAX_CPU_ISA and
ATEN_CPU_CAPABILITY stand for other processors.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from report import machine, table
from torch.nn.functional import linear

from fkdsl.models.linear import DTYPES, head_precision, pack, packs

VOCABULARY = 49152
SHAPES = {(960, 576): 30, (576, 576): 30, (3072, 576): 30, (576, 1536): 30, (VOCABULARY, 576): 1}
"""By (out, in) of a map, how many of them a forward has."""
Map = Callable[[torch.Tensor], torch.Tensor]


def own(precision: str) -> Callable[[torch.Tensor], Map]:
    """A map as fkdsl packs it; a head, the widest of them, as it packs heads."""

    def make(w: torch.Tensor) -> Map:
        form = head_precision(precision) if len(w) == VOCABULARY else precision
        return pack(w.to(DTYPES[precision]), None, form)

    return make


def int8pack(w: torch.Tensor) -> Map:
    scale = w.abs().amax(dim=1) / 127
    levels = (w / scale[:, None]).round().to(torch.int8)
    scale = scale.to(torch.bfloat16)
    return lambda x: torch.ops.aten._weight_int8pack_mm(x, levels, scale)


def dynamic(w: torch.Tensor) -> Map:
    scale, zeros = w.abs().amax(dim=1) / 127, torch.zeros(len(w), dtype=torch.int64)
    levels = torch.quantize_per_channel(w, scale.double(), zeros, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(levels, None)
    return lambda x: torch.ops.quantized.linear_dynamic(x, packed, reduce_range=False)


def unpacked(dtype: torch.dtype) -> Callable[[torch.Tensor], Map]:
    """By fbgemm's packed rows of an embedding, each of which is a group of 32 weights."""

    def make(w: torch.Tensor) -> Map:
        if len(w) == VOCABULARY:
            return own("int4")(w)
        columns = w.shape[1]
        packed = torch.ops.quantized.embedding_bag_4bit_prepack(w.view(-1, 32))
        buffer = torch.empty(OUTPUTS, columns, dtype=dtype)

        def multiply(x: torch.Tensor) -> torch.Tensor:
            x, parts = x.to(dtype), []
            for part in packed.split(OUTPUTS * columns // 32):
                weight = torch.ops.quantized.embedding_bag_4bit_unpack(part).view(-1, columns)
                parts.append(linear(x, buffer[: len(weight)].copy_(weight)))
            return torch.cat(parts, dim=1).float()

        return multiply

    return make


OUTPUTS = 576
SYSTEMS: dict[str, tuple[Callable[[torch.Tensor], Map], torch.dtype]] = {
    "float32": (own("float32"), torch.float32),
    "bfloat16": (own("bfloat16"), torch.bfloat16),
    **{name: (own(name), torch.float32) for name in ("int8", "int4") if packs(name)},
    "int8pack_mm": (int8pack, torch.bfloat16),
    "linear_dynamic": (dynamic, torch.float32),
    "unpacked to bfloat16": (unpacked(torch.bfloat16), torch.float32),
    "unpacked to float32": (unpacked(torch.float32), torch.float32),
}


@torch.inference_mode()
def milliseconds(
    make: Callable[[torch.Tensor], Map], dtype: torch.dtype, rows: list[int], repeats: int
) -> list[float]:
    """For each number of rows. All maps of the model are there, so that the weights come from
    memory, as they do in a run: a few that stay in the processor's caches flatter wide formats."""
    torch.manual_seed(0)
    maps = [
        (make(torch.randn(n, k) * 0.02), k)
        for (n, k), count in SHAPES.items()
        for _ in range(count)
    ]
    best = []
    for n in rows:
        x = {k: torch.randn(n, k).to(dtype) for _, k in SHAPES}
        times = []
        for _ in range(repeats + 1):
            began = time.process_time()
            for f, k in maps:
                f(x[k])
            times.append(time.process_time() - began)
        best.append(1000 * min(times[1:]))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="1,4,8,16,64")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--maps", default="", help="which of them, with commas; all by default")
    args = parser.parse_args()
    rows = [int(n) for n in args.rows.split(",")]
    cells = [
        [name, *(f"{ms:.1f}" for ms in milliseconds(make, dtype, rows, args.repeats))]
        for name, (make, dtype) in SYSTEMS.items()
        if not args.maps or name in args.maps.split(",")
    ]
    print(f"milliseconds of processor time for a forward's linear maps, best of {args.repeats}\n")
    print(table(["maps", *(f"{n} tokens" for n in rows)], cells))
    print(f"\n{machine(torch.get_num_threads())}")


if __name__ == "__main__":
    main()
