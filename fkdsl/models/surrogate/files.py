"""A surrogate's file: safetensors, quantised and compressed, and what is wrong with one that cannot
be read.

    emission    bytes, zlib: (H, V) uint8 codes c_hx
    background  (V,) float16, b_x: the smallest log-probability of each token in any state
    offset      (H,) float32
    step        (H,) float32     log P(x | h) = b_x + offset_h + step_h c_hx, up to normalisation
    transition  (H, H) float16, and start (H,) float16: log-probabilities, up to normalisation

and of one with a head (FORMATS[1])

    head tokens    (K,) int32
    head weights   (K, H) float16
    head bias      (H,) float32
    head share     (1,) float32

Most codes of a fitted model are zero: a token that a state was never seen to emit has its share of
the background. So the codes take little room. Reading normalises every row exactly.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.models.surrogate.head import Head
from fkdsl.models.surrogate.model import Surrogate
from fkdsl.models.surrogate.tensor_files import read_tensors, write_tensors
from fkdsl.models.vocabulary import Vocabulary

FORMATS = ("fkdsl surrogate 1", "fkdsl surrogate 2")
"""Of a file without a head, and of one with a head."""
MOST_FILE_BYTES = 1 << 28
MOST_STATES, MOST_TOKENS, MOST_EMISSIONS = 1 << 12, 1 << 20, 1 << 27
"""Bounds on H, on V, and on H V, since the header of a stranger's file may have any number."""
CODES = 255
MOST_HEAD = 1 << 12
"""Tokens that a head may read."""
LARGEST = 1e6
"""Bias or share of a head."""
LEAST = -60.0
"""The log-probability (nats) for which a transition or a start of probability zero is kept."""
AGAIN = "make it again by fkdsl distil"


def write(path: Path, surrogate: Surrogate) -> int:
    """Writes a file, whole or not at all; returns its size in bytes. Raises CallError if it cannot
    be written."""
    tensors = _packed(surrogate)
    facts = {
        "format": FORMATS[surrogate.head is not None],
        "states": str(surrogate.states),
        "tokens": str(surrogate.vocabulary_size),
        "vocabulary": surrogate.fingerprint,
        "about": json.dumps(dict(surrogate.about)),
    }
    facts["checksum"] = _checksum(facts, tensors)
    return write_tensors(path, tensors, facts)


def read(path: Path, vocabulary: Vocabulary | None = None) -> Surrogate:
    """The surrogate of a file. vocabulary: the one that it must speak of, if given. Raises
    CallError for a file that is damaged, of another kind or of another vocabulary."""
    facts, tensors = _contents(path)
    if vocabulary is not None and (facts.get("vocabulary"), facts.get("tokens")) != (
        vocabulary.fingerprint,
        str(vocabulary.size),
    ):
        raise CallError(
            f"`{path}` is a surrogate of another vocabulary than the model's",
            "make one for this model: fkdsl distil MODEL --out FILE",
        )
    try:
        states, tokens = int(facts["states"]), int(facts["tokens"])
        about = json.loads(facts["about"])
        if not isinstance(about, dict):
            raise ValueError("it says nothing of how it was made")
        _verify_sizes(states, tokens, tensors, facts["format"] == FORMATS[1])
        codes = _codes(tensors["emission"].tobytes(), states, tokens)
    except (LookupError, ValueError, RecursionError) as error:
        raise CallError(f"`{path}` is no surrogate that can be used: {error}", AGAIN) from None
    return _unpacked(codes, tensors, facts["vocabulary"], about)


def _contents(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """The facts and the tensors of a file, as they were written: the checksum is right."""
    try:
        facts, tensors = read_tensors(path, MOST_FILE_BYTES)
    except FileNotFoundError:
        raise CallError(
            f"there is no file `{path}`", f"make it: fkdsl distil MODEL --out {path}"
        ) from None
    except OSError as error:
        raise CallError(f"`{path}` cannot be read: {error.strerror}", AGAIN) from None
    except ValueError as error:
        raise CallError(f"`{path}` is no surrogate, or was cut off: {error}", AGAIN) from None
    if facts.get("format") not in FORMATS:
        raise CallError(f"`{path}` is no surrogate of this version of fkdsl", AGAIN)
    if facts.pop("checksum", "") != _checksum(facts, tensors):
        raise CallError(f"`{path}` was changed since it was made", AGAIN)
    return facts, tensors


def _verify_sizes(
    states: int, tokens: int, tensors: Mapping[str, NDArray[Any]], has_head: bool
) -> None:
    """Raises ValueError for sizes out of bounds, and for tensors of other shapes or kinds, or that
    are not finite. The checksum does not exclude them: anybody can compute it."""
    if not (0 < states <= MOST_STATES and 0 < tokens <= MOST_TOKENS):
        raise ValueError(f"{states} states over {tokens} tokens")
    if states * tokens > MOST_EMISSIONS:
        raise ValueError(f"{states} states over {tokens} tokens are too many")
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "background": ((tokens,), np.float16),
        "offset": ((states,), np.float32),
        "step": ((states,), np.float32),
        "transition": ((states, states), np.float16),
        "start": ((states,), np.float16),
    }
    heads = _shapes_of_head(states, tensors) if has_head else {}
    if tensors.keys() != shapes.keys() | {"emission"} | heads.keys():
        raise ValueError("its tensors have other names: " + ", ".join(sorted(tensors)))
    if tensors["emission"].dtype != np.uint8:
        raise ValueError("its emissions are not compressed bytes")
    for name, (shape, kind) in (shapes | heads).items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != kind:
            raise ValueError(f"{name} is {tensor.shape} of {tensor.dtype}, not {shape}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} has values that are not finite")
        if name in shapes and np.abs(tensor.astype(np.float64)).max() > -2 * LEAST:
            raise ValueError(f"{name} has values that no logarithm of a probability has")
    if has_head:
        read = tensors["head tokens"]
        if read.min() < 0 or read.max() >= tokens:
            raise ValueError("its head reads tokens that the vocabulary has not")
        for name in ("head bias", "head share"):
            if np.abs(tensors[name]).max() > LARGEST:
                raise ValueError(f"{name} has values beyond {LARGEST:g}")


def _shapes_of_head(
    states: int, tensors: Mapping[str, NDArray[Any]]
) -> dict[str, tuple[tuple[int, ...], Any]]:
    K = tensors["head tokens"].size
    if not 0 < K <= MOST_HEAD:
        raise ValueError(f"a head that reads {K} tokens")
    return {
        "head tokens": ((K,), np.int32),
        "head weights": ((K, states), np.float16),
        "head bias": ((states,), np.float32),
        "head share": ((1,), np.float32),
    }


def _codes(data: bytes, states: int, tokens: int) -> NDArray[np.uint8]:
    """(H, V) the codes of the emissions. Raises ValueError unless the bytes unpack to exactly these
    many."""
    size = states * tokens
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"its emissions cannot be unpacked ({error})") from None
    if len(raw) != size or not stream.eof or stream.unused_data:
        raise ValueError("its emissions are of another size")
    return np.frombuffer(raw, dtype=np.uint8).reshape(states, tokens)


def _packed(surrogate: Surrogate) -> dict[str, NDArray[Any]]:
    log_p = np.log(surrogate.emission)  # (H, V)
    background = np.maximum(log_p.min(axis=0), LEAST).astype(np.float16)
    log_p -= background
    offset = log_p.min(axis=1)
    log_p -= offset[:, None]
    step = np.maximum(log_p.max(axis=1), 1e-6) / CODES
    codes = np.rint(log_p / step[:, None]).astype(np.uint8)
    with np.errstate(divide="ignore"):
        transition = np.maximum(np.log(surrogate.transition), LEAST)
        start = np.maximum(np.log(surrogate.start), LEAST)
    return _packed_head(surrogate.head) | {
        "emission": np.frombuffer(zlib.compress(codes.tobytes(), 9), dtype=np.uint8),
        "background": background,
        "offset": offset.astype(np.float32),
        "step": step.astype(np.float32),
        "transition": transition.astype(np.float16),
        "start": start.astype(np.float16),
    }


def _packed_head(head: Head | None) -> dict[str, NDArray[Any]]:
    if head is None:
        return {}
    return {
        "head tokens": head.tokens.astype(np.int32),
        "head weights": head.weights.astype(np.float16),
        "head bias": head.bias,
        "head share": np.array([head.share], dtype=np.float32),
    }


def _unpacked_head(tensors: Mapping[str, NDArray[Any]]) -> Head | None:
    if "head tokens" not in tensors:
        return None
    tokens, weights = tensors["head tokens"].astype(np.int64), tensors["head weights"]
    share = float(tensors["head share"][0])
    return Head(tokens, weights.astype(np.float32), tensors["head bias"], share)


def _unpacked(
    codes: NDArray[np.uint8],
    tensors: Mapping[str, NDArray[Any]],
    fingerprint: str,
    about: Mapping[str, Any],
) -> Surrogate:
    log_p = codes.astype(np.float32)  # (H, V)
    log_p *= tensors["step"][:, None]
    log_p += tensors["background"].astype(np.float32)
    log_p -= log_p.max(axis=1, keepdims=True)
    emission = np.exp(np.maximum(log_p, LEAST))
    rows = {name: tensors[name].astype(np.float64) for name in ("start", "transition")}
    weights = {
        # A row of nothing but zeros would have no sum to be divided by.
        name: np.exp(row - row.max(axis=-1, keepdims=True))
        * ((row > LEAST) | (row == row.max(axis=-1, keepdims=True)))
        for name, row in rows.items()
    }
    head = _unpacked_head(tensors)
    start, transition = weights["start"], weights["transition"]
    return Surrogate.of(start, transition, emission, fingerprint, about, head)


def _checksum(facts: Mapping[str, str], tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = blake2b(digest_size=16)
    for key in sorted(facts):
        digest.update(f"{key}={facts[key]};".encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape};".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
