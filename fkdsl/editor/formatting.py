"""A text in its canonical form, with the line ends that it has."""

from __future__ import annotations

from fkdsl.base.errors import FkdslError
from fkdsl.base.spans import Source
from fkdsl.language.formatting.formatter import format_text


def formatted(text: str) -> str | None:
    """The text as `fkdsl fmt` writes it; None for one with mistakes, which stays as it is."""
    crlf = "\r\n" in text
    try:
        neat = format_text(Source("text", text.replace("\r\n", "\n")))
    except FkdslError:
        return None
    return neat.replace("\n", "\r\n") if crlf else neat
