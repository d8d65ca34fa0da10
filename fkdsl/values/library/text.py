"""Functions of texts. A word is a run of letters and digits with apostrophes and hyphens inside.

>>> words("It's a well-known fact, e.g. 42."), last_word("in the house!")
(("It's", 'a', 'well-known', 'fact', 'e', 'g', '42'), 'house')
>>> sentences("One. Two!  Three?"), lines("a\\nb")
(('One.', 'Two!', 'Three?'), ('a', 'b'))
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from fkdsl.base.deadline import PIECE, check, gathered, pieces
from fkdsl.base.lazy import lazy_import
from fkdsl.engine.constraints.languages import SENTENCE_END, SENTENCE_MARKS, WORD
from fkdsl.values.library.patterns import compiled_pattern, pattern_mistake, timed_match
from fkdsl.values.marks import Mark
from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.types import BOOL, INT, MARK, STR, List

if TYPE_CHECKING:
    import regex

    from fkdsl.values.library import syllables as of_words
else:
    regex = lazy_import("regex")
    of_words = lazy_import("fkdsl.values.library.syllables")

S = Parameter("s", STR)
REPLACEMENT_CHARACTER = "\ufffd"
"""U+FFFD, which stands in a text for bytes that are no UTF-8."""
MAX_TEXT = 10_000_000
MAX_DISTANCE = 2_000
"""Most characters of texts for `edit_distance`, whose time is the product of their lengths."""
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+(?:['-][A-Za-z0-9]+)*")
"""A word of ASCII texts, twice as fast: every condition on words reads every text that is tried."""
SHORT, REMEMBERED = 32, 1 << 14
"""Of texts of up to so many characters, answers are remembered, up to so many: a population asks
about the same words again and again."""
UNSETTLED = 32
"""Begun takes in more words once more than so many characters follow those that it has."""


@cache
def word_pattern() -> Any:
    """The compiled pattern of a word."""
    return regex.compile(WORD)


@cache
def _sentence_pattern() -> Any:
    """In linear time: marks that end no sentence are passed by once and for all."""
    ends = rf"{SENTENCE_END}|{SENTENCE_MARKS}\Z"
    return regex.compile(rf"(?:[^.!?]++|(?!{ends}){SENTENCE_MARKS})++(?:{ends})?|{ends}")


@cache
def sentence_end_pattern() -> Any:
    """The compiled pattern of the marks of a sentence that no further text continues."""
    return regex.compile(SENTENCE_END)


@pure("special", [Parameter("name", STR)], MARK)
def special(name: str) -> Mark:
    """A special token of a model's tokenizer, to be given to a context.

    >>> str(special("<|im_end|>"))
    '<|im_end|>'
    """
    return Mark(name)


@pure("words", [S], List(STR))
def words(s: str) -> tuple[str, ...]:
    """The words of a text, in order, without punctuation."""
    return _words_of_short(s) if len(s) <= SHORT else _begun.words(s)


@lru_cache(maxsize=REMEMBERED)
def _words_of_short(s: str) -> tuple[str, ...]:
    return all_words(s)


class Begun:
    """A memory of the words at the beginning of the last text, since the next text asked about
    mostly differs from it only by a token at the end.

    begun: (a prefix of the text, its words). The prefix ends before the last two words, since a
    word that another one follows does not change when the text continues.
    """

    def __init__(self) -> None:
        self.begun: tuple[str, tuple[str, ...]] = ("", ())

    def words(self, s: str) -> tuple[str, ...]:
        # One value that is read once and replaced as a whole, since other threads may use it too.
        settled, known = self.begun
        begun = s.startswith(settled)
        rest, known = (s[len(settled) :], known) if begun else (s, ())
        in_order = known + all_words(rest)
        if (not begun or len(rest) > UNSETTLED) and len(in_order) >= 2:
            # rfind finds each word itself, since no other word begins between it and the end of
            # the part that is searched.
            last = s.rfind(in_order[-1])
            self.begun = s[: s.rfind(in_order[-2], 0, last)], in_order[:-2]
        return in_order


def all_words(s: str) -> tuple[str, ...]:
    """`words`, computed from the whole text."""
    return _all(_ASCII_WORD if s.isascii() else word_pattern(), s)


def _all(pattern: Any, s: str) -> tuple[str, ...]:
    """The parts of a text that a pattern matches, in order."""
    if len(s) <= PIECE:
        return tuple(pattern.findall(s))
    return tuple(gathered(m[0] for m in pattern.finditer(s)))


_begun = Begun()


@pure("last_word", [S], STR)
def last_word(s: str) -> str:
    """The last word, "" if there is none."""
    in_order = words(s)
    return in_order[-1] if in_order else ""


@pure("lines", [S], List(STR))
def lines(s: str) -> tuple[str, ...]:
    """The lines, without their ends."""
    return tuple(s.splitlines())


@pure("sentences", [S], List(STR))
def sentences(s: str) -> tuple[str, ...]:
    """The sentences of a text, each with its end: marks, closing quotes and brackets behind them,
    and then white space or the text's end. The last may have none.

    >>> sentences('It is 3.5 m deep. "Jump!" (He did.) Then')
    ('It is 3.5 m deep.', '"Jump!"', '(He did.)', 'Then')
    """
    return tuple(t for m in _all(_sentence_pattern(), s) if (t := m.strip()))


@pure("letters", [S], INT)
def letters(s: str) -> int:
    """How many letters a text has.

    >>> letters("It's 7!")
    3
    """
    if len(s) <= PIECE:
        return sum(map(str.isalpha, s))
    return sum(sum(map(str.isalpha, piece)) for piece in pieces(s))


@pure("syllables", [S], INT)
def syllables(s: str) -> int:
    """The number of syllables of the words of an English text, by rules.

    >>> syllables("An old silent pond")
    5
    """
    return sum(of_words.syllables_of(w) for piece in pieces(words(s)) for w in piece)


@pure("lower", [S], STR)
def lower(s: str) -> str:
    """The text in lower case."""
    return s.lower()


@pure("upper", [S], STR)
def upper(s: str) -> str:
    """The text in upper case."""
    return s.upper()


@pure("strip", [S, Parameter("chars", STR, "")], STR)
def strip(s: str, chars: str) -> str:
    """The text without white space (or the characters given) at its ends."""
    return s.strip(chars or None)


@pure("starts_with", [S, Parameter("part", STR)], BOOL)
def starts_with(s: str, part: str) -> bool:
    """Whether the text begins with the part."""
    return s.startswith(part)


@pure("ends_with", [S, Parameter("part", STR)], BOOL)
def ends_with(s: str, part: str) -> bool:
    """Whether the text ends with the part."""
    return s.endswith(part)


@pure("contains", [S, Parameter("part", STR)], BOOL)
def contains(s: str, part: str) -> bool:
    """Whether the text contains the part."""
    return part in s


@pure("count", [S, Parameter("part", STR)], INT)
def count(s: str, part: str) -> int:
    """The number of occurrences of the part in the text that do not overlap.

    >>> count("banana", "an")
    2
    """
    if not part:
        raise BuiltinError('count of ""', "name what to count")
    return s.count(part)


@pure("find", [S, Parameter("part", STR)], INT)
def find(s: str, part: str) -> int:
    """The index of the first occurrence of the part in the text, from 0; -1 if there is none."""
    return s.find(part)


@pure("replace", [S, Parameter("old", STR), Parameter("new", STR)], STR)
def replace(s: str, old: str, new: str) -> str:
    """The text with every `old` replaced."""
    if not old:
        raise BuiltinError('replace of ""', "name what to replace")
    if len(s) + s.count(old) * len(new) > MAX_TEXT:
        raise BuiltinError(
            f"the text would have more than {MAX_TEXT:,} characters", "replace by less"
        )
    return s.replace(old, new)


@pure("join", [Parameter("parts", List(STR)), Parameter("between", STR, "")], STR)
def join(parts: tuple[Any, ...], between: str) -> str:
    """The parts as one text, with a separator between them.

    >>> join(("a", "b"), ", ")
    'a, b'
    """
    texts = [p if isinstance(p, str) else str(p) for p in parts]
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_TEXT:
        raise BuiltinError(f"the text would have more than {MAX_TEXT:,} characters", "join less")
    return between.join(texts)


@pure("split", [S, Parameter("between", STR, "")], List(STR))
def split(s: str, between: str) -> tuple[str, ...]:
    """The parts of a text between separators; between white space if none is given.

    >>> split("a, b", ", "), split(" a  b ", "")
    (('a', 'b'), ('a', 'b'))
    """
    return tuple(s.split(between or None))


@pure("matches", [S, Parameter("pattern", STR)], BOOL)
def matches(s: str, pattern: str) -> bool:
    r"""Whether the whole text matches a regular expression. A text with U+FFFD, which stands for
    bytes, matches none.

    >>> matches("2024-05-01", r"\d{4}-\d{2}-\d{2}"), matches("2024", r"\d"), matches("\ufffd", ".")
    (True, False, False)
    """
    return (_short_matches if len(s) <= SHORT else _matches)(s, pattern)


def _matches(s: str, pattern: str) -> bool:
    return (
        REPLACEMENT_CHARACTER not in s
        and timed_match(compiled_pattern(pattern).fullmatch, s) is not None
    )


_short_matches = lru_cache(maxsize=REMEMBERED)(_matches)


@pure("valid_pattern", [S], BOOL)
def valid_pattern(s: str) -> bool:
    """Whether a text is a regular expression that `matches` takes.

    >>> valid_pattern("[0-9]+"), valid_pattern("[9-0]")
    (True, False)
    """
    return not pattern_mistake(s)


@pure("edit_distance", [Parameter("a", STR), Parameter("b", STR)], INT)
def edit_distance(a: str, b: str) -> int:
    """Levenshtein's distance: the fewest insertions, deletions and replacements of characters from
    one text to the other.

    >>> edit_distance("kitten", "sitting")
    3
    """
    if max(len(a), len(b)) > MAX_DISTANCE:
        raise BuiltinError(
            f"edit_distance compares texts of at most {MAX_DISTANCE:,} characters", "cut them first"
        )
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        check()
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]
