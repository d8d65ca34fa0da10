"""What a program declares of an index."""

from __future__ import annotations

from dataclasses import astuple, replace

from fkdsl.base.quick_dataclass import dataclass

RANKINGS = ("bm25", "dense", "hybrid")
ENGINES = ("embedded", "qdrant")
WORDLLAMA = "wordllama"
"""The embedding that needs no further model."""
PASSAGE = (50, 20_000)
"""The shortest and the longest bound on the characters of a passage."""
MOST_PASSAGES = 1_000_000
"""Most passages of one index."""


@dataclass(frozen=True)
class IndexSpec:
    """pattern: which files. ranking: one of RANKINGS. embedding: of dense and hybrid, what embeds.
    engine: what keeps the passages. passage: characters that one has at most. text: of tables, the
    column whose text is read; "" for the one named `text`, or the only one. table: of a database,
    its table; "" for the only one. adapter: the file of what `fkdsl train-retriever` has learned of
    queries; "" for none."""

    pattern: str
    ranking: str = "bm25"
    embedding: str = WORDLLAMA
    engine: str = "embedded"
    passage: int = 800
    text: str = ""
    table: str = ""
    adapter: str = ""

    @property
    def kept(self) -> tuple[object, ...]:
        """What an index in the cache depends on: all but the adapter, which changes queries."""
        return astuple(replace(self, adapter=""))[:-1]

    @property
    def embeds(self) -> bool:
        return self.ranking != "bm25"


OPTIONS: dict[str, tuple[str, str]] = {
    "ranking": ('"bm25"', "how documents are scored: bm25 (words), dense (embeddings), hybrid"),
    "embedding": ('"wordllama"', "what embeds, for dense and hybrid: wordllama, or a sentence "
    "encoder of the hub or a folder"),
    "engine": ('"embedded"', "what keeps the passages: embedded, or qdrant (dense alone)"),
    "passage": ("800", "characters that a passage has at most"),
    "text": ('"text"', "of tables, the column whose text is read"),
    "table": ('"docs"', "of a database, its table"),
    "adapter": ('"notes.adapter"', "for dense and hybrid, what `fkdsl train-retriever` learned"),
}  # fmt: skip
"""The options of a declaration: an example of the value, and what each does."""
