r"""Languages: sets of texts, as values.

    Matches(r"\d+")  Texts(("yes", "no"))  Contains("sea")  StartsWith("A")  EndsWith(".")
    PartOf("by the sea")
    Length(0, 20)  Letters(0, 5)  JsonText(schema)  GrammarText(grammar)
    Ordered("lt", "m")  WholeNumber(((1, 12),))
    Cased("lower", a)  Stripped("", a)  Sliced(0, 3, a): the texts of which that is in a
    Framed("The ", ".", a)  Replaced(",", "", a): the same
    each_item("words", a)  item_at("lines", 0, a)  item_count("sentences", 2, 4)
    Both((a, b))  Either((a, b))  Complement(a)

A text with U+FFFD, which stands for bytes that are no text, is in no Matches, JsonText or
GrammarText.
"""

from __future__ import annotations

from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.outlines import Outline

IN_WORD, JOINT = r"[^\W_]", "['\u2019-]"
"""A letter or digit, and a sign that may stand between two of them within a word."""
WORD = f"{IN_WORD}+(?:{JOINT}{IN_WORD}+)*"
"""The pattern of a word."""
MARK, CLOSER = "[.!?]", "[\"')\\]}\u201d\u2019\u00bb]"
"""What ends a sentence, and the quotes and brackets that may stand behind it."""
SENTENCE_MARKS = f"{MARK}(?:{MARK}|{CLOSER})*+"
SENTENCE_END = rf"{SENTENCE_MARKS}(?=[\s\x1c-\x1f])"
"""The marks behind a sentence, and these where white space follows and the sentence is over."""


@dataclass(frozen=True)
class Language:
    """A set of texts."""


@dataclass(frozen=True)
class Matches(Language):
    pattern: str


@dataclass(frozen=True)
class Texts(Language):
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Contains(Language):
    part: str


@dataclass(frozen=True)
class PartOf(Language):
    """The texts that stand somewhere in a text, the empty one included."""

    whole: str


@dataclass(frozen=True)
class StartsWith(Language):
    part: str


@dataclass(frozen=True)
class EndsWith(Language):
    part: str


@dataclass(frozen=True)
class Length(Language):
    """The texts of `least` to `most` characters; most -1: no upper bound."""

    least: int
    most: int


@dataclass(frozen=True)
class Letters(Language):
    """The texts with `least` to `most` letters; most -1: no upper bound."""

    least: int
    most: int


@dataclass(frozen=True)
class Syllables(Language):
    """The texts with at least and at most so many syllables, -1 for any number. Looked ahead to,
    and in no mask: an automaton counts them about (syllable_counts.py)."""

    least: int
    most: int


@dataclass(frozen=True)
class Ordered(Language):
    """The texts that stand before another, by code points, or after it. operator: "lt", "le", "gt"
    or "ge"."""

    operator: str
    text: str


@dataclass(frozen=True)
class WholeNumber(Language):
    """The texts, white space at their ends aside, that write a whole number of some ranges, both
    ends included; None for no end."""

    ranges: tuple[tuple[int | None, int | None], ...]


@dataclass(frozen=True)
class InCase(Language):
    """The texts that are their own lower or upper case. to: "lower" or "upper"."""

    to: str


@dataclass(frozen=True)
class Trimmed(Language):
    """The texts with none of the characters, "" for white space, at their ends."""

    characters: str


@dataclass(frozen=True)
class Cased(Language):
    """The texts whose lower or upper case is in the part. to: "lower" or "upper"."""

    to: str
    part: Language


@dataclass(frozen=True)
class Stripped(Language):
    """The texts that are in the part without the characters, "" for white space, at their ends."""

    characters: str
    part: Language


@dataclass(frozen=True)
class Framed(Language):
    """The texts that are in the part with a text before and one behind them."""

    before: str
    behind: str
    part: Language


@dataclass(frozen=True)
class Replaced(Language):
    """The texts that are in the part once each `old`, of one character or more, is replaced."""

    old: str
    new: str
    part: Language


@dataclass(frozen=True)
class Sliced(Language):
    """The texts of which s[start:stop] is in the part. One end may count from the end of the text,
    or both."""

    start: int | None
    stop: int | None
    part: Language


@dataclass(frozen=True)
class Listed(Language):
    """The texts whose items are as `items` says. by: how a text is taken apart: "words", "lines",
    "sentences", "characters", "parts" between white space, or ("parts", a separator)."""

    by: str | tuple[str, str]
    items: Items


@dataclass(frozen=True)
class Count:
    """How many items of a text are in a part. by: see Listed. factor: what each counts."""

    by: str | tuple[str, str]
    part: Language
    factor: int = 1


@dataclass(frozen=True)
class Counted(Language):
    """The texts whose counts add up, together with `first`, to a number of the ranges, both ends
    included, None for no end; or to one that leaves such a number when divided by `divisor`, if
    that is not 0."""

    counts: tuple[Count, ...]
    first: int
    ranges: tuple[tuple[int | None, int | None], ...]
    divisor: int = 0


@dataclass(frozen=True)
class Beginnings(Language):
    """The texts with which a text of the part begins."""

    part: Language


@dataclass(frozen=True)
class MayFail(Language):
    """The texts of the part; for those of `fails`, none of which is in it, the program raises an
    error. With such a text a particle cannot live, so it is not in the complement either."""

    part: Language
    fails: Language


@dataclass(frozen=True)
class Larger(Language):
    """A language that is known only as a subset of the part. reason: why no more is known; "" where
    that is not worth a word."""

    part: Language
    reason: str


@dataclass(frozen=True)
class Undivided(Language):
    """The part, whose own parts are so many that they are explored together, not one by one."""

    part: Language


LONGEST_PATTERN = 5_000
"""Most characters of a pattern."""
LONGEST_SOURCE = 200_000
"""Most characters of a schema or grammar that is read, and of a pattern in one."""
SPACES = 20
"""White space in a row between the values of a JSON text: a line break and five levels of four
spaces nearly, more than a model needs."""


@dataclass(frozen=True)
class JsonText(Language):
    """The JSON texts that fit a schema. schema: its text, "" for any JSON. format: whether `format`
    is asserted. order: whether properties must come in the schema's order. spaces: how many
    characters of white space may stand in a row outside of texts. before: a text that stands before
    those of the language, and makes them whole. stripped: whether they may have white space, as
    `strip` takes it away, at their ends. within: bounds on numbers in it, for outlines alone
    (json_decimals.Bounds)."""

    schema: str
    format: bool = True
    order: bool = True
    spaces: int = SPACES
    before: str = ""
    stripped: bool = False
    within: tuple[Any, ...] = ()


@dataclass(frozen=True)
class GrammarText(Language):
    """The texts of a Lark grammar. before: see JsonText."""

    grammar: str
    before: str = ""


@dataclass(frozen=True)
class Outlined(Language):
    """The texts of an outline that have no U+FFFD and no stop of one character, and those texts
    with a stop and any characters behind them. depth: how many rules deep the outline is followed;
    below, any text stands for a rule. None: all the way. counted: the rules that count as depth,
    at least the outline's `returns`."""

    outline: Outline
    stops: tuple[str, ...] = ()
    depth: int | None = None
    counted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Both(Language):
    parts: tuple[Language, ...]


@dataclass(frozen=True)
class Either(Language):
    parts: tuple[Language, ...]


@dataclass(frozen=True)
class Complement(Language):
    part: Language


@dataclass(frozen=True)
class Items:
    """A set of lists of texts."""


@dataclass(frozen=True)
class One(Items):
    """The lists of one item, which is in the part."""

    part: Language


@dataclass(frozen=True)
class NoneIf(Items):
    """The empty list if the empty text is in the part; else no list."""

    part: Language


@dataclass(frozen=True)
class Row(Items):
    """The lists made of one of each part, in their order."""

    parts: tuple[Items, ...]


@dataclass(frozen=True)
class OneOf(Items):
    """The lists that are in a part."""

    parts: tuple[Items, ...]


@dataclass(frozen=True)
class Times(Items):
    """The lists made of `least` to `most` of the part; most -1: no upper bound."""

    part: Items
    least: int
    most: int


@dataclass(frozen=True)
class Added(Items):
    """The lists whose items at three places, in their order, write whole numbers that, each times
    its factor, add up to a number of the ranges; and those of which this is not known."""

    places: tuple[int, int, int]
    factors: tuple[int, int, int]
    ranges: tuple[tuple[int | None, int | None], ...]


@dataclass(frozen=True)
class Summed(Items):
    """The lists whose items all write whole numbers, the sum of which is in the ranges; and those
    of which this is not known."""

    ranges: tuple[tuple[int | None, int | None], ...]


ALL_TEXTS, NO_TEXTS = Both(()), Either(())
ANY_ITEM = One(ALL_TEXTS)
ANY_ITEMS = Times(ANY_ITEM, 0, -1)


def item_count(by: str | tuple[str, str], least: int, most: int) -> Language:
    """The texts with `least` to `most` items; most -1: no upper bound."""
    return Listed(by, Times(ANY_ITEM, least, most))


def each_item(by: str | tuple[str, str], part: Language) -> Language:
    """The texts of which every item is in the part."""
    return Listed(by, Times(One(part), 0, -1))


def item_at(by: str | tuple[str, str], index: int, part: Language) -> Language:
    """The texts whose item at an index, counted from the end if negative, is in the part. With too
    few items the program raises an error."""
    enough = index if index >= 0 else -index - 1
    among = Times(ANY_ITEM, enough, enough)
    row = (among, One(part), ANY_ITEMS) if index >= 0 else (ANY_ITEMS, One(part), among)
    return MayFail(Listed(by, Row(row)), item_count(by, 0, enough))


def last_word(part: Language) -> Language:
    """The texts whose last word, "" if there is none, is in the part."""
    return Listed("words", OneOf((Row((ANY_ITEMS, One(part))), NoneIf(part))))


def character_at(index: int, part: Language) -> Language:
    """The texts whose character at an index, counted from the end if negative, is in the part. Of a
    shorter text the program raises an error."""
    stop = None if index == -1 else index + 1
    one = Both((Length(1, 1), part))
    return MayFail(Sliced(index, stop, one), Length(0, index if index >= 0 else -index - 1))
