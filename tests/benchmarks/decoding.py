"""Decoding speed: short_words end to end, the limit of the machine, transformers' generate and our
peers, in one run.

    python tests/benchmarks/decoding.py [--particles 8,16,32,64] [--dtypes float32,bfloat16]
        [--tokens 32] [--repeats 3] [--peers llamppl,genlm,generate,llamacpp] [--peers-dir DIR]
        [--threads K] [--timeout S] [--processor-time] [--markdown]

The figure is particle-tokens a second: tokens that particles drew / wall seconds, the median of the
repeats; with --processor-time it is by the processor seconds of the systems in this process, which
other work on the machine changes less. Systems in this process take turns, repeat by repeat; each
peer then runs once, in an environment of its own, which is made the first time
(peers/environments.py). Everything uses the same number of threads, the same prompt and weights.
Loading, and a first short run, are not timed.

    bare        one batched forward a token with packed weights, tokens given, no sampling: N x
                tokens (bare.py)
    fkdsl       PROGRAM below: parsed, checked, optimised, run by smc from an empty cache, no draw
                looking ahead by a surrogate, which no peer has (lookahead.py measures it). Counted
                is one token for each particle that was alive and unfinished when a step began,
                however many were tried for it, and however many particles shared a context; a draw
                that ends in a death counts, tokens of the prompt do not
    generate    transformers' own sampling of N sequences of as many tokens, its module unpacked: N
                x tokens
    llamppl     its SMC, masks for the same condition (peers/llamppl_short_words.py): draws of
                particles
    genlm       genlm-control's AWRS and SMC, the same condition (peers/genlm_short_words.py): draws
                of particles
    llama.cpp   batched decoding alone, no sampling, in its fastest format whatever the dtype, such
                as four bits a weight: N x tokens (peers/llamacpp_decoding.py)

The last table is of steps alone, one of bare after each of fkdsl's: a run of fkdsl's reads its
program and the prompt, too, which bare does not.

PROGRAM is programs/short_words.fk without its stop at the closing quote and without EOS, which
peers and generate may not draw either: all particles go on to `max_tokens`. It asserts no speed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import torch
from bare import Bare, check
from peers.environments import PEERS, PeerFailed, measure, ready
from report import machine, table

import fkdsl
from fkdsl.inference.interface import Step
from fkdsl.machine.state import Status
from fkdsl.models.conversion import quiet_transformers
from fkdsl.models.registry import load_model, model_info

PROMPT = 'A short, plain sentence about the sea: "'
PROGRAM = """\
model "smollm2"

program short_words(max_letters: int = 5, max_tokens: int = 24) -> str:
    lm = prompt("A short, plain sentence about the sea: \\"")
    while not lm.done and lm.tokens < max_tokens:
        t ~ lm
        condition t != EOS and all(letters(w) <= max_letters for w in words(lm.text))
    return lm.text
"""
COLUMNS = {
    **{name: name for name in ("bare", "fkdsl", "generate", "llamppl", "genlm")},
    "llamacpp": "llama.cpp",
}
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Most that the bare loop's logits may differ from the module's, as a share of their standard
deviation."""


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


class Drawn:
    """An observer of steps: how many tokens particles have drawn. It keeps no state alive."""

    def __init__(self) -> None:
        self.tokens = 0
        self._going: list[bool] = []

    def __call__(self, step: Step[Any]) -> None:
        if self._going:
            self.tokens += sum(self._going[a] for a in step.ancestors)
        self._going = [
            bool(lw > -float("inf")) and p.state.status is Status.RUNNING
            for p, lw in zip(step.particles, step.log_weights, strict=True)
        ]


@dataclass
class Loaded:
    """What one dtype needs: fkdsl's model, and a module of transformers that nobody has packed."""

    model: Any
    module: Any
    prompt: list[int]
    clock: Callable[[], float]

    @classmethod
    def of(cls, dtype: str, clock: Callable[[], float]) -> Loaded:
        from transformers import AutoModelForCausalLM

        model, folder = load_model("smollm2", dtype=dtype), model_info("smollm2").folder
        with quiet_transformers():
            module = AutoModelForCausalLM.from_pretrained(
                folder, dtype=getattr(torch, dtype)
            ).eval()
        loaded = cls(model, module, list(model.start(PROMPT)), clock)
        difference = check(module, loaded.prompt)
        assert difference <= TOLERANCE[module.dtype], (
            f"the bare loop is off by {difference:.2g} in {dtype}"
        )
        return loaded

    # Each of these gives (tokens drawn, seconds).

    def bare(self, particles: int, tokens: int, seed: int) -> tuple[int, float]:
        limit = Bare(self.module, particles, len(self.prompt) + tokens)
        limit.prefill(self.prompt)
        ids = torch.randint(
            100, 40_000, (tokens, particles), generator=torch.Generator().manual_seed(seed)
        )
        limit.step(ids[0])
        limit.length -= 1  # the first step was to warm up
        began = self.clock()
        for column in ids:
            limit.step(column)
        return particles * tokens, self.clock() - began

    def fkdsl(self, particles: int, tokens: int, seed: int) -> tuple[int, float]:
        drawn = Drawn()
        began = self.clock()
        program = fkdsl.parse(PROGRAM)(max_tokens=tokens)
        # A model, and not an engine: the run makes a CachedTransformer of its own.
        self._run(program, particles, seed, drawn)
        return drawn.tokens, self.clock() - began

    def _run(self, program: Any, particles: int, seed: int, observer: Any) -> None:
        options = {"particles": particles, "seed": seed, "observer": observer}
        program.run("smc", model=self.model, lookahead="none", **options)

    def steps(self, particles: int, tokens: int, seed: int) -> list[tuple[float, float]]:
        """(seconds of a step of bare, of the step of fkdsl that follows it), for each but the
        first of a run: what else the machine does weighs on both alike."""
        limit = Bare(self.module, particles, len(self.prompt) + tokens + 2)
        limit.prefill(self.prompt)
        ids, times = torch.full((particles,), self.prompt[-1]), list[tuple[float, ...]]()

        def observe(step: Step[Any]) -> None:
            ended = self.clock()
            limit.step(ids)
            times.append((ended, self.clock()))

        program = fkdsl.parse(PROGRAM)(max_tokens=tokens)
        self._run(program, particles, seed, observe)
        pairs = list(pairwise(times))[1:]
        return [(there - end, ended - there) for (end, there), (ended, _) in pairs]

    def generate(self, particles: int, tokens: int, seed: int) -> tuple[int, float]:
        torch.manual_seed(seed)
        ids = torch.tensor([self.prompt] * particles)
        began = self.clock()
        with torch.inference_mode():
            made = self.module.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
            )
        seconds = self.clock() - began
        assert made.shape[1] == ids.shape[1] + tokens
        return particles * tokens, seconds


@dataclass
class Figures:
    """Rates by (system, particles, dtype), and what is to be said beneath the table."""

    rates: dict[tuple[str, int, str], float] = field(default_factory=dict)
    steps: dict[tuple[int, str], tuple[float, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def rows(
        self, args: argparse.Namespace, cell: Callable[[int, str], list[str]]
    ) -> list[list[str]]:
        return [[str(n), dtype, *cell(n, dtype)] for dtype in args.dtypes for n in args.particles]

    def rate_cells(self, systems: Sequence[str]) -> Callable[[int, str], list[str]]:
        def cells(n: int, dtype: str) -> list[str]:
            return [
                f"{r:.0f}" if (r := self.rates.get((s, n, dtype))) is not None else "-"
                for s in systems
            ]

        return cells

    def step_cells(self, n: int, dtype: str) -> list[str]:
        bare, ours = self.steps[n, dtype]
        return [f"{1000 * bare:.1f}", f"{1000 * ours:.1f}", f"{bare / ours:.2f}"]

    def ratio_cells(self, systems: Sequence[str]) -> Callable[[int, str], list[str]]:
        def cells(n: int, dtype: str) -> list[str]:
            ours, found = self.rates.get(("fkdsl", n, dtype)), []
            for system in systems:
                theirs = self.rates.get((system, n, dtype))
                found.append(f"{ours / theirs:.2f}" if ours is not None and theirs else "-")
            return found

        return cells


def measure_here(
    figures: Figures, loaded: Loaded, n: int, dtype: str, args: argparse.Namespace
) -> None:
    """The systems of this process, taking turns."""
    systems = [getattr(loaded, s) for s in args.systems if s not in PEERS]
    for run in systems:
        run(min(n, 4), 3, 0)
    found: dict[str, list[float]] = {run.__name__: [] for run in systems}
    for repeat in range(args.repeats):
        for run in systems:
            drawn, seconds = run(n, args.tokens, repeat)
            found[run.__name__].append(drawn / seconds)
    for system, rates in found.items():
        figures.rates[system, n, dtype] = statistics.median(rates)
    pairs = [loaded.steps(n, args.tokens, repeat) for repeat in range(args.repeats)]
    bare, ours = (statistics.median(s) for s in zip(*chain.from_iterable(pairs), strict=True))
    figures.steps[n, dtype] = (bare, ours)


def measure_peer(
    figures: Figures, peer: str, python: Path, n: int, dtype: str, args: argparse.Namespace
) -> None:
    """One run of a peer; where it fails, why."""
    folder = model_info("smollm2").folder
    try:
        answer = measure(
            peer,
            python,
            args.timeout,
            model=folder,
            particles=n,
            dtype=dtype,
            tokens=args.tokens,
            threads=args.threads,
        )
    except PeerFailed as error:
        figures.note(f"{COLUMNS[peer]} has no figure at {n} in {dtype}: {error}")
        return
    figures.note(answer["version"])
    if (drawn := answer.get("drawn")) not in (None, n * args.tokens):
        figures.note(f"{COLUMNS[peer]} at {n} in {dtype} drew {drawn} tokens of {n * args.tokens}")
    if "rates" in answer:  # its formats are its own: one figure for every dtype
        figures.rates.update({(peer, n, d): answer["rate"] for d in args.dtypes})
        rates = ", ".join(f"{name} {rate:.0f}" for name, rate in answer["rates"].items())
        figures.note(
            f"{COLUMNS[peer]} at {n}: {rates}; with its own sampling at most "
            f"{answer['sampled']:.0f}"
        )
    else:
        figures.rates[peer, n, dtype] = answer["rate"]


def environments(args: argparse.Namespace, figures: Figures) -> dict[str, Path]:
    """The interpreters of the peers that can be had."""
    found: dict[str, Path] = {}
    for peer in (s for s in args.systems if s in PEERS):
        try:
            found[peer] = ready(peer, args.peers_dir)
        except PeerFailed as error:
            figures.note(f"{COLUMNS[peer]} cannot be installed here: {error}")
    return found


def options() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fkdsl" / "peers"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--particles", default="8,16,32,64")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", default="llamppl,genlm,generate,llamacpp", help="'' for none")
    parser.add_argument("--peers-dir", type=Path, default=cache)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--timeout", type=float, default=900, help="seconds for one run of one peer"
    )
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    args.particles = [int(n) for n in args.particles.split(",")]
    args.dtypes = args.dtypes.split(",")
    wanted = [p for p in args.peers.split(",") if p]
    if unknown := [p for p in wanted if p not in (*PEERS, "generate")]:
        parser.error(f"no peer is called {', '.join(unknown)}")
    args.systems = [s for s in COLUMNS if s in ("bare", "fkdsl", *wanted)]
    return args


def main() -> None:
    args = options()
    torch.set_num_threads(args.threads)
    load, figures = os.getloadavg()[0], Figures()
    pythons = environments(args, figures)
    for i, dtype in enumerate(args.dtypes):
        loaded = Loaded.of(dtype, CLOCKS["processor" if args.processor_time else "wall"])
        for n in args.particles:
            print(f"{dtype}, {n} particles", file=sys.stderr, flush=True)
            measure_here(figures, loaded, n, dtype, args)
            for peer, python in pythons.items():
                if i == 0 or peer != "llamacpp":
                    measure_peer(figures, peer, python, n, dtype, args)
    others = [s for s in args.systems if s != "fkdsl"]
    second = "processor second" if args.processor_time else "second"
    print(
        f"particle-tokens a {second}, {args.tokens} tokens, median of {args.repeats} (peers: one "
        "run)\n"
    )
    print(table(["N", "dtype", *(COLUMNS[s] for s in args.systems)],
                figures.rows(args, figures.rate_cells(args.systems)), args.markdown))  # fmt: skip
    print("\nfkdsl's rate as a multiple of theirs\n")
    print(table(["N", "dtype", *(f"fkdsl/{COLUMNS[s]}" for s in others)],
                figures.rows(args, figures.ratio_cells(others)), args.markdown))  # fmt: skip
    print("\na step alone, both in turns, medians, ms\n")
    print(table(["N", "dtype", "bare", "fkdsl", "bare/fkdsl"],
                figures.rows(args, figures.step_cells), args.markdown))  # fmt: skip
    print()
    for line in [f"{machine(args.threads)}; load before the run {load:.1f}", *figures.notes]:
        print(f"- {line}" if args.markdown else line)


if __name__ == "__main__":
    main()
