r"""Languages of texts written as patterns, for `pattern` in a JSON schema: those that have a small
automaton.

>>> from fkdsl.engine.constraints.languages import Complement, Contains
>>> text_pattern(Complement(Contains("x")))
'^[^\\x78]*$'

States of the automaton are taken away one after the other, those on the fewest ways first, and what
is read on the ways through them is written at the steps between others (Kleene 1956).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from fkdsl.engine.constraints.automaton import DEAD, Automaton, automaton
from fkdsl.engine.constraints.charsets import ALL_CHARACTERS, CODE_POINTS, SURROGATES, Charset
from fkdsl.engine.constraints.ecma import class_items
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.language_parts import is_regular
from fkdsl.engine.constraints.languages import Language
from fkdsl.engine.constraints.listed_parts import text_of_parts
from fkdsl.engine.constraints.pattern_trees import Unsupported

MOST_STATES = 40
"""Most states of an automaton that is written as a pattern."""
MOST_CHARACTERS, MOST_WIDENED = 5_000, 20_000
"""Most characters of a pattern, and of one that is exact for texts of ASCII alone."""
MOST_OF_PARTS, STEP = 120_000, 9
"""Most characters of a pattern of the parts of a text, and of one step in it, on average."""
LEAST_FOLLOWED, MOST_FOLLOWED = 6, 40
"""Characters of a part that are followed, or up to twice as many. Each takes three levels of a
pattern, and llguidance takes 250."""
ANYTHING = r"[\s\S]*"
ASCII, OTHERS = 0x80, ((0x80, SURROGATES[0]), (SURROGATES[1], CODE_POINTS))


@lru_cache(maxsize=256)
def text_pattern(language: Language) -> str | None:
    """A pattern that is found in the texts of a language, and perhaps in more; None where none is
    short, or where the language is not known to refuse any text."""
    found = _explored(language)
    if found is not None and found.is_empty:
        return None
    live = [q for q in range(found.size) if q != DEAD and bool(found.live[q])] if found else []
    if found is None or len(live) > MOST_STATES:
        whole = text_of_parts(language)
        return None if whole is None else part_pattern(whole)
    for exact in (True, False):
        most = MOST_CHARACTERS if exact else MOST_WIDENED
        pattern = _written(found, live, most, exact)
        if pattern is not None:
            return f"^{pattern}$"
    return None


def part_pattern(whole: str) -> str | None:
    r"""A pattern that is found in what stands in a text: from each place on in as many characters
    as make the pattern no longer than MOST_OF_PARTS, and in more that begin so; None where these
    would be fewer than LEAST_FOLLOWED.

    >>> part_pattern("sea")
    '^(?:a|e(?:a)?|s(?:e(?:a)?)?)?$'
    """
    block = min(MOST_OF_PARTS // (STEP * max(len(whole), 1)), MOST_FOLLOWED)
    if block < LEAST_FOLLOWED:
        return None
    parts: dict[str, None] = {}
    for begin in range(0, len(whole), block):
        # what begins in a block is followed up to the end of the next one
        end = min(begin + 2 * block, len(whole))
        rest = ANYTHING if end < len(whole) else ""
        for i in reversed(range(begin, end)):
            step = _literal(whole[i])
            rest = f"{step}(?:{rest})?" if rest not in ("", ANYTHING) else step + rest
            if i < begin + block:
                parts[rest] = None
    return f"^(?:{'|'.join(parts)})?$"


def followed_characters(whole: str) -> int | None:
    """How many characters of each part of a text `part_pattern` follows at least; None for all, 0
    where it follows none."""
    block = min(MOST_OF_PARTS // (STEP * max(len(whole), 1)), MOST_FOLLOWED)
    if block < LEAST_FOLLOWED:
        return 0
    return None if len(whole) <= 2 * block else block


def _literal(character: str) -> str:
    is_plain = character.isalnum() or character == " " or ord(character) >= ASCII
    return character if is_plain else rf"\x{ord(character):02x}"


@lru_cache(maxsize=256)
def has_no_text(language: Language) -> bool:
    """Whether a language is known to have no text."""
    found = _explored(language)
    return found is not None and found.is_empty


@lru_cache(maxsize=256)
def has_text(language: Language, text: str) -> bool | None:
    """Whether a text is in a language, or may be; None where that is not known."""
    found = _explored(language)
    return None if found is None else found.accepts(text)


def _explored(language: Language) -> Automaton | None:
    """The automaton of a language, made whole and small."""
    if not is_regular(language):
        return None
    try:
        found = automaton(language)
    except (TooComplex, Unsupported):
        return None
    if not (found.explored and found.exact):
        return None
    return found


def _written(found: Automaton, live: list[int], most: int, exact: bool) -> str | None:
    """The automaton as a pattern; None where it refuses no text, or is too long. exact: whether
    characters beyond ASCII are told apart."""
    begin, end = -1, -2
    steps: dict[tuple[int, int], str] = {(begin, found.start): ""}
    refuses = not all(found.accepting[q] for q in live)
    for q in live:
        for to, classes in _after(found, q).items():
            if to in live:
                runs = found.partition.runs(classes)
                steps[q, to] = _class(runs if exact else _widened(runs))
            else:
                refuses = True
        if found.accepting[q]:
            steps[q, end] = ""
    if not refuses:
        return None
    left = list(live)
    while left:
        q = min(left, key=lambda q: _ways_through(steps, q))
        left.remove(q)
        loop = steps.pop((q, q), None)
        around = "" if loop is None else f"{_one(loop)}*"
        into = [(a, steps.pop((a, b))) for a, b in list(steps) if b == q]
        out = [(b, steps.pop((a, b))) for a, b in list(steps) if a == q]
        for a, before in into:
            for b, behind in out:
                steps[a, b] = _either(steps.get((a, b)), before + around + behind)
                if len(steps[a, b]) > most:
                    return None
    return steps[begin, end]


def _after(found: Automaton, state: int) -> dict[int, set[int]]:
    """The states after a state, and the classes of characters that lead to them."""
    after: dict[int, set[int]] = {}
    for symbol in sorted(set(range(found.partition.size)) - set(found.impossible)):
        after.setdefault(int(found.table[state, symbol]), set()).add(symbol)
    return after


def _ways_through(steps: Mapping[tuple[int, int], str], state: int) -> tuple[int, int]:
    """How much longer the pattern gets without a state."""
    into = [len(p) for (a, b), p in steps.items() if b == state != a]
    out = [len(p) for (a, b), p in steps.items() if a == state != b]
    return sum(into) * len(out) + sum(out) * len(into), state


def _widened(runs: Charset) -> Charset:
    """A set with all characters beyond ASCII if it has one of them."""
    ascii = tuple((first, min(last, ASCII)) for first, last in runs if first < ASCII)
    return (*ascii, *OTHERS) if runs and runs[-1][1] > ASCII else ascii


def _class(runs: Charset) -> str:
    """A set of characters; the shorter of what it has and what it has not."""
    has, has_not = class_items(runs), class_items(_others(runs))
    if not has_not:
        return r"[\s\S]"
    return f"[{has}]" if len(has) <= len(has_not) else f"[^{has_not}]"


def _others(runs: Charset) -> Charset:
    """The characters that are not in a set."""
    ends = [0, *(end for run in runs for end in run), CODE_POINTS]
    gaps = zip(ends[::2], ends[1::2], strict=True)
    within = ((max(a, c), min(b, d)) for a, b in gaps for c, d in ALL_CHARACTERS)
    return tuple((first, last) for first, last in within if first < last)


def _one(pattern: str) -> str:
    """A pattern as one piece."""
    is_class = pattern.startswith("[") and pattern.find("]") == len(pattern) - 1
    return pattern if is_class else f"(?:{pattern})"


def _either(one: str | None, other: str) -> str:
    if one is None or one == other:
        return other
    if "" in (one, other):
        return f"{_one(one or other)}?"
    return f"(?:{one}|{other})"
