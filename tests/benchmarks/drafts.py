"""Drafts against plain decoding, in one run: forwards, tokens a round, time, and what weighing
costs in variance.

    python tests/benchmarks/drafts.py [--particles 1,4,16] [--repeats 3] [--runs 20]
        [--parts sample,weigh] [--texts plays,short,...] [--threads K] [--markdown]

    sample   plain and drafted runs of the same programs with the same seeds, in turn; N particles,
             no resampling. tokens a round: drawn / blocks verified, of block + 1 at most. forwards:
             plain / drafted. time: plain / drafted, medians of the repeats; above 1 the draft is
             ahead
    weigh    sd of log Z over runs with seeds 0, 1, ... of smc with 16 particles, plain, and drafted
             by heads with verify="weigh"; and forwards a run

Texts: `plays` is tiny's own kind of text, `short` the same with words of five letters at most, by
tiny and by `wide`: a model of tiny's law with 145 million parameters (wide.py), whose forward is
bound by memory as a large model's is. `list` repeats a list that stands in the prompt, `refrain` a
line that stands in it eight times, by smollm2. It asserts nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import machine, table
from wide import widened

import fkdsl
from fkdsl.api.engines import Engines
from fkdsl.inference.result import Result

PLAYS = """model "tiny"
program plays(n: int = 200) -> str:
    lm = prompt("ROMEO:\\n")
    while lm.tokens < n:
        t ~ lm
        condition t != EOS
    return lm.text
"""
SHORT = PLAYS.replace(
    "condition t != EOS", "condition t != EOS and all(letters(w) <= 5 for w in words(lm.text))"
)
REFRAIN = """model "smollm2"
program refrain(n: int = 64) -> str:
    lm = prompt(join(["Row, row, row your boat, gently down the stream." for i in range(8)], "\\n"))
    while lm.tokens < n:
        t ~ lm
        condition t != EOS
    return lm.text
"""
LIST = """model "smollm2"
program list(n: int = 64) -> str:
    lm = prompt("Fruit: apple, banana, cherry, grape, lemon, mango, orange, papaya, peach, pear, " +
        "plum, quince.\\n" +
        "The same list again, word by word: Fruit: apple, banana,")
    while lm.tokens < n:
        t ~ lm
        condition t != EOS
    return lm.text
"""
TIMES, LAYERS = 6, 17
"""Of the wide model."""
CASES: list[tuple[str, str, str, str, int]] = [
    ("plays", PLAYS, "tiny", "heads", 3),
    ("plays", PLAYS, "tiny", "ngram", 3),
    ("short", SHORT, "tiny", "heads", 3),
    ("plays", PLAYS, "wide", "heads", 3),
    ("short", SHORT, "wide", "heads", 3),
    ("list", LIST, "smollm2", "ngram", 4),
    ("refrain", REFRAIN, "smollm2", "ngram", 7),
]


def loaded(program: Any, dtype: str) -> Engines:
    """The program's engines, its model in memory: those that `fresh` makes of them load nothing."""
    engines: Engines = program.engines(dtype=dtype)
    assert engines[""]
    return engines


def timed(
    program: Any, engines: Engines, particles: int, seed: int, **options: Any
) -> tuple[float, Result]:
    began = time.perf_counter()
    result = program.run(
        "importance", particles=particles, engines=engines.fresh(), seed=seed, **options
    )
    return time.perf_counter() - began, result


def sample(
    particles: list[int], repeats: int, texts: list[str], dtypes: dict[str, list[str]], folder: Path
) -> list[list[str]]:
    """A row for each case, precision and number of particles."""
    rows = []
    for name, text, model, draft, block in CASES:
        if name not in texts:
            continue
        if model == "wide":
            text = text.replace('"tiny"', f'"{widened(folder, TIMES, LAYERS)}"')
        for dtype in dtypes[model]:
            program = fkdsl.parse(text)
            engines = loaded(program, dtype)
            for N in particles:
                plain, drafted = [], []
                for seed in range(-1, repeats):
                    a = timed(program, engines, N, seed + 1)
                    b = timed(program, engines, N, seed + 1, draft=draft, block=block)
                    if seed >= 0:  # the first warms up
                        plain.append(a)
                        drafted.append(b)
                counts = [r.drafts for _, r in drafted]
                rate = sum(c["tokens"] for c in counts if c) / max(
                    1, sum(c["rounds"] for c in counts if c)
                )
                forwards = sum(r.model_calls for _, r in plain) / sum(
                    r.model_calls for _, r in drafted
                )
                ratio = statistics.median(t for t, _ in plain) / statistics.median(
                    t for t, _ in drafted
                )
                rows.append(
                    [
                        name,
                        model,
                        dtype,
                        f"{draft}, {block}",
                        str(N),
                        f"{rate:.2f}",
                        f"{forwards:.2f}",
                        f"{ratio:.2f}",
                    ]
                )
                print("  ".join(rows[-1]), flush=True)
    return rows


def weigh(runs: int) -> list[list[str]]:
    """A row for plain smc, and for each length of block."""
    rows = []
    program = fkdsl.parse(SHORT)(n=60)
    for label, options in [("none", {})] + [
        (f"heads, {k}", {"draft": "heads", "block": k, "verify": "weigh"}) for k in (1, 2, 3)
    ]:
        engines = loaded(program, "float32")
        found = [
            program.run("smc", particles=16, engines=engines.fresh(), seed=s, **options)
            for s in range(runs)
        ]
        log_z = np.array([r.log_z for r in found])
        mean = float(np.logaddexp.reduce(log_z) - np.log(runs))
        calls = statistics.mean(r.model_calls for r in found)
        rows.append([label, f"{calls:.1f}", f"{log_z.std(ddof=1):.2f}", f"{mean:.2f}"])
        print("  ".join(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--particles", default="1,4,16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--parts", default="sample,weigh")
    parser.add_argument("--texts", default=",".join(dict.fromkeys(case[0] for case in CASES)))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    parts = args.parts.split(",")
    particles = [int(n) for n in args.particles.split(",")]
    if "sample" in parts:
        dtypes = {
            "tiny": ["float32"],
            "wide": ["float32", "bfloat16"],
            "smollm2": ["float32", "bfloat16"],
        }
        with tempfile.TemporaryDirectory() as folder:
            rows = sample(particles, args.repeats, args.texts.split(","), dtypes, Path(folder))
        names = [
            "text",
            "model",
            "dtype",
            "draft, block",
            "N",
            "tokens a round",
            "forwards",
            "time",
        ]
        print(table(names, rows, args.markdown))
    if "weigh" in parts:
        print(
            table(
                ["draft, block", "forwards", "sd of log Z", "log mean Z"],
                weigh(args.runs),
                args.markdown,
            )
        )
    print(machine(args.threads))


if __name__ == "__main__":
    main()
