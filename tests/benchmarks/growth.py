"""How fkdsl grows: with length, with particles, in memory, and from nothing to a first token.
Tables of ratios.

    python tests/benchmarks/growth.py [--lengths 64,128,256,512] [--particles 16,64,256,1024]
        [--tokens 32] [--repeats 3] [--parts length,population,memory,start] [--dtype float32]
        [--threads K] [--markdown]

    length       the time of a step by how many tokens the texts have, 16 particles that all go on;
                 a step's time is the median of the last 16 before that length. Ratio: to the
                 shortest
    population   the time of a step by how many particles there are and in how many contexts: all in
                 one (every step begins at a text that all share), or as many as they come to.
                 Ratio: to the smallest of its kind
    memory       bytes that the cache holds, at its most, over what the distinct tokens of live
                 texts need (keys and values of each, and a row for each text's end), and tokens
                 forwarded over tokens that were new
    start        seconds from the start of a process to the first token, with the model in its
                 cache, and the share of it that importing the libraries takes by itself

Each run begins with an empty cache; medians of the repeats. It asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from report import machine, table

import fkdsl
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Step
from fkdsl.machine.state import Status
from fkdsl.models.registry import load_model

ROOT = Path(__file__).parents[2]
HEADER = (
    'model "smollm2"\nprogram p(n: int) -> str:\n'
    '    lm = prompt("A short, plain sentence about the sea: ")\n'
)
DISTINCT = (
    HEADER
    + "    while lm.tokens < n:\n        t ~ lm\n        condition t != EOS\n    return lm.text\n"
)
SHARED = HEADER + (
    '    for i in range(n):\n        lm += " and"\n        now = fork(lm)\n        t ~ now\n'
    "    return lm.text\n"
)
WINDOW = 16
WARM = 4
"""Steps of a population that are not timed: until the texts have parted."""


class Clock:
    """An observer of steps: when each came, and the tokens forwarded by then."""

    def __init__(self, engine: CachedTransformer) -> None:
        self.engine, self.times, self.forwarded = engine, [time.perf_counter()], [0]

    def __call__(self, step: Step[Any]) -> None:
        self.times.append(time.perf_counter())
        self.forwarded.append(self.engine.stats.forwarded_tokens)

    def milliseconds(self, first: int, last: int) -> float:
        """The median time of steps first..last, of which step 0 is the first to come."""
        gaps = [self.times[t + 1] - self.times[t] for t in range(max(first, 1), last + 1)]
        return 1000 * statistics.median(gaps)


class Holder:
    """An observer of steps: what the cache held at its most, what was needed then, and the tokens
    that were new."""

    def __init__(self, engine: CachedTransformer) -> None:
        self.engine = engine
        self.token = engine.model.decoder.pool.slot_bytes  # type: ignore[attr-defined]
        self.row = engine.model.vocabulary.size * 4  # a row is float32 whatever the weights are
        self.held, self.needed, self.live = 0, 0, 0
        self.new: set[tuple[int, ...]] = set()
        self._ends: list[tuple[int, ...] | None] = []

    def __call__(self, step: Step[Any]) -> None:
        # What a step asked for are the texts that the particles had before it, those that
        # resampling left.
        self.new |= prefixes({end for a in step.ancestors if self._ends and (end := self._ends[a])})
        self._ends = [
            p.state.contexts[0].node.tokens
            if lw > -float("inf") and p.state.status is Status.RUNNING
            else None
            for p, lw in zip(step.particles, step.log_weights, strict=True)
        ]
        asked = {
            end[:-1] for end in self._ends if end
        }  # the last token of each has not gone through the model yet
        if asked and self.engine.cache.nbytes > self.held:
            self.held, self.live = self.engine.cache.nbytes, len(prefixes(asked))
            self.needed = self.live * self.token + len(asked) * self.row


def prefixes(texts: Collection[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """The nodes of the tree of some texts."""
    return {text[:k] for text in texts for k in range(1, len(text) + 1)}


def length(args: argparse.Namespace, model: Any) -> tuple[list[str], list[list[str]]]:
    """Time of a step by length."""
    found: dict[int, list[float]] = {n: [] for n in args.lengths}
    for seed in range(args.repeats):
        clock = run(DISTINCT, model, 16, max(args.lengths), seed, Clock)
        for n in args.lengths:
            found[n].append(clock.milliseconds(n - WINDOW, n - 1))
    times = {n: statistics.median(ms) for n, ms in found.items()}
    first = times[min(args.lengths)]
    rows = [[str(n), f"{times[n]:.1f}", f"{times[n] / first:.2f}"] for n in args.lengths]
    return ["tokens", "ms a step", "ratio"], rows


def population(args: argparse.Namespace, model: Any) -> tuple[list[str], list[list[str]]]:
    """Time of a step by particles and contexts."""
    rows = []
    for kind, text in (("one", SHARED), ("distinct", DISTINCT)):
        first = 0.0
        for n in args.particles:
            times, contexts = [], []
            for seed in range(args.repeats):
                clock = run(text, model, n, 2 * WARM, seed, Clock)
                times.append(clock.milliseconds(WARM, 2 * WARM - 1))
                contexts.append((clock.forwarded[2 * WARM] - clock.forwarded[WARM]) / WARM)
            ms = statistics.median(times)
            first = first or ms
            rows.append(
                [
                    str(n),
                    kind,
                    f"{statistics.median(contexts):.0f}",
                    f"{ms:.1f}",
                    f"{ms / first:.2f}",
                ]
            )
    return ["N", "contexts", "forwarded a step", "ms a step", "ratio"], rows


def memory(args: argparse.Namespace, model: Any) -> tuple[list[str], list[list[str]]]:
    """Bytes held against bytes needed, and tokens forwarded against new tokens."""
    rows = []
    for n in [p for p in args.particles if p <= 64] or args.particles[:1]:
        holder = run(DISTINCT, model, n, args.tokens, 0, Holder)
        forwarded, new = holder.engine.stats.forwarded_tokens, len(holder.new)
        shares = f"{holder.held / holder.needed:.2f}", f"{forwarded / new:.2f}"
        rows.append(
            [
                str(n),
                str(holder.live),
                f"{holder.held / 1e6:.1f}",
                shares[0],
                str(forwarded),
                str(new),
                shares[1],
            ]
        )
    return ["N", "live tokens", "MB held", "held/needed", "forwarded", "new", "forwarded/new"], rows


def start(args: argparse.Namespace, model: Any) -> tuple[list[str], list[list[str]]]:
    """Seconds of whole processes."""
    programs = {
        "first token": ["-m", "fkdsl", "run", "programs/short_words.fk", "-p", "max_tokens=1"],
        "import torch, transformers": [
            "-c",
            "import torch; from transformers import LlamaForCausalLM, AutoTokenizer",
        ],
        "fkdsl check": ["-m", "fkdsl", "check", "programs/short_words.fk"],
    }
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(args.repeats):
        for name, command in programs.items():
            began = time.perf_counter()
            environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
            subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                capture_output=True,
                check=True,
                env=environment,
            )
            found[name].append(time.perf_counter() - began)
    seconds = {name: statistics.median(taken) for name, taken in found.items()}
    rows = [[name, f"{s:.2f}", f"{s / seconds['first token']:.2f}"] for name, s in seconds.items()]
    return ["process", "seconds", "ratio"], rows


def run(
    text: str,
    model: Any,
    particles: int,
    n: int,
    seed: int,
    watcher: Callable[[CachedTransformer], Any],
) -> Any:
    """The observer of a run with an empty cache."""
    engine = CachedTransformer(model, max_batch=128)
    watch = watcher(engine)
    fkdsl.parse(text)(n=n).run("smc", model=engine, particles=particles, seed=seed, observer=watch)
    return watch


PARTS = {"length": length, "population": population, "memory": memory, "start": start}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", default="64,128,256,512")
    parser.add_argument("--particles", default="16,64,256,1024")
    parser.add_argument("--tokens", type=int, default=32, help="for the part `memory`")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    args.lengths = sorted(int(n) for n in args.lengths.split(","))
    args.particles = sorted(int(n) for n in args.particles.split(","))
    torch.set_num_threads(args.threads)
    model = load_model("smollm2", dtype=args.dtype)
    run(DISTINCT, model, 4, 3, 0, Clock)
    for part in args.parts.split(","):
        names, rows = PARTS[part](args, model)
        print(
            f"{(PARTS[part].__doc__ or '').rstrip('.')} ({args.dtype})\n\n"
            f"{table(names, rows, args.markdown)}\n"
        )
    print(machine(args.threads))


if __name__ == "__main__":
    main()
