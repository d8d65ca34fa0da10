"""Text for training: the documents of files, joined into one run of symbols, and the windows of it
that training steps read.

    texts = read_documents(["plays"], "paragraph")        a list of documents for each file
    training, held_out = split_documents(texts, 0.05)     holds out the last documents of each file
    batch = training.batch(seed, step, rows, length)

Text is bytes, in any encoding. END stands after each document and before the first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.tiny.transformer import END

MOST_TEXT_BYTES = 1 << 32
"""Most bytes of a file of text."""
DOCUMENT_KINDS = {"paragraph": rb"\r?\n(?:[ \t]*\r?\n)+", "line": rb"\r?\n", "file": rb"(?!)"}
"""The kinds of documents, and the pattern of what separates two documents of each kind."""


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents as one run of symbols. symbols: (n,) int16, END, then each document followed by
    END. starts: the index of the END before each document."""

    symbols: NDArray[np.int16]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, documents: Sequence[bytes]) -> Documents:
        ends = np.cumsum([len(d) + 1 for d in documents])
        symbols = np.empty(1 + int(ends[-1] if len(ends) else 0), dtype=np.int16)
        symbols[0], at = END, 1
        for document in documents:
            symbols[at : at + len(document)] = np.frombuffer(document, dtype=np.uint8)
            at += len(document) + 1
            symbols[at - 1] = END
        return cls(symbols, np.concatenate(([0], ends[:-1])).astype(np.int64))

    @property
    def digest(self) -> str:
        return sha256(self.symbols.tobytes()).hexdigest()

    def batch(self, seed: int, step: int, rows: int, length: int) -> NDArray[np.int64]:
        """(rows, length) the windows of a training step. They depend on these arguments alone.

        Every other row begins with the END before a document, as a new text does. The other rows
        begin anywhere, so that the later parts of long documents are read too.
        """
        draw = np.random.default_rng((seed, step))
        last = len(self.symbols) - length
        begins = self.starts[: int(np.searchsorted(self.starts, last, side="right"))]
        at = draw.integers(0, last + 1, size=rows)
        at[::2] = draw.choice(begins, size=len(at[::2]))
        windows: NDArray[np.int64] = self.symbols[at[:, None] + np.arange(length)].astype(np.int64)
        return windows


def read_documents(paths: Sequence[str | Path], kind: str = "paragraph") -> list[list[bytes]]:
    """The documents of each file, in the order of the paths; for a folder, of all files below it in
    the order of their names.

    kind: "paragraph" (separated by blank lines), "line" or "file". Raises CallError for a path that
    cannot be read, or if there is no document at all.
    """
    if kind not in DOCUMENT_KINDS:
        raise CallError(
            f"there are no documents of the kind `{kind}`", f"one of {', '.join(DOCUMENT_KINDS)}"
        )
    texts = []
    for path in map(Path, paths):
        if not path.exists():
            raise CallError(
                f"there is no file or folder `{path}`", "name text files, or folders of them"
            )
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            try:
                text = read_file(file, MOST_TEXT_BYTES)
            except OSError as error:
                raise CallError(
                    f"`{file}` cannot be read: {error.strerror}", "name a file of text"
                ) from None
            parts = re.split(DOCUMENT_KINDS[kind], text.strip(b"\r\n"))
            texts.append([document for document in parts if document.strip()])
    if not any(texts):
        raise CallError(
            "there is no text to train on: " + ", ".join(map(str, paths)),
            "the files hold no document",
        )
    # Where each file is one document, the last files are held out instead of the last documents.
    return [[d for documents in texts for d in documents]] if kind == "file" else texts


def split_documents(texts: Sequence[Sequence[bytes]], share: float) -> tuple[Documents, Documents]:
    """(training, held out). Of each list the last documents are held out: `share` of its bytes, at
    least one document.

    A list of one document is for training. Raises CallError if nothing can be held out.
    """
    if not 0 < share < 1:
        raise CallError(
            f"{share} is no share of a text to hold out", "between 0 and 1, such as 0.05"
        )
    training: list[bytes] = []
    held_out: list[bytes] = []
    for documents in texts:
        ends = np.cumsum([len(d) for d in documents])
        kept = 1
        if len(documents):
            within = int(np.searchsorted(ends, (1 - share) * ends[-1], side="right"))
            kept = max(1, min(within, len(documents) - 1))
        training.extend(documents[:kept])
        held_out.extend(documents[kept:])
    if not held_out:
        raise CallError(
            f"{len(training)} documents are too few to hold any out",
            "give more text, or --documents line",
        )
    return Documents.of(training), Documents.of(held_out)


def check_length(documents: Documents, length: int, what: str) -> None:
    """Raises CallError if documents are too short for a window of a length. what: which documents,
    for the message."""
    if len(documents.symbols) < length + 1:
        have = len(documents.symbols) - 1
        raise CallError(
            f"the {what} text has {have} bytes, and a window {length}",
            "give more text, or less --context",
        )
