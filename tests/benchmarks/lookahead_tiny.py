"""What looking ahead saves on `tiny`, in schemas, grammars and loops: the error of log Z with it
and without (docs/lookahead.md).

    python tests/benchmarks/lookahead_tiny.py [--particles 8] [--seeds 12] [--only date,pattern]

Each row has for each way the runs with an answer, the error of log Z, which is the root mean square
of log Z_hat - log Z with log Z from all runs of the row and 5 nats for a run that died, and seconds
of processor time of a run.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from typing import Any

import fkdsl
from fkdsl.base.logspace import log_sum_exp

DIED = 5.0
"""Nats that a run that died is off by."""
RECORDS = '["rose", "thorn"]\n{"name": "Rosalind", "age": 20}\n'
SCENE = "KING:\nMy lord,\n\n"
NAME = {"type": "string", "pattern": "^[A-Z][a-z]{1,11}$"}
AGE = {"type": "integer", "minimum": 1, "maximum": 99}
WORD = {"type": "string", "pattern": "^[a-z]+$"}


def record(**properties: Any) -> dict[str, Any]:
    """The schema of an object of these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS: dict[str, tuple[Any, int]] = {
    "enum": ({"enum": ["rose", "tulip", "forget me not"]}, 20),
    "object": (record(name=NAME, age=AGE), 36),
    "array": ({"type": "array", "items": WORD, "minItems": 2, "maxItems": 4}, 30),
    "numbers": ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, 16),
    "date": (record(on={"type": "string", "format": "date"}), 24),
}
GRAMMARS = {
    "two words": ('start: "the " WORD " of " WORD ("," | ".")\nWORD: /[a-z]+/', 24),
    "speech": (
        'start: NAME ":" "\\n" WORD (" " WORD)* "."\nNAME: /[A-Z]+/\nWORD: /[a-z]+/',
        40,
    ),
}
LINE = r"([A-Z][a-z]*( [a-z]+)*[.,]\n)*([A-Z][a-z]*( [a-z]+)*([.,]\n?)?)?"
LOOPS = {
    "short words": ("all(letters(w) <= 3 for w in words(lm.text))", 48),
    "no e": ('not contains(lm.text, "e") and not contains(lm.text, "th")', 48),
    "four words": ("all(len(words(l)) <= 4 for l in lines(lm.text))", 60),
    "pattern": (f'matches(lm.text, r"{LINE}")', 48),
}
NAMES = (*SCHEMAS, *GRAMMARS, *LOOPS)


def program_of(name: str) -> Any:
    """The program of a row."""
    if name in LOOPS:
        condition, tokens = LOOPS[name]
        return fkdsl.parse(
            'model "tiny"\nprogram p() -> str:\n    lm = prompt("KING:\\n")\n'
            f"    for i in range({tokens}):\n        t ~ lm\n        if t == EOS:\n"
            f"            break\n        condition {condition}\n    return lm.text\n"
        )
    if name in SCHEMAS:
        schema, tokens = SCHEMAS[name]
        prompt, condition = RECORDS, f"valid_json(s, schema={json.dumps(json.dumps(schema))})"
    else:
        grammar, tokens = GRAMMARS[name]
        prompt, condition = SCENE, f"parses(s, grammar={json.dumps(grammar)})"
    return fkdsl.parse(
        f'model "tiny"\nprogram p() -> str:\n    lm = prompt({json.dumps(prompt)})\n'
        f'    s ~ text(lm, until="\\n\\n", max_tokens={tokens})\n    condition {condition}\n'
        "    return s\n"
    )


def estimates(program: Any, way: str, particles: int, seeds: int) -> tuple[list[float], float]:
    """(log Z of each run, -inf where it died; seconds of a run)."""
    found, began = [], time.process_time()
    for seed in range(seeds):
        try:
            found.append(program.run("smc", particles=particles, seed=seed, lookahead=way).log_z)
        except fkdsl.PopulationDied:
            found.append(-math.inf)
    return found, (time.process_time() - began) / seeds


def cell(found: Sequence[float], log_z: float, seconds: float) -> str:
    """The figures of a way."""
    off = [x - log_z if x > -math.inf else DIED for x in found]
    error = math.sqrt(statistics.fmean(d * d for d in off))
    return f"{sum(x > -math.inf for x in found):4} of {len(found):2} {error:7.2f} {seconds:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--only", default=",".join(NAMES), help="names of rows")
    args = parser.parse_args()
    print(f"{'':12} {'none: lived':>11} {'error':>7} {'sec':>6} {'both: lived':>12} {'error':>7}")
    for name in args.only.split(","):
        program = program_of(name)
        ways = [estimates(program, way, args.particles, args.seeds) for way in ("none", "both")]
        runs = [x for found, _ in ways for x in found]
        log_z = log_sum_exp(runs) - math.log(len(runs))
        cells = "  ".join(cell(found, log_z, seconds) for found, seconds in ways)
        print(f"{name:12} {cells}   log Z {log_z:.2f}", flush=True)


if __name__ == "__main__":
    main()
