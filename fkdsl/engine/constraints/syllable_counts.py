"""An automaton that counts the syllables of a text about as `syllables` does, for guesses alone: no
mask goes by it.

It knows the rules that decide most words: groups of vowels, a silent e at a word's end, -ed, -es
and -le. It does not know the exceptions, nor the vowels that are two syllables beside each other.
Of the words of a running text it counts nine in ten as the rules do.

>>> table, partition = syllable_table(5, 5)
>>> def accepts(text, state=0):
...     for symbol in partition.classes_of(text):
...         state = table.after[state, symbol]
...     return bool(table.accepting[state])
>>> accepts("an old silent pond"), accepts("an old silent table"), accepts("makes the waves walked")
(True, False, False)
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fkdsl.engine.constraints.charsets import Partition, charset
from fkdsl.engine.constraints.languages import IN_WORD
from fkdsl.engine.constraints.tables import Table

KINDS = {
    "vowel": "[aiouyAIOUY]",
    "e": "[eE]",
    "d": "[dD]",
    "t": "[tT]",
    "s": "[sS]",
    "hissing": "[xczXCZ]",
    "soft": "[hgHG]",
    "l": "[lL]",
    "r": "[rR]",
    "digit": r"\d",
    "sign": "['\u2019]",
}
"""What the rules tell apart among the characters of a word; the others are consonants."""
MANY = 2
"""Groups of vowels of a word from which on it does not matter how many there are."""


class _Place(NamedTuple):
    """Where a text is. n: syllables so far, the word's groups of vowels among them. groups: of the
    word, up to MANY, -1 between words. tail: its last letters, as far as the rules look at them."""

    n: int = 0
    groups: int = -1
    tail: str = ""


def _after(at: _Place, kind: str, most: int) -> _Place:
    """The place after one more character."""
    if kind == "other":
        return _Place(min(_whole(at), most + 2))
    if kind == "sign":
        return at
    groups, tail = max(at.groups, 0), at.tail
    if kind == "digit":
        return _Place(min(at.n + 1, most + 2), MANY, "vowel")
    if kind in ("vowel", "e"):
        if tail == "vowel" or tail.startswith("e "):
            return _Place(at.n, groups, "vowel")
        # The e of -le is heard.
        is_heard = kind == "vowel" or not tail or tail == "le"
        after = "vowel" if is_heard else f"e {tail}"
        return _Place(min(at.n + 1, most + 2), min(groups + 1, MANY), after)
    before, _, consonant = tail.partition(" ")
    heard = {"d": ("d", "t"), "s": ("s", "hissing", "soft")}
    if before == "e" and kind in heard and consonant not in heard[kind]:
        after = "silent"
    elif kind == "l" and tail not in ("", "vowel", "l", "r") and before != "e":
        after = "le"
    else:
        after = kind
    return _Place(at.n, groups, after)


def _whole(at: _Place) -> int:
    """The syllables of the text if the word is over."""
    if at.groups == 0:
        return at.n + 1
    silent = at.tail == "silent" or at.tail.startswith("e ")
    return at.n - 1 if silent and at.groups >= MANY else at.n


@lru_cache(maxsize=32)
def syllable_table(least: int, most: int) -> tuple[Table, Partition]:
    """The texts with at least and at most so many syllables, -1 for any number: about. And the
    classes of characters that it reads."""
    highest = most if most >= 0 else max(least - 1, 0)
    sets = {name: charset(pattern) for name, pattern in KINDS.items()}
    sets["consonant"] = charset(IN_WORD)
    partition = Partition(list(sets.values()))
    kinds = ["other"] * partition.size
    for name, of in reversed(sets.items()):
        for number in partition.members[of]:
            kinds[number] = name
    numbers, places, rows = {_Place(): 0}, [_Place()], []
    for at in places:  # grows
        row = []
        for kind in kinds:
            after = _after(at, kind, highest)
            if after not in numbers:
                numbers[after] = len(places)
                places.append(after)
            row.append(numbers[after])
        rows.append(row)
    counts = np.array([_whole(at) for at in places])
    accepting = (counts >= least) & ((counts <= most) if most >= 0 else True)
    return Table(np.array(rows, dtype=np.int32), accepting).smaller(), partition
