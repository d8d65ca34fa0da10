"""The header of a gguf file, read before a library is given the file: the sizes that its metadata
name, and its tensors.

    header = read_header(Path("weights.gguf"), "weights.gguf")
    header.sizes                        # {"num_hidden_layers": 30, "hidden_size": 576, ...}
    header.tensors["output.weight"]     # how many numbers the tensor has

The format is that of ggml's docs/gguf.md, versions 2 and 3, little-endian. Every count and length
is checked against the size of the file, so that a header cannot make its reader allocate or loop
beyond that.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.files import verify_regular
from fkdsl.base.quick_dataclass import dataclass

MOST_HEADER_BYTES = 1 << 25
"""Most bytes of a header: the tokenizer's vocabulary is in it."""
MOST_DIMENSIONS = 8
MOST_SHOWN = 100
"""Characters of a text of the file that messages show."""
SIZES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "rope.dimension_count": "head_dim",
    "expert_count": "num_experts",
    "vocab_size": "vocab_size",
}
"""Keys of the metadata behind the architecture's name, and what transformers calls these sizes."""

_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""By the number of a type, its form for `struct`."""
_STRING, _ARRAY = 8, 9
_MOST_NESTED = 4
"""Arrays within arrays."""


@dataclass(frozen=True)
class GgufTensor:
    """Where a tensor lies. shape: outermost dimension first; kind: its format, a number of ggml's;
    first, bytes: in the file."""

    shape: tuple[int, ...]
    kind: int
    first: int
    bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """sizes: by transformers' names for them, the whole numbers among the metadata. tensors: by
    name, how many numbers each has; places: where it lies. metadata: numbers and texts by their
    keys, of an array its largest whole number."""

    sizes: Mapping[str, int]
    tensors: Mapping[str, int]
    places: Mapping[str, GgufTensor]
    metadata: Mapping[str, Any]


def read_header(path: Path, shown: str) -> GgufHeader:
    """The header of a file. Raises CallError if it cannot be read, or if its tensors do not lie
    within the file. shown: how messages call the file."""
    try:
        verify_regular(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            return _Reader(file.read(MOST_HEADER_BYTES), size).header()
    except (OSError, ValueError, struct.error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CallError(
            f"`{shown}` is not a sound gguf file: {reason}", "fetch the model again"
        ) from None


def described_file(path: Path, shown: str) -> tuple[dict[str, Any], str]:
    """(what `fkdsl models` says of a file, why it cannot be read, or ""). shown: how messages call
    it."""
    try:
        header = read_header(path, shown)
    except CallError as error:
        return {}, error.message
    from gguf.constants import GGMLQuantizationType

    kinds = Counter(place.kind for place in header.places.values())
    formats = ", ".join(f"{GGMLQuantizationType(k).name} {n}" for k, n in kinds.most_common())
    return {
        "family": _brief(header.metadata.get("general.architecture", "unknown")),
        "parameters": sum(header.tensors.values()),
        "tensors": formats,
        "weights": "as in the file by --dtype int4 (Q4_0, Q4_1, Q4_K) and --engine llamacpp, else "
        "de-quantised when loaded",
    }, ""


class _Reader:
    """Reads the beginning of a file of `size` bytes; raises ValueError or struct.error."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data, self.size, self.at = data, size, 0

    def header(self) -> GgufHeader:
        if self.data[:4] != b"GGUF":
            raise ValueError("it does not begin with the letters GGUF")
        self.at = 4
        version, tensor_count, key_count = self.number("I"), self.number("Q"), self.number("Q")
        if version not in (2, 3):
            raise ValueError(f"it is of version {version}, and versions 2 and 3 can be read")
        metadata = dict(self.entry() for _ in self.times(key_count))
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise ValueError(f"its alignment is {_brief(alignment)}")
        infos = dict(self.tensor() for _ in self.times(tensor_count))
        data_at = -(-self.at // alignment) * alignment
        for name, place in infos.items():
            if data_at + place.first + place.bytes > self.size:
                tensor = _brief(name)
                raise ValueError(f"its tensor {tensor} ends behind the file's {self.size} bytes")
        return GgufHeader(
            sizes=_sizes(metadata),
            tensors={name: math.prod(place.shape) for name, place in infos.items()},
            places={n: replace(p, first=data_at + p.first) for n, p in infos.items()},
            metadata=metadata,
        )

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return value

    def times(self, count: int) -> range:
        """So many repetitions, if the file has a byte for each."""
        if count > self.size - self.at:
            raise ValueError("it counts more entries than it has bytes")
        return range(count)

    def string(self) -> str:
        length = self.number("Q")
        if length > len(self.data) - self.at:
            raise ValueError("a text in its header is longer than the header")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8", "replace")

    def entry(self) -> tuple[str, Any]:
        key = self.string()
        return key, self.value(self.number("I"))

    def value(self, kind: int, depth: int = 0) -> Any:
        """A value of the metadata; of an array its largest whole number, None if it has none."""
        if kind == _STRING:
            return self.string()
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind != _ARRAY or depth == _MOST_NESTED:
            raise ValueError("it has a value of an unknown type")
        item, count = self.number("I"), self.number("Q")
        if item in _NUMBERS:
            width = struct.calcsize(f"<{_NUMBERS[item]}")
            if width * count > len(self.data) - self.at:
                raise ValueError("an array in its header is longer than the header")
            # numpy, since Python's own numbers would take ten times the memory of the header.
            import numpy as np

            numbers = np.frombuffer(self.data, f"<{_NUMBERS[item]}", count, self.at)
            self.at += width * count
            return int(numbers.max()) if count and numbers.dtype.kind in "iu" else None
        for _ in self.times(count):
            self.value(item, depth + 1)
        return None

    def tensor(self) -> tuple[str, GgufTensor]:
        """(name, its place, counted from the end of the header)."""
        from gguf.constants import GGML_QUANT_SIZES

        name, dimensions = self.string(), self.number("I")
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"its tensor {_brief(name)} has {dimensions} dimensions")
        shape = tuple(self.number("Q") for _ in range(dimensions))[::-1]
        kind, offset = self.number("I"), self.number("Q")
        sizes = {int(k): v for k, v in GGML_QUANT_SIZES.items()}
        if kind not in sizes:
            raise ValueError(f"its tensor {_brief(name)} is of an unknown type, {kind}")
        in_block, block_bytes = sizes[kind]
        blocks = -(-math.prod(shape) // in_block)
        return name, GgufTensor(shape, kind, offset, blocks * block_bytes)


def _brief(value: Any) -> str:
    """A value of the file for a message, whose length and line ends a stranger chose."""
    return " ".join(str(value)[: 2 * MOST_SHOWN].split())[:MOST_SHOWN]


def _sizes(metadata: Mapping[str, Any]) -> dict[str, int]:
    architecture = metadata.get("general.architecture")
    sizes: dict[str, int] = {}
    for key, name in SIZES.items():
        value = metadata.get(f"{architecture}.{key}")
        if type(value) is int:
            sizes[name] = max(value, sizes.get(name, 0))
    return sizes
