"""What fkdsl uses of transformers beyond its documented interface, in one room.

name = cache_name(module)                      # "cache" from 5.24 on; "past_key_values" or "cache_params" before
module(input_ids=ids, use_cache=True, **{name: cache})
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache

from fkdsl.base.errors import CallError


def cache_name(module: Any) -> str:
    """The keyword by which a module's forward takes a cache: the field of its output that holds one.

    `generate` of transformers hands a cache back in under the name it came out by, whatever the release calls it. The
    signature does not say the name: forwards are wrapped, and what they do not know they swallow. One forward of one
    token. Raises CallError where no cache comes out.
    """
    device = module.get_input_embeddings().weight.device
    with torch.inference_mode():
        output = module(input_ids=torch.zeros((1, 1), dtype=torch.long, device=device), use_cache=True)
    for name, value in output.items():
        if isinstance(value, Cache):
            return str(name)
    raise CallError(f"models of the family {module.config.model_type} keep no cache that fkdsl can use")
