"""A gguf file whose matrices stay narrow, against the library's reading of it."""

from __future__ import annotations

import os
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize

from fkdsl.base.errors import CallError
from fkdsl.models import gguf_decoder
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.gguf_header import read_header
from fkdsl.models.gguf_weights import FOUR_BITS, TensorBytes
from fkdsl.models.interface import ForwardRow
from fkdsl.models.linear import packs
from fkdsl.models.narrow_linear import Int4Linear, Int8Linear
from fkdsl.models.registry import load_model, model_info
from tests.models.test_gguf import written
from tests.models.tiny_gguf import TOKENS, tiny_gguf

pytestmark = pytest.mark.skipif(not packs("int4"), reason="no 4-bit maps on this machine")
TEXT = tuple(range(40, 60))


def rows_of(model):
    (answer,) = model.forward([ForwardRow(None, TEXT, tuple(range(len(TEXT))))])
    return np.exp(answer.log_probs)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """By format, the library's model of a file in float32, and ours in int8 and int4."""
    found = {}
    for kind in ("F32", "Q8_0", "Q4_1"):
        path = str(tiny_gguf(tmp_path_factory.mktemp(kind) / "w.gguf", kind))
        found[kind] = [load_model(path, dtype=d) for d in ("float32", "int8", "int4")]
    return found


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_rows_are_those_of_the_library_but_for_rounding(models, kind):
    whole, eight, four = models[kind]
    expected = rows_of(whole)
    between = np.abs(expected[0] - expected[-1]).sum() / 2
    for model in (eight, four):
        assert isinstance(model, DecoderModel)
        assert model.start("th a") == whole.start("th a")
        assert model.vocabulary.fingerprint == whole.vocabulary.fingerprint
        apart = np.abs(expected - rows_of(model)).sum(axis=1).max() / 2
        assert apart <= between / 20


def test_matrices_of_four_bits_stay_as_they_were_published(models):
    (_, eight, four), (_, _, other) = models["Q4_1"], models["Q8_0"]
    maps = four.decoder.layers[0].maps
    assert all(isinstance(f, Int4Linear) for f in maps)
    assert isinstance(four.decoder.head, Int4Linear | Int8Linear)
    assert all(
        isinstance(f, Int8Linear) for f in (*eight.decoder.layers[0].maps, other.decoder.head)
    )
    assert four.describe()["weights"] == "Q4_1 as published"
    assert eight.describe()["weights"] == "Q4_1 in int8"
    assert other.describe()["weights"] == "Q8_0 in int8"
    assert (four.describe()["dtype"], eight.describe()["dtype"]) == ("int4", "int8")


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q4_K"])
def test_levels_scales_and_offsets_are_ggmls(kind):
    format = gguf.GGMLQuantizationType[kind]
    rng = np.random.default_rng(0)
    if kind == "Q4_K":  # the package only reads it
        raw = rng.integers(0, 256, (6, 2 * 144), dtype=np.uint8)
        for at in (0, 2, 144, 146):
            raw[:, at : at + 2] = rng.random((6, 1)).astype(np.float16).view(np.uint8)
    else:
        raw = quantize(rng.normal(size=(6, 512)).astype(np.float32), format)
    weight = FOUR_BITS[int(format)](raw)
    expected = torch.from_numpy(dequantize(raw, format))
    torch.testing.assert_close(weight.plain(), expected, rtol=1e-6, atol=1e-6)
    assert weight.levels.max() == 15


@pytest.mark.parametrize("architecture", ["llama", "gemma"])
def test_what_the_reader_does_not_know_is_left_to_the_library(tmp_path, architecture, monkeypatch):
    path = tiny_gguf(tmp_path / "w.gguf", "Q8_0", architecture)
    assert (gguf_decoder.decoder_from_gguf(path, "int8", "w") is None) == (architecture != "llama")
    monkeypatch.setattr(gguf_decoder, "KEYS", gguf_decoder.KEYS - {"rope.dimension_count"})
    assert gguf_decoder.decoder_from_gguf(path, "int8", "w") is None


def test_a_file_that_is_cut_off_is_a_clear_error(tmp_path):
    path = tiny_gguf(tmp_path / "w.gguf", "Q4_1")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CallError, match="not a sound gguf file"):
        load_model(str(path), dtype="int4")


@pytest.mark.parametrize("changed", ["cut", "written over"])
def test_a_file_that_changes_while_it_is_in_use_is_a_clear_error(tmp_path, changed):
    """Of a mapped file that is cut short a read would end the process."""
    path = tiny_gguf(tmp_path / "w.gguf", "Q4_1")
    model = load_model(str(path), dtype="int4")
    expected = rows_of(model)
    (tmp_path / "new").write_bytes(bytes(100))
    raw = path.read_bytes()
    os.replace(tmp_path / "new", path)  # another file under its name is none of ours
    assert (rows_of(model) == expected).all()
    path.write_bytes(raw)
    model = load_model(str(path), dtype="int4")
    place = read_header(path, "w").places["token_embd.weight"]
    if changed == "cut":
        os.truncate(path, place.first + 8)
    else:
        path.write_bytes(raw[: place.first] + bytes(len(raw) - place.first))
    with pytest.raises(CallError, match=r"w\.gguf was changed or cut short while it was in use"):
        rows_of(model)


def test_a_file_that_is_cut_short_before_its_tensors_are_read_is_a_clear_error(tmp_path):
    path = tiny_gguf(tmp_path / "w.gguf", "Q4_1")
    places = read_header(path, "w").places
    whole = TensorBytes(path, places)
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(CallError, match="cut short"):
        TensorBytes(path, places)
    last = max(places, key=lambda name: places[name].first)
    with pytest.raises(CallError, match="cut short"):
        whole.rows(last)


@pytest.mark.parametrize(
    ("key", "value"),
    [("feed_forward_length", 60_000), ("attention.head_count", 3), ("block_count", 10**7)],
)
def test_sizes_that_are_not_those_of_the_tensors_are_a_clear_error(tmp_path, key, value):
    path = written(tmp_path / "w.gguf", **{key: value})
    with pytest.raises(CallError):
        load_model(str(path), dtype="int4")


def test_heads_that_cannot_share_keys_are_an_error_when_the_file_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.models.tiny_gguf.HEADS", 2)
    monkeypatch.setattr("tests.models.tiny_gguf.KV_HEADS", 4)
    path = tiny_gguf(tmp_path / "w.gguf", "Q8_0")
    with pytest.raises(CallError, match="2 heads of queries and 4 of keys"):
        load_model(str(path), dtype="int8")
    with pytest.raises(CallError):
        load_model(str(path), dtype="float32")


def test_more_tokens_than_the_embedding_has_are_left_to_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.models.tiny_gguf.TOKENS", [*TOKENS, "more"])
    path = tiny_gguf(tmp_path / "w.gguf", "Q8_0")
    assert gguf_decoder.decoder_from_gguf(path, "int8", "w") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope.freq_base", None),
        ("rope.freq_base", 2),
        ("rope.freq_base", -1.0),
        ("attention.layer_norm_rms_epsilon", "small"),
        ("attention.layer_norm_rms_epsilon", float("nan")),
        ("attention.key_length", 0),
        ("attention.key_length", -16),
    ],
)
def test_metadata_that_means_nothing_is_left_to_the_library(tmp_path, key, value):
    header = read_header(tiny_gguf(tmp_path / "w.gguf"), "w")
    metadata = {**header.metadata, f"llama.{key}": value}
    if key == "attention.key_length":
        metadata |= {"llama.attention.value_length": value, "llama.rope.dimension_count": value}
    assert gguf_decoder._config(header) is not None
    assert gguf_decoder._config(replace(header, metadata=metadata)) is None


def test_the_entry_of_a_file_says_its_formats(tmp_path):
    path = tiny_gguf(tmp_path / "w.gguf", "Q4_1")
    entry = model_info(str(path))
    assert entry.details["tensors"] == "Q4_1 15, F32 5"
    path.write_bytes(path.read_bytes()[:-100])
    assert "not a sound gguf file" in model_info(str(path)).problem


def test_texts_of_a_strangers_file_take_one_short_line_of_the_entry(tmp_path):
    path = tmp_path / "w.gguf"
    writer = gguf.GGUFWriter(path, "llama\nlicence      MIT " + 1000 * "x")
    writer.add_tensor(10_000 * "a", np.zeros((64, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    family = model_info(str(path)).details["family"]
    assert family.startswith("llama licence MIT x")
    assert len(family) <= 100
    path.write_bytes(path.read_bytes()[:-100])
    assert len(model_info(str(path)).problem) < 300 + len(str(path))


def test_scales_that_are_no_numbers_are_a_clear_error(tmp_path):
    path = tiny_gguf(tmp_path / "w.gguf", "Q4_1")
    raw = bytearray(path.read_bytes())
    raw[-20:-16] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    with pytest.raises(CallError, match="NaN"):
        rows_of(load_model(str(path), dtype="int4"))
