"""The particles that go in lock step (lockstep.py), in columns, and what their draws need of a
model."""

from __future__ import annotations

from typing import cast

from fkdsl.base.random import StepRng
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.machine.state import ContextState, ProgramState
from fkdsl.proposals.draw_kinds import DrawKind, KindsOfDraw, NoKind
from fkdsl.proposals.outcomes import token_of
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

    def add(
        self,
        draw: KindsOfDraw,
        index: list[int],
        refs: list[ContextRef],
        contexts: list[ContextState],
        kinds: list[DrawKind | NoKind],
    ) -> None:
        """Those of some particles at one draw whose draws have kinds; without their streams and
        states."""
        if not all(type(kind) is DrawKind for kind in kinds):
            some = [n for n, kind in enumerate(kinds) if type(kind) is DrawKind]
            index, refs = [index[n] for n in some], [refs[n] for n in some]
            contexts = [contexts[n] for n in some]
            kinds = [kinds[n] for n in some]
        self.index += index
        self.draws += [draw] * len(index)
        self.refs += refs
        self.contexts += contexts
        self.kinds += cast(list[DrawKind], kinds)

    def sort(self) -> None:
        """Puts them into the order of the population; without their streams and states."""
        order = sorted(range(len(self.index)), key=self.index.__getitem__)
        self.index = [self.index[n] for n in order]
        self.draws = [self.draws[n] for n in order]
        self.refs = [self.refs[n] for n in order]
        self.contexts = [self.contexts[n] for n in order]
        self.kinds = [self.kinds[n] for n in order]


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
