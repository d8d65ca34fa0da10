"""The language models that all runs of a server share: each loaded once, called by one thread, its
prompts kept for the next run.

Every run has engines of its own (a tree, a cache and a bound on its tokens), so a run that ends
frees all that it held, and none is evicted for another's sake. What they share is the model: its
pool of keys and values, the batches of its forwards (fkdsl.engine.shared_model), and the beginnings
of texts (fkdsl.engine.shared_prompts).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fkdsl.api.engines import Engines, LoadedModels, MakeEngine
from fkdsl.base.locks import locked
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.shared_model import SharedForwards
from fkdsl.engine.shared_prompts import SharedPrompts
from fkdsl.engine.token_budget import TokenBudget
from fkdsl.models.interface import LanguageModel, RunsHeads
from fkdsl.models.table import TableModel


@dataclass(frozen=True)
class Shared:
    """What the runs share of one model."""

    forwards: SharedForwards
    prompts: SharedPrompts


class ServedModels:
    """The models of a server. prompt_memory: bytes of prompts kept for each."""

    def __init__(self, prompt_memory: int) -> None:
        self.prompt_memory = prompt_memory
        self.loaded: LoadedModels = {}
        self.lock = threading.RLock()
        self._shared: dict[int, Shared] = {}

    @locked
    def shared(self, model: LanguageModel) -> Shared:
        """What runs share of a model, which is kept for good."""
        if id(model) not in self._shared:
            self._shared[id(model)] = Shared(
                SharedForwards(model), SharedPrompts(self.prompt_memory)
            )
        return self._shared[id(model)]

    @locked
    def all(self) -> list[Shared]:
        """Those of every model that a run has asked."""
        return list(self._shared.values())

    @contextmanager
    def engines(self, base: Engines, tokens: TokenBudget, memory: int) -> Iterator[Engines]:
        """Engines over the models of others for one run. memory: bytes of each one's cache."""
        with self.maker(tokens) as make:
            yield base.fresh(make, memory)

    @contextmanager
    def maker(self, tokens: TokenBudget) -> Iterator[MakeEngine]:
        """A function that makes the engines of one run, whose end gives back what they held."""
        with ExitStack() as stack:
            counted: set[int] = set()

            def make(
                model: LanguageModel, memory: int | None, max_batch: int | None
            ) -> CachedTransformer:
                if isinstance(model, TableModel):  # its forward is quicker than another's turn
                    engine = CachedTransformer(model, memory, max_batch)
                    engine.token_budget = tokens
                    return engine
                shared = self.shared(model)
                if id(shared) not in counted:
                    counted.add(id(shared))
                    stack.enter_context(shared.forwards.run())
                engine = CachedTransformer(shared.forwards.front(), memory, max_batch)
                engine.token_budget = tokens
                engine.prompts = None if isinstance(model, RunsHeads) else shared.prompts
                return engine

            yield make

    def close(self) -> None:
        """Ends the models' threads."""
        for shared in self.all():
            shared.forwards.close()
