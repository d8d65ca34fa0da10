"""Safetensors files whose bytes depend on their contents alone, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target, read_file

Tensors = Mapping[str, NDArray[Any]]


def write_tensors(path: Path, tensors: Tensors, facts: Mapping[str, str]) -> int:
    """Writes a file under a temporary name and renames it, so that a killed run leaves the old one
    as it was; returns its size in bytes. Raises CallError if it cannot be written."""
    check_target(path)
    data = _bytes(tensors, facts)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise CallError(
            f"`{path}` cannot be written: {error.strerror}", "name another folder by --out"
        ) from None
    finally:
        with suppress(OSError):  # where the folder is a file, there is nothing to unlink
            scratch.unlink(missing_ok=True)
    return len(data)


def _bytes(tensors: Tensors, facts: Mapping[str, str]) -> bytes:
    """A file's bytes. The library writes facts in an order that differs from process to process,
    so they are put into the header here."""
    from safetensors.numpy import save

    data: bytes = save({name: np.ascontiguousarray(t) for name, t in tensors.items()})
    end = 8 + int.from_bytes(data[:8], "little")
    header = {"__metadata__": dict(sorted(facts.items()))} | json.loads(data[8:end])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors' bytes are aligned
    return len(text).to_bytes(8, "little") + text + data[end:]


def read_tensors(path: Path, most: int) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """(facts, tensors) of a file of at most `most` bytes. Raises OSError if it cannot be read, and
    ValueError if it is damaged or no such file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_file(path, most)
    try:
        tensors: dict[str, NDArray[Any]] = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return dict(header.get("__metadata__") or {}), tensors
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
