"""The indexes that a program declares, each opened when it is first asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fkdsl.base.locks import locked
from fkdsl.language.check.indexes import IndexInfo
from fkdsl.models.progress import Progress, silent
from fkdsl.retrieval.errors import RetrievalError

if TYPE_CHECKING:
    from fkdsl.retrieval.index import Index


KEEP = True
"""Whether the cache folder keeps indexes. A process that may write nothing sets it to False."""


class Indexes(Mapping[str, "Index"]):
    """Indexes by their names. One that has been opened does not change until `renew`."""

    def __init__(self, declared: Mapping[str, IndexInfo]) -> None:
        self.declared = declared
        self.lock = threading.RLock()
        self._opened: dict[str, Index] = {}
        self._before: dict[str, Index] = {}
        self._progress: Progress = silent

    @locked
    def __getitem__(self, name: str) -> Index:
        """The index, built or brought up to date. Raises KeyError, and RetrievalError where it
        cannot be had."""
        if name not in self._opened:
            from fkdsl.retrieval.index import open_index  # with SQLite and the lock of files

            info = self.declared[name]
            before = self._before.pop(name, None)
            self._opened[name] = open_index(
                info.spec, info.folder, before=before, progress=self._progress, keep=KEEP
            )
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.declared)

    def __len__(self) -> int:
        return len(self.declared)

    def digest(self, name: str) -> str:
        """What tells an index's content from others; "" where it cannot be had."""
        try:
            return self[name].digest
        except (KeyError, RetrievalError):
            return ""

    @locked
    def renew(self, progress: Progress) -> None:
        """Looks anew at the files of each index when it is asked next. progress: is told of those
        that are made."""
        self._progress = progress
        self._before.update(self._opened)
        self._opened = {}

    @locked
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of those that were opened."""
        return tuple(note for index in self._opened.values() for note in index.notes)
