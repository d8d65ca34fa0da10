"""Encodes text as tokens that stand for its characters, also where it spells a special token, such
as `<|im_end|>`.

A tokenizer reads the spelling of a special token as that token. `PlainText` encodes such a text by
a copy of the tokenizer that knows no special tokens (`encode_special_tokens` of the tokenizers
library). A vocabulary may still have the spelling as an ordinary piece (SentencePiece); then the
text is cut inside the spelling and its parts are encoded separately.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from functools import cached_property
from itertools import pairwise
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.models.vocabulary import Vocabulary


class PlainText:
    """Encodes text by a fast tokenizer (`tokenizers.Tokenizer`), never as special tokens.

    vocabulary: the bytes of the tokens; a token without bytes is special. name: of the model, for
    messages.
    """

    def __init__(self, backend: Any, vocabulary: Vocabulary, name: str) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend, self._name, self._vocabulary = backend, name, vocabulary
        self._silent = frozenset(i for i, raw in enumerate(vocabulary.tokens) if not raw)
        first: list[int] = backend.encode("a", add_special_tokens=False).ids
        self._prefixes = vocabulary.text(first) == " a"
        """Whether the tokenizer puts a space before a text, as SentencePiece does."""

    def start(self, text: str, marks: Collection[int] = (), *, unknown: bool = False) -> list[int]:
        """The ids of a text that begins a context, with the space that the tokenizer may put before
        it. marks: further tokens that no text may become. unknown: as in `__call__`."""
        return self._encoded(text, True, marks, unknown)

    def __call__(
        self, text: str, marks: Collection[int] = (), *, unknown: bool = False
    ) -> list[int]:
        """The ids of a text that continues another. marks: as in `start`. unknown: whether
        characters that the vocabulary lacks may become its token for unknown ones: in a text that
        is read alone, and is neither scored nor shown.

        Raises CallError for such characters else, and for a spelling of a special token that the
        vocabulary cannot write otherwise.
        """
        return self._encoded(text, False, marks, unknown)

    def after_mark(self, text: str, marks: Collection[int]) -> list[int]:
        """The ids of a text after a special token, as the tokenizer reads it there."""
        return self._encoded(text, self._begins_behind_marks, marks)

    @cached_property
    def _begins_behind_marks(self) -> bool:
        """Whether the tokenizer puts a space before a text that follows a special token."""
        if not self._prefixes:
            return False
        mark = next(
            (
                str(t.content)
                for t in self._backend.get_added_tokens_decoder().values()
                if t.special
            ),
            "",
        )
        ids: list[int] = self._backend.encode(f"{mark}a", add_special_tokens=False).ids
        return self._vocabulary.text(ids) == " a"

    def _encoded(
        self, text: str, begins: bool, marks: Collection[int], unknown: bool = False
    ) -> list[int]:
        refused = self._silent.union(marks)
        plain = begins or not self._prefixes
        ids: list[int] = self._ids(self._backend if plain else self._continuing, text)
        if refused.isdisjoint(ids):
            return ids
        backend = self._beginning if begins else self._continuing
        ids = self._ids(backend, text)
        if special := refused.intersection(ids):
            spellings = [self._backend.id_to_token(i) for i in special]
            first, *rest = cut_inside(text, spellings)
            ids = [
                *self._ids(backend, first),
                *(i for part in rest for i in self._ids(self._continuing, part)),
            ]
        if special := refused.intersection(ids) - self._unknown:
            spelling = self._backend.id_to_token(min(special))
            raise CallError(
                f"the tokenizer of {self._name} has no way to write {spelling!r} as text: it is a "
                "special token to it",
                "leave it out of the text",
            )
        if not unknown and not self._unknown.isdisjoint(ids):
            raise CallError(
                f"the vocabulary of {self._name} cannot write {self._lacking(text)!r}",
                "leave it out of the text",
            )
        return ids

    def _lacking(self, text: str) -> str:
        """The first characters of a text that the vocabulary lacks; the text if they are not
        known."""
        encoded = self._beginning.encode(text, add_special_tokens=False)
        for i, (begin, end) in zip(encoded.ids, encoded.offsets, strict=True):
            if i in self._unknown:
                return text[begin:end]
        return text

    @cached_property
    def _beginning(self) -> Any:
        return without_marks(self._backend.to_str())

    @cached_property
    def _continuing(self) -> Any:
        return (
            without_marks(unprefixed(self._backend.to_str())) if self._prefixes else self._beginning
        )

    @cached_property
    def _unknown(self) -> frozenset[int]:
        """The token, if there is one, that stands for characters outside the vocabulary."""
        model = self._backend.model
        if type(model).__name__ == "Unigram":  # it tells the id in its JSON text alone
            at = json.loads(self._backend.to_str())["model"].get("unk_id")
        else:
            token = getattr(model, "unk_token", None)
            at = self._backend.token_to_id(token) if token else None
        return frozenset(() if at is None else (at,))

    @staticmethod
    def _ids(backend: Any, text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids


def without_marks(tokenizer: str) -> Any:
    """The tokenizer of a JSON text, which reads no text as a special token."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer)
    backend.encode_special_tokens = True
    return backend


def unprefixed(tokenizer: str) -> str:
    """The JSON text of a tokenizer, changed so that it puts no space before a text."""
    settings = json.loads(tokenizer)
    for part in ("normalizer", "pre_tokenizer"):
        settings[part] = _unprefixed(settings.get(part))
    return json.dumps(settings)


def _unprefixed(part: Any) -> Any:
    match part:
        case {"type": "Prepend"}:
            return None
        case {"type": "Metaspace"}:
            return {**part, "prepend_scheme": "never"}
        case {"add_prefix_space": True}:
            return {**part, "add_prefix_space": False}
        case {"type": "Sequence"}:
            lists = {
                key: [p for p in map(_unprefixed, v) if p]
                for key, v in part.items()
                if isinstance(v, list)
            }
            return {**part, **lists}
    return part


def cut_inside(text: str, spellings: Iterable[str]) -> list[str]:
    """The parts of a text that is cut after the first character of each spelling in it.

    >>> cut_inside("a <s> b", ["<s>"])
    ['a <', 's> b']
    """
    cuts = {
        m.start() + 1
        for s in spellings
        for m in re.finditer(f"(?={re.escape(s)})", text)
        if len(s) > 1
    }
    ends = [0, *sorted(cuts), len(text)]
    return [text[a:b] for a, b in pairwise(ends)]
