"""Where the time of one run goes, by layer of the house: `python tests/benchmarks/layers.py
[--particles 16]`.

short_words without its stop at the quote, steered end to end under a profiler. A function of a
library counts for the layer that called it, so `models` is the transformer, its keys and values,
and log-softmax. The profiler makes Python dearer than it is, by a factor that it prints; shares of
the layers above the model are upper bounds.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import defaultdict
from pathlib import Path

import torch
from report import machine, table

import fkdsl
from fkdsl.models.registry import load_model

PROGRAM = (
    'model "smollm2"\nprogram p(n: int) -> str:\n'
    '    lm = prompt("A short, plain sentence about the sea: \\"")\n'
    "    while lm.tokens < n and not lm.done:\n        t ~ lm\n"
    "        condition all(letters(w) <= 5 for w in words(lm.text))\n    return lm.text\n"
)
HOUSE = Path(fkdsl.__file__).parent


def layer_of(file: str) -> str:
    """The layer of a file of the house, "" for any other."""
    path = Path(file)
    return path.relative_to(HOUSE).parts[0] if HOUSE in path.parents else ""


def by_layer(stats: pstats.Stats) -> dict[str, float]:
    """Seconds by layer; a foreign function's time is shared among its callers by what each spent in
    it."""
    entries = stats.stats  # type: ignore[attr-defined]
    found: dict[str, float] = defaultdict(float)
    memo: dict[object, dict[str, float]] = {}

    def shares(function: tuple[str, int, str], depth: int = 0) -> dict[str, float]:
        """Which layers a function's time is spent for."""
        if layer := layer_of(function[0]):
            return {layer: 1.0}
        if function in memo or depth > 30:
            return memo.get(function, {})
        memo[function] = {}
        callers = entries[function][4]
        total = sum(c[2] for c in callers.values()) or 1.0
        out: dict[str, float] = defaultdict(float)
        for caller, figures in callers.items():
            for layer, share in shares(caller, depth + 1).items():
                out[layer] += share * figures[2] / total
        memo[function] = out
        return out

    for function, (_, _, own, _, _) in entries.items():
        for layer, share in shares(function).items():
            found[layer] += own * share
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    model, program = load_model("smollm2", dtype=args.dtype), fkdsl.parse(PROGRAM)(n=args.tokens)

    def run(seed: int) -> float:
        began = time.perf_counter()
        program.run("smc", particles=args.particles, model=model, seed=seed)
        return time.perf_counter() - began

    run(0)
    plain = run(1)
    profile = cProfile.Profile()
    profile.enable()
    watched = run(1)
    profile.disable()
    seconds = by_layer(pstats.Stats(profile))
    whole = sum(seconds.values())
    rows = [
        [layer, f"{1e3 * s / args.tokens:.1f}", f"{100 * s / whole:.1f} %"]
        for layer, s in sorted(seconds.items(), key=lambda item: -item[1])
        if s > 0.001 * whole
    ]
    print(
        f"{args.particles} particles, {args.tokens} tokens, {args.dtype}: {plain:.2f} s, "
        f"{watched:.2f} s profiled\n"
    )
    print(table(["layer", "ms a step", "share"], rows))
    print(f"\n{machine(torch.get_num_threads())}")


if __name__ == "__main__":
    main()
