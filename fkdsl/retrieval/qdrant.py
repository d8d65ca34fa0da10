"""The engine for what one machine does not hold: Qdrant, behind the same three calls.

    FKDSL_QDRANT unset           a folder of the index's own in the cache folder, read by the client
                                 itself: for trying out, and up to some 20,000 passages
    FKDSL_QDRANT=http://...      a server; FKDSL_QDRANT_KEY is its key, if it wants one

Where the server is says the caller, never the program: a stranger's program reaches no network by
it. An index has two collections, its passages with their vectors and the marks of its files. A
file's mark is written after its passages and deleted before them, so an update that is cut short is
made up for by the next.

Chosen over OpenSearch and pgvector since its client runs the same calls in memory, in a folder and
against a server.
"""

from __future__ import annotations

import atexit
import os
import uuid
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fkdsl.base.deadline import check
from fkdsl.retrieval.adapter import Adapter
from fkdsl.retrieval.dense import BATCH, Embedding
from fkdsl.retrieval.engine import Hit
from fkdsl.retrieval.errors import RetrievalError
from fkdsl.retrieval.passages import FileMark, Passage

ADDRESS, KEY = "FKDSL_QDRANT", "FKDSL_QDRANT_KEY"
TIMEOUT = 60
"""Seconds that the server may take for an answer."""
MEMORY = ":memory:"
F = TypeVar("F", bound=Callable[..., Any])


@lru_cache(maxsize=8)
def _client(location: str) -> Any:
    """The one client of a place: a folder can be opened once."""
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise RetrievalError(
            "the engine qdrant is not installed", 'pip install "fkdsl[qdrant]"'
        ) from None
    warnings.filterwarnings("ignore", module="qdrant_client")  # on the size of local collections
    if location.startswith(("http://", "https://")):
        client = QdrantClient(url=location, api_key=os.environ.get(KEY), timeout=TIMEOUT)
    else:
        client = QdrantClient(location) if location == MEMORY else QdrantClient(path=location)
    atexit.register(client.close)  # it cannot close itself once Python is going
    return client


def told(method: F) -> F:
    """A method whose errors of the client are RetrievalErrors."""

    def run(self: Qdrant, *args: Any) -> Any:
        from qdrant_client.http.exceptions import ApiException

        try:
            return method(self, *args)
        except (ApiException, RuntimeError, ValueError, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise RetrievalError(
                f"qdrant does not answer: {reason}", f"check the server, and {ADDRESS}"
            ) from None

    return run  # type: ignore[return-value]


class Qdrant:
    """home: the index's folder, None for one in memory. name: the index's, which its collections
    are called by."""

    def __init__(
        self,
        home: Path | None,
        name: str,
        embedding: Embedding,
        adapter: Adapter | None = None,
    ) -> None:
        folder = str(home / "qdrant") if home is not None else MEMORY
        self._client = _client(os.environ.get(ADDRESS) or folder)
        self._passages, self._files = f"fkdsl-{name}", f"fkdsl-{name}-files"
        self._embedding, self._adapter = embedding, adapter
        self._make()

    @told
    def _make(self) -> None:
        from qdrant_client import models

        size = self._embedding.embed(["a"]).shape[1]
        for collection, dimensions in ((self._passages, size), (self._files, 1)):
            if not self._client.collection_exists(collection):
                vectors = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
                self._client.create_collection(collection, vectors_config=vectors)

    @told
    def marks(self) -> dict[str, FileMark]:
        return {
            p["name"]: FileMark(p["size"], p["changed"], p["digest"])
            for p in self._all(self._files)
        }

    def _all(self, collection: str) -> Iterator[Any]:
        """The payload of every point."""
        offset = None
        while True:
            check()
            points, offset = self._client.scroll(collection, limit=1000, offset=offset)
            yield from (point.payload for point in points)
            if offset is None:
                return

    @told
    def update(
        self,
        changed: Iterable[tuple[str, FileMark, Sequence[Passage] | None]],
        gone: Collection[str],
    ) -> None:
        for name in gone:
            self._forget(name)
        for name, mark, passages in changed:
            if passages is not None:
                self._forget(name)
                self._put(name, passages)
            payload = {"name": name, **mark._asdict()}
            self._upsert(self._files, [(_number(name), [1.0], payload)])

    def _forget(self, name: str) -> None:
        from qdrant_client import models

        # By filters: local collections of qdrant-client 1.12 refuse the number of no point.
        its_mark = models.HasIdCondition(has_id=[_number(name)])
        of_file = models.FieldCondition(key="source", match=models.MatchValue(value=name))
        for collection, condition in ((self._files, its_mark), (self._passages, of_file)):
            selector = models.FilterSelector(filter=models.Filter(must=[condition]))
            self._client.delete(collection, points_selector=selector)

    def _put(self, name: str, passages: Sequence[Passage]) -> None:
        for start in range(0, len(passages), BATCH):
            check()
            batch = passages[start : start + BATCH]
            vectors = self._embedding.embed([p.text for p in batch])
            self._upsert(
                self._passages,
                [
                    (
                        _number(f"{name}\0{start + i}"),
                        vector.tolist(),
                        {"text": p.text, "source": name, "line": p.line, "place": start + i},
                    )
                    for i, (p, vector) in enumerate(zip(batch, vectors, strict=True))
                ],
            )

    def _upsert(self, collection: str, points: list[tuple[str, list[float], Any]]) -> None:
        from qdrant_client import models

        made = [models.PointStruct(id=i, vector=v, payload=p) for i, v, p in points]
        self._client.upsert(collection, points=made)

    @told
    def search(self, query: str, k: int) -> list[Hit]:
        if not query.strip():
            return []
        embedded, asked, total = self._embedding.embed([query])[0], 2 * k, -1
        if self._adapter is not None:
            embedded = self._adapter.apply(embedded)
        length = float(np.linalg.norm(embedded))  # the server divides by it
        vector, length = embedded.tolist(), 1.0 if self._adapter is None else length
        while True:
            check()
            points = self._client.query_points(self._passages, query=vector, limit=asked).points
            points.sort(key=lambda p: (-p.score, p.payload["source"], p.payload["place"]))
            first = {p.payload["text"]: p for p in reversed(points)}  # of the same text, the first
            if len(first) >= k or len(points) in (total, 0) or len(points) < asked:
                break
            asked, total = 2 * asked, len(points)
        best = sorted(first.values(), key=points.index)[:k]
        return [
            Hit(
                Passage(p.payload["text"], p.payload["source"], p.payload["line"]),
                length * float(p.score),
            )
            for p in best
        ]


def _number(name: str) -> str:
    """The id of a point."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
