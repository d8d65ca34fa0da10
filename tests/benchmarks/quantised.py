"""Four and eight bits on a CPU: short_words by llama.cpp as fkdsl's engine, against llama.cpp alone
and fkdsl's own decoder.

    python tests/benchmarks/quantised.py [--particles 1,4,8,16,32,64] [--tokens 24,72] [--repeats 1]
        [--formats Q4_0,Q4_1,Q8_0,F32] [--own float32,bfloat16,int8,int4]
        [--part speed,steps,memory,closeness] [--same-memory] [--markdown]

speed: particle-tokens a second of processor time, so that other processes matter little. For each
format of the same weights

    bare        llama.cpp decodes N sequences, one given token each: no sampling, no row looked at
    sampled     the same, and its own sampler draws each token from the whole distribution
    fkdsl       the whole of a run with conditions, resampling and forks: PROGRAM of decoding.py

and fkdsl by its own decoder in each precision (int4 with the levels that were published). The
systems take turns, each with a short run and a longer one. The short one says what a user waits
for: all systems read the prompt and fork it, fkdsl its program too. The difference of both is what
a step costs, without all that. steps: one step of bare and one of sampled after each of fkdsl's, so
that what else the machine does weighs on all alike; milliseconds, medians. bare and sampled read
weights of their own there, as llama.cpp has loaded them; with --same-memory those of fkdsl's run,
which fkdsl has moved to huge pages. memory: the peak of a
process that loads a model and runs 16 particles, each in a process of its own. closeness: the
divergence (nats) of next-token distributions from those of the same weights in float32, token by
token, over texts that float32 drew.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from ctypes import c_bool, c_int32, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decoding import PROGRAM, PROMPT, Drawn
from gguf_formats import FORMATS, gguf_of
from precision import PROMPTS, normalised
from report import machine, table

import fkdsl
from fkdsl.base.random import KeyedRng
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.llamacpp.context import STEP, Context
from fkdsl.models.registry import load_model

MANY = 32
Run = Callable[[int, int], tuple[int, float]]
"""(length, seed) -> (tokens, processor seconds)."""


def loaded(name: str) -> Any:
    """The model of a format, by llama.cpp, or of a precision, by fkdsl's decoder."""
    if name in FORMATS:
        return load_model(str(gguf_of(name)), engine="llamacpp")
    return load_model("smollm2", dtype=name)


def run(model: Any, particles: int, tokens: int, seed: int) -> tuple[int, float]:
    """(tokens that particles drew, processor seconds) of a whole run."""
    drawn, began = Drawn(), time.process_time()
    program = fkdsl.parse(PROGRAM)(max_tokens=tokens)
    program.run(
        "smc", model=model, particles=particles, seed=seed, observer=drawn, lookahead="none"
    )
    return drawn.tokens, time.process_time() - began


class Alone:
    """llama.cpp by itself, over N sequences that begin with the prompt."""

    def __init__(self, model: Any, particles: int) -> None:
        self.context = Context(model.context._library, model.context._model, model.vocabulary.size)
        self.library, self.n = model.context._library, particles
        self.prompt = model.start(PROMPT)
        dll = self.library.dll
        for name in ("chain_init", "init_dist"):
            getattr(dll, f"llama_sampler_{name}").restype = c_void_p
        dll.llama_sampler_sample.argtypes = (c_void_p, c_void_p, c_int32)
        dll.llama_sampler_chain_add.argtypes = (c_void_p, c_void_p)
        dll.llama_sampler_chain_init.argtypes = (c_bool,)
        self.sampler = dll.llama_sampler_chain_init(True)
        dll.llama_sampler_chain_add(self.sampler, dll.llama_sampler_init_dist(0))

    def run(self, tokens: int, samples: bool) -> tuple[int, float]:
        """(tokens, processor seconds) from the prompt on; the room for it is there before."""
        self.make_room(tokens)
        began = time.process_time()
        self.begin()
        for _ in range(tokens - 1):
            self.step(samples)
        return self.n * tokens, time.process_time() - began

    def make_room(self, tokens: int) -> None:
        """For so many tokens behind the prompt; the sequences are empty afterwards."""
        length = -(-(len(self.prompt) + tokens + 1) // STEP) * STEP
        if self.context.length < length:
            self.context.fit(self.n, length, torch.get_num_threads())
        self.library.memory_clear(self.library.get_memory(self.context._pointer), False)

    def begin(self) -> None:
        """Reads the prompt, and forks it."""
        self.at, self.rng = len(self.prompt), np.random.default_rng(0)
        self.context.decode([(0, 0, self.prompt, (self.at - 1,))], torch.get_num_threads())
        self.context.copy(0, range(1, self.n))
        self.column: Any = self.rng.integers(100, 40_000, self.n)

    def step(self, samples: bool) -> None:
        """One more token in each sequence, and the next ones: sampled, or any."""
        self._decode(self.at, self.column)
        self.at += 1
        sample = self.library.dll.llama_sampler_sample
        if samples:
            pointer = self.context._pointer
            self.column = [sample(self.sampler, pointer, i) for i in range(self.n)]
        else:
            self.column = self.rng.integers(100, 40_000, self.n)

    def _decode(self, at: int, column: Any) -> None:
        batch = self.context._batch
        batch.fill([(i, at, (int(token),), (0,)) for i, token in enumerate(column)])
        assert not self.library.decode(self.context._pointer, batch.batch)
        self.library.get_logits(self.context._pointer)


def speed(args: argparse.Namespace) -> None:
    """Each system's run to both lengths, in turns; the medians of their times."""
    found: dict[tuple[str, int], list[list[tuple[int, float]]]] = {}
    names: list[str] = []
    for name in (*args.formats, *args.own):
        model = loaded(name)
        for n in args.particles:
            lengths = [k if n < MANY else k // 2 for k in args.tokens]
            systems: dict[str, Run] = {name: lambda k, s, m=model, n=n: run(m, n, k, s)}
            if name in FORMATS:
                alone = Alone(model, n)
                systems[f"{name} bare"] = lambda k, s, a=alone: a.run(k, False)
                systems[f"{name} sampled"] = lambda k, s, a=alone: a.run(k, True)
            for measure in systems.values():
                measure(lengths[1], 0)  # room for all that follows
            for seed in range(args.repeats):
                for system, measure in systems.items():
                    runs = [measure(k, seed) for k in lengths]
                    found.setdefault((system, n), []).append(runs)
            names = list(dict.fromkeys([*names, *systems]))
            said = {s: [f"{r:.0f}" for r in rates(found[s, n])] for s in systems}
            print(name, n, said, f"load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    short, long = args.tokens
    for i, title in enumerate(
        (
            f"whole runs of {short} tokens, their prompt counted in all systems",
            f"from token {short} to token {long}",
        )
    ):
        print(f"\nparticle-tokens a second of processor time: {title} (half from {MANY} on)\n")
        rate = {key: rates(value)[i] for key, value in found.items()}
        heads = [f"N={n}" for n in args.particles]
        cells = [[system, *(f"{rate[system, n]:.0f}" for n in args.particles)] for system in names]
        print(table(["fkdsl on", *heads], cells, args.markdown))
        ratios = [
            [
                f"{kind} / {other}",
                *(f"{rate[kind, n] / rate[f'{kind} {other}', n]:.2f}" for n in args.particles),
            ]
            for kind in args.formats
            for other in ("bare", "sampled")
        ]
        print("\n" + table(["ratio", *heads], ratios, args.markdown))


def steps(args: argparse.Namespace) -> None:
    """A step of each system in turns."""
    tokens, rows = args.tokens[-1], []
    for name in args.formats:
        model = loaded(name)
        theirs = model if args.same_memory else loaded(name)
        for n in args.particles:
            alone = Alone(theirs, n), Alone(theirs, n)
            times: list[list[float]] = [[], [], []]
            run(model, n, tokens, 0)  # room for all that follows
            for seed in range(args.repeats):
                for one in alone:
                    one.make_room(tokens)
                    one.begin()
                began: list[float] = []

                def observe(_: Any, alone: Any = alone, times: Any = times, b: Any = began) -> None:
                    if b:
                        times[0].append(time.process_time() - b.pop())
                        for of, (one, samples) in zip(
                            times[1:], zip(alone, (False, True), strict=True), strict=True
                        ):
                            start = time.process_time()
                            one.step(samples)
                            of.append(time.process_time() - start)
                    b.append(time.process_time())

                program = fkdsl.parse(PROGRAM)(max_tokens=tokens)
                options = {"particles": n, "seed": seed, "observer": observe}
                program.run("smc", model=model, lookahead="none", **options)
            own, bare, sampled = map(statistics.median, times)
            cells = [f"{1000 * x:.2f}" for x in (own, bare, sampled)]
            rows.append([name, f"{n}", *cells, f"{bare / own:.2f}", f"{sampled / own:.2f}"])
    heads = ["format", "N", "fkdsl", "bare", "sampled", "bare / fkdsl", "sampled / fkdsl"]
    print("\nmilliseconds of processor time a step, in turns\n")
    print(table(heads, rows, args.markdown))


def rates(repeats: list[list[tuple[int, float]]]) -> tuple[float, float]:
    """Tokens a second of a short run, and between its length and a longer one's."""
    (drawn, spent), (more, longer) = (
        [statistics.median(x) for x in zip(*runs, strict=True)]
        for runs in zip(*repeats, strict=True)
    )
    return drawn / spent, (more - drawn) / (longer - spent)


def memory(args: argparse.Namespace) -> None:
    rows = []
    for name in (*args.formats, *args.own):
        command = [sys.executable, __file__, "--peak", name]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        after_imports, peak = map(int, answer.stdout.split()[-2:])
        rows.append([name, f"{peak}", f"{peak - after_imports}"])
    print("\nMB at most, of a process that loads a model and runs 16 particles\n")
    print(table(["model", "process", "beyond torch"], rows, args.markdown))


def peak(name: str) -> None:
    """Prints the process's peak (MB) once torch is there, and at the end."""
    before = _megabytes()
    run(loaded(name), 16, 24, 0)
    print(before, _megabytes())


def _megabytes() -> int:
    """Of this process alone: getrusage counts what its parent held when it began, too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def closeness(args: argparse.Namespace) -> None:
    reference = CachedTransformer(load_model("smollm2"))
    ends, truth = [], []
    for k, prompt in enumerate(PROMPTS):
        rng, context = KeyedRng(k), reference.start(prompt)
        for _ in range(args.tokens[0]):
            row = normalised(reference.log_probs([context])[0])
            truth.append(row)
            ends.append(context.tokens)
            context = reference.extend(context, (rng.choice(np.exp(row)),))
    rows = []
    for name in (*args.formats, *args.own):
        engine = CachedTransformer(loaded(name))
        contexts = [engine.extend(engine.root, ids) for ids in ends]
        found = [normalised(engine.log_probs([context])[0]) for context in contexts]
        pairs = list(zip(truth, found, strict=True))
        kl = [float((np.exp(p) * (p - q)).sum()) for p, q in pairs]
        apart = [float(np.abs(np.exp(p) - np.exp(q)).max()) for p, q in pairs]
        same = np.mean([p.argmax() == q.argmax() for p, q in pairs])
        cells = [f"{np.mean(kl):.1e}", f"{max(kl):.1e}", f"{max(apart):.1e}", f"{100 * same:.0f} %"]
        rows.append([name, *cells])
    print(f"\nfrom the same weights in float32, {len(ends)} contexts\n")
    print(table(["model", "mean KL", "max KL", "max |dp|", "same argmax"], rows, args.markdown))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--particles", default="1,4,8,16,32,64")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--own", default="float32,bfloat16,int8,int4")
    parser.add_argument("--tokens", default="24,72", help="two lengths")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--part", default="speed,memory,closeness")
    parser.add_argument("--same-memory", action="store_true", help="of the weights, in steps")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    if args.peak:
        peak(args.peak)
        return
    args.particles = [int(n) for n in args.particles.split(",")]
    args.tokens = [int(k) for k in args.tokens.split(",")]
    args.formats, args.own = ([x for x in s.split(",") if x] for s in (args.formats, args.own))
    load = os.getloadavg()[0]
    for part in args.part.split(","):
        {"speed": speed, "steps": steps, "memory": memory, "closeness": closeness}[part](args)
    print(f"\n{machine(torch.get_num_threads())}; load {load:.1f} to {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
