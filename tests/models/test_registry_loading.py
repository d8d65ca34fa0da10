"""A tiny random Llama, written as anyone would write a model, loads by the name of its folder and
off the network."""

from __future__ import annotations

import json
import shutil
import socket

import numpy as np
import pytest

from fkdsl.base.errors import CallError
from fkdsl.models import registry
from fkdsl.models.interface import ForwardRow


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder that holds the model folder `tiny`: a byte-level tokenizer and two layers of random
    weights."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    here = tmp_path_factory.mktemp("models")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", bos_token="<begin>"
    )
    fast.save_pretrained(here / "tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(here / "tiny")
    return here


def test_a_saved_model_loads_by_its_folder_with_the_network_away(models, monkeypatch):
    def connect(*args):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", connect)
    model = registry.load_model("./tiny", folder=models)
    ids = model.encode("héllo")
    assert model.vocabulary.text(ids) == "héllo"
    (answer,) = model.forward([ForwardRow(None, ids, (len(ids) - 1,))])
    assert answer.log_probs.shape == (1, model.vocabulary.size)
    assert abs(float(np.logaddexp.reduce(answer.log_probs[0].astype(np.float64)))) <= 1e-4


def test_code_that_a_model_brings_is_not_run(models, tmp_path):
    shutil.copytree(models / "tiny", tmp_path / "own")
    config = json.loads((tmp_path / "own" / "config.json").read_text())
    config |= {
        "model_type": "my_own",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"},
    }
    (tmp_path / "own" / "config.json").write_text(json.dumps(config))
    (tmp_path / "own" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(CallError):
        registry.load_model("./own", folder=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_beside_the_safetensors_is_not_read(models, tmp_path):
    shutil.copytree(models / "tiny", tmp_path / "both")
    (tmp_path / "both" / "pytorch_model.bin").write_bytes(
        b"\x80\x04not a pickle that could be read."
    )
    assert (
        registry.load_model("./both", folder=tmp_path).vocabulary.size
        == registry.load_model("./tiny", folder=models).vocabulary.size
    )


def test_weights_that_lack_tensors_are_not_filled_with_random_ones(models, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(models / "tiny", tmp_path / "holed")
    path = tmp_path / "holed" / "model.safetensors"
    tensors = {
        name.replace("layers.1.", "layers.7."): tensor for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(
        CallError, match=r"the weights lack \d+ of the model's tensors, such as model\.layers\.1\."
    ):
        registry.load_model("./holed", folder=tmp_path)


def test_the_model_tells_where_it_came_from(models):
    model = registry.load_model("./tiny", folder=models)
    assert model.describe()["source"] == f"local: {(models / 'tiny').resolve()}"


@pytest.mark.parametrize("has", [True, False])
def test_auto_chooses_by_the_processor_and_emulation_is_said(models, monkeypatch, has):
    monkeypatch.setattr("fkdsl.models.loading.multiplies_bfloat16", lambda: has)

    def load(dtype):
        return registry.load_model("./tiny", folder=models, dtype=dtype)

    assert load("auto").describe()["dtype"] == ("bfloat16" if has else "float32")
    assert not hasattr(load("auto"), "note")
    assert not hasattr(load("float32"), "note")
    note = getattr(load("bfloat16"), "note", "")
    assert note == "" if has else "./tiny was run in bfloat16 on a processor that has no" in note
    assert registry.load_model("tiny", dtype="auto").describe()["dtype"] == "float32"


def test_on_a_device_weights_go_there_from_their_file(models, monkeypatch):
    """The device is the processor by another of its names."""
    import torch
    from transformers import LlamaForCausalLM

    from fkdsl.models.loading import load_pretrained

    whole, maps = LlamaForCausalLM.from_pretrained.__func__, []

    def from_pretrained(cls, *args, **options):
        maps.append(options.get("device_map"))
        return whole(cls, *args, **options)

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", classmethod(from_pretrained))
    row = ForwardRow(None, (3, 4, 5), (2,))
    here, there = (
        load_pretrained(str(models / "tiny"), device=device, local_files_only=True)
        for device in ("cpu", "cpu:0")
    )
    assert maps == [None, {"": "cpu:0"}]
    assert np.array_equal(here.forward([row])[0].log_probs, there.forward([row])[0].log_probs)

    def fails(cls, *args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", classmethod(fails))
    with pytest.raises(CallError, match="`cpu:0` has too little memory for the weights of tiny"):
        load_pretrained(str(models / "tiny"), device="cpu:0", local_files_only=True)
