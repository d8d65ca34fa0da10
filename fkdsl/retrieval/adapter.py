"""An adapter: a linear map of a query's embedding, which `fkdsl train-retriever` has learned.

    score(d, q) = e(d) . A e(q)         e: the embedding, vectors of length 1; A: (D, D)

The documents' vectors stay as they are, so an index is not made again for it. With A the identity
the scores are the cosines. Its length is part of what is learned: a longer A e(q) makes p(d | q)
sharper, as a lower temperature does.

A file is safetensors of bounded size. It is bound to the embedding that it was trained with, by the
digest of its weights; a file that was changed since it was made is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.folders import Folder, OutsideRoot
from fkdsl.models.surrogate.tensor_files import read_tensors, write_tensors
from fkdsl.retrieval.errors import RetrievalError
from fkdsl.retrieval.files import outside, unreadable

FORMAT = "fkdsl adapter 1"
MOST_BYTES = 100_000_000
"""Bytes of a file at most: an adapter of 5,000 dimensions."""
MOST_ENTRY = 1e4
"""The largest entry of A, of either sign."""
AGAIN = (
    "leave it out of the line, and make it: fkdsl train-retriever FILE.fk --data FILE.jsonl -o FILE"
)


@dataclass(frozen=True, eq=False)
class Adapter:
    """matrix: A, (D, D) float32, finite. embedding: the digest of what embeds. made: how it was
    trained and what it was worth, for people."""

    matrix: NDArray[np.float32]
    embedding: str
    made: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """What tells it from others."""
        digest = blake2b(self.embedding.encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.matrix).tobytes())
        return digest.hexdigest()

    def apply(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """A q of queries (..., D)."""
        return queries @ self.matrix.T


def write_adapter(path: Path, adapter: Adapter) -> None:
    """Writes the file whole, or leaves the old one. Raises CallError if it cannot be written."""
    facts = {
        "format": FORMAT,
        "embedding": adapter.embedding,
        "digest": adapter.digest,
        "made": json.dumps(adapter.made),
    }
    write_tensors(path, {"matrix": adapter.matrix}, facts)


def read_adapter(name: str, folder: Folder) -> Adapter:
    """The adapter of a file by its name in the program's folder. Raises RetrievalError for one that
    is not there, lies outside, is damaged or is no adapter."""
    try:
        facts, tensors = read_tensors(folder.find(name), MOST_BYTES)
    except FileNotFoundError:
        raise unreadable(name, "there is no such file", AGAIN) from None
    except OutsideRoot:
        raise outside(name) from None
    except OSError as error:
        raise unreadable(name, str(error.strerror), AGAIN) from None
    except ValueError as error:
        raise unreadable(name, f"it is damaged, or no adapter ({error})", AGAIN) from None
    if facts.get("format") != FORMAT:
        raise unreadable(name, "it is no adapter that this version of fkdsl reads", AGAIN)
    matrix = tensors.get("matrix")
    if matrix is None or matrix.dtype != np.float32 or matrix.ndim != 2:
        raise unreadable(name, "it has no matrix", AGAIN)
    if matrix.shape[0] != matrix.shape[1] or not len(matrix) > 0:
        raise unreadable(name, f"its matrix is {matrix.shape[0]} x {matrix.shape[1]}", AGAIN)
    if not (np.isfinite(matrix).all() and np.abs(matrix).max() <= MOST_ENTRY):
        raise unreadable(name, "it has numbers that are not finite, or too large", AGAIN)
    adapter = Adapter(matrix, str(facts.get("embedding")), _made(facts.get("made")))
    if facts.get("digest") != adapter.digest:
        raise unreadable(name, "it was changed since it was made", AGAIN)
    return adapter


def _made(text: Any) -> Mapping[str, Any]:
    """What a file says of how it was made; nothing where it says nothing that can be read."""
    try:
        made = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return made if isinstance(made, dict) else {}


def verify_embedding(name: str, adapter: Adapter, digest: str, size: int) -> None:
    """Raises RetrievalError unless an adapter was trained for the embedding of that digest, which
    has `size` dimensions."""
    if adapter.embedding != digest or len(adapter.matrix) != size:
        raise RetrievalError(
            f'the adapter "{name}" was trained for another embedding',
            "name the embedding that it was trained with, or train it again",
        )
