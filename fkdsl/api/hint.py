"""Whether exact would have been cheaper than a run that sampled: a small search, after the run and
over its cache. It cannot change the run, whose figures are already there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.base.errors import FkdslError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.inference.methods import check_method
from fkdsl.inference.result import Result
from fkdsl.inference.run import run
from fkdsl.proposals.settings import ProposalSettings

STATES = 64
"""States of the search at most."""
SHARE = 0.2
"""Share of the run's own tokens and seconds that the search may take, up to one batch more."""
TOKENS, SECONDS = 64, 0.5
"""What the search may take after any run: small runs are those that exact is likely to replace."""


@dataclass(frozen=True)
class Need:
    """What exact needs for the whole answer. tokens: forwarded from an empty cache."""

    states: int
    tokens: int


class Hint:
    """Observes a run of one population, and says afterwards whether exact needs less.

    It keeps the last step with unfinished particles alive, so that the cache of their contexts is
    still there for the search; earlier steps are freed as the run frees them.
    """

    def __init__(self, program: CalledProgram, engines: Engines) -> None:
        self.program, self.engines = program, engines
        self._last_unfinished: Any = None

    def watch(self, step: Any) -> None:
        """The run's observer: takes the population after a step."""
        if step.unfinished:
            self._last_unfinished = step

    def exact_needs(self, result: Result) -> Need | None:
        """What exact needs, where that is no more tokens than the run took and a small share of
        them is enough to find out; else None."""
        if not check_method(result.method).draws or not self.program.is_large(self.engines):
            return None
        recording = {name: Recording(self.engines[name]) for name in self.program.model_names()}
        model = self.program.feynman_kac(
            engines=recording, proposals=ProposalSettings(rejection=False)
        )
        bounds = {
            "max_states": STATES,
            "max_tokens": max(TOKENS, int(SHARE * result.forwarded_tokens)),
        }
        seconds, counts = max(SECONDS, SHARE * result.seconds), self.engines.counts
        try:
            with self.engines.keeping_rows():
                search = run(model, "exact", 0, bounds, lazy=True, timeout=seconds, counts=counts)
        except FkdslError:  # no answer, or a mistake in the program that the run did not meet
            return None
        tokens = sum(engine.tokens() for engine in recording.values())
        cheaper = not search.notes and tokens <= result.forwarded_tokens
        return Need(search.states, tokens) if cheaper else None


class Recording(CachedTransformer):
    """An engine that shares another's tree, cache and stats, and records which contexts it was
    asked for."""

    def __init__(self, engine: CachedTransformer) -> None:
        self.__dict__.update(engine.__dict__)
        self.contexts: set[Context] = set()

    def log_probs(self, contexts: Sequence[Context]) -> list[NDArray[Any]]:
        self.contexts.update(contexts)
        return super().log_probs(contexts)

    def tokens(self) -> int:
        """Tokens that go through the model for all recorded contexts, from an empty cache."""
        needed: set[Context] = set()
        for context in self.contexts:
            node: Context | None = context
            while node is not None and node.parent is not None and node not in needed:
                needed.add(node)
                node = node.parent
        return len(needed)
