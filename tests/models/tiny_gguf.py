"""Tiny random Llamas as gguf files, in the formats that llama.cpp multiplies as they are."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.quants import quantize

from fkdsl.models.tokenizer import byte_alphabet

needs_library = pytest.mark.skipif(
    util.find_spec("xllamacpp") is None and util.find_spec("llama_cpp") is None,
    reason='llama.cpp is not installed: pip install -e ".[llamacpp]"',
)
LETTERS = [c for c, _ in sorted(byte_alphabet().items(), key=lambda item: item[1])]
TOKENS = [*LETTERS, "th", "Ġa", "Ġth", "<end>"]
V = len(TOKENS)
WIDTH, HIDDEN, HEADS, KV_HEADS, LAYERS, LONGEST = 64, 96, 4, 2, 2, 512
FORMATS = {
    "F32": gguf.GGMLQuantizationType.F32,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
    "Q4_0": gguf.GGMLQuantizationType.Q4_0,
    "Q4_1": gguf.GGMLQuantizationType.Q4_1,
}


def tiny_gguf(path: Path, kind: str = "F32", architecture: str = "llama") -> Path:
    """Writes a Llama of random weights whose matrices are in a format."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {
        "block_count": LAYERS,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "context_length": LONGEST,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "rope.dimension_count": WIDTH // HEADS,
    }.items():
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (V - 1) + [3])
    writer.add_token_merges(["t h", "Ġ a", "Ġ th"])
    writer.add_bos_token_id(V - 1)
    writer.add_eos_token_id(V - 1)
    narrow = WIDTH // HEADS * KV_HEADS
    shapes = {"token_embd.weight": (V, WIDTH), "output_norm.weight": (WIDTH,)}
    for i in range(LAYERS):
        for name, shape in {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (narrow, WIDTH),
            "attn_v": (narrow, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (HIDDEN, WIDTH),
            "ffn_up": (HIDDEN, WIDTH),
            "ffn_down": (WIDTH, HIDDEN),
        }.items():
            shapes[f"blk.{i}.{name}.weight"] = shape
    for name, shape in shapes.items():
        scale = 1.0 if len(shape) == 1 else 1.5 / np.sqrt(shape[1])
        values = (rng.normal(size=shape) * scale).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, np.abs(values))
        else:
            writer.add_tensor(name, quantize(values, FORMATS[kind]), raw_dtype=FORMATS[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
