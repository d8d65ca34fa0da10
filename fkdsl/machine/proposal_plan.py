"""How a draw looks ahead to the conditions after it: what the optimiser writes and proposals read.

A plan is defined once and exists twice. In the ir its expressions are ir expressions
(`ProposalPlan[ir.Expr]`, made by `ir/passes/texts.py` and `fuse.py`); in an executable they are
closures over the running frame (`ProposalPlan[Compute]`, made by `build` with `map`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Generic, TypeVar

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.machine.slots import READS

E = TypeVar("E")
F = TypeVar("F")


@dataclass(frozen=True)
class Absorbed:
    """A condition that a draw looks ahead to, and by which means; or one that no draw looks ahead
    to, and why."""

    span: Span
    means: str


@dataclass(frozen=True)
class CompletionConstraint(Generic[E]):
    """The finished text is in a language wherever the particle lives; a token is allowed if some
    completion of the text is.

    language: evaluates to a `Language` (engine.constraints). ends, origin, stop: slots of the stops
    that end the text, of the context's number of tokens where the text began, and of the number
    where it must stop, None where that is not known. budget_lookahead: whether a token is also
    refused where the tokens left do not suffice for a completion. closed: evaluates to whether a
    stop or EOS must end the text, and where that is said; None where it need not. decided: the
    conditions that the language decides whole. parts: each condition's own language.
    """

    language: E
    ends: int = field(metadata=READS)
    origin: int = field(metadata=READS)
    stop: int = field(metadata=READS)
    budget_lookahead: bool = True
    closed: tuple[Span, E] | None = None
    decided: tuple[Span, ...] = ()
    parts: tuple[tuple[Span, E], ...] = ()

    def map(self, function: Callable[[E], F]) -> CompletionConstraint[F]:
        parts = tuple((place, function(of)) for place, of in self.parts)
        return CompletionConstraint(
            function(self.language),
            self.ends,
            self.origin,
            self.stop,
            self.budget_lookahead,
            None if self.closed is None else (self.closed[0], function(self.closed[1])),
            self.decided,
            parts,
        )


@dataclass(frozen=True)
class PrefixConstraint(Generic[E]):
    """The drawn context's text is in a language after every token with which the particle lives.

    parts: each condition's own language, which evaluates to a `Language`; going_on: the same of
    the conditions that only a text that goes on comes to, behind `if t == EOS: break`. reads: the
    slots that they look at. sufficient: whether this constraint and the plan's mask together decide
    every condition, so that no outcome needs a look-ahead. stop: evaluates to the most tokens that
    the context has when the loop is over that the draw is in; None where that is not known. over:
    the languages of the texts with which it is over before.
    """

    parts: tuple[tuple[Span, E], ...]
    going_on: tuple[tuple[Span, E], ...]
    reads: tuple[int, ...] = field(metadata=READS)
    sufficient: bool
    stop: E | None = None
    over: tuple[tuple[Span, E], ...] = ()

    def map(self, function: Callable[[E], F]) -> PrefixConstraint[F]:
        return PrefixConstraint(
            tuple((place, function(of)) for place, of in self.parts),
            tuple((place, function(of)) for place, of in self.going_on),
            self.reads,
            self.sufficient,
            None if self.stop is None else function(self.stop),
            tuple((place, function(of)) for place, of in self.over),
        )


@dataclass(frozen=True)
class WordsAhead(Generic[E]):
    """A draw of a word in a loop that draws words, of which something is asked together: what it
    looks ahead to, and no more.

    language: evaluates to the `Language` of the text of all words. origin: the slot of the
    context's number of tokens where the first of them begins.
    """

    language: E
    origin: int = field(metadata=READS)

    def map(self, function: Callable[[E], F]) -> WordsAhead[F]:
        return WordsAhead(function(self.language), self.origin)


@dataclass(frozen=True)
class ProposalPlan(Generic[E]):
    """How one draw looks ahead to the conditions between it and the next draw.

    mask: a predicate of the token in the draw's target, true of every token that can live; reads:
    the other slots that it looks at; compared: the values that it compares the token with, None if
    it looks at the token in other ways too.
    completion, prefix: the constraints on the text that the draw extends. words: what a draw of a
    word looks ahead to.
    needs_lookahead: whether outcomes are tried; expensive: whether trying one costs much (Python of
    the program's, a parse). inline_conditions: how many conditions right behind the draw look at
    nothing but values and contexts' texts, so that they are checked in place, without a trial;
    exhaustive: whether nothing else can weigh before the next draw. passed: how many conditions
    right behind the draw mask and prefix constraint decide whole, so that a particle that has drawn
    by them need not be asked again.
    absorbed: the conditions that the draw looks ahead to.
    """

    mask: E | None = None
    reads: tuple[int, ...] = field(default=(), metadata=READS)
    compared: tuple[E, ...] | None = None
    completion: CompletionConstraint[E] | None = None
    prefix: PrefixConstraint[E] | None = None
    words: WordsAhead[E] | None = None
    needs_lookahead: bool = False
    expensive: bool = False
    inline_conditions: int = 0
    exhaustive: bool = False
    passed: int = 0
    absorbed: tuple[Absorbed, ...] = ()

    @property
    def guesses_only(self) -> bool:
        """Whether the draw is the program's own where nothing is looked ahead to by a surrogate."""
        others = (self.mask, self.completion, self.prefix)
        return self.words is not None and not self.needs_lookahead and others == (None,) * 3

    @property
    def blame(self) -> Span:
        """The condition to name where nothing is left to draw."""
        return self.absorbed[0].span

    def map(self, function: Callable[[E], F]) -> ProposalPlan[F]:
        """The same plan over `function` of each of its expressions."""
        return ProposalPlan(
            mask=None if self.mask is None else function(self.mask),
            reads=self.reads,
            compared=None if self.compared is None else tuple(map(function, self.compared)),
            completion=None if self.completion is None else self.completion.map(function),
            prefix=None if self.prefix is None else self.prefix.map(function),
            words=None if self.words is None else self.words.map(function),
            needs_lookahead=self.needs_lookahead,
            expensive=self.expensive,
            inline_conditions=self.inline_conditions,
            exhaustive=self.exhaustive,
            passed=self.passed,
            absorbed=self.absorbed,
        )
