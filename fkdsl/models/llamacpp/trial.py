"""A trial of a llama.cpp library that the user has built, in a process of its own: one that was
built wrongly may end the process that it is loaded into, or compute wrong rows.

    verify(path)       # raises CallError if the library does not come through the trial

The trial loads the library, has it read a gguf file of one small layer whose matrices are in the
usual formats, and compares rows, of a prompt, a fork and a batch of two, with known ones. What was
found is remembered for as long as path, size, time and processor are the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.errors import CallError
from fkdsl.models.check_memory import remember_check, remembered_check
from fkdsl.models.llamacpp.context import Context
from fkdsl.models.llamacpp.library import INSTALL, VARIABLE, Library

SECONDS = 120.0
"""How long a trial may take; on an idle machine it takes less than one second."""
REFUSED = 3
"""The exit status of a process in which the library was refused with an error of its own."""
WIDTH, HEADS, V = 256, 4, 64
FORMATS = {
    "attn_q": "Q4_0",
    "attn_k": "Q4_1",
    "attn_v": "Q4_K",
    "attn_output": "Q5_K",
    "ffn_gate": "Q6_K",
    "ffn_up": "Q5_0",
    "ffn_down": "Q8_0",
}
"""The matrices of the layer, which are zeros: what it is given, it passes on."""
TOLERANCE = 0.05
"""Most that a logit may differ, as a share of the greatest: activations are rounded to 8 bits."""


def verify(path: Path) -> None:
    """Raises CallError if a library ends its process in the trial, takes longer than SECONDS, or
    computes wrong rows."""
    from fkdsl.models.compat.kernels import instructions  # torch, which the trial does without

    status = path.stat()
    key = {
        "llamacpp": str(path.resolve()),
        "size": status.st_size,
        "time": status.st_mtime_ns,
        "processor": instructions(),
    }
    if remembered_check(key) or not sys.executable:
        return
    folders = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(path)],
            env={**os.environ, "PYTHONPATH": folders},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _failed(path, f"takes longer than {SECONDS:.0f} s") from None
    last = (done.stdout.decode("utf-8", "replace").splitlines() or ["as it is loaded"])[-1]
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise _failed(path, f"ends the process ({name}) {last}")
    if done.returncode not in (0, REFUSED):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _failed(path, f"fails {last}" + (f": {said[-1][:200]}" if said else ""))
    if done.returncode == 0:  # what was refused is refused again, with its reason
        remember_check(key, "good")


def _failed(path: Path, what: str) -> CallError:
    return CallError(
        f"the llama.cpp library {path}, tried in a process of its own, {what}",
        f"unset {VARIABLE}, and {INSTALL}: that library works; docs/engines.md says what makes one "
        "of your own fail",
    )


# --------------------------------------------------------------- in the other process


def main(path: str) -> int:
    """The trial. Each line that it prints says what comes next."""
    print("as it is loaded", flush=True)
    try:
        library = Library(Path(path))
    except CallError:
        return REFUSED
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trial.gguf"
        vectors = write_model(file)
        print("as it reads a model", flush=True)
        model = library.model_load_from_file(str(file).encode(), library.model_default_params())
        if not model:
            return 1
        print("as it computes", flush=True)
        off = largest_difference(library, model, vectors)
    if not off <= TOLERANCE:
        print(f"to compute: its logits are off by {off:.2g} of the greatest", flush=True)
        return 1
    return 0


def largest_difference(library: Library, model: int, vectors: NDArray[np.float32]) -> float:
    """How far the logits of a prompt, a fork and two texts at once are from what they must be, as a
    share of the greatest."""
    context = Context(library, model, V)
    context.fit(2, 256, 1)
    prompt = tuple(range(0, 60, 2))
    tokens = [*prompt, 5, 7, 9]
    found = [np.array(context.decode([(0, 0, prompt, range(len(prompt)))], 1))]
    context.copy(0, [1])
    found.append(np.array(context.decode([(0, 30, (5,), (0,)), (1, 30, (7,), (0,))], 1)))
    context.cut(1, 30)
    found.append(np.array(context.decode([(1, 30, (9,), (0,))], 1)))
    x = vectors[tokens]
    expected = x / np.sqrt((x**2).mean(axis=1, keepdims=True)) @ vectors.T
    context.close()
    return float(np.abs(np.concatenate(found) - expected).max() / np.abs(expected).max())


def write_model(path: Path) -> NDArray[np.float32]:
    """Writes a Llama without a vocabulary; (V, WIDTH) the vectors of its tokens, which are its head
    too."""
    import gguf
    from gguf.quants import dequantize, quantize

    kinds = gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(path, "llama")
    numbers = {"block_count": 1, "embedding_length": WIDTH, "feed_forward_length": WIDTH}
    numbers |= {"context_length": 256, "vocab_size": V, "rope.dimension_count": WIDTH // HEADS}
    numbers |= {"attention.head_count": HEADS, "attention.head_count_kv": HEADS // 2}
    for key, value in numbers.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-12)
    writer.add_tokenizer_model("no_vocab")

    def add(name: str, rows: int, kind: str, data: Any = None) -> None:
        block, size = gguf.GGML_QUANT_SIZES[kinds[kind]]
        if data is None:
            data = np.zeros((rows, WIDTH // block * size), np.uint8)
        writer.add_tensor(name, data, raw_dtype=kinds[kind])

    vectors = np.random.default_rng(0).standard_normal((V, WIDTH), np.float32)
    levels = quantize(vectors, kinds.Q8_0)
    add("token_embd.weight", V, "Q8_0", levels)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name, kind in FORMATS.items():
        narrow = name in ("attn_k", "attn_v")
        add(f"blk.0.{name}.weight", WIDTH // 2 if narrow else WIDTH, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return np.asarray(dequantize(levels, kinds.Q8_0), np.float32)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
