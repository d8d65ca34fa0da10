"""Holds fkdsl to the reference on drawn programs, and shrinks a program on which they disagree.

python -m tests.reference.comparing --programs 2000 --seed 0     in the background, for as long as
one likes
"""

import argparse
import copy
import math
import sys
import time
from random import Random

import numpy as np

import fkdsl
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.smc import importance
from fkdsl.inference.search.exact import exact
from fkdsl.models.interface import ForwardResult
from fkdsl.models.table import TableModel, TableSegment
from fkdsl.models.vocabulary import Vocabulary
from tests.reference.drawing import Drawing
from tests.reference.language_models import Mistake
from tests.reference.semantics import TooMany, key, measure

PATHS = 300
"""Paths of a program at most: more take long, and show little more."""
TOLERANCE = 1e-12


class Given:
    """The reference's table as fkdsl takes a language model: forward gives its rows."""

    name, allows_empty, max_length = "given", True, None

    def __init__(self, table):
        self.table, self.vocabulary = table, Vocabulary(table.tokens, table.ends)

    def encode(self, text):
        return self.table.encode(text)

    start = encode
    describe = TableModel.describe

    def forward(self, rows):
        answers = []
        for row in rows:
            raw = (
                b""
                if row.past is None
                else row.past.segment.text[: row.past.segment.ends[row.past.stop - 1]]
            )
            found, ends = [] if row.tokens else [self.row(raw)], []
            for i, token in enumerate(row.tokens):
                raw += self.vocabulary.tokens[token]
                ends.append(len(raw))
                found += [self.row(raw)] if i in row.wanted else []
            stacked = np.stack(found) if found else np.zeros((0, self.vocabulary.size))
            answers.append(ForwardResult(stacked, TableSegment(raw, tuple(ends))))
        return answers

    def row(self, raw):
        found = np.full(self.vocabulary.size, -np.inf)
        for i, p in self.table.row_after(raw).items():
            found[i] = math.log(p)
        return found


class Contradiction(Exception):
    """Conditions that no text satisfies."""


def steering(program):
    """(how, its Feynman-Kac model) for the program as the optimiser has it, and as it is
    written."""
    given = Given(program.given) if program.given is not None else None
    loaded = fkdsl.parse(program.lines())
    yield "optimised", loaded.feynman_kac(given)
    yield "as written", loaded.without().feynman_kac(given)


def by_exact(model):
    *_, last = exact(model)
    found = {}
    for x, w in zip(last.states, last.log_weights, strict=True):
        k = key(model.value(x))
        found[k] = found.get(k, 0.0) + math.exp(w)
    return found


def difference(a, b):
    """The largest difference of a mass, and of Z, in units of Z or 1."""
    scale = max(1.0, math.fsum(a.values()), math.fsum(b.values()))
    return max((abs(a.get(k, 0.0) - b.get(k, 0.0)) / scale for k in {**a, **b}), default=0.0)


def disagreement(program, sampled=False):
    """None where fkdsl and the reference agree, or where the program is none worth comparing; else
    what differs."""
    try:
        truth = measure(program, PATHS)
    except (Mistake, TooMany) as why:
        return type(why)
    try:
        for how, model in steering(program):
            found = by_exact(model)
            if not difference(truth, found) <= TOLERANCE:
                return f"{how}: {shown(truth, found)}"
            if sampled and how == "optimised":
                found = expected_by_key(model)
                if not difference(truth, found) <= 100 * TOLERANCE:
                    return f"{how}, by importance: {shown(truth, found)}"
    except fkdsl.ProgramError as error:
        if not truth and all(d.code == "FK502" for d in error.diagnostics):
            return Contradiction  # Z is 0, and that is told before anything runs
        return f"a mistake: {error}"
    return None


def expected_by_key(model):
    """E[sum w 1{value}] of one particle drawn by importance, over every outcome of its
    randomness."""
    found = {}
    for p, steps in enumerate_outcomes(lambda rng: list(importance(model, rng, 1))):
        for particle, w in zip(steps[-1].particles, steps[-1].log_weights, strict=True):
            if w > -math.inf:
                k = key(model.value(particle.state))
                found[k] = found.get(k, 0.0) + p * math.exp(w)
    return found


def shown(truth, found):
    keys = sorted({**truth, **found}, key=lambda k: -abs(truth.get(k, 0.0) - found.get(k, 0.0)))
    rows = [
        f"  {k}: reference {truth.get(k, 0.0):.6g}, fkdsl {found.get(k, 0.0):.6g}" for k in keys[:5]
    ]
    return "\n".join(
        [f"Z {math.fsum(truth.values()):.9g} and {math.fsum(found.values()):.9g}", *rows]
    )


def drawn(seed):
    return Drawing(Random(seed)).program()


def smaller(program, fails):
    """The program with every statement taken out that the disagreement does not need."""
    changed = True
    while changed:
        changed = False
        for at in range(sum(1 for _ in program.blocks())):
            line = 0
            while (
                line < len(list(program.blocks())[at])
                if at < len(list(program.blocks()))
                else False
            ):
                twin = copy.deepcopy(program)
                del list(twin.blocks())[at][line]
                try:
                    worse = fails(twin)
                except Exception:
                    worse = False
                if worse:
                    program, changed = twin, True
                else:
                    line += 1
    return program


def is_disagreement(found):
    return isinstance(found, str)


def of_kind(found):
    """Whether a program disagrees in the same way."""
    return lambda program: str(disagreement(program)).split(":")[0] == found.split(":")[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf)
    args = parser.parse_args()
    began, counts = time.monotonic(), {}
    for seed in range(args.seed, args.seed + args.programs):
        if time.monotonic() - began > args.seconds:
            break
        program = drawn(seed)
        try:
            found = disagreement(program, sampled=seed % 20 == 0)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        kind = (
            "differs" if is_disagreement(found) else "agrees" if found is None else found.__name__
        )
        counts[kind] = counts.get(kind, 0) + 1
        if is_disagreement(found):
            program = smaller(program, of_kind(found))
            print(
                f"--- seed {seed}: {disagreement(program) or found}\n{program.lines()}", flush=True
            )
    print(seed, counts, f"{time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
