"""Whether exact would have been cheaper than a run that drew: a small search, after it and over its
cache.

It changes nothing of the run: its figures are made, and the draws are keyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.base.errors import FkdslError
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.inference.methods import check_method
from fkdsl.inference.result import Result
from fkdsl.inference.run import run
from fkdsl.proposals.propose import Guides

STATES = 64
"""States of the search at most."""
SHARE = 0.2
"""Share of the run's own tokens and seconds that the search may take, a batch more or less."""
TOKENS, SECONDS = 64, 0.5
"""What it may take in any case: small runs are those that exact is likely to replace."""


@dataclass(frozen=True)
class Need:
    """What exact needs for the whole answer. tokens: forwarded from an empty cache."""

    states: int
    tokens: int


class Hint:
    """Watches a run of one population, and says afterwards whether exact needs less.

    It holds the contexts of the last step but one, so that the cache of what they share is still
    there for the search; of the steps before it holds none any longer than the run does.
    """

    def __init__(self, program: CalledProgram, engines: Engines) -> None:
        self.program, self.engines = program, engines
        self._held: Any = None

    def watch(self, step: Any) -> None:
        """The population after a step; the run's observer."""
        if step.unfinished:
            self._held = step

    def exact_needs(self, result: Result) -> Need | None:
        """What exact needs where that is no more tokens than the run took, and is found out for a
        small share of them; else None."""
        if not check_method(result.method).draws or not self.program.is_large(self.engines):
            return None
        recording = {name: Recording(self.engines[name]) for name in self.program.model_names()}
        model = self.program.feynman_kac(engines=recording, guides=Guides(rejection=False))
        bounds = {
            "max_states": STATES,
            "max_tokens": max(TOKENS, int(SHARE * result.forwarded_tokens)),
        }
        time, counts = max(SECONDS, SHARE * result.seconds), self.engines.counts
        try:
            with self.engines.keeping_rows():
                found = run(model, "exact", 0, bounds, lazy=True, timeout=time, counts=counts)
        except FkdslError:  # no answer, or a mistake in the program that the run did not meet
            return None
        tokens = sum(engine.tokens() for engine in recording.values())
        return (
            Need(found.states, tokens)
            if not found.notes and tokens <= result.forwarded_tokens
            else None
        )


class Recording(CachedTransformer):
    """An engine, its tree, cache and stats shared, that remembers what it has been asked."""

    def __init__(self, engine: CachedTransformer) -> None:
        self.__dict__.update(engine.__dict__)
        self.asked: set[Context] = set()

    def log_probs(self, contexts: Sequence[Context]) -> list[NDArray[Any]]:
        self.asked.update(contexts)
        return super().log_probs(contexts)

    def tokens(self) -> int:
        """Tokens that go through the model for all that it has been asked, from an empty cache."""
        needed: set[Context] = set()
        for context in self.asked:
            node: Context | None = context
            while node is not None and node.parent is not None and node not in needed:
                needed.add(node)
                node = node.parent
        return len(needed)
