"""The models of a run as far as its steps tell of them: the bytes of their tokens, and no
probabilities. With them steps are read where no model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

from fkdsl.api.trace.file import Trace
from fkdsl.api.trace.schema import MOST_TOKENS
from fkdsl.base.errors import InternalError
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.interface import ForwardRow
from fkdsl.models.vocabulary import Vocabulary


class Recorded(Mapping[str, CachedTransformer]):
    """The models of a trace as far as it has recorded them: the bytes of their tokens, and no
    probabilities."""

    def __init__(self, trace: Trace) -> None:
        tokens: dict[str, dict[int, bytes]] = {}
        for line in trace.steps:
            learn(tokens, line)
        self._engines = {name: recorded_engine(name, texts) for name, texts in tokens.items()}

    def __getitem__(self, name: str) -> CachedTransformer:
        if name not in self._engines:
            self._engines[name] = recorded_engine(name, {})
        return self._engines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)


def learn(tokens: dict[str, dict[int, bytes]], line: Mapping[str, Any]) -> None:
    """Adds the bytes of the tokens that a line tells of, by the model's name."""
    for name, texts in line.get("tokens", {}).items():
        tokens.setdefault(name, {}).update((int(i), token_bytes(text)) for i, text in texts.items())


class RecordedModel:
    """A LanguageModel of which only the bytes of some tokens are known; its other methods raise
    InternalError."""

    allows_empty = True
    max_length: int | None = None

    def __init__(self, name: str, vocabulary: Vocabulary) -> None:
        self.name, self.vocabulary = name, vocabulary

    def start(self, text: str) -> NoReturn:
        raise InternalError("a model was asked of a trace")

    encode = start

    def chat(self, user: str, system: str = "") -> NoReturn:
        raise InternalError("a model was asked of a trace")

    def forward(self, rows: Sequence[ForwardRow]) -> NoReturn:
        raise InternalError("a model was asked of a trace")

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}


class MarkedModel(RecordedModel):
    """A RecordedModel that another process has loaded, with its mark (`header.model_mark`)."""

    def __init__(self, mark: Mapping[str, Any], texts: Mapping[int, bytes]) -> None:
        vocabulary = Vocabulary(cast(Any, KnownTokens(texts)), frozenset())
        # The property would make it of all tokens, which are not known here.
        vocabulary.__dict__["fingerprint"] = mark["vocabulary"]
        super().__init__(mark["name"], vocabulary)
        self._facts = {k: v for k, v in mark.items() if k not in ("name", "vocabulary")}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, **self._facts}


def recorded_engine(name: str, texts: Mapping[int, bytes]) -> CachedTransformer:
    """An engine whose contexts have texts and no distributions. texts: bytes by token id."""
    return CachedTransformer(
        RecordedModel(name, Vocabulary(cast(Any, KnownTokens(texts)), frozenset()))
    )


class KnownTokens:
    """The tokens' bytes as a Vocabulary indexes them, without an entry for each unknown id."""

    def __init__(self, texts: Mapping[int, bytes]) -> None:
        self.texts = texts

    def __getitem__(self, i: int) -> bytes:
        return self.texts.get(i, b"")

    def __len__(self) -> int:
        return MOST_TOKENS


def token_text(raw: bytes) -> str | dict[str, str]:
    """A token's bytes as JSON: a text, or {"hex"} where they are no UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"hex": raw.hex()}


def token_bytes(data: str | Mapping[str, str]) -> bytes:
    """The bytes that `token_text` wrote."""
    return data.encode() if isinstance(data, str) else bytes.fromhex(data["hex"])
