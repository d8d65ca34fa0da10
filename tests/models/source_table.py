"""A table that reads a source, as an encoder-decoder does: the exact law by hand, without torch."""

from dataclasses import dataclass

import numpy as np

from fkdsl.base.errors import CallError
from fkdsl.models.attachments import Attachment, EncoderWork
from fkdsl.models.interface import ForwardResult
from fkdsl.models.table import TableModel
from fkdsl.models.vocabulary import Vocabulary

START = "<start>"


@dataclass(frozen=True)
class Segment:
    """The ids of a context up to the end of a run; all of them, since this is a reference."""

    ids: tuple
    length: int
    source: bytes
    sliceable: bool = True
    standalone: bool = False

    @property
    def nbytes(self):
        own = [i for i in self.ids[len(self.ids) - self.length :] if i < 0]
        return 8 * self.length + len(self.source) * len(own)


class SourceTable:
    """rows: {source: {suffix: {token, or None for the end: probability}}}. A source is
    encoded again whenever no segment of the context is cached."""

    allows_empty = False
    max_length = None
    kinds = frozenset({"source"})

    def __init__(self, name, rows, most=5000):
        self.name, self.most, self.encoder_work = name, most, EncoderWork()
        tokens = dict.fromkeys(
            t for table in rows.values() for row in table.values() for t in row if t is not None
        )
        full = {"": {**dict.fromkeys(tokens, 1.0), None: 1.0}}
        self._spelling = TableModel(name, full)
        plain = self._spelling.vocabulary
        self.start_id = plain.size
        self.vocabulary = Vocabulary((*plain.tokens, b""), plain.ends, {START: plain.size})
        self._rows = {
            source: TableModel(name, {"": full[""], **table})._rows
            for source, table in rows.items()
        }
        for source, table in rows.items():
            for suffix, row in table.items():
                p = np.zeros(self.vocabulary.size)
                for token, probability in row.items():
                    p[self._id(token)] = probability
                with np.errstate(divide="ignore"):
                    self._rows[source][suffix.encode()] = np.log(p / p.sum())

    def _id(self, token):
        return self._spelling.eos if token is None else self._spelling.encode(token)[0]

    def start(self, text):
        raise CallError(f"{self.name} needs a source", "write source=...")

    def chat(self, user, system=""):
        raise CallError(f"{self.name} has no chat template", "use prompt(...)")

    chat_with = chat

    def encode(self, text):
        return self._spelling.encode(text)

    def start_with(self, parts):
        source, text = parts
        if len(source.text) > self.most:
            raise CallError(f"this source has {len(source.text)} tokens", "shorten it")
        return (source, self.start_id, *self.encode(text))

    def describe(self):
        return {"name": self.name, "family": "source table", "vocabulary": self.vocabulary.size}

    def forward(self, rows):
        return [self._forward(row) for row in rows]

    def _forward(self, row):
        ids, source = (), None
        if row.past is not None:
            before = row.past.segment
            ids = before.ids[: len(before.ids) - before.length + row.past.stop]
            source = before.source
        wanted = []
        for k, i in enumerate(row.tokens):
            if i < 0:
                assert isinstance(i, Attachment)
                self.encoder_work.add(1, len(i.text), 0.0)
                source = i.content
            ids = (*ids, i)
            if k in row.wanted:
                wanted.append(self._row(source.decode(), ids))
        log_probs = np.stack(wanted) if wanted else np.zeros((0, self.vocabulary.size))
        return ForwardResult(log_probs, Segment(ids, len(row.tokens), source))

    def _row(self, source, ids):
        if len(ids) == 1:  # what follows a source is the decoder's start
            row = np.full(self.vocabulary.size, -np.inf)
            row[self.start_id] = 0.0
            return row
        text = self.vocabulary.raw(ids)
        table = self._rows[source]
        return table[max((s for s in table if text.endswith(s)), key=len)]
