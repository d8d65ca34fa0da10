"""Outlines of numbers within bounds, and of pairs of them: for every short text what arithmetic
says, and for every beginning whether the tokens left are enough."""

import json
import re
from fractions import Fraction
from functools import cache, lru_cache
from itertools import product

import numpy as np
import pytest

from fkdsl.engine.constraints.automaton import Automaton
from fkdsl.engine.constraints.constraint import Constraint
from fkdsl.engine.constraints.json_languages import JsonNumbers
from fkdsl.engine.constraints.json_narrowing import NO_SCHEMA, narrowed
from fkdsl.engine.constraints.languages import Both, JsonText, Outlined
from fkdsl.engine.constraints.number_outlines import End, integer, number
from fkdsl.engine.constraints.outlines import Outline
from fkdsl.models.vocabulary import Vocabulary

WRITTEN = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
TEXTS = ["".join(t) for n in range(6) for t in product("-.0127" if n < 5 else "-.02", repeat=n)]


@lru_cache(maxsize=100_000)
def written(text):
    """The number that a text writes, None if it writes none or -0."""
    value = Fraction(text) if WRITTEN.fullmatch(text) else None
    return None if value == 0 and text[0] == "-" else value


def assert_exact(tree, holds):
    automaton = Automaton(Outlined(Outline({}, tree)))
    for text in TEXTS:
        value = written(text)
        if text[:1] != "-" or value is not None:
            assert automaton.accepts(text) == (value is not None and holds(text, value)), text


def within(value, low, high):
    return (low is None or low <= value) and (high is None or value <= high)


BOUNDS = [(None, None), (0, 12), (7, None), (-12, 7), (71, 210), (None, -2), (-211, -10),
          (-2, 0), (12, 10), (10**30, 10**31)]  # fmt: skip


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_whole_numbers_within_bounds_are_those_of_arithmetic(low, high):
    assert_exact(integer(low, high), lambda s, n: "." not in s and within(n, low, high))


@pytest.mark.parametrize("step", [3, 5, 7, 25, 2.5, 0.5])
@pytest.mark.parametrize(("low", "high"), [(-70, 1200), (3, 12), (0, None)])
def test_multiples_are_those_of_arithmetic(low, high, step):
    """Without an upper bound those of a divisor of 1,000 alone."""
    if high is None and 1000 % Fraction(str(step)).numerator:
        step = 1
    numerator = Fraction(str(step)).numerator
    holds = lambda s, n: "." not in s and within(n, low, high) and n % numerator == 0  # noqa: E731
    assert_exact(integer(low, high, step), holds)


def test_multiples_in_a_wide_range_are_told_by_their_last_digits():
    automaton = Automaton(Outlined(Outline({}, integer(1, 10**12, 48))))
    assert [n for n in range(1, 101) if automaton.accepts(str(n))] == list(range(8, 101, 8))


ENDS = [(None, None), ("1", None), ("0.2", "1.27"), ("-1.2", "0.7"), ("1.2", "1.27"),
        ("12", "12"), ("-20", "-0.02"), (None, "-1.7"), ("0", "0")]  # fmt: skip


@pytest.mark.parametrize(("low", "high"), ENDS)
@pytest.mark.parametrize("strict", [(False, False), (True, False), (False, True), (True, True)])
def test_decimals_within_bounds_are_those_of_arithmetic(low, high, strict):
    a, b = (None if end is None else Fraction(end) for end in (low, high))

    def holds(text, value):
        return (a is None or value > a or (value == a and not strict[0])) and (
            b is None or value < b or (value == b and not strict[1])
        )

    ends = [None if x is None else End(x, s) for x, s in zip((a, b), strict, strict=True)]
    assert_exact(number(*ends), holds)


PAIR = {"type": "object", "properties": {
            "a": {"type": "integer", "minimum": 8, "maximum": 21},
            "o": {"type": "array", "items": {"type": "integer", "minimum": 10, "maximum": 12}},
            "b": {"type": "integer", "minimum": -2, "maximum": 101}},
        "required": ["a", "o", "b"], "additionalProperties": False}  # fmt: skip
DEEP = {"type": "object", "properties": {"p": PAIR, "n": {"type": "number", "minimum": 10}},
        "required": ["p"], "additionalProperties": False}  # fmt: skip
TOKENS = (b'{"a":', b"1", b"2", b"0", b',"o":[', b'],"b":', b"-", b"}", b"")
V = Vocabulary(TOKENS, frozenset({len(TOKENS) - 1}))
DEEP_TOKENS = (b'{"p":{"a":', b"1", b"2", b',"o":[],"b":', b'},"n":', b"}", b"")
DEEP_V = Vocabulary(DEEP_TOKENS, frozenset({len(DEEP_TOKENS) - 1}))


def compared(*before):
    a, b = (*before, "a"), (*before, "b")
    return JsonNumbers(((a, 1), (b, -1)), "lt", 0), JsonNumbers(((a, -2), (b, 1)), "le", 0)


def pairs_that_pass():
    return [(a, b) for a in range(8, 22) for b in range(-2, 102) if a < b <= 2 * a]


def texts_of_pair(items):
    for (a, b), o in product(pairs_that_pass(), items):
        yield json.dumps({"a": a, "o": o, "b": b}, separators=(",", ":"))


LISTS = [[], *([n] for n in (10, 11, 12))]
NUMBERS = [str(n) for n in range(10, 3000)]
DEEP_TEXTS = [f'{{"p":{s}{more}}}' for s in texts_of_pair([[]])
              for more in ["", *(f',"n":{n}' for n in NUMBERS if set(n) <= set("12"))]]  # fmt: skip
CASES = [
    (PAIR, V, compared(), list(texts_of_pair(LISTS)), 9),
    (DEEP, DEEP_V, compared("p"), DEEP_TEXTS, 8),
]


@pytest.mark.parametrize(("schema", "vocabulary", "numbers", "texts", "longest"), CASES)
def test_masks_know_the_fewest_tokens_to_a_pair_that_passes(
    schema, vocabulary, numbers, texts, longest
):
    """Exactly what some text that passes begins with is allowed, with every number of tokens
    left."""
    masks = Constraint(Both((JsonText(json.dumps(schema)), *numbers)), "", vocabulary)
    tokens = [t.decode() for t in vocabulary.tokens[:-1]]

    @cache
    def fewest(rest):
        """Fewest tokens that write a text."""
        after = [fewest(rest[len(t) :]) for t in tokens if rest.startswith(t)]
        return 1 + min(after, default=100) if rest else 0

    needed = {}  # for each beginning of a text that passes
    for text in texts:
        for k in range(len(text) + 1):
            needed[text[:k]] = min(needed.get(text[:k], 100), fewest(text[k:]))
    todo = [()]
    while todo:
        ids = todo.pop()
        begun = vocabulary.text(ids)
        for left in range(longest - len(ids)):
            mask = masks.mask(ids, left)
            for x, token in enumerate(tokens):
                assert mask[x] == (needed.get(begun + token, 100) <= left), (begun, token, left)
        todo += [(*ids, x) for x in np.flatnonzero(mask[:-1]).tolist() if left]
    assert len(needed) > 500


def test_an_outline_without_the_pair_is_caught(monkeypatch):
    """The enumeration above sees an outline that knows one number at a time."""
    monkeypatch.setattr("fkdsl.engine.constraints.json_narrowing.OUTLINED_INTERVALS", (1,))
    with pytest.raises(AssertionError):
        test_masks_know_the_fewest_tokens_to_a_pair_that_passes(*CASES[0])


def test_a_pair_too_large_for_an_automaton_is_cut_into_fewer_intervals():
    names = [f"name {i}" for i in range(40)]
    properties = {n: {"type": "string"} for n in names}
    number_of = {"type": "integer", "minimum": 0, "maximum": 10**6}
    schema = {"type": "object", "properties": {"a": number_of, **properties, "b": number_of},
              "required": ["a", *names, "b"], "additionalProperties": False}  # fmt: skip
    parts, left_out = narrowed([JsonText(json.dumps(schema)), compared()[0]])
    ((_, outlined),) = parts
    assert [len(json.loads(one.schema).get("anyOf", [1])) for one in outlined] == [50, 10, 1]
    assert not left_out
    assert narrowed([compared()[0]]) == ([], [NO_SCHEMA])
    masks = Constraint(Both((JsonText(json.dumps(schema)), compared()[0])), "", V)
    assert np.flatnonzero(masks.mask((0, 1), None)).tolist()
