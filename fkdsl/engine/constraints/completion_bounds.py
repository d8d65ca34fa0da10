r"""How many tokens it takes at least to complete a text of a schema or grammar: the masks of tokens
after which too few are left.

They rest on an outline of the schema or grammar (outlines.py), which an automaton follows:

    some rules deep    the automaton is explored whole, and the fewest tokens of this vocabulary
                       from each of its states to acceptance are known (RegularMasks.distances)
    all the way        its states are made as a text goes on. The shortest text to acceptance is a
                       number of characters, and a token has at most so many of them

The second is for what the first cannot follow to its end, and says most where tokens are
characters. Where neither can be had, nothing is refused.

Law: a token is refused only if no text of the outline can be completed in the tokens left.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.probability_blocks import Mask
from fkdsl.engine.constraints.automaton import MOST_STATES, Automaton
from fkdsl.engine.constraints.cut_expressions import CutAlgebra
from fkdsl.engine.constraints.expressions import Algebra, TooComplex
from fkdsl.engine.constraints.followed import followed
from fkdsl.engine.constraints.grammar_outlines import grammar_outline
from fkdsl.engine.constraints.json_decimals import with_decimals
from fkdsl.engine.constraints.language_charsets import white_space
from fkdsl.engine.constraints.languages import GrammarText, JsonText, Language, Outlined
from fkdsl.engine.constraints.outlines import Outline, character_in, repeated, sequence
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.constraints.schema_outlines import schema_outline
from fkdsl.engine.constraints.stops import Until, stops_of
from fkdsl.engine.constraints.tokens_left import TokensLeft, characters, suffices
from fkdsl.models.vocabulary import TokenIds, Vocabulary

DEPTHS = (1, 2, 4)
"""How often an automaton follows rules that lead back to themselves, one within the other."""
DEEPENED = 200
"""Most states of an automaton for which the next depth is tried."""
EXPLORED = 3_000
"""Most states of an automaton that is explored, before equivalent ones are merged."""
EXPLORED_PARTS = 400_000
"""Parts of expressions that an automaton may be made of; see Algebra."""
SHORT_TOKENS = 4
"""Most bytes of the longest token for which characters are counted, where tokens cannot be."""


@lru_cache(maxsize=64)
def outline_of(language: Language) -> Outline | None:
    """The outline of what is followed of a schema or grammar; None if there is none."""
    try:
        match language:
            case GrammarText(grammar):
                return grammar_outline(grammar)
            case JsonText() if (found := followed(replace(language, within=()))).grammar:
                outline = schema_outline(with_decimals(found.schema, language.within))
                if language.stripped:
                    space = repeated(character_in(white_space("")))
                    return Outline(outline.rules, sequence(space, outline.start, space))
                return outline
    except (Unsupported, ValueError, RecursionError):
        pass
    return None


class ShortestTexts(RegularMasks):
    """Masks by the characters of the shortest text to acceptance, for an automaton that may have
    any number of states."""

    def __init__(self, automaton: Automaton, vocabulary: Vocabulary, before: str) -> None:
        super().__init__(automaton, vocabulary, before)
        self._longest = longest_token(vocabulary)

    def _viable(self, states: NDArray[np.int32], left: TokensLeft) -> Mask:
        if left is None:
            return super()._viable(states, None)
        return suffices(self.automaton.shortest(states), characters(left, self._longest))

    def _horizon(self) -> int:
        return MOST_STATES


def _algebra(symbols: int) -> Algebra:
    return CutAlgebra(symbols, parts=EXPLORED_PARTS)


def _followed(
    outline: Outline, stops: tuple[str, ...], strictly: bool
) -> tuple[Automaton | None, bool]:
    """(an automaton that is explored whole, None if there is none; whether it follows the outline
    all the way). strictly: whether all rules must be followed but those without end."""

    def explored(depth: int | None, counted: frozenset[str]) -> Automaton | None:
        language = Outlined(outline, stops, depth, counted)
        try:
            automaton = Automaton(language, most_explored=EXPLORED, algebra=_algebra)
        except TooComplex:
            return None
        return automaton if automaton.explored else None

    if not outline.returns:
        whole = explored(None, frozenset())
        if whole is not None:
            return whole, True
    deepest: Automaton | None = None
    for depth in DEPTHS if outline.returns else ():
        automaton = explored(depth, outline.returns)
        deepest = automaton or deepest
        if automaton is None or automaton.size > DEEPENED:
            break
    for depth in () if strictly else (2, 1):
        deepest = deepest or explored(depth, frozenset(outline.rules))
    return deepest, False


class CompletionBounds:
    """The bounds of one outline over one vocabulary, for texts that end before a stop. by_tokens,
    by_characters: the masks of the two automata, None where there is none. before: what stands
    before the text. strictly: see _followed."""

    def __init__(
        self,
        outline: Outline,
        until: Until,
        vocabulary: Vocabulary,
        before: str = "",
        strictly: bool = False,
    ) -> None:
        stops = stops_of(until)
        self.by_tokens: RegularMasks | None = None
        self.by_characters: ShortestTexts | None = None
        automaton, whole = _followed(outline, stops, strictly)
        if automaton is not None:
            automaton.merge_states()
            self.by_tokens = RegularMasks(automaton, vocabulary, before)
        if whole:
            return
        if not outline.is_left_recursive and longest_token(vocabulary) <= SHORT_TOKENS:
            with suppress(TooComplex):
                unexplored = Automaton(Outlined(outline, stops), most_explored=0)
                self.by_characters = ShortestTexts(unexplored, vocabulary, before)

    def mask(self, ids: TokenIds, left: int) -> Mask | None:
        """(V,) the tokens after which so many may be enough; None for all."""
        allowed: Mask | None = None
        for part in (self.by_tokens, self.by_characters):
            if part is not None:
                mask = part.mask(part.position(ids), left)
                allowed = mask if allowed is None else allowed & mask
        return allowed


@lru_cache(maxsize=8)
def longest_token(vocabulary: Vocabulary) -> int:
    """The bytes of the longest token, which are at least its characters."""
    return max(map(len, vocabulary.tokens), default=0)


@lru_cache(maxsize=64)
def completion_bounds(
    languages: tuple[Language, ...], until: Until, vocabulary: Vocabulary
) -> CompletionBounds | None:
    """The bounds of the first of some schemas or grammars whose outline is followed, or of the
    last, made once; None where nothing is known."""
    for language in languages:
        outline, is_last = outline_of(language), language == languages[-1]
        before = language.before if isinstance(language, JsonText | GrammarText) else ""
        # The stops of an outline end its texts, wherever they stand.
        if outline is None or any(stop in before for stop in stops_of(until)):
            continue
        bounds = CompletionBounds(outline, until, vocabulary, before, strictly=not is_last)
        if bounds.by_tokens is not None or is_last:
            return bounds
    return None
