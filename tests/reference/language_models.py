"""What docs/language.md and docs/models.md say of tables and of their byte views, as plain Python:
no code of fkdsl's is used here."""

import codecs
import math
from functools import cache


class Mistake(Exception):
    """The program does what it may not: fkdsl reports it, and a measure has no meaning."""


def decoded(raw, final):
    return codecs.getincrementaldecoder("utf-8")("replace").decode(raw, final)


class Table:
    """rows: {suffix bytes: {id: its probability, where that is positive}}; tokens: the bytes of
    each id; ends: ids that end a text."""

    def __init__(self, tokens, ends, rows, texts=None):
        self.tokens, self.ends = tuple(tokens), frozenset(ends)
        self.rows = {k: {i: p for i, p in enumerate(v) if p > 0} for k, v in rows.items()}
        self.texts = texts  # of a table in a program, whose text is cut at characters
        self.identity = self.tokens, self.ends

    def row(self, ids):
        return self.row_after(b"".join(self.tokens[i] for i in ids))

    def row_after(self, raw):
        return self.rows[max((s for s in self.rows if raw.endswith(s)), key=len)]

    def encode(self, text):
        """The longest token at each place, else the bytes of a character."""
        units = text if self.texts is not None else text.encode()
        ids, at = [], 0
        known = (
            self.texts
            if self.texts is not None
            else {t: i for i, t in enumerate(self.tokens[:-256]) if t}
        )
        while at < len(units):
            fits = [t for t in known if units.startswith(t, at)]
            if fits:
                best = max(fits, key=len)
                ids.append(known[best])
                at += len(best)
            else:
                unit = units[at].encode() if self.texts is not None else units[at : at + 1]
                ids += [len(self.tokens) - 256 + b for b in unit]
                at += 1
        return tuple(ids)


class Bytes:
    """The byte view of a table: p(next byte | bytes so far) by every way to cut the bytes into
    tokens."""

    def __init__(self, table):
        self.table = table
        self.tokens, self.ends = (*(bytes([b]) for b in range(256)), b""), frozenset({256})
        self.identity = "bytes"
        self.letters = sorted({b for w in table.tokens[:-256] for b in w})
        self.row_after = cache(self._row_after)

    def encode(self, text):
        return tuple(text.encode())

    def row(self, ids):
        return self.row_after(b"".join(self.tokens[i] for i in ids))

    def _written(self, raw):
        """The row after some bytes as (token bytes, probability, whether it ends the text)."""
        row = self.table.row_after(raw)
        real = [(self.table.tokens[i], p, i in self.table.ends) for i, p in row.items()]
        real = [(w, p, end) for w, p, end in real if w or end]
        total = math.fsum(p for _, p, _ in real)
        return [(w, p / total, end) for w, p, end in real] if total > 0 else []

    def cover(self, raw, done=b""):
        """The probability that a text begins with raw, after `done`."""
        if not raw:
            return 1.0
        total = 0.0
        for w, p, end in self._written(done):
            if not end and w.startswith(raw):
                total += p
            elif not end and raw.startswith(w):
                total += p * self.cover(raw[len(w) :], done + w)
        return total

    def ended(self, raw, done=b""):
        """The probability that a text is raw and ends there."""
        total = 0.0
        for w, p, end in self._written(done):
            if end and not raw:
                total += p
            elif not end and raw and raw.startswith(w):
                total += p * self.ended(raw[len(w) :], done + w)
        return total

    def _row_after(self, raw):
        mass = self.cover(raw)
        if not mass > 0:
            raise Mistake("a byte view after bytes that its table cannot write")
        row = {b: self.cover(raw + bytes([b])) / mass for b in self.letters} | {
            256: self.ended(raw) / mass
        }
        return {i: p for i, p in row.items() if p > 0}
