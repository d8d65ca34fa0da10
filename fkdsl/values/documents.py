"""Documents and the indexes that they are retrieved from, as values of a program.

>>> a = Document("High tide.", "tides.md", 3, 1.5)
>>> a["text"], a == Document("High tide.", "tides.md", 3, 0.2), a == Document("Ebb.", "tides.md", 5)
('High tide.', True, False)
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.value_keys import Keyed, value_key
from fkdsl.retrieval.engine import Hit
from fkdsl.values.types import FLOAT, INT, STR, Type
from fkdsl.values.values import Record

FIELDS: Mapping[str, Type] = {"text": STR, "source": STR, "line": INT, "score": FLOAT}
"""The fields of a document."""


class Document(Record, Keyed):
    """A passage that was retrieved: a record of its text, its file, its line and its score.

    Two are equal if they are the same passage, whatever their scores: another query scores the same
    document otherwise. Their keys differ by the score too, which a program can read.
    """

    __slots__ = ()

    def __init__(self, text: str, source: str, line: int, score: float = 0.0) -> None:
        super().__init__({"text": text, "source": source, "line": line, "score": score})

    @property
    def passage(self) -> tuple[str, str, int]:
        return self["text"], self["source"], self["line"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Document) and self.passage == other.passage

    def __hash__(self) -> int:
        return hash(self.passage)

    def key(self, token_ids: bool) -> Hashable:
        return (*self.passage, value_key(self["score"]))


@dataclass(frozen=True)
class IndexRef:
    """An index, by the name of its declaration."""

    name: str

    def __str__(self) -> str:
        return f"index {self.name}"


class Searched(Protocol):
    """An index that can be searched (fkdsl.retrieval.index.Index)."""

    def search(self, query: str, k: int) -> Sequence[Hit]:
        """The k best passages, best first, or as many as fit at all. Raises RetrievalError."""
        ...
