"""The limit that decoding is measured against: one batched forward a token over packed weights, and
nothing else.

    limit = Bare(module, rows=16, capacity=64)     # module: a Llama of transformers, in its dtype
    limit.prefill([17, 4, 99])                     # every row begins with the same prompt
    logits = limit.step(tokens)                    # (rows, V): after one more token in every row

A plain loop over Llama's layers with what a CPU does fastest: linears packed once by oneDNN
(queries, keys and values as one, gate and up as one), keys and values kept in place, a group's
query heads as rows of one query so that no key is repeated. No sampling, no tree, no copies.
`check` holds it to the module that the weights come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Linear = Callable[[Tensor], Tensor]


def packed(weight: Tensor, rows: int) -> Linear:
    """x -> x W^T, packed for that many rows where oneDNN can; `packs` says whether it can."""
    weight = weight.detach()
    if not packs(weight.dtype):
        return lambda x: F.linear(x, weight)
    p = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, p, None, "none", [], "")


def packs(dtype: torch.dtype) -> bool:
    """Whether this build and this machine have packed linears of a dtype."""
    if not torch.backends.mkldnn.is_available() or not hasattr(
        torch.ops.mkldnn, "_linear_pointwise"
    ):
        return False
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


class Bare:
    """A Llama's weights, packed, over `rows` sequences of at most `capacity` tokens, all equally
    long."""

    def __init__(self, module: Any, rows: int, capacity: int) -> None:
        config = module.config
        self.module, self.rows, self.length = module, rows, 0
        self.kv, self.heads = config.num_key_value_heads, config.num_attention_heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        body = module.model
        self.embedding, self.norm = body.embed_tokens.weight.detach(), body.norm.weight.detach()
        self.layers = [
            (
                layer.input_layernorm.weight.detach(),
                packed(
                    torch.cat([getattr(layer.self_attn, f"{n}_proj").weight for n in "qkv"]), rows
                ),
                packed(layer.self_attn.o_proj.weight, rows),
                layer.post_attention_layernorm.weight.detach(),
                packed(torch.cat([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight]), rows),
                packed(layer.mlp.down_proj.weight, rows),
            )
            for layer in body.layers
        ]
        self.head = packed(module.get_output_embeddings().weight, rows)
        shape = (len(self.layers), rows, self.kv, capacity, self.width)
        self.keys, self.values = (torch.zeros(shape, dtype=module.dtype) for _ in range(2))
        with torch.inference_mode():
            self.cos, self.sin = (
                t[0].to(module.dtype)
                for t in body.rotary_emb(self.embedding, torch.arange(capacity)[None])
            )

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int]) -> None:
        """Begins every row with the prompt, by the module itself."""
        cache = self.module(
            torch.tensor([list(ids)]), use_cache=True, logits_to_keep=1
        ).past_key_values
        self.length = len(ids)
        for i, layer in enumerate(cache.layers):
            self.keys[i, :, :, : self.length] = layer.keys
            self.values[i, :, :, : self.length] = layer.values

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """Logits (rows, V) after one more token (rows,) in every row."""
        at, end, N = self.length, self.length + 1, self.rows
        cos, sin = self.cos[at], self.sin[at]
        split = [self.heads * self.width, self.kv * self.width, self.kv * self.width]
        x = self.embedding[tokens]  # (N, D)
        for i, (before, qkv, out, after, gate_up, down) in enumerate(self.layers):
            q, k, v = qkv(F.rms_norm(x, x.shape[-1:], before, self.eps)).split(split, dim=-1)
            # Query heads of one group share their keys: they stand as the rows of one query.
            q = rotated(q.view(N, self.kv, -1, self.width), cos, sin)  # (N, kv, heads / kv, width)
            self.keys[i, :, :, at] = rotated(k.view(N, self.kv, self.width), cos, sin)
            self.values[i, :, :, at] = v.view(N, self.kv, self.width)
            mixed = F.scaled_dot_product_attention(
                q, self.keys[i, :, :, :end], self.values[i, :, :, :end]
            )
            x = x + out(mixed.reshape(N, -1))
            gate, up = gate_up(F.rms_norm(x, x.shape[-1:], after, self.eps)).chunk(2, dim=-1)
            x = x + down(F.silu(gate) * up)
        self.length = end
        return self.head(F.rms_norm(x, x.shape[-1:], self.norm, self.eps))


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions, as Llama pairs the dimensions: i with i + width / 2."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


@torch.inference_mode()
def check(module: Any, prompt: Sequence[int], tokens: Sequence[int] = (260, 6330, 28)) -> float:
    """The largest difference from the module's own logits over a few steps, as a share of their
    spread."""
    bare = Bare(module, rows=2, capacity=len(prompt) + len(tokens))
    bare.prefill(prompt)
    ours = torch.stack([bare.step(torch.tensor([t, t]))[1] for t in tokens]).float()
    theirs = module(torch.tensor([[*prompt, *tokens]])).logits[0, -len(tokens) :].float()
    return float((ours - theirs).abs().max() / theirs.std())
