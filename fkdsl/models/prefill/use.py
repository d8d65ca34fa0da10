"""What a store of prompts gave a run, and what it took."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from fkdsl.base.files import shown_size
from fkdsl.base.quick_dataclass import dataclass


@dataclass
class StoreUse:
    """What a store gave and took. prompts, tokens: of the program. fetched_tokens: of them, whose
    keys and values came from the store; fetched_bytes, seconds: of fetching. computing: seconds
    that the fetched took to compute where they were made. put_bytes: written. refused: what was
    there and not used, and why. skipped: models that have no keys and values."""

    name: str
    prompts: int = 0
    tokens: int = 0
    fetched_tokens: int = 0
    fetched_bytes: int = 0
    seconds: float = 0.0
    computing: float = 0.0
    put_bytes: int = 0
    refused: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def break_even(self) -> float | None:
        """Bytes a second from which on fetching is quicker than computing was where the prompts
        were made; None where nothing was fetched."""
        return self.fetched_bytes / self.computing if self.computing > 0 else None

    def notes(self) -> list[str]:
        """What a reader of a run must know of the store."""
        if not self.prompts:
            return [f"{self.name} is not asked: no prompt comes before the first draw"]
        missing = self.tokens - self.fetched_tokens
        lines = [f"{self.name}: {why}; it was computed here" for why in self.refused]
        lines += [f"{self.name}: {why}" for why in self.skipped]
        if missing and not self.refused:
            lines.append(
                f"{self.name} has {self.fetched_tokens} of the prompts' {self.tokens} tokens by "
                "this model and precision; the others were computed here: `fkdsl prefill --store` "
                "puts them there"
            )
        return lines

    def text(self) -> str:
        """A line for `--stats`."""
        if not self.fetched_tokens:
            return f"store    nothing fetched of {self.tokens} tokens ({self.name})\n"
        rate = self.fetched_bytes / max(self.seconds, 1e-9)
        line = (
            f"store    {self.fetched_tokens} of {self.tokens} tokens fetched: "
            f"{shown_size(self.fetched_bytes)} in {self.seconds:.3f} s, {shown_size(int(rate))}/s "
            f"({self.name})\n"
        )
        if self.break_even is None:
            return line
        return line + (
            f"         computing them took {self.computing:.3f} s where they were made: fetching "
            f"is quicker from {shown_size(int(self.break_even))}/s on\n"
        )

    def json(self) -> dict[str, Any]:
        """The same as numbers, in bytes, seconds and tokens."""
        return {**vars(self), "break_even": self.break_even}
