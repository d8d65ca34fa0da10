"""What `fkdsl distil` has come to, in a folder beside its file: a file for each batch of texts, and
one for the fit. Each is written whole or not at all, so that a run that was killed goes on from
them.

Each file says what it was made for. One that was made for another model, seed or length is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.models.cache import make_private
from fkdsl.models.surrogate.tensor_files import read_tensors, write_tensors

MOST_BYTES = 1 << 32
FACTS = "fkdsl distil"
"""The key of the facts in a file's header."""


class Work:
    """The folder of a run. facts: what every file in it must have been made for."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder, self.facts = folder, dict(facts)

    def save(self, name: str, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Writes a file. Raises CallError if it cannot be written."""
        try:
            make_private(self.folder)
        except OSError as error:
            raise CallError(
                f"`{self.folder}` cannot be made: {error.strerror}", "name another folder by --out"
            ) from None
        write_tensors(self.folder / name, tensors, {FACTS: json.dumps(self.facts, sort_keys=True)})

    def read(self, name: str, free: Sequence[str] = ()) -> dict[str, NDArray[Any]] | None:
        """The tensors of a file; None if there is none. free: facts that may differ. Raises
        CallError if it is damaged, or was made for something else."""
        path = self.folder / name
        try:
            header, tensors = read_tensors(path, MOST_BYTES)
            facts = json.loads(header[FACTS])
        except FileNotFoundError:
            return None
        except (OSError, KeyError, ValueError, RecursionError):
            raise CallError(f"`{path}` is damaged", "delete it: it is made again") from None
        if not isinstance(facts, dict) or any(
            facts.get(key) != self.facts.get(key)
            for key in (facts.keys() | self.facts.keys()) - set(free)
        ):
            raise CallError(
                f"`{path}` was made for another model, seed, length or corpus",
                "use the flags of that run, or leave out --resume and begin again",
            )
        return tensors

    def clear(self) -> None:
        """Deletes the files of a run and its folder, if nothing else is in it."""
        for pattern in ("*.safetensors", "*.safetensors.*.part"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
