r"""The texts of which `int` and `float` of the program give a number that some test is true of:
`int(s) % 2 == 0`, `float(s) < 3.5`.

Numbers are as Python reads them: white space around, a sign, zeros in front, digits of every
script, single underscores between digits, a point with digits before or behind it.

>>> from fkdsl.engine.constraints.automaton import automaton
>>> even = automaton(with_rest(2, frozenset({0})))
>>> [s for s in ("12", "-1_0 ", "7", "1__0", "x") if even.accepts(s)]
['12', '-1_0 ']
>>> small = automaton(decimals_within(None, 3.5, strict=True))
>>> [s for s in ("3.4999", ".5", "-7.", "3.5", "0x1", "9e-1") if small.accepts(s)]
['3.4999', '.5', '-7.', '9e-1']
"""

from __future__ import annotations

import math
from functools import lru_cache
from string import digits

from fkdsl.engine.constraints.charsets import Charset, charset
from fkdsl.engine.constraints.language_charsets import SPACE, digit_charset
from fkdsl.engine.constraints.languages import Outlined
from fkdsl.engine.constraints.number_outlines import (
    MINUS,
    PLACES,
    POINT,
    End,
    decimals,
    fraction,
    of_both_signs,
)
from fkdsl.engine.constraints.outlines import (
    Outline,
    alternatives,
    character_in,
    reference,
    repeated,
    sequence,
)
from fkdsl.engine.constraints.pattern_trees import EMPTY_TEXT, Tree, rebuilt, text_tree

BETWEEN = repeated(text_tree("_"), 0, 1)
"""What may stand before a digit that follows another one."""
SIGNS = alternatives(text_tree("+"), MINUS)


def _digit(values: str) -> Tree:
    """A digit of some values, in any script."""
    return character_in(tuple(sorted(run for d in values for run in digit_charset(int(d)))))


def _spaced(tree: Tree) -> Tree:
    space = repeated(character_in(charset(SPACE)))
    return sequence(space, tree, space)


@lru_cache(maxsize=256)
def with_rest(divisor: int, rests: frozenset[int]) -> Outlined:
    """The texts that write a whole number which, divided by a divisor, leaves one of some rests, as
    `%` of the program has it: from 0 up to the divisor."""
    rules: dict[str, Tree] = {}

    def step(sign: int, rest: int, before: Tree) -> list[Tree]:
        """A digit more, of a number whose digits so far leave a rest."""
        after: dict[int, str] = {}
        for d in range(10):
            then = (10 * rest + d) % divisor
            after[then] = after.get(then, "") + str(d)
        return [
            sequence(before, _digit(some), reference(f"{sign}:{then}"))
            for then, some in after.items()
        ]

    for sign in (1, -1):
        for rest in range(divisor):
            ends = [EMPTY_TEXT] if sign * rest % divisor in rests else []
            rules[f"{sign}:{rest}"] = alternatives(*ends, *step(sign, rest, BETWEEN))
    plus = sequence(repeated(text_tree("+"), 0, 1), alternatives(*step(1, 0, EMPTY_TEXT)))
    minus = sequence(MINUS, alternatives(*step(-1, 0, EMPTY_TEXT)))
    return Outlined(Outline(rules, _spaced(alternatives(plus, minus))))


@lru_cache(maxsize=256)
def decimals_within(least: float | None, most: float | None, strict: bool = False) -> Outlined:
    """The texts of whose number, as a float, is from least to most, or strictly between them; and
    those with an exponent, whatever they write. Of those that are rounded to a bound a few more."""
    low = None if least is None else where_rounded(least, not strict, up=False)
    high = None if most is None else where_rounded(most, not strict, up=True)

    def between(near: End | None, far: End | None) -> Tree:
        return sequence(repeated(text_tree("0")), decimals(near, far, bare=True))

    numbers = of_both_signs(between, low, high)
    plus = repeated(text_tree("+"), 0, 1)
    within = sequence(plus, _as_python_writes(numbers, {}))
    run = sequence(_digit(digits), repeated(sequence(BETWEEN, _digit(digits))))
    fraction = repeated(sequence(POINT, repeated(run, 0, 1)), 0, 1)
    form = sequence(
        repeated(SIGNS, 0, 1), alternatives(sequence(run, fraction), sequence(POINT, run))
    )
    sign = repeated(SIGNS, 0, 1)
    exponent = sequence(alternatives(text_tree("e"), text_tree("E")), sign, run)
    whole = alternatives(Tree("and", (within, form)), sequence(form, exponent))
    return Outlined(Outline({}, _spaced(whole)))


def where_rounded(bound: float, itself: bool, up: bool, factor: int = 1) -> End:
    """Where the numbers end that are rounded to a bound, or else to its neighbour on this side; cut
    to PLACES outwards. factor: what they are multiplied with, 1 or more; then they are rounded
    once as they are read, and once more."""
    if bound == 0.0 and not itself:
        return End(fraction(0), strict=True)
    towards = math.inf if up == itself else -math.inf
    middle = (fraction(bound) + fraction(math.nextafter(bound, towards))) / (2 * factor)
    if factor != 1:
        outwards = math.inf if up else -math.inf
        last = float(middle)
        if last != middle and (last > middle) == up:
            last = math.nextafter(last, -outwards)
        middle = (fraction(last) + fraction(math.nextafter(last, outwards))) / 2
    scaled = middle * 10**PLACES
    return End(fraction(math.ceil(scaled) if up else math.floor(scaled), 10**PLACES))


def _as_python_writes(tree: Tree, known: dict[int, Tree]) -> Tree:
    """A tree with a digit of any script for each of ASCII, and perhaps an underscore before it."""
    if id(tree) not in known:
        match tree.operator, tree.parts:
            case "set", (runs,) if _is_of_digits(runs):
                some = "".join(d for d in digits if any(a <= ord(d) < b for a, b in runs))
                known[id(tree)] = sequence(BETWEEN, _digit(some))
            case _:
                known[id(tree)] = rebuilt(tree, lambda part: _as_python_writes(part, known))
    return known[id(tree)]


def _is_of_digits(runs: Charset) -> bool:
    return all(ord("0") <= a and b <= ord("9") + 1 for a, b in runs)
