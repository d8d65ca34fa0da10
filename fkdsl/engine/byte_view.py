"""The byte-level view of a token model: a LanguageModel over bytes whose texts have the token
model's own law.

    p(b) = sum of p(s) over the token sequences s that cover b: b is a prefix of the bytes of s, but
           not of the bytes of s without its last token
    p(next byte | b) = p(b next) / p(b)
    (Vieira et al. 2025, arXiv 2412.03719; Phan et al. 2025, arXiv 2410.09303)

After b the view holds a beam: for each covering sequence its complete tokens, the node of the
vocabulary's trie at which the token in progress stands, and its share of p(b). A byte moves every
sequence one node down the trie. If a token ends at that node, the sequence splits in two: one takes
the token and begins the next at the root, with a row of the token model; the other goes on to a
longer token. p(next byte | b) is the sum over the beam of the shares under each child.

With beam=None the view drops nothing. With beam=K it keeps the K heaviest sequences whose share is
at least LEAST_SHARE, and knows exactly what it drops: R(b) is the probability of b's sequences that
were never dropped, L(b) of those that were, and R(b) <= p(b) <= R(b) + L(b) (`bounds`). The view's
own law Q has R(b) = Q(b) prod_t (1 - lost_t), where lost_t is the share dropped at byte t, so over
texts Q is within E_Q[sum_t lost_t] of p in total variation; `lost` sums the lost_t.

Tokens that stand for no bytes and end no text (padding, a chat's marks) are no part of a text: the
view takes rows of the token model without them, renormalised. A prompt may contain them, as symbols
above END_SYMBOL. A prompt is given, so these symbols have no probability; neither has a byte to
which the token model gives probability zero, as tables do to prompts: the view then spells it by a
token of its own.
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
from fkdsl.base.locks import in_turn
from fkdsl.base.logspace import Floats
from fkdsl.engine.byte_beam import Beam, BeamSegment, Item, LostMass, rescaled
from fkdsl.engine.byte_trie import END_SYMBOL, VIEW_SYMBOLS, VIEW_VOCABULARY, byte_trie
from fkdsl.engine.cached_transformer import CachedTransformer, Context
from fkdsl.models.attachments import Kind, Part
from fkdsl.models.interface import ForwardResult, ForwardRow, TakesAttachments

VIEW_BEAM = 5
"""Most sequences that a view keeps, by default."""
LEAST_SHARE = 1e-4
"""The share of a beam below which a sequence is dropped. In the middle of words most sequences are
far below it: dropping them halves the rows that the token model computes, and loses about 1e-5 of
the probability at each byte."""
KNOWN_WINDOW, FEW_TEXTS = 32, 4
"""Rows for known text are prefetched by so many symbols at once, if the forward has at most
FEW_TEXTS rows: more of them fill a batch without that."""
ROW_MEMORY = 128 << 20
"""Most bytes of the token model's rows that a view keeps, as probabilities in the trie's order."""


class ByteView:
    """A LanguageModel over bytes, on an engine of a token model. beam: the most sequences to keep,
    None for all. lost: what its beams dropped."""

    vocabulary = VIEW_VOCABULARY
    allows_empty = True
    max_length: int | None = None

    def __init__(self, engine: CachedTransformer, beam: int | None = VIEW_BEAM) -> None:
        if beam is not None and beam < 1:
            raise CallError(
                f"a beam keeps at least 1 sequence, not {beam}",
                f"write beam={VIEW_BEAM}, or beam=none for all",
            )
        self.engine, self.beam = engine, beam
        self.name = f"bytes({engine.model.name})"
        self.trie = byte_trie(engine.model.vocabulary)
        self.lost = LostMass()
        self._rows: WeakKeyDictionary[Context, Floats] = WeakKeyDictionary()
        self._most_rows = max(1, ROW_MEMORY // (8 * len(self.trie.ids)))

    # ------------------------------------------------------------------ texts

    def start(self, text: str) -> tuple[int, ...]:
        """What the token model puts before a text, then the text's bytes."""
        inner = self.engine.model
        if not text:
            return self.symbols(inner.start(""))
        prefix = [*takewhile(lambda i: not inner.vocabulary.tokens[i], inner.start("a"))]
        return (*self.symbols(prefix), *text.encode())

    @property
    def kinds(self) -> frozenset[Kind]:
        """What the token model takes."""
        inner = self.engine.model
        return inner.kinds if isinstance(inner, TakesAttachments) else frozenset()

    def start_with(self, parts: Sequence[Part]) -> tuple[int, ...]:
        """What the token model makes of all but the text at the end, then the text's bytes; of a
        model that reads a prompt as one (`whole`), what it makes of all."""
        inner = self.engine.model
        before, text = (parts[:-1], parts[-1]) if isinstance(parts[-1], str) else (parts, "")
        if not isinstance(inner, TakesAttachments):
            raise CallError(f"{self.name} takes no attachments", "give text alone")
        if getattr(inner, "whole", False):
            return self.symbols(inner.start_with(parts))
        return (*self.symbols(inner.start_with((*before, ""))), *text.encode())

    def chat_with(self, parts: Sequence[Part], system: str = "") -> tuple[int, ...]:
        inner = self.engine.model
        if not isinstance(inner, TakesAttachments):
            raise CallError(f"{self.name} takes no attachments", "give text alone")
        return self.symbols(inner.chat_with(parts, system))

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        return self.symbols(self.engine.model.chat(user, system))

    def symbols(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The bytes of tokens, with a marker for each token that stands for no bytes; attachments
        as they are. Raises CallError for a token without bytes that has no marker."""
        symbols: list[int] = []
        for i in ids:
            if i < 0:
                symbols.append(i)
                continue
            raw = self.engine.model.vocabulary.tokens[i]
            if not raw and i not in self.trie.markers:
                raise CallError(
                    f"{self.name} cannot say token {i}, which stands for no bytes",
                    "use prompt(...)",
                )
            symbols.extend(raw or (self.trie.markers[i],))
        return tuple(symbols)

    def describe(self) -> dict[str, Any]:
        return {
            **self.engine.model.describe(),
            "name": self.name,
            "vocabulary": 256,
            "beam": self.beam or "all",
        }

    def bounds(self, symbols: Sequence[int]) -> tuple[float, float]:
        """log R and log (R + L) of a sequence of symbols (nats). The token model's own
        log-probability lies between them; if no beam dropped anything, all three are equal."""
        (beam,) = self._run([(self._begin(), tuple(symbols), frozenset())])[0]
        return beam.log_kept, float(np.logaddexp(beam.log_kept, beam.log_lost))

    # ---------------------------------------------------------------- forward

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. All rows advance together, a byte at a time, so that each byte takes
        one request to the token model."""
        runs = []
        for row in rows:
            beam = self._begin()
            if row.past is not None:
                assert isinstance(row.past.segment, BeamSegment)
                assert row.past.stop == row.past.segment.length
                beam = row.past.segment.beam
            runs.append((beam, row.tokens, frozenset(row.wanted if row.tokens else (-1,))))
        beams, log_probs = self._run(runs)
        none = np.zeros((0, VIEW_SYMBOLS))
        return [
            ForwardResult(np.stack(p) if p else none, BeamSegment(beam, len(row.tokens)))
            for row, beam, p in zip(rows, beams, log_probs, strict=True)
        ]

    def _run(
        self, runs: Sequence[tuple[Beam, tuple[int, ...], frozenset[int]]]
    ) -> tuple[list[Beam], list[list[Floats]]]:
        """For each (beam, symbols, wanted indices of them; -1 is the place before the first): the
        beam after all symbols, and the rows (VIEW_SYMBOLS,) after the wanted ones."""
        beams = [beam for beam, _, _ in runs]
        log_probs: list[list[Floats]] = [[] for _ in runs]
        prefetched: list[Context] = []  # their rows live as long as the contexts
        for at in range(-1, max((len(symbols) for _, symbols, _ in runs), default=0)):
            here = [k for k, (_, symbols, _) in enumerate(runs) if at < len(symbols)]
            if at >= 0:
                for k in here:
                    beams[k] = self._advance(beams[k], runs[k][1][at])
            # After the last symbol of a run rows are needed only if they are wanted, and none is
            # needed to read a symbol that is no byte.
            active = [k for k in here if at in runs[k][2] or _is_byte_at(runs[k][1], at + 1)]
            if (at + 1) % KNOWN_WINDOW == 0 and len(runs) <= FEW_TEXTS:
                prefetched[:] = self._prefetch(
                    [(beams[k], runs[k][1][at + 1 : at + 1 + KNOWN_WINDOW]) for k in active]
                )
            self._compute_rows(
                item.context for k in active for item in beams[k].items if item.p is None
            )
            for k in active:
                if at in runs[k][2]:
                    log_probs[k].append(self._log_probs(beams[k]))
        return beams, log_probs

    def _begin(self) -> Beam:
        return Beam((Item(self.engine.root, self.trie.root, 1.0, None),))

    def _log_probs(self, beam: Beam) -> Floats:
        """(VIEW_SYMBOLS,) log p(next symbol | bytes so far), nats. After bytes that the token model
        cannot write, the end is certain."""
        total = np.zeros(VIEW_SYMBOLS)
        for item in beam.items:
            total[item.node.symbols] += item.share * item.node.masses(self._p(item))
        if not total.any():
            total[END_SYMBOL] = 1.0
        with np.errstate(divide="ignore"):
            row: Floats = np.log(total / total.sum())
        return row

    # ------------------------------------------------------------------- rows

    def _p(self, item: Item) -> Floats:
        """The probabilities of the longer tokens below an item's node."""
        if item.p is not None:
            return item.p
        if item.context not in self._rows:
            self._compute_rows([item.context])
        return self._rows[item.context]

    def _compute_rows(self, contexts: Iterable[Context]) -> None:
        """Computes the missing rows after contexts, in one request to the token model, and drops
        the oldest of the others over ROW_MEMORY."""
        wanted = dict.fromkeys(contexts)
        missing = [context for context in wanted if context not in self._rows]
        if missing:
            rows = self.engine.log_probs(list(map(self._computable, missing)))
            for context, row in zip(missing, rows, strict=True):
                p = np.exp(row[self.trie.ids].astype(np.float64))
                total = p.sum()
                self._rows[context] = p / total if total > 0.0 else p
        excess = len(self._rows) - max(self._most_rows, len(wanted))
        for context in list(self._rows)[: max(0, excess)]:
            if context not in wanted:
                del self._rows[context]

    def _prefetch(self, texts: Sequence[tuple[Beam, tuple[int, ...]]]) -> list[Context]:
        """Computes the rows that beams will need along known symbols. texts: (a beam, the symbols
        that follow it).

        That takes a request to the token model for each token of the longest sequence, not for each
        byte; fewer where the beam's tokens are the tokenizer's own, which are requested at once.
        Returns the contexts of the rows; the rows stay while the caller holds the contexts. Which
        sequences a beam keeps does not depend on what was prefetched.
        """
        texts = [(beam, symbols) for beam, symbols in texts if len(symbols) > 1]
        known = [_leading_bytes(symbols) for _, symbols in texts]
        guessed = [
            c for (beam, _), raw in zip(texts, known, strict=True) for c in self._guess(beam, raw)
        ]
        prefetched: list[Context] = [*guessed]
        # By text and number of known bytes, the shares found so far of sequences that cover them.
        shares: list[list[list[float]]] = [[[] for _ in range(len(raw) + 1)] for raw in known]
        starts = [(k, item, 0) for k, (beam, _) in enumerate(texts) for item in beam.items]
        while starts:
            contexts = [item.context for _, item, _ in starts if item.p is None]
            self._compute_rows((*contexts, *guessed))
            prefetched, guessed = prefetched + contexts, []
            completed = []
            for k, item, begin in starts:
                in_progress: Item | None = item
                for at in range(begin, len(known[k])):
                    if in_progress is None:
                        break
                    new = self._down(in_progress, known[k][at])
                    beside = shares[k][at + 1]
                    beside += [i.share for i in new]
                    in_progress = next((i for i in new if i.p is not None), None)
                    if at + 1 < len(known[k]):
                        completed += [
                            (k, i, at + 1)
                            for i in new
                            if i.p is None and self._would_keep(i.share, beside)
                        ]
            starts = completed
        return prefetched

    def _would_keep(self, share: float, beside: Sequence[float]) -> bool:
        """Whether a beam would keep a sequence of this share. beside: the shares of all sequences
        of the beam, this one included."""
        return self.beam is None or (
            share >= LEAST_SHARE * sum(beside) and sum(s > share for s in beside) < self.beam
        )

    def _guess(self, beam: Beam, raw: bytes) -> list[Context]:
        """The contexts along the tokenizer's own tokens of some bytes, after the heaviest item of
        the beam that has no token in progress."""
        whole = [item.context for item in beam.items if item.p is None][:1]
        model = self.engine.model
        tokens = in_turn(model, model.encode, raw.decode("utf-8", "ignore"))[:-1]
        return [self.engine.extend(c, tokens[: n + 1]) for c in whole for n in range(len(tokens))]

    def _computable(self, context: Context) -> Context:
        """The context itself; in place of the empty one, for a model that has no row for it, the
        context of an empty prompt."""
        if context.length or self.engine.model.allows_empty:
            return context
        return self.engine.start("")

    # ------------------------------------------------------------------- beam

    def _advance(self, beam: Beam, symbol: int) -> Beam:
        """The beam one symbol later."""
        if symbol > END_SYMBOL or symbol < 0:
            token = self.trie.marked[symbol] if symbol >= 0 else symbol
            whole = [item for item in beam.items if item.p is None]
            marked = [replace(i, context=self.engine.extend(i.context, (token,))) for i in whole]
            return replace(beam, items=rescaled(marked or self._spelt(beam, (), (token,))))
        items = [new for item in beam.items for new in self._down(item, symbol)]
        mass = math.fsum(item.share for item in items)
        if not mass > 0.0:
            return replace(beam, items=rescaled(self._spelt(beam, (symbol,))), log_kept=-math.inf)
        items.sort(key=lambda item: -item.share)
        kept = items
        if self.beam is not None:
            kept = [
                items[0],
                *(item for item in items[1 : self.beam] if item.share >= LEAST_SHARE * mass),
            ]
        lost = math.fsum(item.share for item in items[len(kept) :]) / mass
        self.lost.add(lost)
        log_mass = beam.log_kept + math.log(mass)
        log_lost = (
            beam.log_lost
            if lost == 0.0
            else float(np.logaddexp(beam.log_lost, log_mass + math.log(lost)))
        )
        return Beam(rescaled(kept), log_mass + math.log1p(-lost), log_lost)

    def _down(self, item: Item, symbol: int) -> list[Item]:
        """The sequences that an item becomes by one more symbol: one for each token that the symbol
        completes, and one whose token in progress is still longer."""
        node = item.node.child(symbol)
        if node is None:
            return []
        first = item.node.lo + item.node.complete
        p = self._p(item)[node.lo - first : node.hi - first]
        items = []
        for k in range(node.complete):
            if p[k] > 0.0:
                context = self.engine.extend(item.context, (int(self.trie.ids[node.lo + k]),))
                items.append(Item(context, self.trie.root, item.share * float(p[k]), None))
        longer = p[node.complete :]
        mass = float(longer.sum())
        if mass > 0.0:
            items.append(Item(item.context, node, item.share * mass, longer / mass))
        return items

    def _spelt(
        self, beam: Beam, symbols: tuple[int, ...], tokens: tuple[int, ...] = ()
    ) -> list[Item]:
        """The beam's sequences with one token for each symbol of the token in progress and for
        each of `symbols`, then `tokens`."""
        shares: dict[Context, float] = {}
        for item in beam.items:
            spelling = self.trie.spelling((*item.node.path, *symbols))
            if spelling is not None:
                context = self.engine.extend(item.context, (*spelling, *tokens))
                shares[context] = shares.get(context, 0.0) + item.share
        return [Item(context, self.trie.root, share, None) for context, share in shares.items()]


def _leading_bytes(symbols: Sequence[int]) -> bytes:
    """The symbols before the first that is no byte."""
    return bytes([*takewhile(lambda symbol: 0 <= symbol < END_SYMBOL, symbols)])


def _is_byte_at(symbols: Sequence[int], at: int) -> bool:
    """Whether there is a symbol at an index, which is a byte or the end."""
    return at < len(symbols) and 0 <= symbols[at] <= END_SYMBOL
