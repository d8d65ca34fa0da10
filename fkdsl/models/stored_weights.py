"""The tensors of a safetensors file, each read when it is asked for.

    weights = StoredWeights(folder / "model.safetensors", "cpu", torch.float32)
    weights["model.norm.weight"]

A model that packs its weights one after the other holds then few of them beside the packed ones:
the file, which is mapped into memory, is let go of and mapped again after every MAPPED_BYTES.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from fkdsl.base.errors import CallError

MAPPED_BYTES = 1 << 26


class StoredWeights(Mapping[str, Tensor]):
    """The tensors of a file by name, on a device and in a dtype; None: in their own. A tensor that
    is asked for after somebody has replaced the file raises CallError."""

    def __init__(self, file: Path, device: str = "cpu", dtype: torch.dtype | None = None) -> None:
        self.file, self.device, self.dtype = file, device, dtype
        self._identity = _identity(file)
        self._opened = _open(file)
        self._read = 0
        self.names = dict.fromkeys(self._opened.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            raise KeyError(name)
        if self._read > MAPPED_BYTES:
            self._opened, self._read = _open(self.file), 0
            if _identity(self.file) != self._identity:
                raise CallError(f"{self.file} was replaced while it was read", "run it again")
        tensor = self._opened.get_tensor(name)
        assert isinstance(tensor, Tensor)
        self._read += tensor.nbytes
        return tensor.to(self.device, self.dtype or tensor.dtype)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def _identity(file: Path) -> tuple[int, ...]:
    """What differs for another file under the same name."""
    status = file.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _open(file: Path) -> Any:
    return safe_open(file, framework="pt")
