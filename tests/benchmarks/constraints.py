"""What constraints cost: time outside the model with them and without, as a share of the model's
own time.

    python tests/benchmarks/constraints.py [--particles 16] [--repeats 3]

Every row is the same text of at most 32 tokens after the same prompt, under other conditions; each
run begins with an empty cache, and the median of the repeats is printed. `first` is what is paid
once for each program and vocabulary (masks, automata), in the first run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import fkdsl
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.registry import load_model

LOOP = "    while not lm.done and lm.tokens < 32:\n        t ~ lm\n{body}    return lm.text\n"
TEXT = '    s ~ text(lm, until="\\n", max_tokens=32)\n{body}    return s\n'
SCHEMA = (
    '{"type": "object", "properties": {"town": {"enum": ["Rome", "Oslo", "Lima"]}, "born": '
    '{"type": "integer", '
    '"minimum": 1900, "maximum": 2020}}, "required": ["town", "born"], "additionalProperties": '
    "false}"
)
GRAMMAR = r"start: word (\", \" word)* \".\"\nword: /[A-Za-z]+( [a-z]+)*/\n"
ROWS = {
    "none, in a loop": (LOOP, ""),
    "token: a mask": (LOOP, '        condition not contains(lower(t), "q")\n'),
    "text: an automaton": (
        LOOP,
        "        condition all(letters(w) <= 7 for w in words(lm.text))\n",
    ),
    "text: trials": (LOOP, "        condition all(syllables(w) <= 2 for w in words(lm.text))\n"),
    "none, by text()": (TEXT, ""),
    "pattern": (TEXT, '    condition matches(s, r"[A-Z][a-z]+( [a-z]+)*\\.")\n'),
    "date": (TEXT, '    condition matches(s, r"[12]\\d{3}-[01]\\d-[0-3]\\d")\n'),
    "schema": (TEXT, f"    condition valid_json(s, {SCHEMA!r})\n"),
    "grammar": (TEXT, f'    condition parses(s, "{GRAMMAR}")\n'),
    "words, early": (TEXT, "    condition len(words(s)) <= 12\n"),
    "pattern and words": (
        TEXT,
        '    condition matches(s, r"[A-Z][a-z ]+\\.")\n    condition len(words(s)) <= 9\n',
    ),
}


class Watched:
    """A model whose forwards are timed."""

    def __init__(self, model: Any) -> None:
        self._model, self.seconds = model, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def forward(self, rows: Any) -> Any:
        began = time.perf_counter()
        answers = self._model.forward(rows)
        self.seconds += time.perf_counter() - began
        return answers


def measure(program: Any, model: Any, particles: int, seed: int) -> tuple[float, float, Any]:
    """(seconds in the model, seconds outside, the result) of a run with an empty cache."""
    watched = Watched(model)
    engine = CachedTransformer(watched)  # type: ignore[arg-type]
    began = time.perf_counter()
    result = program.run("smc", model=engine, particles=particles, seed=seed)
    return watched.seconds, time.perf_counter() - began - watched.seconds, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    model = load_model("smollm2")
    names = ("tokens", "model", "outside", "share", "extra", "first", "alive")
    print(
        f"{'condition':20} "
        + " ".join(f"{n:>{w}}" for n, w in zip(names, (6, 8, 8, 6, 6, 8, 7), strict=True))
    )
    usual: dict[str, float] = {}
    for name, (frame, body) in ROWS.items():
        text = (
            'model "smollm2"\nprogram p() -> str:\n    lm = prompt("The story begins: ")\n'
            f"{frame.format(body=body)}"
        )
        program = fkdsl.parse(text)
        _, first, _ = measure(program, model, args.particles, 100)
        runs = [measure(program, model, args.particles, seed) for seed in range(args.repeats)]
        inside = statistics.median(r[0] for r in runs)
        outside = statistics.median(r[1] for r in runs)
        per_step = statistics.median(r[1] / r[2].steps for r in runs)
        usual.setdefault(frame, per_step)
        steps = statistics.median(r[2].steps for r in runs)
        extra = (per_step - usual[frame]) * steps / inside
        alive = statistics.mean(len(r[2].particles) / args.particles for r in runs)
        tokens = statistics.median(r[2].forwarded_tokens for r in runs)
        print(
            f"{name:20} {tokens:6.0f} {inside:6.2f} s {outside:6.2f} s {outside / inside:6.1%} "
            f"{extra:6.1%} "
            f"{max(0.0, first - outside):6.2f} s {alive:6.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
