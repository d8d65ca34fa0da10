"""Prefill files: the keys and values of prompts, computed by one process for runs in another.

A file is safetensors. For each context k it has `k.p` (tokens, heads, width) for every plane p of
the model's pool, `k.row` (V,) the log-probabilities after the context, and `k.sums` (blocks,) if
the model gives sums over blocks. Its metadata hold the model's digest and precision, the tokens,
and a checksum over everything. A file of another model, or one that was changed, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target, verify_regular
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.prefill.contents import StoredContext

PREFILL_FORMAT = "fkdsl prefill 2"
MOST_TOKEN_IDS, MOST_PLANES = 1 << 24, 1 << 16
"""Bounds on token ids and on the planes of a model's keys and values, far above those of any
model."""


@dataclass(frozen=True)
class Stored:
    """The contents of a file. identities: the `identity` of each model, by the program's name for
    it."""

    identities: Mapping[str, Mapping[str, str]]
    contexts: tuple[StoredContext, ...]


def save_prefill(path: Path, stored: Stored) -> int:
    """Writes a file; returns its size in bytes."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        f"{k}.{p}": t.contiguous()
        for k, c in enumerate(stored.contexts)
        for p, t in enumerate(c.planes)
    }
    tensors |= {
        f"{k}.row": torch.from_numpy(np.array(c.row)) for k, c in enumerate(stored.contexts)
    }
    tensors |= {
        f"{k}.sums": torch.from_numpy(np.array(c.sums))
        for k, c in enumerate(stored.contexts)
        if c.sums is not None
    }
    metadata = {
        "format": PREFILL_FORMAT,
        "identities": json.dumps(stored.identities),
        "contexts": json.dumps([[c.model, list(c.tokens), len(c.planes)] for c in stored.contexts]),
    }
    metadata["checksum"] = checksum(metadata, tensors)
    check_target(path)
    try:
        save_file(tensors, path, metadata)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CallError(
            f"cannot write {path}: {reason}", "name a file in a folder that is there"
        ) from None
    return path.stat().st_size


def read_prefill(path: Path) -> Stored:
    """The contents of a file. Raises CallError for a file of another kind, or one that was changed
    or cut off."""
    from safetensors import SafetensorError, safe_open

    try:
        verify_regular(path)
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CallError(
            f"there is no file {path}", f"make it: fkdsl prefill PROGRAM.fk --out {path}"
        ) from None
    except OSError as error:
        raise CallError(
            f"cannot read {path}: {error.strerror or error}", "name a file of `fkdsl prefill`"
        ) from None
    except (SafetensorError, LookupError, ValueError, RuntimeError) as error:
        raise CallError(
            f"{path} is no prefill, or was cut off: {error}", "make it again by fkdsl prefill"
        ) from None
    if metadata.get("format") != PREFILL_FORMAT:
        raise CallError(f"{path} is no prefill of this version", "make it again by fkdsl prefill")
    if metadata.pop("checksum", "") != checksum(metadata, tensors):
        raise CallError(f"{path} was changed since it was made", "make it again by fkdsl prefill")
    try:
        identities, contexts = json.loads(metadata["identities"]), json.loads(metadata["contexts"])
        _verify(identities, contexts)
        stored = tuple(
            StoredContext(
                model,
                tuple(ids),
                tuple(tensors[f"{k}.{p}"] for p in range(n)),
                tensors[f"{k}.row"].numpy(),
                tensors[f"{k}.sums"].numpy() if f"{k}.sums" in tensors else None,
            )
            for k, (model, ids, n) in enumerate(contexts)
        )
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise CallError(
            f"{path} says nothing of its prompts: {error}", "make it again by fkdsl prefill"
        ) from None
    return Stored(identities, stored)


def _verify(identities: Any, contexts: Any) -> None:
    """Raises ValueError for metadata of another form. The checksum does not exclude them: anybody
    can compute it."""
    if not isinstance(identities, dict) or not isinstance(contexts, list):
        raise ValueError("no models are named")
    for m in identities.values():
        if (
            not isinstance(m, dict)
            or "model" not in m
            or not all(isinstance(v, str) for v in m.values())
        ):
            raise ValueError("a model of no name")
    for context in contexts:
        if not (isinstance(context, list) and len(context) == 3 and context[0] in identities):
            raise ValueError("a prompt of no model")
        _, ids, planes = context
        if not (
            isinstance(ids, list)
            and ids
            and all(type(i) is int and 0 <= i < MOST_TOKEN_IDS for i in ids)
        ):
            raise ValueError("a prompt without tokens")
        if not (type(planes) is int and 0 <= planes <= MOST_PLANES):
            raise ValueError("a prompt without keys and values")


def checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Of metadata and tensors, as 32 hexadecimal digits."""
    digest = blake2b(digest_size=16)
    for key in sorted(metadata):
        digest.update(f"{key}={metadata[key]};".encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)};".encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def strange_context(
    stored: Sequence[StoredContext], begins: Collection[tuple[str, tuple[int, ...]]]
) -> StoredContext | None:
    """The first stored context that is not among those that a program begins with; None if there is
    none. begins: (model, tokens) of these."""
    return next((c for c in stored if (c.model, c.tokens) not in begins), None)
