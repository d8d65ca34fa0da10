"""The Vocabulary of a Hugging Face tokenizer: the bytes that each token stands for.

Tokenizers use two alphabets. Byte-level BPE writes each byte as a printable character (GPT-2).
SentencePiece writes text, with U+2581 for a space and <0xAB> for a single byte. Special tokens
stand for no text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.models.vocabulary import Vocabulary

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"


def byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones stand for themselves, the others are written as
    characters from U+0100 on."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in kept]
    return {chr(b): b for b in kept} | {chr(256 + i): b for i, b in enumerate(others)}


_LATIN_1 = dict.fromkeys(range(256), "\uffff") | {ord(c): b for c, b in byte_alphabet().items()}
"""From the alphabet's characters to those of Latin-1 with the bytes' numbers; from Latin-1's others
to one that is none of it."""


def bytes_of(text: str) -> bytes:
    """The bytes of a token that is written in `byte_alphabet`; the text's own, as UTF-8, where it
    has another character.

    >>> bytes_of("\u0120a"), bytes_of("\u00c3\u00a9"), bytes_of(" \u00e9")
    (b' a', b'\\xc3\\xa9', b' \\xc3\\xa9')
    """
    try:
        return text.translate(_LATIN_1).encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _decoder_state(backend: Any) -> bytes:
    """The JSON text of a tokenizer's decoder, without the megabytes of the rest of it."""
    decoder = backend.decoder
    return b"" if decoder is None else bytes(decoder.__getstate__())


def vocabulary_of(tokenizer: Any, size: int, ends: Iterable[int]) -> Vocabulary:
    """The vocabulary of a fast tokenizer, padded with empty tokens to `size`, the length of the
    model's logits. ends: the tokens that end a text.

    Raises CallError for a tokenizer that is not a fast one.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise CallError(
            "this model has no fast tokenizer", "convert it: save a tokenizer.json beside the model"
        )
    byte_level = b"ByteLevel" in _decoder_state(backend)
    added = tokenizer.added_tokens_decoder
    special = set(tokenizer.all_special_ids) | {i for i, t in added.items() if t.special}
    tokens = [b""] * max(size, len(tokenizer))
    marks = {str(added[i].content): i for i in special if i in added and i < size}
    for text, i in tokenizer.get_vocab().items():
        if i in special:
            continue
        if i in added:
            tokens[i] = str(added[i].content).encode()
        elif byte_level:
            tokens[i] = bytes_of(text)
        elif match := _BYTE.fullmatch(text):
            tokens[i] = bytes([int(match.group(1), 16)])
        else:
            tokens[i] = text.replace(_SPACE, " ").encode()
    ending = frozenset(i for i in ends if 0 <= i < size)
    return Vocabulary(tuple(tokens[:size]), ending, marks)
