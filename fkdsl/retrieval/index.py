"""An index: some files, kept by their content, and the best passages of them for a query.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> _ = (folder / "tides.md").write_text("High tide comes twice a day.\\n\\nThe moon pulls.\\n")
>>> index = open_index(IndexSpec("*.md"), Folder.main(folder), keep=False)
>>> [(hit.passage.source, hit.passage.line) for hit in index.search("what pulls the tide", 5)]
[('tides.md', 3), ('tides.md', 1)]

An index is kept in the cache folder under a name that its folder, its pattern and its options give.
A file whose size and time have not changed is taken as it was; one whose content has the same
sha256 is not cut again; any other is read anew, alone. Where the cache cannot be written, the index
is made in memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from fkdsl.base.deadline import check
from fkdsl.base.folders import Folder
from fkdsl.base.locks import remember
from fkdsl.models.cache import cache_root, make_private
from fkdsl.models.progress import Progress, ProgressMeter, silent
from fkdsl.retrieval.adapter import Adapter, read_adapter, verify_embedding
from fkdsl.retrieval.dense import Embedding, embedding_of
from fkdsl.retrieval.embedded import Embedded
from fkdsl.retrieval.engine import Hit, RetrievalEngine
from fkdsl.retrieval.errors import RetrievalError
from fkdsl.retrieval.files import (
    NamedFile,
    NoText,
    embedding_name,
    find_files,
    read_passages,
)
from fkdsl.retrieval.passages import FileMark, Passage
from fkdsl.retrieval.spec import MOST_PASSAGES, IndexSpec
from fkdsl.retrieval.store import FORMAT

REMEMBERED = 1000
"""Searches whose hits are kept: every particle asks what its neighbours ask."""
PATIENCE, LOOK = 600.0, 0.1
"""Seconds that a run waits for another one that makes the same index, and between two looks at its
deadline; after them it makes the index in memory."""
MOST_QUERY = 10_000
"""Characters of a query that are read."""


class Index:
    """An index that has been opened: its hits do not change any more. files: those that it was
    made of. digest: what tells its content from others. notes: what a reader must know of it.
    adapter: the digest of its adapter, "" for none."""

    def __init__(
        self,
        engine: RetrievalEngine,
        files: Sequence[NamedFile],
        digest: str,
        notes: Sequence[str],
        adapter: str = "",
    ) -> None:
        self.engine, self.files, self.digest = engine, tuple(files), digest
        self.notes, self.adapter = tuple(notes), adapter
        self._known: dict[tuple[str, int], tuple[Hit, ...]] = {}

    def search(self, query: str, k: int) -> tuple[Hit, ...]:
        """The k best passages, best first, or as many as fit at all; texts that are the same count
        once. Of a query, the first MOST_QUERY characters are read. Raises RetrievalError."""
        key = (query[:MOST_QUERY], k)
        hits = self._known.get(key)
        if hits is None:
            hits = remember(self._known, key, tuple(self.engine.search(*key)), REMEMBERED)
        return hits


def open_index(
    spec: IndexSpec,
    folder: Folder,
    *,
    before: Index | None = None,
    progress: Progress = silent,
    keep: bool = True,
) -> Index:
    """The index of a declaration, built or brought up to date. folder: what its files are relative
    to. before: the same index opened earlier, which is it still where no file has changed. keep:
    whether the cache folder keeps it. Raises RetrievalError."""
    files = find_files(spec.pattern, folder)
    adapter = read_adapter(spec.adapter, folder) if spec.adapter else None
    learned = adapter.digest if adapter is not None else ""
    if before is not None and before.files == tuple(files) and before.adapter == learned:
        return before
    home = _home(spec, folder) if keep else None
    try:
        with _locked(home) if home is not None else nullcontext():
            engine = engine_of(spec, home, folder, adapter)
            left_out = bring_up_to_date(engine, files, spec, progress)
            if isinstance(engine, Embedded):
                engine.open()
    except NotLocked:
        return open_index(spec, folder, progress=progress, keep=False)
    except sqlite3.Error as error:
        if home is None:
            raise RetrievalError(f"the index cannot be built: {error}") from None
        if not isinstance(error, sqlite3.OperationalError):  # damaged: the next run makes it anew
            shutil.rmtree(home, ignore_errors=True)
        return open_index(spec, folder, progress=progress, keep=False)
    marks = sorted((name, mark.digest) for name, mark in engine.marks().items())
    content = (FORMAT, spec.kept[1:], marks) + ((learned,) if learned else ())
    digest = hashlib.sha256(repr(content).encode()).hexdigest()
    return Index(engine, files, digest, _notes(spec.pattern, left_out), learned)


class NotLocked(Exception):
    """The folder of an index cannot be had for this run alone."""


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """A context in which no other run changes the index. Raises NotLocked."""
    lock, end = FileLock(home / ".lock"), time.monotonic() + PATIENCE
    while not lock.is_locked:
        check()
        try:
            lock.acquire(timeout=min(LOOK, PATIENCE))
        except Timeout:
            if time.monotonic() > end:
                raise NotLocked from None
        except OSError:
            raise NotLocked from None
    try:
        yield
    finally:
        lock.release()


def _home(spec: IndexSpec, folder: Folder) -> Path | None:
    """The folder that keeps an index; None where it cannot be made."""
    home = cache_root() / "indexes" / index_name(spec, folder)
    try:
        make_private(home)
    except OSError:
        return None
    return home if os.access(home, os.W_OK) else None


def index_name(spec: IndexSpec, folder: Folder) -> str:
    """What tells an index from all others: its folder, its pattern and its options."""
    place = (FORMAT, os.path.realpath(folder.path), spec.kept)
    return hashlib.sha256(repr(place).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def engine_of(
    spec: IndexSpec, home: Path | None, folder: Folder, adapter: Adapter | None = None
) -> RetrievalEngine:
    """The engine that an index asks for. adapter: what is applied to the queries' embeddings, None
    for nothing."""
    embedding = embedding_of(embedding_name(spec, folder)) if spec.embeds else None
    if adapter is not None and embedding is not None:
        _verify_adapter(spec, adapter, embedding)
    if spec.engine == "qdrant" and embedding is not None:
        from fkdsl.retrieval.qdrant import Qdrant

        return Qdrant(home, index_name(spec, folder), embedding, adapter)
    return Embedded(home, spec.ranking, embedding, adapter)


def _verify_adapter(spec: IndexSpec, adapter: Adapter, embedding: Embedding) -> None:
    verify_embedding(spec.adapter, adapter, embedding.digest, embedding.embed(["a"]).shape[1])


def bring_up_to_date(
    engine: RetrievalEngine, files: Sequence[NamedFile], spec: IndexSpec, progress: Progress
) -> list[str]:
    """Reads the files that have changed; returns the names of those that are no text. progress:
    gets the bytes that are read."""
    known = engine.marks()
    todo = [f for f in files if known.get(f.name, FileMark(-1, 0, ""))[:2] != (f.size, f.changed)]
    gone = known.keys() - {f.name for f in files}
    if not todo and not gone:
        return [f.name for f in files if known[f.name].digest == ""]
    with progress(f"indexing {spec.pattern}", sum(f.size for f in todo)) as meter:
        engine.update(_changes(todo, known, spec, meter), gone)
    now = engine.marks()
    return [f.name for f in files if now[f.name].digest == ""]


def _changes(
    todo: Sequence[NamedFile], known: dict[str, FileMark], spec: IndexSpec, meter: ProgressMeter
) -> Iterator[tuple[str, FileMark, Sequence[Passage] | None]]:
    """What each file has now. A file that is no text is kept in mind with no digest and no
    passages, so that it is not read again."""
    total = 0
    for f in todo:
        try:
            digest, passages = read_passages(f, spec)
        except NoText:
            digest, passages = "", []
        mark = FileMark(f.size, f.changed, digest)
        total += len(passages)
        if total > MOST_PASSAGES:
            raise RetrievalError(
                f'"{spec.pattern}" has more than {MOST_PASSAGES:,} passages',
                "index fewer files, or use longer passages: `with passage=2000`",
            )
        same = f.name in known and known[f.name].digest == digest
        yield f.name, mark, None if same else passages
        meter.update(f.size)


def _notes(pattern: str, left_out: Sequence[str]) -> list[str]:
    if not left_out:
        return []
    names = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
    count = "1 file is" if len(left_out) == 1 else f"{len(left_out)} files are"
    return [f'index "{pattern}": {count} no text in UTF-8 and left out: {names}']
