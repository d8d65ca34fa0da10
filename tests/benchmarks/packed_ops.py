"""The linear maps of SmolLM2 by torch's own packed operators, in narrow formats, beside those that
fkdsl uses: `python tests/benchmarks/packed_ops.py [--rows 1,4,8,16,32,64]`.

Milliseconds of processor time for all linear maps of a forward of that many tokens, attention and
all else left out: float32, bfloat16, int8 and int4 of fkdsl.models.linear, and torch's
`_weight_int8pack_mm` (weights by output channel, activations in bfloat16), which fkdsl does not
use. ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY stand for other processors.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from report import machine, table

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


SYSTEMS: dict[str, tuple[Callable[[torch.Tensor], Map], torch.dtype]] = {
    "float32": (own("float32"), torch.float32),
    "bfloat16": (own("bfloat16"), torch.bfloat16),
    **{name: (own(name), torch.float32) for name in ("int8", "int4") if packs(name)},
    "int8pack_mm": (int8pack, torch.bfloat16),
}


@torch.inference_mode()
def milliseconds(make: Callable[[torch.Tensor], Map], dtype: torch.dtype, rows: int) -> float:
    total = 0.0
    for (n, k), count in SHAPES.items():
        f = make(torch.randn(n, k))
        # Several copies, so that small maps do not stay in the processor's caches as they never do.
        maps = [f, *(make(torch.randn(n, k)) for _ in range(3 if n < 10_000 else 0))]
        x = torch.randn(rows, k).to(dtype)
        for g in maps:
            g(x)
        repeats, began = max(2, 120 // len(maps) // max(1, n // 2_000)), time.process_time()
        for _ in range(repeats):
            for g in maps:
                g(x)
        total += count * (time.process_time() - began) / repeats / len(maps)
    return 1000 * total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="1,4,8,16,32,64")
    args = parser.parse_args()
    rows = [int(n) for n in args.rows.split(",")]
    cells = [
        [name, *(f"{milliseconds(make, dtype, n):.1f}" for n in rows)]
        for name, (make, dtype) in SYSTEMS.items()
    ]
    print("milliseconds of processor time for a forward's linear maps\n")
    print(table(["maps", *(f"{n} tokens" for n in rows)], cells))
    print(f"\n{machine(torch.get_num_threads())}")


if __name__ == "__main__":
    main()
