"""A byte-level transformer that sees images, in plain torch, for training: a frozen
fkdsl.models.tiny.transformer with the gated cross-attention of Flamingo (Alayrac et al. 2022).

    features = model.eyes.encoded(images)        (B, cells, d)    convolutions, then attention
    latents = model.eyes.resampled(features)       (B, L, d)        Perceiver resampler
    model(symbols, latents)                        (B, T, V)        logits of the next symbols

An image stands where END would, as the first symbol, and the trunk reads END there; the text after
it attends to its latents. The blocks stand before layers of the trunk, each with tanh gates that
are 0 before training, so that the model then is the frozen one:

    x = x + tanh(a) attention(norm x + place, latents)    place: of the symbols since the image
    x = x + tanh(b) MLP(norm x)

One part is not in the paper. A trunk trained on plays has never seen a digit, and its unembedding
has the same row for all of them. `Readout` therefore adds to the logits what one more block sees,
through an unembedding of its own and a gate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, scaled_dot_product_attention, silu

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.tiny.transformer import SYMBOLS, RMSNorm, Transformer

STRIDES = ((2, 2), (2, 2), (2, 1), (2, 1))
"""(down, across) of each convolution: a cell of the features is 16 pixels high and 4 wide."""
GROUPS = 8


@dataclass(frozen=True)
class VisionShape:
    """The sizes of the eyes. width: d, the trunk's. pixels_high, pixels_wide: of an image, in
    multiples of 16 and of 4. channels: of the first convolution; the second has twice as many.
    encoder_layers, resampler_layers: of attention. latents: L, vectors for an image. heads: of
    attention. hidden: width inside an MLP. every: a block of cross-attention stands before each
    layer of the trunk whose number, from 0, is a multiple of it. places: symbols since an image
    that are told apart; later ones count as the last."""

    width: int = 128
    pixels_high: int = 48
    pixels_wide: int = 96
    channels: int = 32
    encoder_layers: int = 2
    resampler_layers: int = 2
    latents: int = 16
    heads: int = 4
    hidden: int = 256
    every: int = 2
    places: int = 64
    eps: float = 1e-5

    @property
    def cells(self) -> tuple[int, int]:
        """(rows, columns) of the features' grid."""
        return self.pixels_high // 16, self.pixels_wide // 4

    def blocks(self, layers: int) -> list[int]:
        """The layers of a trunk before which a block stands."""
        return list(range(0, layers, self.every))


class Stem(nn.Module):  # type: ignore[misc]
    """Four convolutions with group norms: they learn from fewer images than the linear patches of
    a vision transformer (Xiao et al. 2021). But a norm takes the mean out, and with it much of what
    colour the image has, so that linear patches are added."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        c, d = shape.channels, shape.width
        sizes = ((4, c, 5), (c, 2 * c, 3), (2 * c, d, 3), (d, d, 3))
        self.layers = nn.ModuleList(
            nn.Conv2d(i, o, k, stride, k // 2)
            for (i, o, k), stride in zip(sizes, STRIDES, strict=True)
        )
        cell = tuple(math.prod(s[axis] for s in STRIDES) for axis in (0, 1))
        self.patches = nn.Conv2d(3, d, cell, cell)
        self.eps = shape.eps

    def forward(self, images: Tensor) -> Tensor:
        """(B, cells, d), the cells row after row; images (B, 3, high, wide) in -1..1.

        A fourth channel is the brightness with the image's own mean 0 and variance 1, so that
        faint texts are no harder than others.
        """
        grey = images.mean(1, keepdim=True)
        grey = grey - grey.mean((2, 3), keepdim=True)
        spread = grey.square().mean((2, 3), keepdim=True).sqrt()
        x = torch.cat((images, grey / (spread + 0.02)), dim=1)
        for layer in self.layers:
            x = silu(group_norm(layer(x), GROUPS, eps=self.eps))
        return (x + self.patches(images)).flatten(2).transpose(1, 2)


class CrossAttention(nn.Module):  # type: ignore[misc]
    """softmax(q k' / sqrt w) v in several heads, without an order among the keys."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.kv_proj = nn.Linear(shape.width, 2 * shape.width, bias=False)
        self.o_proj = nn.Linear(shape.width, shape.width, bias=False)

    def keys_values(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """(keys, values), (B, heads, S, w) each, of a context (B, S, d)."""
        k, v = self.kv_proj(context).chunk(2, dim=-1)
        return self._split(k), self._split(v)

    def attended(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(B, T, d) for queries of x (B, T, d)."""
        y = scaled_dot_product_attention(self._split(self.q_proj(x)), keys, values)
        return self.o_proj(y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, d) as (B, heads, T, w)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Module):  # type: ignore[misc]
    """down(silu(up x))."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.up_proj = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down_proj = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(silu(self.up_proj(x)))


class Block(nn.Module):  # type: ignore[misc]
    """y = x + attention(norm x, context), then y + MLP(norm y)."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.norm = RMSNorm(shape.width, shape.eps)
        self.attention = CrossAttention(shape)
        self.mlp_norm = RMSNorm(shape.width, shape.eps)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, context: Tensor, places: Tensor | None = None) -> Tensor:
        """places: added to the queries' inputs."""
        return self.seeing(x, *self.attention.keys_values(context), places)

    def seeing(self, x: Tensor, keys: Tensor, values: Tensor, places: Tensor | None) -> Tensor:
        """The output for keys and values of `attention.keys_values`."""
        y = self.norm(x) if places is None else self.norm(x) + places
        x = x + self.attention.attended(y, keys, values)
        return x + self.mlp(self.mlp_norm(x))


class GatedBlock(Block):
    """A block whose two parts are scaled by tanh of gates that are 0 before training."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__(shape)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.mlp_gate = nn.Parameter(torch.zeros(1))

    def seeing(self, x: Tensor, keys: Tensor, values: Tensor, places: Tensor | None) -> Tensor:
        y = self.norm(x) if places is None else self.norm(x) + places
        x = x + self.attention_gate.tanh() * self.attention.attended(y, keys, values)
        return x + self.mlp_gate.tanh() * self.mlp(self.mlp_norm(x))


class Readout(nn.Module):  # type: ignore[misc]
    """What the image adds to the logits: a block on the trunk's output, then an unembedding and a
    gate that is 0 before training."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.block = Block(shape)
        self.norm = RMSNorm(shape.width, shape.eps)
        self.unembedding = nn.Linear(shape.width, SYMBOLS, bias=False)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, context: Tensor, places: Tensor) -> Tensor:
        """(B, T, V)."""
        return self.gate.tanh() * self.unembedding(self.norm(self.block(x, context, places)))


class Eyes(nn.Module):  # type: ignore[misc]
    """The part of the model that is trained on images."""

    def __init__(self, shape: VisionShape, layers: int) -> None:
        super().__init__()
        self.shape = shape
        rows, columns = shape.cells
        self.stem = Stem(shape)
        self.cell_places = nn.Parameter(torch.zeros(rows * columns, shape.width))
        self.encoder = nn.ModuleList(Block(shape) for _ in range(shape.encoder_layers))
        self.latents = nn.Parameter(torch.zeros(shape.latents, shape.width))
        self.resampler = nn.ModuleList(Block(shape) for _ in range(shape.resampler_layers))
        self.norm = RMSNorm(shape.width, shape.eps)
        self.text_places = nn.Embedding(shape.places, shape.width)
        self.blocks = nn.ModuleDict({str(i): GatedBlock(shape) for i in shape.blocks(layers)})
        self.readout = Readout(shape)

    def encoded(self, images: Tensor, half: torch.dtype | None = None) -> Tensor:
        """(B, cells, d) the features of images (B, high, wide, 3), uint8. half: a dtype for the
        convolutions, which gain by it; the products of matrices are too small to."""
        with torch.autocast("cpu", half, enabled=half is not None):
            x = self.stem(images.permute(0, 3, 1, 2).to(self.latents.dtype) / 127.5 - 1.0)
        x = x.to(self.latents.dtype) + self.cell_places
        for block in self.encoder:
            x = block(x, x)
        return x

    def resampled(self, features: Tensor) -> Tensor:
        """(B, L, d) the latents of an image's features."""
        x = self.latents.expand(len(features), -1, -1)
        for block in self.resampler:
            x = block(x, torch.cat((features, x), dim=1))
        return self.norm(x)

    def places(self, since: Tensor) -> Tensor:
        """(.., d) for symbols that stand `since` places after their image."""
        return self.text_places(since.clamp(max=self.shape.places - 1))


class SeeingTransformer(nn.Module):  # type: ignore[misc]
    """A frozen transformer with eyes."""

    def __init__(self, trunk: Transformer, shape: VisionShape) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.eyes = Eyes(shape, trunk.shape.layers)

    def forward(self, symbols: Tensor, latents: Tensor) -> Tensor:
        """(B, T, V) the logits of the next symbols. symbols: (B, T), END first, where the image
        stands; latents: (B, L, d) of the images."""
        trunk, eyes = self.trunk, self.eyes
        places = eyes.places(torch.arange(symbols.shape[1], device=symbols.device))
        cos, sin = trunk._turns(symbols)
        x = trunk.model.embed_tokens(symbols)
        for i, layer in enumerate(trunk.model.layers):
            if str(i) in eyes.blocks:
                x = eyes.blocks[str(i)](x, latents, places)
            x = layer(x, cos, sin)
        x = trunk.model.norm(x)
        return trunk.lm_head(x) + eyes.readout(x, latents, places)


def initialised_eyes(model: SeeingTransformer, seed: int) -> SeeingTransformer:
    """The model with eyes as before training: normal weights of variance 1 / inputs, no biases,
    gates 0."""
    source = torch.Generator().manual_seed(seed)
    eyes = model.eyes
    with torch.no_grad():
        for name, weight in eyes.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
            if weight.dim() < 2:
                continue
            scale = 1.0 / math.sqrt(weight[0].numel())
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                scale *= 0.5
            if name in ("cell_places", "latents", "text_places.weight"):
                scale = 0.5
            weight.normal_(0.0, scale, generator=source)
    return model
