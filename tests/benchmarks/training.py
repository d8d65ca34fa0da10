"""What the order of backward passes costs: `python tests/benchmarks/training.py [--rows 16]
[--heads 1,2,4,8]`.

One step's gradient of a byte-level model, by heads in turn and by one backward through everything,
each in a process of its own: the most memory that it had beyond what it had before the step, and
its time. The shape is that of `tiny`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from report import machine, table

ORDERS = {"in turn": "backward_by_heads", "at once": "backward_at_once"}


def step(order: str, ahead: int, rows: int) -> tuple[float, float]:
    """(MB at most beyond those before, seconds) of one gradient, in this process."""
    import torch

    from fkdsl.models.tiny import training
    from fkdsl.models.tiny.transformer import SYMBOLS, TinyShape, initialised

    torch.set_num_threads(1)
    shape = TinyShape(ahead=ahead)
    model = initialised(shape, 0)
    backward = getattr(training, ORDERS[order])
    symbols = torch.randint(
        0, SYMBOLS, (rows, shape.context + ahead), generator=torch.Generator().manual_seed(0)
    )
    backward(
        model, symbols[:1, : 8 + ahead], 0.5
    )  # what is set up at a first step: gradients, threads
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    begun = time.perf_counter()
    backward(model, symbols, 0.5)
    seconds = time.perf_counter() - begun
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--heads", default="1,2,4,8")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(*step(args.one[0], int(args.one[1]), args.rows))
        return
    # Freed memory goes back at once, so that the peak is that of tensors alive together.
    environment = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }
    rows = []
    for ahead in args.heads.split(","):
        found = []
        for order in ORDERS:
            command = [sys.executable, __file__, "--one", order, ahead, "--rows", str(args.rows)]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            found.append([float(x) for x in done.stdout.split()])
        (less, t), (more, u) = found
        rows.append(
            [ahead, f"{less:.0f}", f"{more:.0f}", f"{more / less:.2f}", f"{t:.2f}", f"{u:.2f}"]
        )
    print(f"{args.rows} windows of 384 bytes, float32, one thread\n")
    print(table(["heads", "MB in turn", "MB at once", "ratio", "s in turn", "s at once"], rows))
    print(f"\n{machine(1)}")


if __name__ == "__main__":
    main()
