"""The byte-level view of a token model: a LanguageModel over bytes whose texts have the token
model's own law.

    p(b) = sum over the token sequences that cover b,  the last of them begun before b ends and reaching its end or
    passing it; p(next byte | b) = p(b next) / p(b)        (Vieira et al. 2025, arXiv 2412.03719; Phan et al. 2025,
                                                            arXiv 2410.09303)

After b the view holds a beam: every such sequence as (the tokens that are complete, a node of the
vocabulary's trie that the token in progress has come to, its share of p(b)). A byte takes each one
down its trie. Where that completes a token, the sequence parts in two: the token is taken, and the
next begins at the root with a row of the token model's; or it goes on to a longer token. The shares
under the children of all nodes, added, are p(next byte | b).

With beam=None nothing is left out. With beam=K the K heaviest are kept, of those that are not
negligible (LEAST). What was let go is known exactly: R(b) is the mass of b's sequences that were
kept all the way, L(b) the mass let go on the way, and R(b) <= p(b) <= R(b) + L(b) (`bounds`). The
view's own law Q has R(b) = Q(b) prod_t (1 - lost_t), so over texts it is within E_Q[sum_t lost_t]
of p in total variation; `lost` says how much a byte lost.

Tokens that stand for no bytes and end no text (padding, a chat's marks) are not part of a text:
rows of the token model are taken without them, renormalised. A prompt may hold them, as symbols
above END; they are given, not drawn, and weigh nothing. A byte that the token model gives
probability zero, as tables do to prompts, is taken as given too, spelt by a token of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from fkdsl.base.errors import CallError
from fkdsl.base.logspace import Floats
from fkdsl.engine.byte_beam import Beam, BeamSegment, Item, LostMass, shared
from fkdsl.engine.byte_trie import BYTES, END, SYMBOLS, byte_trie
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.models.interface import Answer, ForwardRow

BEAM = 5
"""Sequences that a view keeps at most, unless it is told otherwise."""
LEAST = 1e-4
"""Share of a beam below which a sequence is not kept. In the middle of words most are far below it:
it halves the rows that are asked for, and loses about 1e-5 at a byte."""
WINDOW, FEW = 32, 4
"""Symbols of known text for which rows are asked ahead, and texts up to which they are: more fill a
batch anyway."""
ROW_MEMORY = 128 << 20
"""Bytes of the token model's rows that a view keeps at most, as probabilities in the order of its
trie."""


class ByteView:
    """A LanguageModel over bytes, on an engine of a token model. beam: how many sequences are kept,
    None for all."""

    vocabulary = BYTES
    allows_empty = True
    max_length: int | None = None

    def __init__(self, engine: CachedTransformer, beam: int | None = BEAM) -> None:
        if beam is not None and beam < 1:
            raise CallError(
                f"a beam keeps at least 1 sequence, not {beam}",
                f"write beam={BEAM}, or beam=none for all",
            )
        self.engine, self.beam = engine, beam
        self.name = f"bytes({engine.model.name})"
        self.trie = byte_trie(engine.model.vocabulary)
        self.lost = LostMass()
        self._rows: WeakKeyDictionary[Context, Floats] = WeakKeyDictionary()
        self._most = max(1, ROW_MEMORY // (8 * len(self.trie.ids)))

    # ------------------------------------------------------------------ texts

    def start(self, text: str) -> tuple[int, ...]:
        """What the token model puts before a text, then the text's bytes."""
        inner = self.engine.model
        if not text:
            return self.symbols(inner.start(""))
        prefix = [*takewhile(lambda i: not inner.vocabulary.tokens[i], inner.start("a"))]
        return (*self.symbols(prefix), *text.encode())

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        return self.symbols(self.engine.model.chat(user, system))

    def symbols(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The bytes of tokens, and the markers of those that stand for none."""
        found: list[int] = []
        for i in ids:
            raw = self.engine.model.vocabulary.tokens[i]
            if not raw and i not in self.trie.markers:
                raise CallError(
                    f"{self.name} cannot say token {i}, which stands for no bytes",
                    "use prompt(...)",
                )
            found.extend(raw or (self.trie.markers[i],))
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        return {
            **self.engine.model.describe(),
            "name": self.name,
            "vocabulary": 256,
            "beam": self.beam or "all",
        }

    def bounds(self, symbols: Sequence[int]) -> tuple[float, float]:
        """log R and log (R + L) of a sequence of symbols: the token model's own log-probability
        (nats) of it is between them, and is both if no beam let go of anything."""
        (beam,) = self._run([(self._begin(), tuple(symbols), frozenset())])[0]
        return beam.log_kept, float(np.logaddexp(beam.log_kept, beam.log_lost))

    # ---------------------------------------------------------------- forward

    def forward(self, rows: Sequence[ForwardRow]) -> list[Answer]:
        """See LanguageModel. Rows go on together, a byte at a time, so that each byte asks the
        token model once."""
        todo = []
        for row in rows:
            beam = self._begin()
            if row.past is not None:
                assert isinstance(row.past.segment, BeamSegment)
                assert row.past.stop == row.past.segment.length
                beam = row.past.segment.beam
            todo.append((beam, row.tokens, frozenset(row.wanted if row.tokens else (-1,))))
        beams, found = self._run(todo)
        none = np.zeros((0, SYMBOLS))
        return [
            Answer(np.stack(answers) if answers else none, BeamSegment(beam, len(row.tokens)))
            for row, beam, answers in zip(rows, beams, found, strict=True)
        ]

    def _run(
        self, todo: Sequence[tuple[Beam, tuple[int, ...], frozenset[int]]]
    ) -> tuple[list[Beam], list[list[Floats]]]:
        """The beams after their symbols, and the rows (SYMBOLS,) after those wanted; -1 stands
        before the first."""
        beams = [beam for beam, _, _ in todo]
        found: list[list[Floats]] = [[] for _ in todo]
        held: list[Context] = []
        for at in range(-1, max((len(symbols) for _, symbols, _ in todo), default=0)):
            here = [k for k, (_, symbols, _) in enumerate(todo) if at < len(symbols)]
            if at >= 0:
                for k in here:
                    beams[k] = self._advance(beams[k], todo[k][1][at])
            # A last symbol's rows are asked for only if its own are wanted, or else when something
            # follows it.
            going = [k for k in here if at in todo[k][2] or at + 1 < len(todo[k][1])]
            if (at + 1) % WINDOW == 0 and len(todo) <= FEW:
                held[:] = self._foresee(
                    [(beams[k], todo[k][1][at + 1 : at + 1 + WINDOW]) for k in going]
                )
            self._ask(item.context for k in going for item in beams[k].items if item.p is None)
            for k in going:
                if at in todo[k][2]:
                    found[k].append(self._log_probs(beams[k]))
        return beams, found

    def _begin(self) -> Beam:
        return Beam((Item(self.engine.root, self.trie.root, 1.0, None),))

    def _log_probs(self, beam: Beam) -> Floats:
        """log p(next symbol | bytes so far), (SYMBOLS,). Bytes that the model cannot write are
        followed by the end."""
        total = np.zeros(SYMBOLS)
        for item in beam.items:
            total[item.node.symbols] += item.share * item.node.masses(self._p(item))
        if not total.any():
            total[END] = 1.0
        with np.errstate(divide="ignore"):
            row: Floats = np.log(total / total.sum())
        return row

    # ------------------------------------------------------------------- rows

    def _p(self, item: Item) -> Floats:
        if item.p is not None:
            return item.p
        if item.context not in self._rows:
            self._ask([item.context])
        return self._rows[item.context]

    def _ask(self, contexts: Iterable[Context]) -> None:
        """Has the rows behind complete sequences at hand: one question to the token model."""
        wanted = dict.fromkeys(contexts)
        missing = [context for context in wanted if context not in self._rows]
        if missing:
            for context, row in zip(
                missing, self.engine.log_probs(list(map(self._asked, missing))), strict=True
            ):
                p = np.exp(row[self.trie.ids].astype(np.float64))
                total = p.sum()
                self._rows[context] = p / total if total > 0.0 else p
        for context in list(self._rows)[: max(0, len(self._rows) - max(self._most, len(wanted)))]:
            if context not in wanted:
                del self._rows[context]

    def _foresee(self, texts: Sequence[tuple[Beam, tuple[int, ...]]]) -> list[Context]:
        """Asks for the rows that beams will need along symbols that are known to follow: a question
        for each token of the longest sequence, not for each byte; fewer, as far as the tokenizer's
        own sequence foresees them.

        Gives the contexts, to be held until they are needed. What is kept is decided byte by byte
        all the same.
        """
        texts = [(beam, symbols) for beam, symbols in texts if len(symbols) > 1]
        known = [_said(symbols) for _, symbols in texts]
        guessed = [
            c for (beam, _), raw in zip(texts, known, strict=True) for c in self._guess(beam, raw)
        ]
        held: list[Context] = [*guessed]
        # Shares seen so far of sequences that cover the first n known bytes: some of those of the
        # beam to come.
        seen: list[list[list[float]]] = [[[] for _ in range(len(raw) + 1)] for raw in known]
        todo = [(k, item, 0) for k, (beam, _) in enumerate(texts) for item in beam.items]
        while todo:
            contexts = [item.context for _, item, _ in todo if item.p is None]
            self._ask((*contexts, *guessed))
            held, guessed = held + contexts, []
            arrived = []
            for k, item, begin in todo:
                going: Item | None = item
                for at in range(begin, len(known[k])):
                    if going is None:
                        break
                    new = self._down(going, known[k][at])
                    beside = seen[k][at + 1]
                    beside += [i.share for i in new]
                    going = next((i for i in new if i.p is not None), None)
                    if at + 1 < len(known[k]):
                        arrived += [
                            (k, i, at + 1)
                            for i in new
                            if i.p is None and self._likely(i.share, beside)
                        ]
            todo = arrived
        return held

    def _likely(self, share: float, beside: Sequence[float]) -> bool:
        """Whether a beam would keep a sequence beside others, itself among them."""
        return self.beam is None or (
            share >= LEAST * sum(beside) and sum(s > share for s in beside) < self.beam
        )

    def _guess(self, beam: Beam, said: bytes) -> list[Context]:
        """The contexts along the tokenizer's own tokens of known text, after the heaviest complete
        sequence."""
        whole = [item.context for item in beam.items if item.p is None][:1]
        tokens = self.engine.model.encode(said.decode("utf-8", "ignore"))[:-1]
        return [self.engine.extend(c, tokens[: n + 1]) for c in whole for n in range(len(tokens))]

    def _asked(self, context: Context) -> Context:
        """The context itself; for a model that cannot begin from nothing, a beginning that it
        can."""
        if context.length or self.engine.model.allows_empty:
            return context
        return self.engine.start("")

    # ------------------------------------------------------------------- beam

    def _advance(self, beam: Beam, symbol: int) -> Beam:
        """The beam one symbol later."""
        if symbol > END:
            token = self.trie.marked[symbol]
            ended = [item for item in beam.items if item.p is None]
            taken = [replace(i, context=self.engine.extend(i.context, (token,))) for i in ended]
            return replace(beam, items=shared(taken or self._spelt(beam, (), (token,))))
        items = [new for item in beam.items for new in self._down(item, symbol)]
        mass = math.fsum(item.share for item in items)
        if not mass > 0.0:
            return replace(beam, items=shared(self._spelt(beam, (symbol,))), log_kept=-math.inf)
        items.sort(key=lambda item: -item.share)
        kept = items
        if self.beam is not None:
            kept = [
                items[0],
                *(item for item in items[1 : self.beam] if item.share >= LEAST * mass),
            ]
        lost = math.fsum(item.share for item in items[len(kept) :]) / mass
        self.lost.add(lost)
        log_mass = beam.log_kept + math.log(mass)
        log_lost = (
            beam.log_lost
            if lost == 0.0
            else float(np.logaddexp(beam.log_lost, log_mass + math.log(lost)))
        )
        return Beam(shared(kept), log_mass + math.log1p(-lost), log_lost)

    def _down(self, item: Item, symbol: int) -> list[Item]:
        """What a sequence becomes by a symbol: for each token that it completes, that token taken;
        and the longer tokens that it may still become."""
        node = item.node.child(symbol)
        if node is None:
            return []
        first = item.node.lo + item.node.complete
        p = self._p(item)[node.lo - first : node.hi - first]
        found = []
        for k in range(node.complete):
            if p[k] > 0.0:
                context = self.engine.extend(item.context, (int(self.trie.ids[node.lo + k]),))
                found.append(Item(context, self.trie.root, item.share * float(p[k]), None))
        longer = p[node.complete :]
        mass = float(longer.sum())
        if mass > 0.0:
            found.append(Item(item.context, node, item.share * mass, longer / mass))
        return found

    def _spelt(
        self, beam: Beam, symbols: tuple[int, ...], tokens: tuple[int, ...] = ()
    ) -> list[Item]:
        """The beam's sequences with a token for each symbol of the one in progress, for `symbols`,
        and `tokens`."""
        found: dict[Context, float] = {}
        for item in beam.items:
            spelling = self.trie.spelling((*item.node.path, *symbols))
            if spelling is not None:
                context = self.engine.extend(item.context, (*spelling, *tokens))
                found[context] = found.get(context, 0.0) + item.share
        return [Item(context, self.trie.root, share, None) for context, share in found.items()]


def _said(symbols: Sequence[int]) -> bytes:
    """The bytes before the first symbol that is none."""
    return bytes(
        symbols[: next((n for n, symbol in enumerate(symbols) if symbol >= END), len(symbols))]
    )
