"""A constraint on a text that is being drawn: one automaton for all that is regular, a matcher for
each grammar.

    constraint = make_constraint(Both((Matches("[A-Z].*"), Complement(Contains("sorry")))), until="\\n", vocabulary=v)
    constraint.mask(ids, left)            # (V,) the tokens that may follow, `left` more after that one

Law: a token that a mask refuses leads to no text of the language; what it allows may fail later on
(then the condition itself decides). A constraint is a function of the tokens so far, so it forks
with its particle for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from fkdsl.base.blocks import Mask
from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.grammars import GrammarMasks, mistake
from fkdsl.engine.constraints.languages import (
    Both,
    GrammarText,
    JsonText,
    Language,
    conjunct_languages,
    is_regular,
    weaker_parts,
)
from fkdsl.engine.constraints.patterns import Unsupported
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.constraints.stops import Until
from fkdsl.models.vocabulary import Vocabulary

Ids = tuple[int, ...]
INSIDE = "a schema or grammar inside `or` or `not`"
SMALL_AUTOMATON = 64
"""States of an automaton that is small."""


class Constraint:
    """regular: the automaton's masks. grammars: one for each schema and grammar. left_out: why a
    part of the language is left to the conditions, a line each."""

    def __init__(self, language: Language, until: Until, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        regular: list[Language] = []
        self.grammars: list[GrammarMasks] = []
        self.left_out: list[str] = []
        for part in conjunct_languages(language):
            if is_regular(part):
                reason = why_not(part)
                if reason:
                    self.left_out.append(reason)
                else:
                    regular.append(part)
                    self.left_out += weaker_parts(part)
            elif isinstance(part, JsonText | GrammarText) and not mistake(part):
                self.grammars.append(GrammarMasks(part, until, vocabulary))
                self.left_out += followed(part).left
            else:
                self.left_out.append(_why_no_part(part))
        self.regular = self._regular(regular, until, vocabulary)

    def _regular(
        self, parts: list[Language], until: Until, vocabulary: Vocabulary
    ) -> RegularMasks | None:
        while parts:
            try:
                return RegularMasks(automaton(Both(tuple(parts)), until), vocabulary)
            except TooComplex as error:
                # One part less at a time: what the automaton leaves out, the conditions check.
                self.left_out.append(f"an automaton with {error}")
                parts = parts[:-1]
        return None

    @property
    def is_empty(self) -> bool:
        """Whether it is known that no text satisfies it."""
        return (self.regular is not None and self.regular.is_empty) or any(
            g.is_empty for g in self.grammars
        )

    def prepare(self, texts: Sequence[Ids]) -> None:
        """Makes the masks of many texts at once."""
        for grammar in self.grammars:
            grammar.prepare(texts)

    def mask(self, ids: Ids, left: int | None) -> Mask | None:
        """(V,) the tokens that may follow `ids`; None for all. left: how many may come after the
        next one, None for no look-ahead."""
        masks = [g.mask(ids, left) for g in self.grammars]
        if self.regular is not None:
            masks.append(self.regular.mask(self.regular.position(ids), left))
        if not masks:
            return None
        found = masks[0]
        for mask in masks[1:]:
            found = found & mask
        return found


@lru_cache(maxsize=64)
def regular_masks(language: Language, vocabulary: Vocabulary) -> RegularMasks | None:
    """The masks of a language whose automaton is known whole and has few states, so that each may
    have masks of its own; None for others."""
    if not is_regular(language) or why_not(language) or weaker_parts(language):
        return None
    found = automaton(language)
    return (
        RegularMasks(found, vocabulary)
        if found.exact and found.explored and found.size <= SMALL_AUTOMATON
        else None
    )


@lru_cache(maxsize=256)
def why_not(language: Language) -> str:
    """Why nothing of a language can be followed, "" if something can."""
    if not is_regular(language):
        reasons = [_why_no_part(part) for part in conjunct_languages(language)]
        return "; ".join(reasons) if all(reasons) else ""
    try:
        automaton(language)
    except Unsupported as error:
        return str(error)
    except TooComplex as error:
        return f"an automaton with {error}"
    return ""


def _why_no_part(part: Language) -> str:
    if is_regular(part):
        return why_not(part)
    return mistake(part) if isinstance(part, JsonText | GrammarText) else INSIDE


def left_of(language: Language) -> tuple[str, ...]:
    """The parts of a language that its masks do not follow, which are left to the conditions."""
    found: list[str] = []
    for part in conjunct_languages(language):
        reason = _why_no_part(part)
        if reason:
            found.append(reason)
        elif is_regular(part):
            found += weaker_parts(part)
        elif isinstance(part, JsonText | GrammarText):
            found += followed(part).left
    return tuple(found)


@lru_cache(maxsize=64)
def make_constraint(language: Language, until: Until, vocabulary: Vocabulary) -> Constraint:
    """The constraint of a language, made once for each vocabulary."""
    return Constraint(language, until, vocabulary)
