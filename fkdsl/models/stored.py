"""Keys and values of a prompt as a file: computed by one process, decoded from by another.

A file is safetensors: for each context k, `k.p` (tokens, heads, width) for every plane p of the
model's pool, and `k.row` (V,) the log-probabilities after it, with `k.sums` where the model gives
the sums of its blocks. Its metadata say what it is of: the model's digest and precision, the
tokens, and a checksum over everything. A file that does not fit, or was changed, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fkdsl.base.blocks import Sums
from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target, verify_regular
from fkdsl.models.interface import ForwardRow, LanguageModel, LogProbRows, Past
from fkdsl.models.kv_pool import KVPool, KVSegment, table_of
from fkdsl.models.tokenized import TokenizedModel

PREFILL_FORMAT = "fkdsl prefill 2"
MOST_TOKEN_IDS, MOST_PLANES = 1 << 24, 1 << 16
"""Ids of a vocabulary, and planes of a model's keys and values: no model has as many."""


@dataclass(frozen=True)
class StoredContext:
    """model: the name by which a program calls it. planes: (tokens, heads, width) each; row: (V,),
    nats; sums: as an Answer's, of the row."""

    model: str
    tokens: tuple[int, ...]
    planes: tuple[Tensor, ...]
    row: LogProbRows
    sums: Sums | None = None


@dataclass(frozen=True)
class Stored:
    """identities: by the program's names for them, what each model was (`identity`)."""

    identities: Mapping[str, Mapping[str, str]]
    contexts: tuple[StoredContext, ...]


def identity(model: LanguageModel) -> dict[str, str]:
    """What a model must be for its keys and values to be another's: weights, precision, vocabulary;
    and its name."""
    facts = model.describe()
    if not isinstance(model, TokenizedModel) or "digest" not in facts:
        raise CallError(
            f"{model.name} has no keys and values to store",
            "a prefill is for transformers; a table computes nothing for its prompt",
        )
    return {
        "model": model.name,
        "weights": str(facts["digest"]),
        "dtype": str(facts["dtype"]),
        "vocabulary": model.vocabulary.fingerprint,
    }


def planes_of(model: LanguageModel, past: Past) -> tuple[Tensor, ...]:
    """What a model's pool holds of a whole context, (tokens, heads, width) for each plane, on the
    CPU."""
    pool = _pool(model)
    if pool is None or not isinstance(past.segment, KVSegment):
        raise CallError(
            f"{model.name} keeps no keys and values, but a state of another kind",
            "a prefill is for families whose layers are all attention",
        )
    index = torch.from_numpy(table_of(past).astype(np.int64)).to(pool.device)
    return tuple(plane.index_select(0, index).cpu() for plane in pool.planes)


def segment_of(model: LanguageModel, stored: StoredContext) -> KVSegment:
    """The stored context as a segment of the model's own pool."""
    pool = _pool(model)
    if pool is None:
        # A library's module shows the shapes of its cache only by running.
        model.forward([ForwardRow(None, stored.tokens[:1], ())])
        pool = _pool(model)
    shapes = (
        [(len(stored.tokens), heads, width) for heads, width in pool.shapes]
        if pool is not None
        else []
    )
    if pool is None or [tuple(p.shape) for p in stored.planes] != shapes:
        raise CallError(
            "the stored keys and values are not of this model's shape", "make the file again"
        )
    slots = pool.take(len(stored.tokens))
    index = torch.from_numpy(slots.astype(np.int64)).to(pool.device)
    with torch.inference_mode():
        for plane, found in zip(pool.planes, stored.planes, strict=True):
            plane.index_copy_(0, index, found.to(plane))
    return KVSegment(pool, None, slots)


def _pool(model: LanguageModel) -> KVPool | None:
    return model.pool if isinstance(model, TokenizedModel) else None


def save_prefill(path: Path, stored: Stored) -> int:
    """Writes a file; its size in bytes."""
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
    metadata["checksum"] = _checksum(metadata, tensors)
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
    """The contents of a file. Raises CallError if it is none, or was changed or cut off."""
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
    except (SafetensorError, OSError) as error:
        raise CallError(
            f"{path} is no prefill, or was cut off: {error}", "make it again by fkdsl prefill"
        ) from None
    if metadata.get("format") != PREFILL_FORMAT:
        raise CallError(f"{path} is no prefill of this version", "make it again by fkdsl prefill")
    if metadata.pop("checksum", "") != _checksum(metadata, tensors):
        raise CallError(f"{path} was changed since it was made", "make it again by fkdsl prefill")
    try:
        identities, contexts = json.loads(metadata["identities"]), json.loads(metadata["contexts"])
        _verify(identities, contexts)
        found = tuple(
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
    return Stored(identities, found)


def _verify(identities: Any, contexts: Any) -> None:
    """Raises ValueError for metadata that are none: its sum is no proof of who wrote it."""
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


def _checksum(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = blake2b(digest_size=16)
    for key in sorted(metadata):
        digest.update(f"{key}={metadata[key]};".encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)};".encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def differences(stored: Mapping[str, str], here: Mapping[str, str]) -> str:
    """How a stored model differs from the one at hand, '' if it does not."""
    said: list[tuple[str, str]] = [
        ("dtype", "precision"),
        ("vocabulary", "vocabulary"),
        ("weights", "weights"),
    ]
    found: Iterable[str] = (
        _said(key, name, stored, here) for key, name in said if stored.get(key) != here.get(key)
    )
    return ", ".join(found)


def _said(key: str, name: str, stored: Mapping[str, str], here: Mapping[str, str]) -> str:
    return f"{name} {stored.get(key)} and {here.get(key)}" if key == "dtype" else f"other {name}"


def strange_context(
    stored: Sequence[StoredContext], begins: Collection[tuple[str, tuple[int, ...]]]
) -> StoredContext | None:
    """The first stored context that is none of those that a program begins with, by model and
    tokens."""
    return next((c for c in stored if (c.model, c.tokens) not in begins), None)
