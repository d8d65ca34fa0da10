"""A constraint on a text that is being drawn: one automaton for all its regular parts, a matcher
for each schema and grammar.

>>> from fkdsl.engine.constraints.languages import Complement, Contains, Matches
>>> language = Both((Matches("a[ab]*"), Complement(Contains("bb"))))
>>> vocabulary = Vocabulary((b"a", b"b", b""), ends=frozenset({2}))
>>> constraint = make_constraint(language, until="", vocabulary=vocabulary)
>>> constraint.mask((0, 1), 5).tolist()  # (V,) the tokens that may follow "ab": a, b, the end
[True, False, True]

Law: a token that a mask refuses leads to no text of the language. A token that it allows may still
lead to none; the condition itself decides at the end. A mask is a function of the tokens so far, so
a fork of a particle costs the constraint nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from fkdsl.base.kept import kept
from fkdsl.base.locks import locked
from fkdsl.base.probability_blocks import Mask
from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.backward import Way
from fkdsl.engine.constraints.bounds import MOST_CONDITIONS, within_bounds
from fkdsl.engine.constraints.closed import ClosedMasks
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.grammars import GrammarMasks, mistake
from fkdsl.engine.constraints.json_narrowing import is_json_test, narrowed
from fkdsl.engine.constraints.language_charsets import refers_to_groups, weaker_form_reasons
from fkdsl.engine.constraints.language_parts import (
    conjunct_languages,
    has_larger,
    is_regular,
    words_together,
)
from fkdsl.engine.constraints.languages import (
    Both,
    Either,
    GrammarText,
    JsonText,
    Language,
)
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.constraints.stops import Until, ends_stand_alone
from fkdsl.engine.constraints.tokens_left import TokensLeft
from fkdsl.models.vocabulary import TokenIds, Vocabulary

REFUSES_NOTHING = "what an automaton knows of it refuses no text"
INSIDE = "a schema or grammar inside `not`"
TEXTS_KEPT = 4_096
"""Texts for which it is kept which alternatives they can be in."""
Future = tuple[Way, ...]
"""What look-ahead goes by: the ways in which a text may end."""
KEPT_TOKENS, KEPT_MASKS = 8_000_000, 2_000
"""Tokens of their vocabularies together, and number, of constraints that are kept for later: masks
are as long as a vocabulary."""
SMALL_AUTOMATON = 64
"""Most states of an automaton that counts as small."""


class Constraint:
    """The masks of a language. closed: whether a stop or EOS must end the text. regular: those of
    its regular parts together, None if there are none to follow. grammars: those of each schema and
    grammar. alternatives: those of each `or` that has a schema or grammar in it. left_out: for each
    part that the masks do not follow, so that only the conditions check it, the reason. futures:
    of futures.py, which makes them when they are asked for."""

    def __init__(
        self, language: Language, until: Until, vocabulary: Vocabulary, closed: bool = False
    ) -> None:
        self.lock = threading.RLock()
        self.vocabulary = vocabulary
        self.futures: tuple[Future, ...] | None = None
        self.regular: RegularMasks | ClosedMasks | None = None
        self.grammars: list[GrammarMasks] = []
        self.alternatives: list[Alternatives] = []
        self.left_out: list[str] = []
        self._kept_for_end = 0
        try:
            with within_bounds():
                self._make(language, until, closed)
        except TooComplex as error:  # what there is so far allows no less than all of it does
            self.left_out.append(f"masks with {error}")

    def _make(self, language: Language, until: Until, closed: bool) -> None:
        vocabulary = self.vocabulary
        regular: list[Language] = []
        parts, left_out = narrowed(words_together(conjunct_languages(language)))
        self.left_out += left_out
        if len(parts) > MOST_CONDITIONS:
            raise TooComplex(f"more than {MOST_CONDITIONS:,} conditions")
        for part, outlined in parts:
            if is_regular(part):
                reason = why_unfollowed(part)
                if reason:
                    self.left_out.append(reason)
                else:
                    regular.append(part)
                    self.left_out += weaker_form_reasons(part)
            elif isinstance(part, JsonText | GrammarText) and not mistake(part):
                self.grammars.append(GrammarMasks(part, until, vocabulary, outlined))
                self.left_out += followed(part).left_out
            elif isinstance(part, Either) and not _why_no_part(part):
                self.alternatives.append(Alternatives(part.parts, until, vocabulary))
                self.left_out += _alternatives_left_out(part)
            else:
                self.left_out.append(_why_no_part(part))
        self.regular = self._regular(regular, until, closed)
        # Schemas and grammars know how many tokens a text needs, and not that one must close it.
        self._kept_for_end = int(closed and ends_stand_alone(until, vocabulary))

    @property
    def unions_and_grammars(self) -> list[GrammarMasks | Alternatives]:
        """What is followed token by token, and not by the automaton."""
        return [*self.grammars, *self.alternatives]

    def _regular(
        self, parts: list[Language], until: Until, closed: bool
    ) -> RegularMasks | ClosedMasks | None:
        while parts or closed:
            language = parts[0] if len(parts) == 1 else Both(tuple(parts))
            try:
                if closed:
                    return ClosedMasks(language, until, self.vocabulary)
                return RegularMasks(automaton(language, until), self.vocabulary)
            except TooComplex as error:
                if not parts:
                    return None
                # Leave out one part after the other; the conditions check what is left out.
                self.left_out.append(f"an automaton with {error}")
                parts = parts[:-1]
        return None

    @property
    def is_empty(self) -> bool:
        """Whether the masks show that no text satisfies the constraint."""
        return (self.regular is not None and self.regular.is_empty) or any(
            part.is_empty for part in self.unions_and_grammars
        )

    def prepare(self, texts: Sequence[TokenIds]) -> None:
        """Computes the masks after many texts at once."""
        for part in self.unions_and_grammars:
            part.prepare(texts)

    def mask(self, ids: TokenIds, left: TokensLeft) -> Mask | None:
        """(V,) the tokens that may follow `ids`; None for all."""
        before_end = left if left is None else max(left - self._kept_for_end, 0)
        masks = [part.mask(ids, before_end) for part in self.unions_and_grammars]
        match self.regular:
            case RegularMasks() as regular:
                masks.append(regular.mask(regular.position(ids), left))
            case ClosedMasks() as ends:
                masks.append(ends.mask(ends.position(ids), left))
        if not masks:
            return None
        allowed = masks[0]
        for mask in masks[1:]:
            allowed = allowed & mask
        return allowed


class Alternatives:
    """The masks of a union, each of whose parts has masks of its own: a token is allowed where it
    is by a part that the text so far can still be in.

    A part drops out with the first token that its mask refuses. Its matcher alone would not say so:
    after such a token it knows nothing, and allows all.
    """

    def __init__(self, parts: Sequence[Language], until: Until, vocabulary: Vocabulary) -> None:
        self.lock = threading.RLock()
        self.vocabulary = vocabulary
        self.parts = [Constraint(part, until, vocabulary) for part in parts]
        self._open: dict[TokenIds, tuple[Constraint, ...]] = {(): tuple(self.parts)}

    @property
    def is_empty(self) -> bool:
        """Whether the masks show that no text is in a part."""
        return all(part.is_empty for part in self.parts)

    @locked
    def open_parts(self, ids: TokenIds) -> tuple[Constraint, ...]:
        """The parts whose masks have allowed each of these tokens."""
        known = len(ids)
        while ids[:known] not in self._open:
            known -= 1
        parts = self._open[ids[:known]]
        for k in range(known, len(ids)):
            parts = tuple(part for part in parts if _allows(part, ids[:k], ids[k]))
        if len(self._open) > TEXTS_KEPT:
            self._open = {(): tuple(self.parts)}
        self._open[ids] = parts
        return parts

    def prepare(self, texts: Sequence[TokenIds]) -> None:
        """Computes the masks after many texts at once."""
        for part in self.parts:
            part.prepare([ids for ids in texts if part in self.open_parts(ids)])

    def mask(self, ids: TokenIds, left: TokensLeft) -> Mask:
        """(V,) the tokens that may follow `ids`; see Constraint.mask."""
        allowed: Mask = np.zeros(self.vocabulary.size, dtype=np.bool_)
        for part in self.open_parts(ids):
            mask = part.mask(ids, left)
            allowed |= np.True_ if mask is None else mask
        return allowed


def _allows(part: Constraint, ids: TokenIds, token: int) -> bool:
    mask = part.mask(ids, None)
    return mask is None or bool(mask[token])


@kept(KEPT_TOKENS, lambda masks: 0 if masks is None else masks.vocabulary.size, KEPT_MASKS)
def regular_masks(language: Language, vocabulary: Vocabulary) -> RegularMasks | None:
    """The masks of a language whose automaton is explored, exact and small, so that the masks of
    all its states can be kept; None for other languages."""
    if not is_regular(language) or why_unfollowed(language) or weaker_form_reasons(language):
        return None
    whole = automaton(language)
    if not (whole.exact and whole.explored and whole.size <= SMALL_AUTOMATON):
        return None
    return RegularMasks(whole, vocabulary)


@lru_cache(maxsize=256)
def why_unfollowed(language: Language) -> str:
    """Why masks can follow no part of a language; "" if they can follow some part."""
    if not is_regular(language):
        reasons = [_why_no_part(part) for part in conjunct_languages(language)]
        return "; ".join(reasons) if all(reasons) else ""
    try:
        whole = automaton(language)
    except Unsupported as error:
        return str(error)
    except TooComplex as error:
        return f"an automaton with {error}"
    if whole.allows_all and (has_larger(language) or weaker_form_reasons(language)):
        return REFUSES_NOTHING
    return ""


def may_outgrow(language: Language) -> bool:
    """Whether the automaton of a language with back-references is too large to be explored: within
    a text it may pass its bounds, and then it allows all."""
    if not is_regular(language) or why_unfollowed(language):
        return False
    return refers_to_groups(language) and not automaton(language).explored


def _why_no_part(part: Language) -> str:
    if is_regular(part):
        return why_unfollowed(part)
    if isinstance(part, JsonText | GrammarText):
        return mistake(part)
    if is_json_test(part):
        return ""
    if isinstance(part, Either):  # a part of which nothing is known allows all
        return "; ".join(filter(None, map(why_unfollowed, part.parts)))
    return INSIDE


def _alternatives_left_out(union: Either) -> list[str]:
    return [reason for part in union.parts for reason in parts_left_out(part)]


def parts_left_out(language: Language) -> tuple[str, ...]:
    """A line for each part of a language that its masks do not follow, so that only the conditions
    check it."""
    reasons: list[str] = []
    for part in conjunct_languages(language):
        reason = _why_no_part(part)
        if reason:
            reasons.append(reason)
        elif is_regular(part):
            reasons += weaker_form_reasons(part)
        elif isinstance(part, JsonText | GrammarText):
            reasons += followed(part).left_out
        elif isinstance(part, Either):
            reasons += _alternatives_left_out(part)
    return tuple(reasons)


@kept(KEPT_TOKENS, lambda made: made.vocabulary.size, KEPT_MASKS)
def make_constraint(
    language: Language, until: Until, vocabulary: Vocabulary, closed: bool = False
) -> Constraint:
    """The constraint of a language, built once for each vocabulary. closed: whether a stop or EOS
    must end the text."""
    return Constraint(language, until, vocabulary, closed)
