"""Built-ins for the optimiser. Their names begin with a dot, so that no program can call them.

`.matches(p)` is the language of the texts s with matches(s, p), and so on. `.settled` and
`.complete` give the part of a text that stays the same however the text continues.

>>> settled("ab\\n", ("\\n\\n",)), settled("ab", ("\\n\\n",))
('ab', 'ab')
>>> complete("it was a lovel"), complete("it was a lovely ")
('it was a ', 'it was a lovely ')
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fkdsl.base.folders import Folder
from fkdsl.engine.constraints import languages as of
from fkdsl.engine.constraints.stops import first_stop, stops_of
from fkdsl.values.library.structured import grammar_source, schema_source
from fkdsl.values.library.text import _WORD
from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.types import ANY, INT, STR, List, OneOf
from fkdsl.values.values import Token, show

MOST_WORDS = 200
KELVIN = "\u212a"
ALL_TEXTS = of.Both(())
"""The language of all texts."""
A = Parameter("a", ANY)


@pure(".matches", [A], ANY)
def matching(pattern: str) -> of.Language:
    """The texts that match a pattern."""
    return of.Matches(pattern)


@pure(".contains", [A], ANY)
def containing(part: str) -> of.Language:
    """The texts that contain a part."""
    return of.Contains(part)


@pure(".starts_with", [A], ANY)
def starting(part: str) -> of.Language:
    """The texts that begin with a part."""
    return of.StartsWith(part)


@pure(".ends_with", [A], ANY)
def ending(part: str) -> of.Language:
    """The texts that end with a part."""
    return of.EndsWith(part)


@pure(".texts", [A], ANY)
def texts(values: Any) -> of.Language:
    """The texts that are in a list."""
    if not isinstance(values, tuple) or not all(isinstance(v, str) for v in values):
        raise BuiltinError("values that are not all texts are no language", "compare with texts")
    return of.Texts(values)


def between(kind: Callable[[int, int], of.Language], least: Any, most: Any) -> of.Language:
    """The language kind(least, most); the empty one if no number is within the bounds. most: None
    for no bound. Raises BuiltinError for bounds that are no whole numbers."""
    if not (isinstance(least, int) and isinstance(most, int | None)):
        raise BuiltinError(
            f"{least} to {most} is no range of whole numbers", "compare with a whole number"
        )
    if most is not None and most < max(least, 0):
        return of.Complement(ALL_TEXTS)
    return kind(max(least, 0), -1 if most is None else most)


@pure(".length", [A, A], ANY)
def length(least: Any, most: Any) -> of.Language:
    """The texts of `least` to `most` characters; most None: no upper bound."""
    return between(of.Length, least, most)


@pure(".letters", [A, A], ANY)
def lettered(least: Any, most: Any) -> of.Language:
    """The texts with `least` to `most` letters; most None: no upper bound."""
    return between(of.Letters, least, most)


@pure(".each_word", [A], ANY)
def each_word(part: of.Language) -> of.Language:
    """The texts of which every word is in the part."""
    return of.EachWord(part)


@pure(".word_count", [A, A], ANY)
def word_counted(least: Any, most: Any) -> of.Language:
    """The texts of `least` to `most` words; most None: no upper bound."""
    return between(of.WordCount, least, most)


@pure(".word_at", [A, A], ANY)
def word_at(index: Any, part: of.Language) -> of.Language:
    """The texts whose word at an index is in the part."""
    if not isinstance(index, int) or abs(index) > MOST_WORDS:
        raise BuiltinError(
            f"{index} is no index of a word that is followed", "use a small whole number"
        )
    return of.WordAt(index, part)


@pure(".last_word", [A], ANY)
def with_last_word(part: of.Language) -> of.Language:
    """The texts whose last word is in the part."""
    return of.LastWord(part)


@pure(".lower_word", [A], ANY)
def lower_word(word: Any) -> of.Language:
    """The words whose lower case is this word."""
    if not isinstance(word, str) or not word.isascii():
        return of.Larger(ALL_TEXTS, "a word in lower case beyond ASCII")
    if word != word.lower():
        return of.Complement(ALL_TEXTS)
    return of.Matches("".join(f"[{_before_lower(c)}]" for c in word))


def _before_lower(character: str) -> str:
    """The characters whose lower case is this ASCII character, as the items of a class. The sign of
    the kelvin is one of them, for k."""
    others = {character, character.upper()} | ({KELVIN} if character == "k" else set())
    return "".join(f"\\U{ord(c):08x}" for c in sorted(others))


@pure(".json", [A, A, A], ANY, needs_folder=True)
def json(
    schema: str, format: bool = True, order: bool = True, *, folder: Path | Folder
) -> of.Language:
    """The JSON texts that fit a schema; all JSON texts if it is empty."""
    return of.JsonText(schema_source(folder, schema), format, order)


@pure(".grammar", [A], ANY, needs_folder=True)
def grammar(text: str, *, folder: Path | Folder) -> of.Language:
    """The texts of a Lark grammar."""
    return of.GrammarText(grammar_source(folder, text))


@pure(".both", [A], ANY)
def both(parts: tuple[of.Language, ...]) -> of.Language:
    """The texts that are in every part."""
    return of.Both(parts)


@pure(".either", [A], ANY)
def either(parts: tuple[of.Language, ...]) -> of.Language:
    """The texts that are in at least one part."""
    return of.Either(parts)


@pure(".complement", [A], ANY)
def complement(part: of.Language) -> of.Language:
    """The texts that are not in the part."""
    return of.Complement(part)


@pure(".stops", [Parameter("until", OneOf((STR, List(STR))))], List(STR))
def stops(until: Any) -> tuple[str, ...]:
    """The stops that a program gives as `until`."""
    texts = (until,) if isinstance(until, str | Token) else until
    if isinstance(texts, tuple):
        texts = tuple(part.text if isinstance(part, Token) else part for part in texts)
    if not isinstance(texts, tuple) or not all(isinstance(part, str) for part in texts):
        raise BuiltinError(f"until={show(until)}", "give a text, or a list of texts", "FK412")
    if not texts:
        raise BuiltinError(
            "a text that ends at one of no stops", 'leave `until` out, or write until=""', "FK412"
        )
    if "" in texts and until != "":
        raise BuiltinError(
            f'"" is one of the stops {show(until)}', "leave it out: every text holds it", "FK412"
        )
    return stops_of(texts)


@pure(".stop_in", [Parameter("s", STR), Parameter("stops", List(STR))], INT)
def stop_in(s: str, stops: tuple[str, ...]) -> int:
    """The index at which the first stop in the text begins; -1 if there is none."""
    return first_stop(s, stops)


@pure(".settled", [Parameter("s", STR), Parameter("stops", List(STR))], STR)
def settled(s: str, stops: tuple[str, ...]) -> str:
    """A text without a stop, cut before an end that may be the beginning of one."""
    hanging = (k for stop in stops for k in range(1, len(stop)) if s.endswith(stop[:k]))
    return s[: len(s) - max(hanging, default=0)]


@pure(".complete", [Parameter("s", STR)], STR)
def complete(s: str) -> str:
    """The text without a last word that may continue."""
    words = list(_WORD.finditer(s))
    if not words or words[-1].end() < len(s.rstrip("'\u2019-")):
        return s
    return s[: words[-1].start()]
