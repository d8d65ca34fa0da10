"""The particles that go in lock step (lockstep.py), in columns, and what their draws need of a
model."""

from __future__ import annotations

from fkdsl.base.random import StepRng
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.machine.state import ContextState, ProgramState
from fkdsl.proposals.outcomes import token_of
from fkdsl.proposals.token_draws import DrawKind, KindsOfDraw
from fkdsl.values.values import ContextRef, Token


class Members:
    """The particles that go in lock step, in columns (n,): their numbers in the population, and
    streams; their states, each about to make one of the draws `draws`, of `kinds`, from the context
    of `refs`, in the state `contexts`."""

    __slots__ = ("contexts", "draws", "index", "kinds", "refs", "rngs", "states")

    def __init__(self) -> None:
        self.index: list[int] = []
        self.rngs: list[StepRng] = []
        self.states: list[ProgramState] = []
        self.draws: list[KindsOfDraw] = []
        self.refs: list[ContextRef] = []
        self.contexts: list[ContextState] = []
        self.kinds: list[DrawKind] = []

    def __len__(self) -> int:
        return len(self.index)


class ModelOfDraws:
    """What draws from contexts of a model need of it. tokens: as programs see them, of those that
    have been drawn."""

    __slots__ = ("_vocabulary", "child", "children", "ends", "longest", "tokens")

    def __init__(self, engine: CachedTransformer) -> None:
        self._vocabulary, self.child = engine.model.vocabulary, engine.tree.child
        self.children = engine.tree.children
        self.ends, self.longest = self._vocabulary.ends, engine.model.max_length
        self.tokens: dict[int, Token] = {}

    def token(self, i: int) -> Token:
        token = self.tokens.get(i)
        if token is None:
            token = self.tokens[i] = token_of(self._vocabulary, i)
        return token
