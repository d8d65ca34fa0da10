"""A model's tokens: ids, the bytes each stands for, and which of them end a text.

Two contexts can be multiplied or mixed only if their vocabularies are the same: equal
`fingerprint`s.

>>> v = Vocabulary((b"0", b"1", b""), ends=frozenset({2}))
>>> v.size, v.text([0, 1, 1, 2])
(3, '011')
>>> halves = Vocabulary((b"\\xc3", b"\\xa9", b""), ends=frozenset({2}))
>>> halves.text([0]), halves.text([0, 1]), halves.text([0, 2], final=True)
('', 'é', '\ufffd')
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cached_property
from hashlib import blake2b
from itertools import chain

from fkdsl.base.quick_dataclass import dataclass

TokenIds = tuple[int, ...]
"""A sequence of token ids."""


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """tokens[id]: the bytes that the token stands for, none for tokens that mark structure (EOS,
    BOS, padding). ends: the ids of the tokens that end a text; each is the language's EOS. marks:
    the ids of special tokens by the tokenizer's names for them, `<|im_end|>`; they are not part of
    the fingerprint."""

    tokens: tuple[bytes, ...] = field(repr=False)
    ends: frozenset[int]
    marks: Mapping[str, int] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """V, the number of ids; the length of a row of log-probabilities."""
        return len(self.tokens)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the tokens and the ends: equal for equal vocabularies, across processes."""
        lengths = [len(token).to_bytes(4, "little") for token in self.tokens]
        digest = blake2b(
            b"".join(chain.from_iterable(zip(lengths, self.tokens, strict=True))), digest_size=16
        )
        digest.update(repr(sorted(self.ends)).encode())
        return digest.hexdigest()

    def bytes_of(self, i: int) -> bytes:
        """The bytes of a token; none for an attachment (fkdsl.models.attachments), whose id is
        negative."""
        return self.tokens[i] if i >= 0 else b""

    def raw(self, ids: Iterable[int]) -> bytes:
        """The bytes of a sequence of tokens."""
        return b"".join(self.tokens[i] for i in ids if i >= 0)

    def text(self, ids: Iterable[int], final: bool = False) -> str:
        """The text of a sequence of tokens. Bytes that are no UTF-8 become U+FFFD. An unfinished
        character at the end is left out, since its remaining bytes may follow; if `final` it
        becomes U+FFFD."""
        return decoded_text(self.raw(ids), final)


def decoded_text(raw: bytes, final: bool = False) -> str:
    """The text of some bytes; see `Vocabulary.text`."""
    return (
        raw.decode("ascii")
        if raw.isascii()
        else codecs.getincrementaldecoder("utf-8")("replace").decode(raw, final)
    )
