"""The pure library: importing it fills the TABLE of `signatures`. Its functions are deterministic,
and bounded in time and memory."""

from fkdsl.values.library import (
    data,
    images,
    item_languages,
    json_languages,
    json_so_far,
    languages,
    number_languages,
    numbers,
    retrieval,
    sequences,
    structured,
    text,
)

__all__ = [
    "data",
    "images",
    "item_languages",
    "json_languages",
    "json_so_far",
    "languages",
    "number_languages",
    "numbers",
    "retrieval",
    "sequences",
    "structured",
    "text",
]
