"""What a run costs outside its model: `python tests/benchmarks/outside.py [--particles 64]
[--programs short_words,haiku,judge] [--tokens 16] [--repeats 3] [--keep-sums] [--profile]`.

The model's rows are those of smollm2 at the contexts of one text, recorded once; the model that
runs hands one of them to each context, so that nothing but fkdsl's own work is left, and few
minutes are enough. Any program of programs/ may be named. Its figure is processor time a draw: of
one particle, in whatever step, so that a step of haiku, which is a line, counts as all the draws
that it makes; a death counts as one. No draw looks ahead by a surrogate (`--lookahead auto` for
what a run does where nothing is said).
`rows` is what log-softmax and block sums of a model's row take beside it. With --keep-sums what
masks leave of a row is summed once for each row and mask, so that Python's own work is left, which
a GPU waits for too.
One thread; what a first run makes, such as automata, is not counted.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from decoding import PROGRAM
from report import machine, table

import fkdsl
from fkdsl.inference.interface import Step
from fkdsl.machine.state import Status
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.registry import load_model
from fkdsl.models.tokenized import forward_results

PROGRAMS = Path(__file__).parents[2] / "programs"
GOALS = {"short_words": 0.1, "haiku": 0.3, "judge": 0.3}
TEXT = (
    "A short, plain sentence about the sea: The sea was calm that day, and the old man sat in his "
    "boat and let it drift. He did not look for fish; he had no need of any, and the sun was warm."
)


class Draws:
    """An observer of steps: how many draws the particles that were alive and unfinished made."""

    def __init__(self) -> None:
        self.n = 0
        self._going: list[bool] = []

    def __call__(self, step: Step[Any]) -> None:
        states = [p.state for p in step.particles]
        if self._going:
            going = [x for x, a in zip(states, step.ancestors, strict=True) if self._going[a]]
            self.n += sum(max(1, len(x.drawn)) for x in going)
        self._going = [
            bool(lw > -float("inf")) and x.status is Status.RUNNING
            for x, lw in zip(states, step.log_weights, strict=True)
        ]


class NoSegment:
    """The cache of a run of tokens of a model that keeps none."""

    nbytes, sliceable, standalone = 0, True, False

    def __init__(self, length: int) -> None:
        self.length = length


class Recorded:
    """A model's vocabulary, with a recorded row for each context."""

    def __init__(self, model: Any, keeps_sums: bool = False) -> None:
        ids = model.start(TEXT)
        rows = [ForwardRow(None, ids, tuple(range(len(ids))))]
        (self._result,) = model.forward(rows)
        self.name, self.vocabulary, self.max_length = model.name, model.vocabulary, None
        self.allows_empty, self.describe = model.allows_empty, model.describe
        self.start, self.encode, self.chat = model.start, model.encode, model.chat
        self._sum, self._sums = model.masked_block_sums, dict[tuple[int, int], Any]()
        self.masked_block_sums = self._kept_sums if keeps_sums else self._sum

    def _kept_sums(self, rows: list[Any], masks: list[Any]) -> list[Any]:
        """What masks leave of rows, summed once for each."""
        places = [row.__array_interface__["data"][0] for row in rows]
        keys = list(zip(places, map(id, masks), strict=True))
        new = [i for i, key in enumerate(keys) if key not in self._sums]
        found = self._sum([rows[i] for i in new], [masks[i] for i in new])
        # The mask is kept, so that no other has its id.
        self._sums.update({keys[i]: (s, masks[i]) for i, s in zip(new, found, strict=True)})
        return [self._sums[key][0] for key in keys]

    def forward(self, rows: list[ForwardRow]) -> list[ForwardResult]:
        found = self._result
        out = []
        for row in rows:
            n = len(
                row.wanted
            )  # consecutive rows are a view: a real model's rows are no copy either
            k = sum(row.tokens) % (len(found.log_probs) - n)
            at = slice(k, k + n)
            out.append(
                ForwardResult(found.log_probs[at], NoSegment(len(row.tokens)), sums=found.sums[at])
            )
        return out


def program_of(name: str, tokens: int) -> Any:
    if name == "short_words":
        return fkdsl.parse(PROGRAM)(max_tokens=tokens)
    program = fkdsl.load(PROGRAMS / f"{name}.fk")
    known = [p.name for p in program.info.definition.params]
    return program(max_tokens=tokens) if "max_tokens" in known else program


def rows_ms(model: Any, particles: int) -> float:
    """Processor milliseconds a row that log-softmax and block sums take."""
    logits = torch.randn(particles, model.vocabulary.size)
    rows = [ForwardRow(None, (0,), (0,))] * particles
    figures = []
    for _ in range(5):
        began = time.process_time()
        forward_results(logits, rows, [NoSegment(1)] * particles)
        figures.append(1e3 * (time.process_time() - began) / particles)
    return statistics.median(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=64)
    parser.add_argument("--programs", default="short_words,haiku,judge")
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--lookahead", default="none")
    parser.add_argument("--lines", type=int, default=40, help="lines of the profile")
    parser.add_argument("--keep-sums", action="store_true", help="sum each row and mask once")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model("smollm2")
    model, rows = Recorded(loaded, args.keep_sums), rows_ms(loaded, args.particles)
    lines = []
    for name in args.programs.split(","):
        program, figures = program_of(name, args.tokens), []
        for seed in range(args.repeats + 1 + args.profile):
            draws, profile = Draws(), cProfile.Profile(time.process_time)
            profiled = seed > args.repeats
            began = time.process_time()
            if profiled:
                profile.enable()
            program.run(
                "smc",
                model=model,
                particles=args.particles,
                seed=seed,
                observer=draws,
                lookahead=args.lookahead,
            )
            profile.disable()
            if profiled:
                stats = pstats.Stats(profile)
                stats.sort_stats("tottime").print_stats(args.lines)
                print(f"{stats.total_calls / draws.n:.0f} calls a draw\n")  # type: ignore[attr-defined]
            elif seed:
                figures.append((1e3 * (time.process_time() - began) / draws.n, draws.n))
        cost, n = (statistics.median(column) for column in zip(*figures, strict=True))
        goal = f"{GOALS[name]:.1f}" if name in GOALS else ""
        lines.append([name, str(args.particles), f"{cost:.3f}", goal, str(int(n))])
    print(table(["program", "N", "ms a draw", "goal", "draws"], lines))
    print(f"rows: {rows:.3f} ms each beside it")
    print(machine(1))


if __name__ == "__main__":
    main()
