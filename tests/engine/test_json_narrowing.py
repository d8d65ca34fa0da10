"""Tests of JSON values, joined by and and or, narrow a schema: of the texts that it has those that
pass are kept, whatever the tests are, and of values that are told apart no others."""

import json
import operator
import random
from functools import cache
from itertools import product
from unittest.mock import patch

import pytest

from fkdsl.engine.constraints import json_ranges
from fkdsl.engine.constraints.grammars import accepts_text
from fkdsl.engine.constraints.json_languages import JsonField, JsonItems, JsonNumbers
from fkdsl.engine.constraints.json_narrowing import is_impossible, narrowed_schema
from fkdsl.engine.constraints.languages import (
    Both,
    Complement,
    Contains,
    Either,
    JsonText,
    Length,
    Matches,
    item_count,
)

DEFINITIONS = {"$defs": {"n": {"type": "integer", "minimum": -1, "maximum": 3}}}
KINDS = {
    "t": {"type": "string", "maxLength": 3},
    "k": {"enum": ["x", "xy", 1, None]},
    "f": {"type": "boolean"},
    "n": {"$ref": "#/$defs/n"},
    "m": {"type": "integer", "minimum": 0, "maximum": 4},
    "q": {"type": "integer", "minimum": 0},
    "l": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
    "o": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "i": {"type": "array", "items": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}},
                                     "required": ["n"]}},
    "u": {"type": ["integer", "string"]},
}  # fmt: skip
VALUES = {
    "t": ["", "x", "xy", "y x"],
    "k": ["x", "xy", 1, None],
    "f": [True, False],
    "n": [-1, 0, 1, 3],
    "m": [0, 2, 3],
    "q": [0, 1, 2, 7],
    "l": [[], ["x"], ["xy", "x"], ["x", "y"]],
    "o": ["x", "", None],
    "i": [[], [{"n": 1}], [{"n": 0}, {"n": 3}]],
    "u": [0, 2, "x"],
}


def get(value, path):
    for step in path:
        if isinstance(step, str) != isinstance(value, dict):
            raise TypeError
        value = value[step]
    return value


LANGUAGES = {
    Matches("x+y?"): lambda s: s in ("x", "xy"),
    Complement(Contains("y")): lambda s: "y" not in s,
    item_count("words", 1, 1): lambda s: len(s.split()) == 1,
    Length(2, -1): lambda s: len(s) >= 2,
}


def holds(test, value):
    """The truth of a test, as the program has it. Raises where that raises an error."""
    match test:
        case Both(parts):
            return all(holds(part, value) for part in parts)
        case Either(parts):
            return any(holds(part, value) for part in parts)
        case JsonItems(path, every, part):
            items = get(value, path)
            if not isinstance(items, list):
                raise TypeError
            return (all if every else any)(holds(part, item) for item in items)
        case JsonNumbers(terms=terms, operator=compared, bound=bound):
            total = sum(f * get(value, p) for p, f in terms)
            total += sum(f * get(value, a) * get(value, b) for a, b, f in test.products)
            return getattr(operator, compared)(total, bound)
        case JsonField(path, how, of, negated):
            return of_field(get(value, path), how, of) != negated
    raise AssertionError


def of_field(value, how, of):
    match how:
        case "is":
            if not isinstance(value, bool):
                raise TypeError
            return value
        case "eq":
            return value == (list(of) if isinstance(of, tuple) else of)
        case "in":
            return value in of
        case "has":
            return of in value
        case "rest":
            if not isinstance(value, int):
                raise TypeError
            return getattr(operator, of[1])(value % of[0], of[2])
        case "length":
            return getattr(operator, of[0])(len(value), of[1])
        case "as text":
            if not isinstance(value, str):
                raise TypeError
            return LANGUAGES[of](value)
        case name:
            return {"starts_with": str.startswith, "ends_with": str.endswith}[name](value, of)


def drawn_test(rng, names, deep=2):
    """A random test of values of an object with some properties."""
    if deep and rng.random() < 0.4:
        parts = tuple(drawn_test(rng, names, deep - 1) for _ in range(2))
        return rng.choice([Both, Either])(parts)
    path = (rng.choice(names),)
    if path[0] in ("l", "i") and rng.random() < 0.7:
        inner = ("n",) if path[0] == "i" else ()
        if rng.random() < 0.4:
            return drawn_field(rng, (*path, rng.choice([0, 1, -1]), *inner))
        part = drawn_field(rng, inner)
        if rng.random() < 0.3:
            part = Either((part, drawn_field(rng, inner)))
        return JsonItems(path, rng.random() < 0.5, part)
    if path[0] in ("t", "l") and rng.random() < 0.2:
        return drawn_field(rng, (*path, 0))
    if rng.random() < 0.2 and {"n", "m"} <= set(names):
        terms = ((("n",), rng.choice([1, -1, 2])), (("m",), rng.choice([1, -2])))
        if "q" in names and rng.random() < 0.8:
            terms = (*terms[rng.randrange(2) :], (("q",), rng.choice([1, -1])))
        products = ((("n",), ("m",), rng.choice([1, -1])),) if rng.random() < 0.3 else ()
        return JsonNumbers(terms, rng.choice(["lt", "eq", "ge"]), rng.randrange(-2, 4), products)
    return drawn_field(rng, path)


def drawn_field(rng, path):
    negated = rng.random() < 0.4
    match rng.randrange(10):
        case 9:
            return JsonField(path, "rest", (rng.choice([2, 3]), "eq", rng.choice([0, 1])), negated)
        case 0:
            return JsonField(path, "is", True, negated)
        case 1:
            value = rng.choice(["x", "xy", "", 1, 0, None, True, (), ("x",), ("x", "y")])
            return JsonField(path, "eq", value, negated)
        case 2:
            return JsonField(path, "in", rng.choice([("x", 1, 3), ("", "xy", 0), "xyz"]), negated)
        case 3:
            return JsonField(path, "has", rng.choice(["x", "y"]), negated)
        case 4:
            return JsonField(path, "length", (rng.choice(["lt", "ge", "eq", "ne"]), 1), negated)
        case 5 | 6:
            return JsonField(path, "as text", rng.choice(list(LANGUAGES)), False)
        case 7:
            return JsonField(path, rng.choice(["starts_with", "ends_with"]), "x", negated)
    operator_ = rng.choice(["lt", "le", "gt", "ge", "eq"])
    return JsonNumbers(((path, rng.choice([1, 2, -1])),), operator_, rng.randrange(-1, 4))


@cache
def accepts(schema, text):
    return accepts_text(JsonText(schema), text)


def passes(test, value):
    try:
        return holds(test, value)
    except (TypeError, AttributeError, IndexError, KeyError):
        return False


def check_drawn(seed):
    """A narrowed schema has all texts that pass; how many it has, and how many of those pass."""
    rng = random.Random(seed)
    names = rng.sample(sorted(KINDS), 3)
    if rng.random() < 0.3:
        names = ["n", "m", rng.choice("tkflqq")]
    schema = {"type": "object", "properties": {k: KINDS[k] for k in names}, **DEFINITIONS,
              "required": rng.sample(names, 2), "additionalProperties": False}  # fmt: skip
    tests = [drawn_test(rng, names) for _ in range(rng.choice([1, 1, 2]))]
    narrowed = narrowed_schema(schema, tests)
    if narrowed is False:
        assert is_impossible([JsonText(json.dumps(schema)), *tests])
    before, after = json.dumps(schema), json.dumps(narrowed)
    kept = right = 0
    for values in product(*(VALUES[k] for k in names)):
        value = dict(zip(names, values, strict=True))
        if rng.random() < 0.1:
            value.pop(rng.choice(names))
        text = json.dumps(value, separators=(",", ":"))
        good = all(passes(test, value) for test in tests)
        has = narrowed is not False and accepts(after, text)
        if good and accepts(before, text):
            assert has, (schema, tests, text, narrowed)
        if has:
            assert accepts(before, text)
        kept, right = kept + has, right + (has and good)
    return kept, right


def check_many(seeds):
    counts = [check_drawn(seed) for seed in range(seeds)]
    return tuple(sum(column) for column in zip(*counts, strict=True))


def test_a_narrowed_schema_has_every_text_that_passes():
    kept, right = check_many(120)
    assert right > 0.5 * kept


@pytest.mark.parametrize("bug", ["a bound", "an item", "a pattern"])
def test_a_mistake_in_what_is_kept_is_caught(bug):
    right = json_ranges.with_bounds
    planted = {
        "a bound": ("json_ranges.with_bounds", lambda s, ends: right(s, (ends[0], 2))),
        "an item": ("json_narrowing._with_path", lambda atom, path: JsonField(path, "eq", "x")),
        "a pattern": ("json_fields.text_pattern", lambda language: "^x$"),
    }
    where, wrong = planted[bug]
    with patch(f"fkdsl.engine.constraints.{where}", wrong), pytest.raises(AssertionError):
        check_many(120)


@pytest.mark.slow
def test_a_narrowed_schema_has_every_text_that_passes_often():
    for seed in range(1_000, 4_000):
        check_drawn(seed)
