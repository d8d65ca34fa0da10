"""Packed maps that are kept in a file: the same products as maps that are packed anew, and a file
that is not of these weights, or damaged, is of no use."""

import json

import pytest
import torch

from fkdsl.models import packed_file
from fkdsl.models.compat import packed_memory
from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_weights import DecoderShape, WeightsFile
from fkdsl.models.interface import ForwardRow
from fkdsl.models.packed_file import PackedFile, packed_path

V, WIDTH, DIM, INNER = 2 * packed_memory.LOW, 32, 64, 192
ROWS = [ForwardRow(None, tuple(range(3, 3 + n)), (n - 1,)) for n in (1, 7)]


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def dtype(request):
    if not packed_memory.wraps(request.param):
        pytest.skip("this machine does not pack such weights, or torch makes none over memory")
    return request.param


def weights_of(seed):
    torch.manual_seed(seed)
    layer = "model.layers.0"
    shapes = {
        "model.embed_tokens.weight": (V, DIM),
        "model.norm.weight": (DIM,),
        f"{layer}.input_layernorm.weight": (DIM,),
        f"{layer}.post_attention_layernorm.weight": (DIM,),
        **{f"{layer}.self_attn.{n}_proj.weight": (DIM, DIM) for n in "qkvo"},
        f"{layer}.self_attn.q_proj.bias": (DIM,),
        f"{layer}.self_attn.k_proj.bias": (DIM,),
        f"{layer}.self_attn.v_proj.bias": (DIM,),
        f"{layer}.mlp.gate_proj.weight": (INNER, DIM),
        f"{layer}.mlp.up_proj.weight": (INNER, DIM),
        f"{layer}.mlp.down_proj.weight": (DIM, INNER),
    }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def decoder_of(weights, dtype, packed):
    shape = DecoderShape(1, 2, 2, WIDTH, 1e-6, 0.1 ** torch.arange(WIDTH // 2).float(), 1.0)
    precision = str(dtype).removeprefix("torch.")
    return Decoder(shape, weights, precision, WeightsFile(dtype, "cpu", packed))


def logits_of(decoder):
    with torch.inference_mode():
        return decoder.forward(ROWS)[0]


@pytest.fixture
def path(tmp_path, monkeypatch, dtype):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path))
    return packed_path("toy", dtype)


def saved(path, dtype, digest="one", seed=1):
    """The logits of a decoder that packs, and keeps what it has packed."""
    packed = PackedFile(path, digest, dtype)
    logits = logits_of(decoder_of(weights_of(seed), dtype, packed))
    packed.save()
    return logits


def test_maps_of_a_file_give_what_packed_ones_give_and_are_packed_once(path, dtype, monkeypatch):
    expected = saved(path, dtype)
    assert [p.name for p in path.parent.iterdir() if p.suffix != ".lock"] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600

    def never(*args):
        raise AssertionError("a map was packed again")

    monkeypatch.setattr("fkdsl.models.decoder_weights.pack_stacked", never)
    packed = PackedFile(path, "one", dtype)
    decoder = decoder_of(weights_of(1), dtype, packed)
    before = path.stat()
    packed.save()
    assert logits_of(decoder).equal(expected)
    assert path.stat() == before


def test_other_weights_and_other_layouts_are_packed_anew_and_take_its_place(path, dtype):
    saved(path, dtype)
    assert not saved(path, dtype, "two", 2).equal(saved(path, dtype, "one", 1))
    other = saved(path, dtype, "two", 2)
    raw = path.read_bytes()
    changed = PackedFile(path, "two", dtype)
    changed._layouts = dict.fromkeys(changed._layouts, "of another machine")
    assert changed.take("model.embed_tokens", (V, DIM)) is None
    assert logits_of(decoder_of(weights_of(2), dtype, changed)).equal(other)
    changed.save()
    assert path.read_bytes() == raw
    assert len(list(path.parent.glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    "damage", ["cut", "empty", "words", "sizes", "kinds", "bit", "zeros", "exchanged", "no sums"]
)
def test_a_damaged_file_costs_nothing_but_the_packing(path, dtype, damage):
    expected = saved(path, dtype)
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + n])
    names = [name for name in header if name != "__metadata__"]
    if damage == "sizes":  # every map has the bytes of another, or none
        first = header[names[0]]
        header[names[0]] = {**first, "shape": [0], "data_offsets": [0, 0]}
        header["model.norm"] = first
    if damage == "kinds":
        header["__metadata__"]["layouts"] = "[1, 2]"
    if damage == "no sums":
        del header["__metadata__"]["sums"]
    at, page = 8 + n, packed_file.PAGE
    body = raw[at:]
    if damage == "bit":  # the lowest of a weight in the middle of the head
        body = bytes([*body[: 4 * page], body[4 * page] ^ 1, *body[4 * page + 1 :]])
    if damage == "zeros":  # a page that never reached the disk
        body = bytes(page) + body[page:]
    if damage == "exchanged":
        body = body[page : 2 * page] + body[:page] + body[2 * page :]
    text = json.dumps(header).encode()
    damaged = {"cut": raw[:-100], "empty": b"", "words": b"no tensors here"}
    path.write_bytes(damaged.get(damage, len(text).to_bytes(8, "little") + text + body))
    packed = PackedFile(path, "one", dtype)
    assert logits_of(decoder_of(weights_of(1), dtype, packed)).equal(expected)
    packed.save()
    assert path.read_bytes() == raw


def test_where_nothing_can_be_written_nothing_happens(path, dtype, monkeypatch):
    monkeypatch.setattr("fkdsl.models.packed_file.SPARE", 1 << 62)
    saved(path, dtype)
    assert not path.exists()


def test_memory_of_another_size_becomes_no_map(dtype):
    with pytest.raises(ValueError, match="not that of a packed weight"):
        packed_memory.over(torch.empty(64, dtype=torch.uint8), (64, 64), dtype)


@pytest.mark.parametrize("error", [OSError(28, "no space left"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_written_whole_leaves_no_part(path, dtype, monkeypatch, error):
    def fails(*args):
        raise error

    monkeypatch.setattr("os.fsync", fails)
    try:
        saved(path, dtype)
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    assert [p.suffix for p in path.parent.iterdir()] in ([], [".lock"])


def test_where_files_cannot_be_locked_none_is_written(path, dtype, monkeypatch):
    def fails(*args, **options):
        raise NotImplementedError("the file system has no locks")

    monkeypatch.setattr("filelock.FileLock.acquire", fails)
    saved(path, dtype)
    assert not path.exists()


def test_bytes_of_a_layout_that_say_nothing_do_not_count(dtype, monkeypatch):
    """torch 2.6 leaves them as they are: maps were packed anew at some starts."""
    packed = packed_memory.pack_weight(torch.ones((64, 64), dtype=dtype))
    layout, asked = packed_memory.layout_of(packed), torch.ops.mkldnn._get_mkldnn_serialized_md

    def unclean(weight):
        raw = asked(weight).clone()
        raw[1:4] = torch.tensor([149, 139, 128], dtype=torch.uint8)
        return raw

    monkeypatch.setattr(torch.ops.mkldnn, "_get_mkldnn_serialized_md", unclean)
    assert packed_memory.layout_of(packed) == layout
    assert layout == packed_memory.layout_for((64, 64), dtype)
