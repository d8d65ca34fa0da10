"""The tensors of a file that are read one by one are those of the file."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from fkdsl.base.errors import CallError
from fkdsl.models import stored_weights
from fkdsl.models.digest import digest_of
from fkdsl.models.stored_weights import StoredWeights


def test_tensors_are_those_of_the_file_also_when_it_is_mapped_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_weights, "MAPPED_BYTES", 100)
    tensors = {f"w{i}": torch.randn(5, 7) for i in range(9)}
    save_file(tensors, tmp_path / "w.safetensors")
    weights = StoredWeights(tmp_path / "w.safetensors")
    assert sorted(weights) == sorted(tensors)
    assert len(weights) == 9
    kept = dict(weights)
    assert all(kept[name].equal(tensor) for name, tensor in tensors.items())
    half = StoredWeights(tmp_path / "w.safetensors", dtype=torch.bfloat16)
    assert half["w3"].equal(tensors["w3"].bfloat16())
    assert "w10" not in half
    with pytest.raises(KeyError):
        _ = half["w10"]
    converted = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    assert digest_of(weights, torch.bfloat16) == digest_of(converted) == digest_of(half)
    assert digest_of(weights) == digest_of(tensors) != digest_of(converted)


def test_a_file_that_is_replaced_while_it_is_read_gives_no_mixture(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_weights, "MAPPED_BYTES", 100)
    file, new = tmp_path / "w.safetensors", tmp_path / "new.safetensors"
    for seed, path in enumerate((file, new)):
        save_file({f"w{i}": torch.full((5, 7), float(seed)) for i in range(3)}, path)
    weights = StoredWeights(file)
    assert weights["w0"].max() == 0.0
    new.replace(file)
    with pytest.raises(CallError, match="was replaced while it was read"):
        _ = weights["w1"]
