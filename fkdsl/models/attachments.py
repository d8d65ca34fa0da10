"""What a context holds beside tokens: the source text of an encoder-decoder, an image.

An attachment is a virtual token: a negative int, made from a hash of its content, that stands in a
context's sequence of ids where the model reads the content. The int carries the content, so that
whoever holds the sequence holds what it stands for, and a prefix tree shares it like any token. It
stands for no bytes, and nothing ever draws it.

>>> cat = Attachment.source("The cat sat.")
>>> cat < -1, cat == Attachment.source("The cat sat."), cat == Attachment.source("The dog sat.")
(True, True, False)
>>> cat.kind, cat.text
('source', 'The cat sat.')
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

from fkdsl.base.quick_dataclass import dataclass

Kind = Literal["source", "image", "prompt"]
ID_BITS = 62
"""An id is -2 - n for a number n of so many bits, so it fits an int64 and is never -1."""


class Attachment(int):
    """kind: what it is. content: its bytes, UTF-8 for a source, the file's for an image. origin:
    where it came from, for messages and traces: a file as the program names it; "" for a text.
    parts, system, is_chat: of a "prompt", what it is made of; its content names its images by
    their hashes.

    Equal to every int of the same value; two attachments are equal if kind and content are. Never
    written to after it is made.
    """

    kind: Kind
    content: bytes
    origin: str
    parts: tuple[Part, ...]
    system: str
    is_chat: bool

    def __new__(cls, kind: Kind, content: bytes, origin: str = "") -> Attachment:
        digest = sha256(kind.encode() + b"\0" + content).digest()
        self = super().__new__(cls, -2 - (int.from_bytes(digest[:8], "big") >> (64 - ID_BITS)))
        self.kind, self.content, self.origin = kind, content, origin
        self.parts, self.system, self.is_chat = (), "", False
        return self

    @classmethod
    def source(cls, text: str) -> Attachment:
        """The source text of an encoder-decoder."""
        return cls("source", text.encode("utf-8", "surrogatepass"))

    @classmethod
    def prompt(cls, parts: Sequence[Part], system: str = "", is_chat: bool = False) -> Attachment:
        """The beginning of a prompt, or of a chat, up to the end of its last image, for a model
        that reads it as one."""
        written = [p if isinstance(p, str) else {p.kind: p.sha256} for p in parts]
        self = cls("prompt", json.dumps([is_chat, system, written]).encode())
        self.parts, self.system, self.is_chat = tuple(parts), system, is_chat
        return self

    @property
    def nbytes(self) -> int:
        """Bytes of its content, and of the images that it is made of."""
        return len(self.content) + sum(p.nbytes for p in self.parts if isinstance(p, Attachment))

    @property
    def text(self) -> str:
        """The text of a source."""
        return self.content.decode("utf-8", "surrogatepass")

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the content, in hexadecimal digits."""
        return sha256(self.content).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        if self.kind == "prompt":
            return (Attachment.prompt, (self.parts, self.system, self.is_chat))
        return (Attachment, (self.kind, self.content, self.origin))


@dataclass
class EncoderWork:
    """What a model's encoder has done. passes: over attachments; tokens: that it read or made;
    seconds: they are part of those of the forwards."""

    passes: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, passes: int, tokens: int, seconds: float) -> None:
        self.passes, self.tokens = self.passes + passes, self.tokens + tokens
        self.seconds += seconds


Part = str | Attachment
"""A part of a prompt."""


def attachments_of(ids: Iterable[int]) -> list[Attachment]:
    """The attachments of a sequence of ids, in order."""
    return [i for i in ids if isinstance(i, Attachment)]


def with_content(ids: Sequence[int], known: Mapping[int, Attachment]) -> list[int]:
    """The ids with the attachments that they stand for. Raises ValueError for one that is not
    known."""
    if any(i < 0 and i not in known for i in ids):
        raise ValueError("an attachment that is not known")
    return [known[i] if i < 0 else i for i in ids]
