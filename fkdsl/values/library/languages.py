"""Built-ins for the optimiser. Their names begin with a dot, so that no program can call them.

`.matches(p)` is the language of the texts s with matches(s, p), and so on. `.settled` and
`.complete` give the part of a text that stays the same however the text continues.

>>> settled("ab\\n", ("\\n\\n",)), settled("ab", ("\\n\\n",))
('ab', 'ab')
>>> complete("it was a lovel"), complete("it was a lovely ")
('it was a ', 'it was a lovely ')
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from fkdsl.base.folders import Folder
from fkdsl.engine.constraints import languages as of
from fkdsl.engine.constraints.languages import ALL_TEXTS, NO_TEXTS, SPACES
from fkdsl.engine.constraints.stops import first_stop, stops_of
from fkdsl.values.library.patterns import may_begin_match
from fkdsl.values.library.structured import checked_spaces, grammar_source, schema_source
from fkdsl.values.library.text import sentence_end_pattern, word_pattern
from fkdsl.values.signatures import BuiltinError, Parameter, pure
from fkdsl.values.token_distributions import TokenDistribution, leaves
from fkdsl.values.types import ANY, BOOL, CONTEXT, INT, STR, TOKEN, Dist, List, OneOf
from fkdsl.values.values import ContextRef, Token, show

MOST_INDEX = 200
"""An item, or an end of a slice, that is further from its end of the text is not followed."""
LONGEST_AMONG = 20_000
"""Most characters of a text whose parts an automaton follows."""
A = Parameter("a", ANY)
S = Parameter("s", STR)


def plain_text(value: Any) -> str:
    """A text, or that of a token. Raises BuiltinError for other values, as the condition would."""
    if isinstance(value, Token):
        return value.text
    if not isinstance(value, str):
        raise BuiltinError(f"{show(value)} is no text", "compare with texts")
    return value


def texts_in(values: tuple[Any, ...]) -> tuple[str, ...]:
    """The values that can equal a text, as texts: a token that ends a text equals none."""
    return tuple(
        plain_text(v) for v in values if isinstance(v, str) or (isinstance(v, Token) and not v.end)
    )


@pure(".matches", [A], ANY)
def matching(pattern: Any) -> of.Language:
    """The texts that match a pattern."""
    return of.Matches(plain_text(pattern))


@pure(".may_match", [S, Parameter("pattern", STR), Parameter("always", BOOL)], BOOL)
def may_match(s: str, pattern: str, always: bool = True) -> bool:
    r"""False only if no text that begins with s matches the pattern. always: whether this is asked
    of a pattern that an automaton follows exactly, too, whose mask allows no such text.

    >>> may_match("<b>it</", r"<(\w+)>.*</\1>"), may_match("<b>it", r"<(\w+)>[a-h]*</\1>")
    (True, False)
    """
    return (not always and _follows_exactly(pattern)) or may_begin_match(pattern, s)


@lru_cache(maxsize=256)
def _follows_exactly(pattern: str) -> bool:
    """Whether an automaton follows a pattern exactly."""
    from fkdsl.engine.constraints.constraint import parts_left_out

    return not parts_left_out(of.Matches(pattern))


@pure(".contains", [A], ANY)
def containing(part: Any) -> of.Language:
    """The texts that contain a part."""
    return of.Contains(plain_text(part))


@pure(".starts_with", [A], ANY)
def starting(part: Any) -> of.Language:
    """The texts that begin with a part."""
    return of.StartsWith(plain_text(part))


@pure(".ends_with", [A], ANY)
def ending(part: Any) -> of.Language:
    """The texts that end with a part."""
    return of.EndsWith(plain_text(part))


@pure(".texts", [A], ANY)
def texts(values: Any) -> of.Language:
    """The texts that are in a list."""
    return of.Texts(texts_in(values))


@pure(".among", [A], ANY)
def among(values: Any) -> of.Language:
    """The texts that are in a list, or that stand in a text."""
    if isinstance(values, tuple):
        return of.Texts(texts_in(values))
    if isinstance(values, str | Token):
        text = plain_text(values)
        if len(text) > LONGEST_AMONG:
            return of.Larger(ALL_TEXTS, f"the parts of a text of over {LONGEST_AMONG:,} characters")
        return of.PartOf(text)
    return of.Larger(ALL_TEXTS, f"what is in {show(values)}")


@pure(".when", [A], ANY)
def when(holds: Any) -> of.Language:
    """All texts, or none: where a test does not depend on the text."""
    return ALL_TEXTS if holds else NO_TEXTS


@pure(".larger", [A, A], ANY)
def larger(part: of.Language, reason: str) -> of.Language:
    """A language of which no more is known than that it is within the part."""
    return of.Larger(part, reason)


@pure(".cased", [A, A], ANY)
def cased(to: str, part: of.Language) -> of.Language:
    """The texts whose lower or upper case is in the part."""
    return of.Cased(to, part)


@pure(".in_case", [A], ANY)
def in_case(to: str) -> of.Language:
    """The texts that are their own lower or upper case."""
    return of.InCase(to)


@pure(".stripped", [A, A], ANY)
def stripped(characters: Any, part: of.Language) -> of.Language:
    """The texts that are in the part without the characters at their ends."""
    return of.Stripped(plain_text(characters), part)


@pure(".trimmed", [A], ANY)
def trimmed(characters: Any) -> of.Language:
    """The texts with none of the characters at their ends."""
    return of.Trimmed(plain_text(characters))


@pure(".sliced", [A, A, A], ANY)
def sliced(start: Any, stop: Any, part: of.Language) -> of.Language:
    """The texts of which s[start:stop] is in the part."""
    ends = (start or 0, stop or 0)
    if any(not isinstance(end, int) or abs(end) > MOST_INDEX for end in ends):
        return of.Larger(ALL_TEXTS, f"a slice beyond {MOST_INDEX}")
    if ends[0] < 0 and stop is not None and stop >= 0:
        return of.Larger(ALL_TEXTS, "a slice from the end to the beginning")
    return of.Sliced(start, stop, part)


@pure(".character_at", [A, A], ANY)
def character_at(index: Any, part: of.Language) -> of.Language:
    """The texts whose character at an index is in the part."""
    if not _is_followed(index):
        return _too_far(index)
    return of.character_at(index, part)


@pure(".item_at", [A, A, A], ANY)
def item_at(by: Any, index: Any, part: of.Language) -> of.Language:
    """The texts whose item at an index is in the part."""
    return of.item_at(by, index, part) if _is_followed(index) else _too_far(index)


def _is_followed(index: Any) -> bool:
    return isinstance(index, int) and not isinstance(index, bool) and abs(index) <= MOST_INDEX


def _too_far(index: Any) -> of.Language:
    return of.Larger(ALL_TEXTS, f"the index {show(index)}")


@pure(".last_word", [A], ANY)
def with_last_word(part: of.Language) -> of.Language:
    """The texts whose last word is in the part."""
    return of.last_word(part)


@pure(".json", [A, A, A, A], ANY, needs_folder=True)
def json(
    schema: str,
    format: bool = True,
    order: bool = True,
    spaces: int = SPACES,
    *,
    folder: Path | Folder,
) -> of.Language:
    """The JSON texts that fit a schema; all JSON texts if it is empty."""
    return of.JsonText(schema_source(folder, schema), format, order, checked_spaces(spaces))


@pure(".json_stripped", [A], ANY)
def json_stripped(part: of.JsonText) -> of.Language:
    """The texts that are such JSON without the white space at their ends."""
    return replace(part, stripped=True)


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


@pure(".token_limit", [Parameter("max_tokens", INT)], INT)
def token_limit(max_tokens: int) -> int:
    """How many tokens a text has at most, as a program gives it."""
    if max_tokens < 0:
        raise BuiltinError(f"a text of max_tokens={max_tokens}", "give 0 or more")
    return max_tokens


@pure(".first_context", [Parameter("d", Dist(TOKEN))], CONTEXT)
def first_context(d: TokenDistribution) -> ContextRef:
    """The context that an expression over contexts mentions first."""
    return leaves(d)[0]


@pure(".stop_in", [S, Parameter("stops", List(STR))], INT)
def stop_in(s: str, stops: tuple[str, ...]) -> int:
    """The index at which the first stop in the text begins; -1 if there is none."""
    return first_stop(s, stops)


@pure(".before_sigma", [S], STR)
def before_sigma(s: str) -> str:
    """The text before the last sigmas whose lower case depends on what follows.

    >>> before_sigma("\u0391\u03a3"), before_sigma("\u0391\u03a3\u0391") == "\u0391\u03a3\u0391"
    ('\u0391', True)
    """
    while (at := s.rfind("\u03a3")) >= 0:
        if any(c.islower() or c.isupper() or c.istitle() for c in s[at + 1 :]):
            break
        s = s[:at]
    return s


@pure(".settled", [S, Parameter("stops", List(STR))], STR)
def settled(s: str, stops: tuple[str, ...]) -> str:
    """A text without a stop, cut before an end that may be the beginning of one."""
    hanging = (k for stop in stops for k in range(1, len(stop)) if s.endswith(stop[:k]))
    return s[: len(s) - max(hanging, default=0)]


@pure(".complete", [S], STR)
def complete(s: str) -> str:
    """The text without a last word that may continue."""
    words = list(word_pattern().finditer(s))
    if not words or words[-1].end() < len(s.rstrip("'\u2019-")):
        return s
    return s[: words[-1].start()]


@pure(".complete_lines", [Parameter("s", STR)], STR)
def complete_lines(s: str) -> str:
    """The text without a last line that may continue.

    >>> complete_lines("a\\nb"), complete_lines("a\\n")
    ('a\\n', 'a\\n')
    """
    last = s.splitlines(keepends=True)[-1:]
    return s if not last or last != last[0].splitlines() else s[: len(s) - len(last[0])]


@pure(".complete_sentences", [Parameter("s", STR)], STR)
def complete_sentences(s: str) -> str:
    """The text without a last sentence that may continue: until white space follows its marks.

    >>> complete_sentences("One. Two!"), complete_sentences("One. ")
    ('One.', 'One. ')
    """
    last = max((m.end() for m in sentence_end_pattern().finditer(s)), default=0)
    return s if not s[last:].strip() else s[:last]
