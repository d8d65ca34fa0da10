"""Texts of schemas and grammars within a budget of tokens: no particle goes where too few tokens
are left, and the measure is that of the program without the optimiser, exactly."""

import json
import math

import pytest

import fkdsl
from fkdsl.engine.constraints.completion_bounds import CompletionBounds
from fkdsl.inference.samplers.smc import importance
from fkdsl.testing import assert_unbiased
from fkdsl.testing.laws import assert_same_masses, exact_measure


def table(likely):
    """A table in which each token is likely after some, and any may come after each."""
    tokens = [*dict.fromkeys(t for row in likely.values() for t in row)]
    lines = []
    for last, row in likely.items():
        shares = ", ".join(
            f"{json.dumps(t) if t else 'EOS'}: {(8 * row.get(t, 0) + 1) / (8 + len(tokens))}"
            for t in tokens
        )
        lines.append(f"    {json.dumps(last)} -> {shares}")
    return "\n".join(["model m = table:", *lines])


LISTS = table(
    {
        "": {"[": 0.5, "[[": 0.3, "a": 0.2},
        "[": {"[": 0.7, "a": 0.3},
        "a": {",": 0.7, ",[": 0.1, "]": 0.1, "]]": 0.05, "": 0.05},
        ",": {"a": 0.6, "[": 0.4},
        "]": {",": 0.6, "]": 0.3, "": 0.1},
    }
)
GRAMMAR = 'start: list\nlist: "[" (item ("," item)*)? "]"\nitem: "a" | list'
RECORDS = table(
    {
        "": {"{": 1},
        "{": {'"x":': 0.9, "}": 0.1},
        ":": {"1": 0.5, "[": 0.5},
        "1": {"1": 0.7, ",": 0.3},
        "[": {"1": 0.5, "[": 0.5},
        ",": {"1": 0.5, '"y":': 0.5},
        "]": {"]": 0.2, "]}": 0.1, ",": 0.7},
        "}": {"": 1},
    }
)
NESTED = {"$defs": {"l": {"type": "array", "items": {"$ref": "#/$defs/v"}},
                    "v": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/l"}]}},
          "type": "object", "properties": {"x": {"$ref": "#/$defs/v"}, "y": {"const": 1}},
          "required": ["x"], "additionalProperties": False}  # fmt: skip
CASES = {
    "a recursive grammar": (LISTS, f"parses(s, {json.dumps(GRAMMAR)})"),
    "a recursive schema": (RECORDS, f"valid_json(s, {json.dumps(json.dumps(NESTED))})"),
    "any JSON": (RECORDS, "valid_json(s)"),
    "one of two": (
        LISTS,
        f"parses(s, {json.dumps(GRAMMAR)}) or valid_json(s, '{{\"const\": 12}}')",
    ),
}


def program_of(case, tokens, until=""):
    model, condition = CASES[case]
    return fkdsl.parse(
        f'{model}\nprogram p() -> str:\n    lm = prompt("")\n'
        f"    s ~ text(lm, until={json.dumps(until)}, max_tokens={tokens})\n"
        f"    condition {condition}\n    return s\n"
    )


@pytest.mark.parametrize("tokens", [3])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("until", ["", "]]"])
def test_the_measure_is_that_without_the_optimiser(case, tokens, until):
    program = program_of(case, tokens, until)
    try:
        expected = exact_measure(program.without().feynman_kac())
    except fkdsl.PopulationDied:
        expected = {}
    try:
        found = exact_measure(program.feynman_kac())
    except fkdsl.PopulationDied:
        found = {}
    assert_same_masses(found, expected)


@pytest.mark.parametrize("case", ["a recursive grammar", "a recursive schema"])
def test_no_particle_dies_of_its_budget(case):
    """Of 64 particles; more than half die where the last token alone is looked ahead to."""
    program, alive = program_of(case, 6), []
    program.run("importance", particles=64, observer=lambda step: alive.append(step.alive))
    assert alive[-1] == 64
    blind = []
    program.without("lookahead", "fuse").run(
        "importance", particles=64, observer=lambda step: blind.append(step.alive)
    )
    assert blind[-1] < 32


def test_weights_are_unbiased_where_the_budget_binds():
    program = program_of("a recursive grammar", 3)
    model = program.feynman_kac()
    assert_unbiased(program, lambda rng: importance(model, rng, 1))


def test_a_budget_that_is_off_by_one_is_seen_in_z(monkeypatch):
    program = program_of("a recursive grammar", 3)
    z = math.fsum(exact_measure(program.without().feynman_kac()).values())
    honest = CompletionBounds.mask
    monkeypatch.setattr(CompletionBounds, "mask", lambda self, ids, n: honest(self, ids, n - 1))
    assert math.fsum(exact_measure(program.feynman_kac()).values()) < 0.9 * z
