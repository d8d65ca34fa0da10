"""The packed linear maps of a model in a file, so that a later run maps them into memory in the
place of packing them: they cost it neither time nor memory of its own.

    maps = PackedFile(path, digest, torch.float32)     # whether the file is there or not
    maps.take("lm_head", (49152, 576))                 # a packed weight; None: pack it, and
    maps.add("lm_head", packed)
    maps.save()                                        # writes the file if something was added

<root>/packed/smollm2-float32.safetensors: fkdsl's cache has one such file for each model of its own
and each precision, as large as the weights, and a new one takes the place of an old one. It is
safetensors of plain bytes; nothing else in it is trusted. A file is used if its maps are of weights
with the same digest, and packed in the layout that this machine and this torch use. A map is used
if its bytes have the checksum that was written with them, which takes 0.04 s for 538 MB: a disk
that fails, or a part of the file that never reached it, would give wrong probabilities without a
word. What is not used is packed again. Where the file cannot be written, nothing happens.
"""

from __future__ import annotations

import json
import os
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fkdsl.models.cache import cache_root, make_private
from fkdsl.models.compat import packed_memory

FORMAT = "fkdsl packed maps 1"
PAGE = 4096
"""The bytes begin at a multiple of it, so that maps are aligned as if they had been allocated; a
checksum is of the sums of such pieces."""
SPARE = 1 << 30
"""Bytes that must stay free on the disk for a file to be written."""


def packed_path(name: str, dtype: torch.dtype) -> Path:
    """Where the cache keeps the packed maps of a model of its own."""
    return cache_root() / "packed" / f"{name}-{str(dtype).removeprefix('torch.')}.safetensors"


class PackedFile:
    """The maps of one model in one dtype. digest: of the weights that they are made of."""

    def __init__(self, path: Path, digest: str, dtype: torch.dtype) -> None:
        self.path, self.digest, self.dtype = path, digest, dtype
        self._memory: dict[str, Tensor] = {}
        self._layouts: dict[str, str] = {}
        self._sums: dict[str, str] = {}
        self._maps: dict[str, Tensor] = {}
        self._added = False
        self._open()

    def _open(self) -> None:
        """Maps the file into memory if it is of these weights."""
        if not packed_memory.wraps(self.dtype):
            return
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                facts = file.metadata() or {}
                if (facts.get("format"), facts.get("weights")) != (FORMAT, self.digest):
                    return
                self._layouts, self._sums = (
                    {str(key): str(text) for key, text in json.loads(facts[name]).items()}
                    for name in ("layouts", "sums")
                )
                self._memory = {key: file.get_tensor(key) for key in self._layouts}
        except (OSError, SafetensorError, ValueError, KeyError, AttributeError, RecursionError):
            self._memory = {}

    def take(self, key: str, shape: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        """(a packed weight of the file, what must live as long as it); None if the file has none of
        the name, of these sizes (out, in), in today's layout and undamaged."""
        memory = self._memory.get(key)
        if memory is None or memory.dtype != torch.uint8 or memory.dim() != 1:
            return None
        if self._layouts[key] != _digest(packed_memory.layout_for(shape, self.dtype)):
            return None
        try:
            packed = packed_memory.over(memory, shape, self.dtype)
        except (RuntimeError, ValueError):
            return None
        if self._sums.get(key) != checksum(memory):
            return None
        self._maps[key] = packed
        return packed, memory

    def add(self, key: str, packed: Tensor) -> None:
        """Notes a weight that was packed, for `save`. One whose layout could not be told from its
        shape is left out."""
        shape = (int(packed.shape[0]), int(packed.shape[1]))
        if packed_memory.wraps(self.dtype) and (
            packed_memory.layout_of(packed) == packed_memory.layout_for(shape, self.dtype)
            and len(packed_memory.bytes_of(packed)) == packed.numel() * self.dtype.itemsize
            and packed.numel() * self.dtype.itemsize % 64 == 0
        ):
            self._maps[key], self._added = packed, True

    def save(self) -> None:
        """Writes all maps, if some were added, in the place of the file that was there."""
        if not self._added:
            return
        # Imported here: most runs find the file.
        from filelock import FileLock, Timeout

        try:
            make_private(self.path.parent)
            part = self.path.with_suffix(".part")
            # Whoever else packs the same maps writes the same file.
            with FileLock(self.path.with_suffix(".lock"), timeout=0, mode=0o600):
                part.unlink(missing_ok=True)
                if shutil.disk_usage(self.path.parent).free < SPARE + self._size():
                    return
                try:
                    self._write(part)
                    os.replace(part, self.path)
                finally:
                    part.unlink(missing_ok=True)  # what a full disk or Ctrl-C left
        # The last one comes from a file system without locks.
        except (OSError, Timeout, NotImplementedError):
            return

    def _size(self) -> int:
        return sum(len(packed_memory.bytes_of(packed)) for packed in self._maps.values())

    def _write(self, path: Path) -> None:
        layouts, sums, at = {}, {}, 0
        header: dict[str, Any] = {}
        for key, packed in self._maps.items():
            layouts[key] = _digest(packed_memory.layout_of(packed))
            raw = packed_memory.bytes_of(packed)
            sums[key] = checksum(torch.frombuffer(raw, dtype=torch.uint8))
            end = at + len(raw)
            header[key] = {"dtype": "U8", "shape": [end - at], "data_offsets": [at, end]}
            at = end
        facts = {
            "format": FORMAT,
            "weights": self.digest,
            "layouts": json.dumps(layouts),
            "sums": json.dumps(sums),
        }
        text = json.dumps({"__metadata__": facts, **header}).encode()
        text += b" " * (-(8 + len(text)) % PAGE)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for packed in self._maps.values():
                file.write(packed_memory.bytes_of(packed))
            # A machine that loses power must not be left with a file of zeros under the final name.
            file.flush()
            os.fsync(file.fileno())


def checksum(memory: Tensor) -> str:
    """A checksum of bytes, (a multiple of 8,) uint8: the digest of the sums of each PAGE bytes as
    whole numbers. It takes as long as reading them, which a digest of all bytes would not; it finds
    any one number that has changed and any pages that are missing or exchanged, and not an
    intended change."""
    words = memory.view(torch.int64)
    whole = len(words) - len(words) % (PAGE // 8)
    pages = words[:whole].view(-1, PAGE // 8).sum(dim=1)
    sums = torch.cat((pages, words[whole:]))
    return _digest(sums.numpy().tobytes())


def _digest(layout: bytes) -> str:
    return blake2b(layout, digest_size=16).hexdigest()
