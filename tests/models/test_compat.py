"""What is used of libraries beyond their documented interfaces, each part by itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers.cache_utils import DynamicCache

from fkdsl.base.errors import CallError
from fkdsl.models.compat import cache_name
from tests.engine.tiny import FAMILIES, tiny


class Planted:
    """A module whose forward takes anything and gives what it was made with, under the name it was made with."""

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
