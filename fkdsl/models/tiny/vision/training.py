"""Training the eyes of a frozen byte-level model on rendered images.

The loss is the mean cross-entropy of the captions' symbols, in nats, and beside it one that only
training has. The renderer knows which character stands where, so `Speller` has to say of each
column of the features what character is there and which of the text it is, and of each latent the
character of its number. A shape's colour and its name count as characters of their own. What is
left for the captions to teach is to look there. It is no part of the model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.tiny.schedule import Schedule
from fkdsl.models.tiny.training import PRECISIONS
from fkdsl.models.tiny.transformer import END, Transformer
from fkdsl.models.tiny.vision.fonts import Fonts
from fkdsl.models.tiny.vision.rendering import (
    COLOURS,
    KINDS,
    READING,
    SHAPES,
    SIZES,
    RenderedImage,
    draw_image,
)
from fkdsl.models.tiny.vision.transformer import (
    SeeingTransformer,
    VisionShape,
    initialised_eyes,
)

CHARACTERS = [*map(chr, range(33, 127)), "£", "€", *COLOURS, *SHAPES, *SIZES]
MOST_CHARACTERS = 10
KIND_SHARES = (0.3, 0.1, 0.3, 0.3)
"""How often each of KINDS is trained on."""
READ_OUT = 0.25
"""How often an image of a text has the caption that reads it out, rather than the first one."""
TRAINING, HELD_OUT = 0, 1
"""Purposes of random streams."""
GATE_RATE = 10
"""The learning rate of gates, in multiples of the others'."""
HELD_OUT_IMAGES = 64
"""Of each kind, for a point of the curve."""


@dataclass(frozen=True)
class VisionSettings(Schedule):
    """The settings of a training run. rows: images of a step. calm: the steps in which the
    images' noise grows. captions: of how many of a step's images the caption is learned before
    the rate falls; until the features can spell, more would teach little. spelling: the weight of
    Speller's loss. decay: weight decay of matrices. clip: the largest norm of the gradient.
    precision: of the convolutions; all else is float32."""

    steps: int = 2200
    rate: float = 2e-3
    cool_down: float = 0.4
    rows: int = 32
    calm: int = 500
    captions: int = 8
    spelling: float = 0.5
    decay: float = 0.02
    clip: float = 1.0
    seed: int = 0
    precision: str = "float32"

    def noise_at(self, step: int) -> float:
        """The most noise of a step's images."""
        return min(1.0, step / self.calm)

    def captions_at(self, step: int) -> int:
        """The images of a step whose captions are learned."""
        return self.rows if step >= self.falls_from() else min(self.captions, self.rows)


class Speller(nn.Module):  # type: ignore[misc]
    """Says of each column of the features which character stands there, which of the text, and in
    which colour, where it is a shape; and of each of the first latents the character of its
    number."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        rows, self.columns = shape.cells
        self.most = min(MOST_CHARACTERS, shape.latents)
        self.character = nn.Linear(rows * shape.width, len(CHARACTERS) + 1)
        self.number = nn.Linear(rows * shape.width, self.most + 1)
        self.colour = nn.Linear(rows * shape.width, len(CHARACTERS) + 1)
        self.latent = nn.Linear(shape.width, len(CHARACTERS) + 1)

    def loss(self, features: Tensor, latents: Tensor, batch: ImageBatch) -> Tensor:
        """The sum of the four mean cross-entropies, in nats. features: (B, cells, d); latents:
        (B, L, d)."""
        x = features.unflatten(1, (-1, self.columns)).transpose(1, 2).flatten(2)
        pairs = (
            (self.character(x), batch.characters),
            (self.number(x), batch.numbers.clamp(max=self.most)),
            (self.colour(x), batch.colours),
            (self.latent(latents[:, : self.most]), batch.text[:, : self.most]),
        )
        losses = [cross_entropy(a.float().flatten(0, 1), b.flatten()) for a, b in pairs]
        return torch.stack(losses).sum()


@dataclass(frozen=True)
class ImageBatch:
    """images: (B, high, wide, 3) uint8. symbols: (B, T + 1), END where the image stands, the
    caption's bytes, END, then -1. characters, numbers, colours: (B, columns) the character of each
    column, by its number in CHARACTERS from 1, its number in the text, from 1, and the colour of a
    shape; 0 where there is none. text: (B, MOST_CHARACTERS) the characters in order."""

    images: Tensor
    symbols: Tensor
    characters: Tensor
    numbers: Tensor
    colours: Tensor
    text: Tensor


def batch_of(images: Sequence[RenderedImage], captions: Sequence[str], columns: int) -> ImageBatch:
    """The batch of some images with captions."""
    rows = [caption.encode() for caption in captions]
    length = 2 + max(map(len, rows))
    symbols = np.full((len(rows), length), -1, np.int64)
    characters, numbers, colours = np.zeros((3, len(rows), columns), np.int64)
    text = np.zeros((len(rows), MOST_CHARACTERS), np.int64)
    for i, (row, image) in enumerate(zip(rows, images, strict=True)):
        symbols[i, : len(row) + 2] = [END, *row, END]
        wide = image.pixels.shape[1] / columns
        for k, (character, left, right) in enumerate(image.spans[:MOST_CHARACTERS]):
            first, last = math.ceil(left / wide - 0.5), math.floor(right / wide - 0.5)
            said = colours if character in COLOURS else characters
            said[i, max(first, 0) : last + 1] = 1 + CHARACTERS.index(character)
            numbers[i, max(first, 0) : last + 1] = 1 + k
            text[i, k] = 1 + CHARACTERS.index(character)
    return ImageBatch(
        torch.from_numpy(np.stack([p.pixels for p in images])),
        *map(torch.from_numpy, (symbols, characters, numbers, colours, text)),
    )


def training_batch(settings: VisionSettings, step: int, fonts: Fonts, columns: int) -> ImageBatch:
    """The images of a step. They depend on these arguments alone."""
    images, captions = [], []
    for row in range(settings.rows):
        rng = np.random.default_rng((TRAINING, settings.seed, step, row))
        kind = KINDS[rng.choice(len(KINDS), p=KIND_SHARES)]
        noise = settings.noise_at(step) * float(rng.random())
        image = draw_image(rng, kind, fonts, noise=noise)
        images.append(image)
        captions.append(image.captions[-1 if rng.random() < READ_OUT else 0])
    return batch_of(images, captions, columns)


def caption_loss(model: SeeingTransformer, symbols: Tensor, latents: Tensor) -> Tensor:
    """The mean cross-entropy of the captions' symbols, in nats. The quarter with the longest
    captions is computed apart, so that the others are not filled up to its length."""
    aims = symbols[:, 1:]
    order = (aims >= 0).sum(1).argsort()
    cut = max(1, 3 * len(order) // 4)
    nats = latents.new_zeros(())
    for rows in (order[:cut], order[cut:]):
        if len(rows):
            T = int((aims[rows] >= 0).sum(1).max())
            logits = model(symbols[rows, :T].clamp(min=0), latents[rows])
            nats = nats + cross_entropy(
                logits.flatten(0, 1), aims[rows, :T].flatten(), ignore_index=-1, reduction="sum"
            )
    return nats / (aims >= 0).sum()


def held_out_images(
    kind: str, count: int, fonts: Fonts, noise: float | None = None, seed: int = 0
) -> list[RenderedImage]:
    """Images of texts that are not trained on, the same ones for the same arguments."""
    return [
        draw_image(
            np.random.default_rng((HELD_OUT, seed, KINDS.index(kind), i)),
            kind,
            fonts,
            held_out=True,
            noise=noise,
        )
        for i in range(count)
    ]


def read_exactly(model: SeeingTransformer, images: Sequence[RenderedImage]) -> NDArray[np.bool_]:
    """(images,) whether greedy decoding writes exactly the last caption of each image, for a
    text after `It reads: `: whether each of its symbols, END too, is the likeliest after those
    before it."""
    captions = [p.captions[-1] for p in images]
    batch = batch_of(images, captions, model.eyes.shape.cells[1])
    aims = batch.symbols[:, 1:].clone()
    for row, caption in zip(aims, captions, strict=True):
        row[: len(READING) if caption.startswith(READING) else 0] = -1
    with torch.inference_mode():
        latents = model.eyes.resampled(model.eyes.encoded(batch.images))
        best = model(batch.symbols[:, :-1].clamp(min=0), latents).argmax(-1)
    right: NDArray[np.bool_] = ((best == aims) | (aims < 0)).all(-1).numpy()
    return right


def exact_shares(
    model: SeeingTransformer, fonts: Fonts, count: int, noise: float | None = None
) -> tuple[float, ...]:
    """For each of KINDS the share of held-out images that are read exactly."""
    return tuple(
        float(read_exactly(model, held_out_images(kind, count, fonts, noise)).mean())
        for kind in KINDS
    )


@dataclass(frozen=True)
class VisionPoint:
    """A point of the training curve. bits: of a caption's byte, the mean over the steps since the
    last point. spelling: the mean loss of Speller, in nats. exact: for each of KINDS the share
    of held-out images whose caption is read exactly. seconds: of the whole run so far."""

    step: int
    seconds: float
    bits: float
    spelling: float
    exact: tuple[float, ...]


@dataclass
class VisionRun:
    """The state of a training run, which a checkpoint holds. fonts: the digest of the fonts that it
    renders with."""

    settings: VisionSettings
    model: SeeingTransformer
    speller: Speller
    optimizer: torch.optim.Optimizer
    fonts: str
    step: int = 0
    seconds: float = 0.0
    curve: list[VisionPoint] = field(default_factory=list)

    @classmethod
    def begun(
        cls, trunk: Transformer, shape: VisionShape, settings: VisionSettings, fonts: str
    ) -> VisionRun:
        """A run before its first step."""
        model = initialised_eyes(SeeingTransformer(trunk, shape), settings.seed)
        torch.manual_seed(settings.seed)
        speller = Speller(shape)
        return cls(settings, model, speller, optimizer_of(model, speller, settings), fonts)

    def trained(self) -> dict[str, Tensor]:
        """The parameters that are trained, by name."""
        named = {f"eyes.{n}": p for n, p in self.model.eyes.named_parameters()}
        return named | {f"speller.{n}": p for n, p in self.speller.named_parameters()}


def optimizer_of(
    model: SeeingTransformer, speller: Speller, settings: VisionSettings
) -> torch.optim.Optimizer:
    """AdamW with weight decay of what has two dimensions or more. Gates learn faster, since what
    stands behind one learns in proportion to it."""
    named = [*model.eyes.named_parameters(), *speller.named_parameters()]
    gates = [p for n, p in named if n.endswith("gate")]
    others = [p for n, p in named if not n.endswith("gate")]
    groups = [
        {"params": [p for p in others if p.dim() >= 2], "weight_decay": settings.decay, "times": 1},
        {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0, "times": 1},
        {"params": gates, "weight_decay": 0.0, "times": GATE_RATE},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), eps=1e-9)


def train_eyes(
    run: VisionRun,
    fonts: Fonts,
    *,
    save: Callable[[VisionRun], None],
    every: int = 200,
    held_out: int = HELD_OUT_IMAGES,
    observer: Callable[[int, float], None] = lambda step, bits: None,
) -> VisionRun:
    """Continues a run to its last step. Every `every` steps it adds a point to the curve and saves
    the run. A run that was saved, read and continued equals the uninterrupted one, on the same
    machine with the same threads, fonts and versions. held_out: how many images of each kind are
    read for a point. observer: called after each step with its
    number and its bits per byte."""
    if run.fonts != fonts.digest:
        raise CallError(
            "the checkpoint is of a run with other fonts", "name the same --fonts, or begin anew"
        )
    settings, shape = run.settings, run.model.eyes.shape
    half = PRECISIONS[settings.precision]
    trained = list(run.trained().values())
    sums, last_point, began = np.zeros(2), run.step, time.perf_counter() - run.seconds
    while run.step < settings.steps:
        for group in run.optimizer.param_groups:
            group["lr"] = group["times"] * settings.rate_at(run.step)
        batch = training_batch(settings, run.step, fonts, shape.cells[1])
        features = run.model.eyes.encoded(batch.images, half)
        latents = run.model.eyes.resampled(features)
        n = settings.captions_at(run.step)
        loss = caption_loss(run.model, batch.symbols[:n], latents[:n])
        spelling = run.speller.loss(features, latents, batch)
        if not math.isfinite(loss.item()):
            raise CallError(
                f"the loss is {loss.item()} at step {run.step}: training diverged",
                "use a lower --rate",
            )
        (loss + settings.spelling * spelling).backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.clip)
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.step += 1
        bits = loss.item() / math.log(2)
        sums += (bits, spelling.item())
        observer(run.step, bits)
        if run.step % every == 0 or run.step == settings.steps:
            exact = exact_shares(run.model, fonts, held_out)
            run.seconds = time.perf_counter() - began
            of_caption, of_spelling = (sums / (run.step - last_point)).tolist()
            point = VisionPoint(run.step, run.seconds, of_caption, of_spelling, exact)
            run.curve.append(point)
            sums, last_point = np.zeros(2), run.step
            save(run)
    return run
