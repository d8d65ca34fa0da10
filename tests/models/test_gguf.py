"""A gguf file is measured before a library builds a model by it: what its header says must be what
the file holds."""

from __future__ import annotations

import struct
import time
import tracemalloc

import gguf
import numpy as np
import pytest

from fkdsl.base.errors import CallError
from fkdsl.models import registry
from fkdsl.models.gguf_header import MOST_HEADER_BYTES, read_header

TOKENS = [*"abcdefghijklmnop", "ab", "cd", "<end>"]
WIDTH, HIDDEN, V = 16, 32, len(TOKENS)


def written(path, layers=2, **sizes):
    """A tiny Llama as a gguf file; sizes: metadata in place of the true ones."""
    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    true = {
        "block_count": layers,
        "embedding_length": WIDTH,
        "feed_forward_length": HIDDEN,
        "context_length": 64,
        "attention.head_count": 2,
        "attention.head_count_kv": 1,
        "rope.dimension_count": 8,
    }
    for key, value in (true | sizes).items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (V - 1) + [3])
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(V - 1)
    writer.add_eos_token_id(V - 1)
    shapes = {"token_embd.weight": (V, WIDTH), "output_norm.weight": (WIDTH,)}
    for i in range(layers):
        shapes |= {
            f"blk.{i}.{name}.weight": shape
            for name, shape in {
                "attn_norm": (WIDTH,),
                "attn_q": (WIDTH, WIDTH),
                "attn_k": (WIDTH // 2, WIDTH),
                "attn_v": (WIDTH // 2, WIDTH),
                "attn_output": (WIDTH, WIDTH),
                "ffn_norm": (WIDTH,),
                "ffn_gate": (HIDDEN, WIDTH),
                "ffn_up": (HIDDEN, WIDTH),
                "ffn_down": (WIDTH, HIDDEN),
            }.items()
        }
    for name, shape in shapes.items():
        writer.add_tensor(name, rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))


def test_a_header_has_the_sizes_and_the_tensors_of_its_file(tmp_path):
    header = read_header(written(tmp_path / "w.gguf"), "w.gguf")
    assert header.sizes == {
        "num_hidden_layers": 2,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    reader = gguf.GGUFReader(tmp_path / "w.gguf")
    assert header.tensors == {t.name: t.n_elements for t in reader.tensors}


def test_a_whole_file_is_loaded(tmp_path):
    model = registry.load_model(str(written(tmp_path / "w.gguf")))
    assert model.describe()["family"] == "llama"
    assert model.vocabulary.size == V


def refused(path, match):
    start = time.process_time()
    with pytest.raises(CallError, match=match):
        registry.load_model(str(path))
    assert time.process_time() - start < 10.0


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("block_count", 10**7, "num_hidden_layers = 10000000"),
        ("embedding_length", 10**9, "hidden_size = 1000000000"),
        ("feed_forward_length", 2**31, "intermediate_size = 2147483648"),
        ("attention.head_count", 10**8, "num_attention_heads = 100000000"),
        ("vocab_size", 2**30, "vocab_size = 1073741824"),
        ("feed_forward_length", 60_000, "describes .* parameters, its weights hold"),
    ],
)
def test_a_size_that_the_weights_cannot_have_is_refused(tmp_path, key, value, match):
    refused(written(tmp_path / "w.gguf", **{key: value}), match)


def text(value):
    return struct.pack("<Q", len(value)) + value


def start(version=3, tensors=0, keys=0):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


NESTED = start(keys=1) + text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50
HOSTILE = {
    "cut off": (b"GGUF....", "requires a buffer"),
    "version": (start(version=2**31), "is of version 2147483648"),
    "entries": (start(keys=2**60), "more entries than it has bytes"),
    "tensors": (start(tensors=2**60), "more entries than it has bytes"),
    "long text": (start(keys=1) + struct.pack("<Q", 2**50), "a text .* longer than the header"),
    "long array": (
        start(keys=1) + text(b"a") + struct.pack("<IIQ", 9, 4, 2**50),
        "an array .* longer than the header",
    ),
    "many texts": (
        start(keys=1) + text(b"a") + struct.pack("<IIQ", 9, 8, 2**40),
        "more entries than it has bytes",
    ),
    "nested": (NESTED, "unknown type"),
    "dimensions": (start(tensors=1) + text(b"t") + struct.pack("<I", 2**30), "dimensions"),
    "kind": (
        start(tensors=1) + text(b"t") + struct.pack("<IQIQ", 1, 4, 999, 0),
        "of an unknown type, 999",
    ),
    "beyond": (
        start(tensors=1) + text(b"t") + struct.pack("<IQIQ", 1, 2**60, 0, 0),
        "ends behind the file's",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_header_that_cannot_be_is_refused_at_once(tmp_path, kind):
    data, match = HOSTILE[kind]
    (tmp_path / "w.gguf").write_bytes(data)
    refused(tmp_path / "w.gguf", f"is not a sound gguf file: .*{match}")


@pytest.mark.slow
def test_a_header_of_nothing_but_texts_ends(tmp_path):
    """Eight bytes a text, as many as there may be in a header."""
    count = MOST_HEADER_BYTES // 8
    head = start(keys=1) + text(b"a") + struct.pack("<IIQ", 9, 8, count)
    with (tmp_path / "w.gguf").open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 8 * count)
    refused(tmp_path / "w.gguf", "not a sound gguf file")


def test_a_header_takes_little_more_memory_than_its_bytes(tmp_path, monkeypatch):
    most = 1 << 21
    monkeypatch.setattr("fkdsl.models.gguf_header.MOST_HEADER_BYTES", most)
    numbers = np.arange(1_000, 301_000, dtype="<u4").tobytes()
    key = struct.pack("<Q1sIIQ", 1, b"a", 9, 4, len(numbers) // 4)
    raw = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + numbers
    (tmp_path / "w.gguf").write_bytes(raw)
    tracemalloc.start()
    header = read_header(tmp_path / "w.gguf", "w")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.metadata["a"] == 300_999
    assert peak < 2 * most
