"""What looking ahead costs a step: processor time a draw with it, beside that without it.

    python tests/benchmarks/tilted.py [--models tiny,smollm2] [--particles 8,16,64] [--rounds 5]

A sentence of nine words (docs/lookahead.md) is drawn without look-ahead and with `both`. Runs that
look ahead draw other tokens, live longer and share less, so the ratio is also taken of a run that
does all the work of looking ahead, by a power of h so small that it draws what `none` draws. The
ways take turns, seed by seed, in one process. What is made once, such as messages, is not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from outside import Draws
from report import machine, table

import fkdsl
from fkdsl.api.lookahead import LookaheadChoice, LookaheadDecision
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.registry import load_model

PROMPTS = {
    "tiny": ("KING:\\n", "\\n\\n", 80),
    "smollm2": ("A short, plain sentence about the sea: ", "\\n", 20),
}
WEAK = LookaheadChoice("auto", None, LookaheadDecision("both", power=1e-9))
WAYS: dict[str, Any] = {"none": "none", "weak": WEAK, "both": "both"}


def program_of(name: str) -> Any:
    """The program of a model."""
    prompt, until, most = PROMPTS[name]
    return fkdsl.parse(
        f'model "{name}"\nprogram p() -> str:\n    lm = prompt("{prompt}")\n'
        f'    s ~ text(lm, until="{until}", max_tokens={most})\n'
        '    condition len(words(s)) == 9 and ends_with(s, ".")\n    return s\n'
    )


def ms_a_draw(program: Any, model: Any, particles: int, seed: int, way: str) -> float:
    """Processor milliseconds a draw of a run."""
    draws, began = Draws(), time.process_time()
    program.run(
        "smc",
        model=CachedTransformer(model),
        particles=particles,
        seed=seed,
        observer=draws,
        lookahead=WAYS[way],
    )
    return 1e3 * (time.process_time() - began) / draws.n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="tiny,smollm2")
    parser.add_argument("--particles", default="8,16,64")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for name in args.models.split(","):
        program, model = program_of(name), load_model(name)
        for particles in map(int, args.particles.split(",")):
            found: dict[str, list[float]] = {way: [] for way in WAYS}
            for seed in range(args.rounds + 1):
                for way, figures in found.items():
                    cost = ms_a_draw(program, model, particles, seed, way)
                    if seed:
                        figures.append(cost)
            none = found["none"]
            ratios = [
                statistics.median(a / b for a, b in zip(found[way], none, strict=True))
                for way in ("weak", "both")
            ]
            costs = [f"{statistics.median(figures):.3f}" for figures in found.values()]
            lines.append([name, str(particles), *costs, *[f"{r:.2f}" for r in ratios]])
    names = ["model", "N", "none", "same draws", "both", "ratio of the same draws", "of both"]
    print(table(names, lines))
    print(machine(1))


if __name__ == "__main__":
    main()
