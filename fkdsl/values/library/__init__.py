"""The pure library: importing it fills the TABLE of `signatures`. All of it is bounded and
deterministic."""

from fkdsl.values.library import languages, numbers, sequences, structured, text

__all__ = ["languages", "numbers", "sequences", "structured", "text"]
