"""A language model that is a table: the row of the longest suffix of the text so far gives the next
token's law.

Exact and instant, for tests and teaching. Its vocabulary is its tokens in order of first
appearance, EOS, and the 256 single bytes, which have probability zero and let a prompt be any text.
Rows are float64.

>>> rows = {"": {"0": 0.4, "1": 0.6}, "0": {"0": 0.9, "1": 0.1}, "1": {"0": 0.5, None: 0.5}}
>>> bits = TableModel("bits", rows)
>>> result, = bits.forward([ForwardRow(None, bits.encode("00"), (1,))])
>>> [round(float(p), 6) for p in np.exp(result.log_probs[0, :3])]
[0.9, 0.1, 0.0]
>>> bits.encode("01x")
(0, 1, 123)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.vocabulary import Vocabulary


@dataclass(frozen=True)
class TableSegment:
    """A segment of a table: the bytes of a run of tokens and of all before them. ends: where in the
    text each token of the run ends."""

    text: bytes
    ends: tuple[int, ...]
    sliceable: bool = True
    standalone: bool = True

    @property
    def length(self) -> int:
        return len(self.ends)

    @property
    def nbytes(self) -> int:
        return len(self.text) + 8 * len(self.ends)


class TableModel:
    """A LanguageModel of rows {suffix: {token, or None for EOS: probability}}. Each row is
    normalised to sum to 1."""

    allows_empty = True
    max_length: int | None = None

    def __init__(self, name: str, rows: Mapping[str, Mapping[str | None, float]]) -> None:
        self.name, self.rows = name, rows
        texts = list(
            dict.fromkeys(token for row in rows.values() for token in row if token is not None)
        )
        self.eos = len(texts)
        tokens = [t.encode() for t in texts] + [b""] + [bytes([b]) for b in range(256)]
        self.vocabulary = Vocabulary(tuple(tokens), ends=frozenset({self.eos}))
        self._ids = {t: i for i, t in enumerate(texts)}
        self._longest = max(map(len, texts), default=0)
        self._rows = {suffix.encode(): self._log_row(row) for suffix, row in rows.items()}
        self._suffixes = sorted(self._rows, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"TableModel({self.name!r}, {self.rows!r})"

    def _log_row(self, row: Mapping[str | None, float]) -> np.ndarray[Any, np.dtype[np.float64]]:
        p = np.zeros(self.vocabulary.size)
        for token, probability in row.items():
            p[self.eos if token is None else self._ids[token]] = probability
        with np.errstate(divide="ignore"):
            log_probs: np.ndarray[Any, np.dtype[np.float64]] = np.log(p / p.sum())
        return log_probs

    def start(self, text: str) -> tuple[int, ...]:
        return self.encode(text)

    def encode(self, text: str) -> tuple[int, ...]:
        """At each place the longest token of the table, else the bytes of one character."""
        ids: list[int] = []
        at = 0
        while at < len(text):
            for n in range(min(self._longest, len(text) - at), 0, -1):
                if text[at : at + n] in self._ids:
                    ids.append(self._ids[text[at : at + n]])
                    at += n
                    break
            else:
                ids.extend(self.eos + 1 + b for b in text[at].encode())
                at += 1
        return tuple(ids)

    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        """The two texts, a line each, since a table has no template."""
        return self.encode(f"{system}\n{user}\n" if system else f"{user}\n")

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        answers = []
        for row in rows:
            text = b""
            if row.past is not None:
                assert isinstance(row.past.segment, TableSegment)
                text = row.past.segment.text[: row.past.segment.ends[row.past.stop - 1]]
            if not row.tokens:
                answers.append(ForwardResult(self._row(text)[None, :], TableSegment(text, ())))
                continue
            wanted, ends = [], []
            for i, token in enumerate(row.tokens):
                text += self.vocabulary.tokens[token]
                ends.append(len(text))
                if i in row.wanted:
                    wanted.append(self._row(text))
            log_probs = np.stack(wanted) if wanted else np.zeros((0, self.vocabulary.size))
            answers.append(ForwardResult(log_probs, TableSegment(text, tuple(ends))))
        return answers

    def _row(self, text: bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
        for suffix in self._suffixes:
            if text.endswith(suffix):
                return self._rows[suffix]
        shown = text[-40:].decode("utf-8", "replace")
        raise CallError(
            f"the table `{self.name}` has no row for text that ends in {shown!r}",
            'add a row `"" -> ...`',
        )

    def describe(self) -> dict[str, Any]:
        digest = blake2b(digest_size=16)
        for suffix, row in self._rows.items():
            digest.update(len(suffix).to_bytes(4, "little") + suffix + row.tobytes())
        return {
            "name": self.name,
            "family": "table",
            "rows": len(self._rows),
            "vocabulary": self.eos + 1,
            "digest": digest.hexdigest(),
        }
