"""Built-ins for the optimiser: the languages of the texts with some number of words, with each line
in a language, and the like. `by` says how a text is taken apart (languages.Listed).

>>> numbers("lt", 2.5), numbers("in", (4, 1)), numbers("eq", 1.5)
(((0, 2),), ((1, 1), (4, 4)), ())
>>> pieces("ab")
('', 'a', 'ab', 'b')
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fkdsl.engine.constraints import languages as of
from fkdsl.engine.constraints.languages import ALL_TEXTS, ANY_ITEM, ANY_ITEMS, NO_TEXTS
from fkdsl.values.library.languages import MOST_INDEX, A, plain_text, texts_in
from fkdsl.values.signatures import BuiltinError, pure
from fkdsl.values.types import ANY
from fkdsl.values.values import Token

LONGEST_JOINED = 40
"""Most characters of a text that is compared with one that is joined of items."""
Ranges = tuple[tuple[int, int | None], ...]
"""Ranges of whole numbers from 0 on, both ends included; None for no upper end."""
By = str | tuple[str, str]


@pure(".numbers", [A, A], ANY)
def numbers(operator: str, bound: Any) -> Ranges:
    """The whole numbers n from 0 on with `n operator bound`, as ranges."""
    if operator == "in":
        values = bound if isinstance(bound, tuple) else ()
        whole = {int(v) for v in values if isinstance(v, int | float) and _is_whole(v)}
        return tuple((n, n) for n in sorted(whole) if n >= 0)
    if not isinstance(bound, int | float) or math.isnan(bound):
        if operator == "eq" or isinstance(bound, float):
            return ()
        raise BuiltinError(f"{bound} is no number", "compare with a number")
    if math.isinf(bound):
        holds = operator in (("le", "lt") if bound > 0 else ("ge", "gt"))
        return ((0, None),) if holds else ()
    least, most = {
        "le": (0, math.floor(bound)),
        "lt": (0, math.ceil(bound) - 1),
        "ge": (math.ceil(bound), None),
        "gt": (math.floor(bound) + 1, None),
        "eq": (math.ceil(bound), math.floor(bound)),
    }[operator]
    least = max(least, 0)
    return ((least, most),) if most is None or most >= least else ()


def _is_whole(value: float) -> bool:
    return math.isfinite(value) and value == int(value)


def among(kind: Callable[[int, int], of.Language], ranges: Ranges) -> of.Language:
    """The texts of which some number is in the ranges. kind: the language of one range, whose end
    is -1 for none."""
    parts = [kind(least, -1 if most is None else most) for least, most in ranges]
    return parts[0] if len(parts) == 1 else of.Either(tuple(parts))


@pure(".length", [A], ANY)
def length(ranges: Ranges) -> of.Language:
    """The texts with such numbers of characters."""
    return among(of.Length, ranges)


@pure(".letters", [A], ANY)
def lettered(ranges: Ranges) -> of.Language:
    """The texts with such numbers of letters."""
    return among(of.Letters, ranges)


@pure(".syllables", [A], ANY)
def syllabled(ranges: Ranges) -> of.Language:
    """The texts with such numbers of syllables, for look-ahead alone."""
    return among(of.Syllables, ranges)


@pure(".parts", [A], ANY)
def parts(between: Any) -> By:
    """How `split` takes a text apart."""
    between = plain_text(between)
    return ("parts", between) if between else "parts"


@pure(".item_count", [A, A], ANY)
def item_count(by: By, ranges: Ranges) -> of.Language:
    """The texts with such numbers of items."""
    return among(lambda least, most: of.item_count(by, least, most), ranges)


@pure(".item_count_that", [A, A, A], ANY)
def item_count_that(by: By, part: of.Language, ranges: Ranges) -> of.Language:
    """The texts with such numbers of items that are in the part."""
    others = of.Times(of.One(of.Complement(part)), 0, -1)

    def counted(least: int, most: int) -> of.Language:
        one = of.Row((of.One(part), others))
        return of.Listed(by, of.Row((others, of.Times(one, least, most))))

    return among(counted, ranges)


@pure(".count", [A, A], ANY)
def counted(part: Any, ranges: Ranges) -> of.Language:
    """The texts in which a part stands such numbers of times, without overlaps: there is one more
    of the parts between."""
    part = plain_text(part)
    if not part:  # an error, whatever the text is
        return of.MayFail(NO_TEXTS, ALL_TEXTS)
    by = ("parts", part)
    return among(
        lambda least, most: of.item_count(by, least + 1, -1 if most < 0 else most + 1), ranges
    )


@pure(".each_item", [A, A, A, A], ANY)
def each_item(by: By, start: Any, stop: Any, part: of.Language) -> of.Language:
    """The texts of which every item, of those from start to stop, is in the part."""
    return _sliced(by, start, stop, lambda least, most: of.Times(of.One(part), least, most))


@pure(".items_are", [A, A, A, A], ANY)
def items_are(by: By, start: Any, stop: Any, values: Any) -> of.Language:
    """The texts whose items, of those from start to stop, are some values."""
    texts = texts_in(values) if isinstance(values, tuple) else ()
    if not isinstance(values, tuple) or len(texts) < len(values):
        return NO_TEXTS
    row = of.Row(tuple(of.One(of.Texts((text,))) for text in texts))

    def of_length(least: int, most: int) -> of.Items:
        fits = least <= len(values) and (most < 0 or len(values) <= most)
        return row if fits else of.OneOf(())

    return _sliced(by, start, stop, of_length)


def _sliced(
    by: By, start: Any, stop: Any, of_length: Callable[[int, int], of.Items]
) -> of.Language:
    """The texts whose items from start to stop are lists of `of_length(least, most)`: those of
    least to most items, -1 for no bound."""
    if any(not isinstance(end, int) or abs(end) > MOST_INDEX for end in (start or 0, stop or 0)):
        return of.Larger(ALL_TEXTS, f"a slice beyond {MOST_INDEX}")
    first = start or 0
    before = of.Times(ANY_ITEM, first, first)
    lists: list[of.Items]
    if first >= 0 and stop is None:
        lists = [of.Row((before, of_length(0, -1)))]
        short = first
    elif first >= 0 and stop >= 0:
        n = max(stop - first, 0)
        lists = [of.Row((before, of_length(n, n), ANY_ITEMS))]
        lists += [of.Row((before, of_length(k, k))) for k in range(n)]
        short = first
    elif first >= 0:
        behind = of.Times(ANY_ITEM, -stop, -stop)
        lists = [of.Row((before, of_length(0, -1), behind))]
        short = first - stop
    elif stop is None:
        lists = [of.Row((ANY_ITEMS, of_length(-first, -first)))]
        lists += [of_length(k, k) for k in range(-first)]
        short = 0
    else:
        return of.Larger(ALL_TEXTS, "a slice that begins at the end and stops elsewhere")
    if short:
        lists.append(of.Row((of_length(0, 0), of.Times(ANY_ITEM, 0, short - 1))))
    return of.Listed(by, of.OneOf(tuple(lists)))


@pure(".paired", [A, A], ANY)
def paired(by: By, parts: tuple[of.Language, ...]) -> of.Language:
    """The texts of which each item is in the part that stands at its place; what is longer, items
    or parts, goes on as it likes."""
    rest: of.Items = ANY_ITEMS
    for part in reversed(parts):
        rest = of.OneOf((of.Times(ANY_ITEM, 0, 0), of.Row((of.One(part), rest))))
    return of.Listed(by, rest)


@pure(".pieces", [A], ANY)
def pieces(value: Any) -> tuple[str, ...]:
    """The texts that stand in a text, in order, the empty one too; none of a long one."""
    if not isinstance(value, str | Token) or len(plain_text(value)) > LONGEST_JOINED:
        return ()
    text = plain_text(value)
    ends = range(len(text) + 1)
    return tuple(sorted({text[i:j] for i in ends for j in ends[i:]}))


@pure(".joined", [A, A, A, A], ANY)
def joined(by: By, between: Any, value: Any, parts: tuple[of.Language, ...]) -> of.Language:
    """The texts whose items, put together with a text between them, give a value. parts: for each
    of its `pieces` the language of the items that give it."""
    if not texts_in((value,)):
        return NO_TEXTS
    text, between = plain_text(value), plain_text(between)
    if len(text) > LONGEST_JOINED:
        return of.Larger(ALL_TEXTS, f"a joined text of more than {LONGEST_JOINED} characters")
    if any(c in "\u03c3\u03c2" for c in text):
        return of.Larger(ALL_TEXTS, "the lower case of a capital sigma")
    gives = {piece: of.One(part) for piece, part in zip(pieces(text), parts, strict=True)}
    behind: dict[int, of.Items] = {}  # the items that give what begins at a place
    last = len(text)
    for i in range(last, -1, -1):
        ways: list[of.Items] = [gives[text[i:]]] if between else []
        for j in range(i if between else i + 1, last + 1):
            if text.startswith(between, j) and (between or j > i):
                following = j + len(between)
                if following in behind:
                    ways.append(of.Row((gives[text[i:j]], behind[following])))
        if not between:
            empty = of.Times(gives[""], 0, -1)
            ways = [of.Row((empty, of.OneOf(tuple(ways))))] if i < last else [empty]
        behind[i] = of.OneOf(tuple(ways))
    none: tuple[of.Items, ...] = () if text else (of.Times(ANY_ITEM, 0, 0),)
    return of.Listed(by, of.OneOf((*none, behind[0])))
