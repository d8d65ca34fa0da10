"""A causal transformer over bytes with a head for each of the next n bytes, in plain torch.

    x                       (B, T)      symbols: a byte each, or END
    z = model.trunk(x)      (B, T, d)   the embedding, then layers of attention and a gated MLP
    model.head(k, z)        (B, T, V)   logits of the symbol k places on, k = 1..n: one more layer,
                                        then the unembedding

Position t of head k reads x[..t] and gives p(x[t+k] | x[..t]) (Gloeckle et al. 2024, section 2).
Trunk and first head are a Llama and have a Llama's names of weights: `fkdsl.models.decoder` runs
them with a cache, and this module is for training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from fkdsl.base.quick_dataclass import dataclass

END = 256
"""The symbol that ends a document. It also stands before each document, so a text without a prompt
begins after it."""
SYMBOLS = 257
"""V: the 256 bytes and END."""


@dataclass(frozen=True)
class TinyShape:
    """The sizes of a transformer. width: d, of the outputs of layers. layers: of the trunk and the
    first head together. heads: attention heads, each of d / heads coordinates. hidden: width inside
    an MLP. ahead: n, how many symbols ahead are predicted, each by a head. context: most symbols of
    a text. theta: base of the rotary frequencies."""

    width: int = 128
    layers: int = 5
    heads: int = 4
    hidden: int = 352
    ahead: int = 4
    context: int = 384
    theta: float = 10_000.0
    eps: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def frequencies(self) -> Tensor:
        """(head width / 2,) the angle, in radians a position, by which each pair of coordinates is
        rotated: theta^(-2i / head width)."""
        return self.theta ** (
            -torch.arange(0, self.head_width, 2, dtype=torch.float) / self.head_width
        )


class RMSNorm(nn.Module):  # type: ignore[misc]
    """x / sqrt(mean of its squares + eps), times a weight for each coordinate (Zhang and Sennrich
    2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def turns(shape: TinyShape, length: int) -> tuple[Tensor, Tensor]:
    """(cos, sin) of the angle by which each pair is rotated at position t, (length, head width / 2)
    each."""
    angles = torch.arange(length).float()[:, None] * shape.frequencies()
    return angles.cos(), angles.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, heads, T, w) with coordinates i and i + w/2 of each position rotated as a pair (Su et
    al. 2021).

    The product of a query at t and a key at s then depends on their positions by t - s alone.
    """
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Attention(nn.Module):  # type: ignore[misc]
    """Causal attention: y_t = sum over s <= t of softmax_s(q_t . k_s / sqrt w) v_s, in several
    heads with queries, keys and values of their own (Vaswani et al. 2017)."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q = rotated(self._split(self.q_proj(x)), cos, sin)
        k = rotated(self._split(self.k_proj(x)), cos, sin)
        v = self._split(self.v_proj(x))
        y = attended(q.to(v.dtype), k.to(v.dtype), v)
        return self.o_proj(y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, d) as (B, heads, T, w)."""
        return x.unflatten(2, (self.shape.heads, self.shape.head_width)).transpose(1, 2)


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention by its formula; (B, heads, T, w) each."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, T, T)
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(later, -math.inf).softmax(-1) @ v


class GatedMLP(nn.Module):  # type: ignore[misc]
    """down(silu(gate x) * up x) (Shazeer 2020)."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class TransformerLayer(nn.Module):  # type: ignore[misc]
    """y = x + attention(norm x), then y + MLP(norm y)."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width, shape.eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.eps)
        self.mlp = GatedMLP(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Stack(nn.Module):  # type: ignore[misc]
    """The part that a Llama calls its model: the embedding, the layers of trunk and first head, and
    the last norm."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(SYMBOLS, shape.width)
        self.layers = nn.ModuleList(TransformerLayer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.width, shape.eps)


class Transformer(nn.Module):  # type: ignore[misc]
    """The whole transformer. model: the trunk and the first head's layer. heads: the layers of
    heads 2..n, by number. All heads share the last norm and the unembedding `lm_head`."""

    def __init__(self, shape: TinyShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Stack(shape)
        self.heads = nn.ModuleDict(
            {str(k): TransformerLayer(shape) for k in range(2, shape.ahead + 1)}
        )
        self.lm_head = nn.Linear(shape.width, SYMBOLS, bias=False)
        cos, sin = turns(shape, shape.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def trunk(self, x: Tensor) -> Tensor:
        """(B, T, d) the input of all heads, for symbols x (B, T)."""
        z = self.model.embed_tokens(x)
        for layer in self.model.layers[:-1]:
            z = layer(z, *self._turns(x))
        return z

    def head(self, k: int, z: Tensor) -> Tensor:
        """(B, T, V) the logits of the symbols k places on."""
        layer = self.model.layers[-1] if k == 1 else self.heads[str(k)]
        return self.lm_head(self.model.norm(layer(z, *self._turns(z))))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, V) the logits of the next symbols."""
        return self.head(1, self.trunk(x))

    def _turns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cos[: x.shape[1]], self.sin[: x.shape[1]]


def weight_shapes(shape: TinyShape) -> dict[str, tuple[int, ...]]:
    """The shapes of a transformer's weights, by name."""
    d, f = shape.width, shape.hidden
    layer = {
        "input_layernorm": (d,),
        "self_attn.q_proj": (d, d),
        "self_attn.k_proj": (d, d),
        "self_attn.v_proj": (d, d),
        "self_attn.o_proj": (d, d),
        "post_attention_layernorm": (d,),
        "mlp.gate_proj": (f, d),
        "mlp.up_proj": (f, d),
        "mlp.down_proj": (d, f),
    }
    layers = [f"model.layers.{i}" for i in range(shape.layers)]
    layers += [f"heads.{k}" for k in range(2, shape.ahead + 1)]
    shapes = {"model.embed_tokens": (SYMBOLS, d), "model.norm": (d,), "lm_head": (SYMBOLS, d)}
    shapes |= {f"{prefix}.{name}": s for prefix in layers for name, s in layer.items()}
    return {f"{name}.weight": s for name, s in shapes.items()}


def initialised(shape: TinyShape, seed: int) -> Transformer:
    """A transformer before training: normal weights of variance 1 / inputs. The maps whose outputs
    are added to the residual stream are scaled down by the root of the number of such additions, so
    that the stream has the same size at every depth."""
    model = Transformer(shape)
    source = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            continue
        scale = 1.0 / math.sqrt(weight.shape[1])
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            scale /= math.sqrt(2 * shape.layers)
        if name == "model.embed_tokens.weight":
            scale = 1.0
        if name == "lm_head.weight":
            scale *= 0.1
        with torch.no_grad():
            weight.normal_(0.0, scale, generator=source)
    return model
