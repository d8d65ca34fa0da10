"""The contexts of a particle that runs: their table, what appends to them, and their rows.

A `ContextRef` of the program is an index into the table. The table is replaced and never written
to, so whoever keeps a reference to it keeps what it said: an op is undone by putting it back.

A row (V,) is asked for with `need`: if it is not at hand, that raises `NeedRows`, and whoever runs
the particle fetches it, together with those of the whole population.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.locks import in_turn
from fkdsl.base.logspace import Floats
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.machine.memory import NODE, Memory
from fkdsl.machine.state import ContextState
from fkdsl.models.attachments import attachments_of
from fkdsl.models.vocabulary import Vocabulary, decoded_text
from fkdsl.values.faults import Fault, NeedRows
from fkdsl.values.marks import Mark, mark_id
from fkdsl.values.token_distributions import (
    TokenDistribution,
    combine,
    following,
    leaves,
    nothing,
)
from fkdsl.values.values import ContextRef, Token, show


class ContextTable:
    """contexts: the table. rows: the rows that have been fetched for the op in progress, by what
    was asked: (V,) log-probabilities in nats by node. memory: what the contexts are charged to."""

    engines: Mapping[str, CachedTransformer]
    contexts: list[ContextState]
    rows: dict[Hashable, Any]
    memory: Memory

    @abstractmethod
    def charge(self, bytes: int) -> None:
        """Charges bytes. Raises Fault (FK415) above the bound."""

    # ------------------------------------------------------------------ table

    def vocabulary(self, ref: ContextRef) -> Vocabulary:
        return self.engines[self.contexts[ref.index].model].model.vocabulary

    def add_context(self, context: ContextState) -> ContextRef:
        """A further context at the table's end."""
        self.memory.now += NODE
        self.contexts = [*self.contexts, context]
        return ContextRef(len(self.contexts) - 1)

    def set_context(self, ref: ContextRef, context: ContextState) -> None:
        """The table with another context at the reference's place."""
        contexts = self.contexts.copy()
        contexts[ref.index] = context
        self.contexts = contexts

    def start(self, model: str, ids: tuple[int, ...]) -> ContextRef:
        """A new context after a prompt of the given tokens and attachments."""
        engine = self.engines[model]
        self.charge(NODE * len(ids) + sum(a.nbytes for a in attachments_of(ids)))
        node = engine.extend(engine.root, ids)
        return self.add_context(ContextState(model, node, len(ids), len(engine.raw(node))))

    def append_text(self, ref: ContextRef, value: Any) -> None:
        """`lm += value`: fixed text, no weight. A finished context goes on after it."""
        ids = self.ids_of(ref, value)
        self.extend(ref, ids)
        if ids and not (isinstance(value, Token) and value.end):
            self.set_context(ref, self.contexts[ref.index]._replace(done=False))

    def extend(self, ref: ContextRef, ids: tuple[int, ...]) -> None:
        """Appends tokens to a context. No weight."""
        c = self.contexts[ref.index]
        ends = self.vocabulary(ref).ends
        self.charge(NODE * len(ids))
        node = self.extended(c, ids)
        done = c.done or not ends.isdisjoint(ids)
        pending = None if ids else c.pending
        self.set_context(ref, ContextState(c.model, node, c.start, c.skip, done, pending, c.guess))

    def extended(self, c: ContextState, ids: tuple[int, ...]) -> Context:
        """The sequence of a context with more tokens. Raises Fault where the model reads fewer."""
        try:
            return self.engines[c.model].extend(c.node, ids)
        except CallError as error:
            raise Fault("FK402", error.message, error.help) from None

    def append_token(self, ref: ContextRef, token: int) -> None:
        """`extend` by one token of the vocabulary."""
        c = self.contexts[ref.index]
        engine = self.engines[c.model]
        self.charge(NODE)
        done = c.done or token in engine.model.vocabulary.ends
        try:
            node = engine.child(c.node, token)
        except CallError as error:  # longer than the model reads
            raise Fault("FK402", error.message, error.help) from None
        contexts = self.contexts = self.contexts.copy()
        contexts[ref.index] = ContextState(c.model, node, c.start, c.skip, done, None, c.guess)

    def ids_of(self, ref: ContextRef, value: Any) -> tuple[int, ...]:
        """The tokens that a text, a token or a mark is in a context's vocabulary; a token of that
        vocabulary is itself."""
        vocabulary = self.vocabulary(ref)
        if isinstance(value, Mark):
            return (mark_id(vocabulary, value.name),)
        if isinstance(value, Token):
            if value.end:
                return (min(vocabulary.ends),) if vocabulary.ends else ()
            if 0 <= value.id < vocabulary.size and vocabulary.text((value.id,)) == value.text:
                return (value.id,)
            value = value.text
        if not isinstance(value, str):
            raise Fault("FK408", f"expected text, found {show(value)!r}", "write str(x)")
        model = self.engines[self.contexts[ref.index].model].model
        try:
            return in_turn(model, model.encode, value)
        except CallError as error:  # the vocabulary cannot write the text
            raise Fault("FK402", error.message, error.help) from None

    def text(self, c: ContextState) -> str:
        """The text after the prompt; of a finished context, an unfinished last character is
        U+FFFD."""
        return decoded_text(self.engines[c.model].raw(c.node)[c.skip :], final=c.done)

    # ------------------------------------------------------------------- rows

    def need(self, wanted: list[tuple[str, Context]]) -> None:
        """Makes sure of the rows. Raises NeedRows for all that are missing at once."""
        missing: list[tuple[str, Context]] = [
            (model, node) for model, node in wanted if node not in self.rows
        ]
        if missing:
            raise NeedRows(missing)

    def rows_along(self, c: ContextState, ids: tuple[int, ...]) -> list[Floats]:
        """Rows (V,) after the context and after each of `ids` but the last: len(ids) of them. A
        finished context gives every token probability 0."""
        engine = self.engines[c.model]
        if c.done:
            return [nothing(engine.model.vocabulary)] * len(ids)
        nodes = [self.extended(c, ids[:k]) for k in range(len(ids))]
        self.need([(c.model, node) for node in nodes])
        rows = [self.rows[node] for node in nodes]
        if rows:
            rows[0] = following(rows[0], c.pending, engine.model.vocabulary)
        return rows

    def next_rows(self, d: TokenDistribution) -> tuple[tuple[ContextRef, ...], Floats]:
        """The contexts of an expression, and its row (V,)."""
        if (
            isinstance(d, ContextRef)
            and not (c := self.contexts[d.index]).done
            and c.pending is None
        ):
            self.need([(c.model, c.node)])
            return (d,), self.rows[c.node]
        refs = leaves(d)
        states = [self.contexts[r.index] for r in refs]
        for r, c in zip(refs, states, strict=True):
            if self.vocabulary(r).fingerprint != self.vocabulary(refs[0]).fingerprint:
                names = [self.engines[s.model].model.name for s in (states[0], c)]
                raise Fault(
                    "FK404",
                    "contexts of different vocabularies cannot be combined: "
                    f"{names[0]} and {names[1]}",
                    "draw from one and `observe` the token on the other, or take both as models "
                    "of bytes: `bytes(...)`",
                )
        self.need([(c.model, c.node) for c in states if not c.done])
        return refs, combine(
            d, {r: self.rows_along(c, (0,))[0] for r, c in zip(refs, states, strict=True)}
        )
