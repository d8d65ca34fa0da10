"""What keeps an index's passages and finds the best of them: three calls, the same for the one that
is embedded here and for one that is a server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from fkdsl.retrieval.passages import FileMark, Passage


class Hit(NamedTuple):
    """A passage that was found. score: finite; higher is better."""

    passage: Passage
    score: float


class RetrievalEngine(Protocol):
    """Laws: after `update`, `marks` says what was given; `search` gives at most k hits, no text
    twice, by falling score, and of equal scores in the order of names and places; the same
    passages and query give the same hits."""

    def marks(self) -> dict[str, FileMark]:
        """The files that are indexed, each as it was when it was read."""
        ...

    def update(
        self,
        changed: Iterable[tuple[str, FileMark, Sequence[Passage] | None]],
        gone: Collection[str],
    ) -> None:
        """Puts the passages of files in the place of those that they had; None where only the mark
        is new. gone: files to forget."""
        ...

    def search(self, query: str, k: int) -> list[Hit]:
        """The best passages for a query; none where nothing fits."""
        ...
