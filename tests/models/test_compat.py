"""What is used of libraries beyond their documented interfaces, each part by itself."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers.cache_utils import DynamicCache

from fkdsl.base.errors import CallError
from fkdsl.models.compat import TESTED_VERSIONS, caches, kernels, multi_token, quiet
from fkdsl.models.compat.caches import cache_name
from fkdsl.models.linear import PlainLinear, pack
from tests.engine.tiny import FAMILIES, tiny

ROOT = Path(__file__).parents[2]


class Planted:
    """A module whose forward takes anything and gives what it was made with, under the name it was
    made with."""

    config = SimpleNamespace(model_type="planted")

    def __init__(self, **output):
        self.output = output

    def get_input_embeddings(self):
        return torch.nn.Embedding(4, 2)

    def __call__(self, **_):
        return {"logits": torch.zeros(1, 1, 4), **self.output}


@pytest.mark.parametrize("name", ["cache", "past_key_values", "cache_params", "memory"])
def test_a_cache_goes_in_by_the_name_by_which_it_comes_out(name):
    cache = DynamicCache()
    assert cache_name(Planted(**{name: cache, "hidden_states": None})) == name


def test_a_family_that_gives_no_cache_is_a_clear_error():
    with pytest.raises(CallError, match="the family planted"):
        cache_name(Planted(past_key_values=((torch.zeros(1), torch.zeros(1)),)))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_goes_in_by_that_name_is_read_and_not_swallowed(family):
    module = tiny(family).module
    name, ids = cache_name(module), torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        cache = module(input_ids=ids[:, :2], use_cache=True)[name]
        after = module(input_ids=ids[:, 2:], use_cache=True, **{name: cache}).logits[0, -1]
        whole = module(input_ids=ids).logits[0, -1]
        alone = module(input_ids=ids[:, 2:]).logits[0, -1]
    assert (after - whole).abs().max() <= 1e-3
    assert (alone - whole).abs().max() >= 1e-2


# ------------------------------------------------------------------ versions


BOUNDED = re.compile(r'"([\w-]+)>=([\d.]+)(?:,!=[\d.]+)?(?:,<([\d.]+))?"')


def dependencies():
    """name -> (lowest, the bound above) of pyproject.toml, as written."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    return {name: (low, high) for name, low, high in BOUNDED.findall(block[1])}


def extras():
    """name -> (lowest, the bound above) of the libraries of optional parts of fkdsl."""
    text = (ROOT / "pyproject.toml").read_text("utf-8").partition("[project.optional-dependencies]")
    lines = text[2].partition("\ndev = ")[0]
    return {name: (low, high) for name, low, high in BOUNDED.findall(lines)}


UNTRIED = {"zensical", "ray", "selenium", "axe-core-python", "vllm", "wordllama"}
"""Too heavy for the second test command, or of tests that it does not run; wordllama wants numpy 2,
which the lowest versions of the others are not tried with."""


def test_the_versions_of_the_second_test_command_are_the_lowest_that_are_allowed():
    lines = (ROOT / "tests/lowest.txt").read_text("utf-8").splitlines()
    lowest = dict(line.split("==") for line in lines if not line.startswith("#"))
    allowed = {name: low for name, (low, _) in (dependencies() | extras()).items()}
    assert allowed.keys() - lowest.keys() <= UNTRIED
    assert lowest.keys() - allowed.keys() <= {"pygments"}  # of the tests
    lowest = {name: version for name, version in lowest.items() if name in allowed}
    for name, version in lowest.items():
        assert (version + ".").startswith(allowed[name] + "."), name


def test_the_range_that_messages_name_is_the_one_that_an_install_takes():
    low, high = dependencies()["transformers"]
    major, minor = TESTED_VERSIONS[1].split(".")
    assert (low, high) == (TESTED_VERSIONS[0], f"{major}.{int(minor) + 1}")


# ------------------------------------------------------------------- kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_without_its_private_operators_torch_multiplies_plainly(monkeypatch, dtype):
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    kernels.packs.cache_clear()
    assert isinstance(pack(torch.eye(8, dtype=dtype), None, "float32"), PlainLinear)
    kernels.packs.cache_clear()


def test_a_private_operator_that_computes_something_else_is_not_used(monkeypatch):
    own = torch.ops.mkldnn
    wrong = SimpleNamespace(
        _reorder_linear_weight=own._reorder_linear_weight,
        _linear_pointwise=lambda *args: own._linear_pointwise(*args) * 1.01,
    )
    monkeypatch.setattr(torch.ops, "mkldnn", wrong)
    kernels.packs.cache_clear()
    assert not kernels.packs(torch.float32)
    kernels.packs.cache_clear()


@pytest.mark.parametrize(("limit", "levels"), [(2**31, 127), (32_767, 63), (10_000, 0)])
def test_eight_bit_activations_have_as_many_levels_as_the_processor_adds_up(
    monkeypatch, limit, levels
):
    """limit: where the sum of two products saturates; 32,767 on a processor without VNNI."""

    def saturating(x, scale, zero, w, *_):
        pairs = x.double().view(len(x), -1, 2)[:, :, None] * w.double().view(
            len(w), -1, 2
        ).transpose(0, 1)
        return (pairs.sum(-1).clamp(-limit, limit).sum(1) - zero * w.double().sum(1)).float()

    operators = SimpleNamespace(qlinear_prepack=lambda w, shape: w, qlinear_pointwise=saturating)
    monkeypatch.setattr(torch.ops, "onednn", operators)
    kernels.eight_bit_levels.cache_clear()
    assert kernels.eight_bit_levels() == levels
    kernels.eight_bit_levels.cache_clear()


# -------------------------------------------------------- layers and quietness


def test_a_release_without_layers_for_further_tokens_is_an_import_error(monkeypatch):
    from transformers import modeling_layers

    monkeypatch.delattr(modeling_layers, "MtpModel")
    with pytest.raises(ImportError):
        multi_token.read_layers(tiny("llama").module, 1)


def test_a_release_that_reads_gguf_elsewhere_is_quiet_but_for_its_bar(monkeypatch):
    monkeypatch.setattr(quiet, "_gguf_reader", lambda: None)
    with quiet.quiet_transformers():
        pass


def test_layers_of_recurrent_states_are_no_plain_attention():
    assert {f: caches.keeps_keys_and_values(tiny(f).module.config) for f in FAMILIES} == {
        "llama": True, "gpt2": True, "mamba": False,
    }  # fmt: skip


def test_without_its_probes_torch_has_no_instructions_for_bfloat16(monkeypatch):
    for machine in ("x86_64", "aarch64"):
        monkeypatch.setattr(kernels.platform, "machine", lambda name=machine: name)
        monkeypatch.setattr(torch, "cpu", SimpleNamespace())
        monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
        kernels.multiplies_bfloat16.cache_clear()
        assert not kernels.multiplies_bfloat16()
    monkeypatch.setattr(kernels.platform, "machine", lambda: "AMD64")
    monkeypatch.setattr(torch, "cpu", SimpleNamespace(_is_amx_tile_supported=lambda: True))
    kernels.multiplies_bfloat16.cache_clear()
    assert kernels.multiplies_bfloat16()
    kernels.multiplies_bfloat16.cache_clear()
