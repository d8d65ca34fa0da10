"""A prompt's keys and values in blocks, each stored by the hash of all that it depends on.

    keys = block_keys(identity(model), tokens)   # one a block of BLOCK tokens, then one of the row
    data = pack(keys[0], planes, {"seconds": "0.8"})
    block = unpack(keys[0], data)                # raises Damaged for anything else

A block's key is made of the model's identity and of all tokens up to the block's end, since keys
and values depend on both (Mooncake, Qin et al. 2024, arXiv 2407.00079, section 5). So prompts that
begin alike share blocks, whoever computed them, and a block of another model, precision or prompt
is not found at all. Blocks bound what is sent at once.

Data are safetensors whose metadata name the key and have a checksum of everything. That excludes
accidents. Whoever may write to the store can put other numbers there with a checksum that fits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from fkdsl.base.probability_blocks import BLOCK as SUMMED
from fkdsl.base.probability_blocks import block_sums
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.prefill.file import checksum

FORMAT = "fkdsl prefill block 1"
BLOCK = 256
"""Tokens of a block: 12 MB of SmolLM2-135M in float32, 34 MB of an 8B Llama in bfloat16."""
ROWS = (torch.float32, torch.float64)
HEADER = 1 << 20
"""Bytes that the header of an entry may have."""


class Damaged(ValueError):
    """An entry that is not what its key says; the text says why."""


@dataclass(frozen=True)
class Entry:
    """What an entry holds. tensors: by name; seconds: what computing took where it was made."""

    tensors: Mapping[str, Tensor]
    seconds: float


def block_keys(identity: Mapping[str, str], tokens: Sequence[int]) -> tuple[str, ...]:
    """The key of each block of a prompt's tokens in order, the last of which may be shorter; and
    last the key of the row after the prompt."""
    facts = {name: identity[name] for name in ("weights", "dtype", "vocabulary")}
    digest = blake2b(json.dumps([FORMAT, BLOCK, facts], sort_keys=True).encode(), digest_size=20)
    keys = []
    for first in range(0, len(tokens), BLOCK):
        digest.update(np.asarray(tokens[first : first + BLOCK], dtype="<i8").tobytes())
        keys.append(digest.hexdigest())
    digest.update(b"row")
    return (*keys, digest.hexdigest())


def bounds(n: int) -> list[tuple[int, int]]:
    """(first, stop) of each block of n tokens.

    >>> bounds(600)
    [(0, 256), (256, 512), (512, 600)]
    """
    return [(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]


def pack(key: str, tensors: Mapping[str, Tensor], seconds: float) -> bytes:
    """An entry's bytes. seconds: what computing it took."""
    from safetensors.torch import save

    metadata = {"format": FORMAT, "key": key, "seconds": f"{seconds:.4g}"}
    whole = {name: t.contiguous() for name, t in tensors.items()}
    metadata["checksum"] = checksum(metadata, whole)
    return bytes(save(whole, metadata))


def unpack(key: str, data: bytes) -> Entry:
    """The entry of a key from its bytes. Raises Damaged for bytes that are no entry, that were
    changed or cut off, or that are another key's."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        metadata = _metadata(data)
        tensors = load(data)
        found = checksum({k: v for k, v in metadata.items() if k != "checksum"}, tensors)
    except (SafetensorError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise Damaged(f"it is no entry, or was cut off: {error}") from None
    if metadata.get("format") != FORMAT:
        raise Damaged("it is of another version")
    if metadata.get("checksum", "") != found:
        raise Damaged("it was changed since it was made")
    if metadata.get("key") != key:
        raise Damaged("it is of another prompt or model")
    try:
        seconds = float(metadata["seconds"])
    except (LookupError, ValueError):
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise Damaged("it does not say what it took")
    return Entry(tensors, seconds)


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of safetensors in memory, which the library gives for files alone."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(HEADER, len(data) - 8):
        raise ValueError("its header is not whole")
    header = json.loads(data[8 : 8 + length])
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("it names nothing")
    return dict(metadata)


def planes_in(
    entry: Entry, shapes: Sequence[tuple[int, int]], tokens: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """(tokens, heads, width) for each plane of a block. Raises Damaged for other shapes, and for
    numbers of another precision."""
    planes = tuple(entry.tensors.get(str(p), torch.empty(0)) for p in range(len(shapes)))
    if any(tuple(t.shape) != (tokens, h, w) for t, (h, w) in zip(planes, shapes, strict=True)):
        raise Damaged("its keys and values are not of this model's shape")
    if any(t.dtype != dtype for t in planes):
        raise Damaged("its keys and values are not of this model's precision")
    return planes


def row_in(entry: Entry, size: int) -> tuple[Tensor, Tensor | None]:
    """((V,) log-probabilities, (blocks,) their sums or None) of the entry of a row. Raises Damaged
    for a row that is not of `size` tokens or not normalised, and for sums that are not its own."""
    row, sums = entry.tensors.get("row"), entry.tensors.get("sums")
    if row is None or tuple(row.shape) != (size,) or row.dtype not in ROWS:
        raise Damaged("its row is not of this model's vocabulary")
    if not abs(float(torch.logsumexp(row.double(), 0))) < 1e-3:
        raise Damaged("its row is no distribution")
    if sums is not None:
        blocks = -(-size // SUMMED)
        if sums.dtype != torch.float64 or tuple(sums.shape) != (blocks,):
            raise Damaged("the sums of its row are of another form")
        if not np.allclose(sums.numpy(), block_sums(row.double().exp().numpy()), 1e-3, 1e-6):
            raise Damaged("its sums are not those of its row")
    return row, sums
