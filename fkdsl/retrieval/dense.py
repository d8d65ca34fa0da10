"""Passages as vectors: a passage fits a query by the cosine of their embeddings.

    wordllama         static vectors of tokens, in a wheel: pip install "fkdsl[wordllama]"
    anything else     a sentence encoder of transformers, by its name on the hub or its folder (one
                      that begins with a dot is relative to the program's): the mean of its last
                      states

A passage's vector is kept in half precision and normalised; a query's product with all of them is
one call of numpy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.deadline import check
from fkdsl.retrieval.errors import RetrievalError
from fkdsl.retrieval.spec import WORDLLAMA
from fkdsl.retrieval.store import Store

BATCH = 256
"""Texts that are embedded at once."""
SINGLE = 1 << 26
"""Numbers up to which vectors are held in single precision, 256 MB: a product takes a tenth of the
time."""
PRODUCT_ROWS = 1 << 16
"""Rows of a product with the query at once, where half precision is made single for it."""
MOST_TOKENS = 512
"""Tokens of a text that are embedded; those behind them are left out."""


class Embedding(Protocol):
    """What makes vectors of texts. name: tells its vectors from those of others."""

    name: str

    @property
    def digest(self) -> str:
        """What tells its weights and its tokens from those of others: an adapter is bound to it."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dimensions) vectors of length 1, or 0 for a text that it knows nothing of."""
        ...


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (n, d) divided by their lengths; those that are 0 or not finite become 0."""
    vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0.0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0.0, lengths, 1.0)).astype(np.float32)


class WordLlama:
    """The mean of static token vectors (WordLlama, MIT licence, 256 dimensions), read from the
    wheel's own files, so that nothing is fetched."""

    name = WORDLLAMA

    def __init__(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        spec = importlib.util.find_spec(WORDLLAMA)
        folder = Path(spec.origin).parent if spec is not None and spec.origin else Path()
        weights = folder / "weights" / "l2_supercat_256.safetensors"
        tokenizer = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
        if not (weights.is_file() and tokenizer.is_file()):
            raise RetrievalError(
                "the embedding wordllama is not installed", 'pip install "fkdsl[wordllama]"'
            )
        self._file = tokenizer
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)
        # Half precision is made single once here, not for each text.
        self._vectors = next(iter(load_file(weights).values())).astype(np.float32)

    @cached_property
    def digest(self) -> str:
        digest = blake2b(self._file.read_bytes(), digest_size=16)
        digest.update(self._vectors.astype(np.float16).tobytes())
        return digest.hexdigest()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # The fast one keeps no offsets.
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        sums = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for i, e in enumerate(encoded):
            if e.ids:
                sums[i] = self._vectors.take(e.ids, axis=0).sum(axis=0)
        return normalised(sums)  # of their means too: a vector's length is lost


class Encoder:
    """A sentence encoder of transformers: the mean of its last hidden states over the text's
    tokens."""

    def __init__(self, name: str) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.name, self._torch = name, torch
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self._model: Any = AutoModel.from_pretrained(name, use_safetensors=True).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            first = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
            raise RetrievalError(
                f"the embedding {name} cannot be loaded: {first}",
                "name a sentence encoder of the hub or its folder, or wordllama",
            ) from None

    @cached_property
    def digest(self) -> str:
        from fkdsl.models.digest import digest_of

        words = sorted(self._tokenizer.get_vocab().items())
        weights = digest_of(self._model.state_dict())
        return blake2b(f"{weights} {words}".encode(), digest_size=16).hexdigest()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = []
        for start in range(0, len(texts), 32):
            check()
            inputs = self._tokenizer(
                list(texts[start : start + 32]), padding=True, truncation=True,
                max_length=MOST_TOKENS, return_tensors="pt",
            )  # fmt: skip
            with self._torch.inference_mode():
                states = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
            rows.append(((states * mask).sum(1) / mask.sum(1).clamp(min=1)).float().numpy())
        return normalised(np.concatenate(rows))


@lru_cache(maxsize=4)
def embedding_of(name: str) -> Embedding:
    """What a program calls by a name. Raises RetrievalError if it cannot be had."""
    return WordLlama() if name == WORDLLAMA else Encoder(name)


class Vectors:
    """The vectors (n, d) of an index's passages, of length 1 to half precision."""

    def __init__(self, rows: NDArray[np.float16]) -> None:
        self._rows: NDArray[Any] = rows.astype(np.float32) if rows.size <= SINGLE else rows

    def __len__(self) -> int:
        return len(self._rows)

    def products(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, ...) the product of each with a query (d,), or with several (d, m): the cosines, if
        these have length 1."""
        products = np.empty((len(self._rows), *queries.shape[1:]), np.float32)
        for start in range(0, len(self._rows), PRODUCT_ROWS):
            part = self._rows[start : start + PRODUCT_ROWS].astype(np.float32, copy=False)
            products[start : start + PRODUCT_ROWS] = part @ queries
        return products

    def at(self, places: Sequence[int]) -> NDArray[np.float32]:
        """(places, d) some of them."""
        return self._rows[list(places)].astype(np.float32)


def embed_all(store: Store, embedding: Embedding) -> None:
    """Gives a vector to each passage of a store that has none."""
    last = -1
    while todo := store.without_vectors(last, BATCH):
        check()
        last = todo[-1][0]
        vectors = embedding.embed([text for _, text in todo])
        store.put_vectors([i for i, _ in todo], vectors.astype(np.float16))
