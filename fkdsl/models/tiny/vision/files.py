"""The files of `fkdsl train --images`: eyes, and the frozen model that they belong to.

    eyes = read_eyes(path)         # EyesFile: the trunk, the eyes' shape, tensors, facts
    run = read_vision_run(path)    # of a checkpoint

The frozen weights of `tiny` are in the package already, so a file of eyes made for it leaves them
out and has their digest instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.digest import digest_of
from fkdsl.models.tiny.checkpoint import MOMENTS
from fkdsl.models.tiny.files import LARGEST_DIMENSION, read_model_file, write_model_file
from fkdsl.models.tiny.header import EYES, read_facts
from fkdsl.models.tiny.training import refuse_wrong
from fkdsl.models.tiny.transformer import TinyShape, Transformer, weight_shapes
from fkdsl.models.tiny.vision.training import (
    Speller,
    VisionPoint,
    VisionRun,
    VisionSettings,
    optimizer_of,
)
from fkdsl.models.tiny.vision.transformer import (
    GROUPS,
    Eyes,
    SeeingTransformer,
    VisionShape,
)

SHIPPED_TRUNK = Path(__file__).parents[1] / "tiny.safetensors"
"""The model whose weights a file of eyes may leave out."""
MOST_LAYERS = 64
MOST_PIXELS = 1 << 20
"""Layers of each part and pixels of an image, since a stranger's file may name any number."""


@dataclass(frozen=True)
class EyesFile:
    """A file of eyes. trunk: the weights of the frozen model without heads beyond the first, by
    name. eyes: the eyes' weights by name."""

    facts: dict[str, Any]
    shape: TinyShape
    trunk: dict[str, Tensor]
    vision: VisionShape
    eyes: dict[str, Tensor]
    others: dict[str, Tensor]

    def model(self) -> SeeingTransformer:
        """The model for training, in float32."""
        trunk = trunk_of(self.shape, self.trunk)
        model = SeeingTransformer(trunk, self.vision)
        model.eyes.load_state_dict({n: t.float() for n, t in self.eyes.items()})
        return model


def trunk_of(shape: TinyShape, tensors: Mapping[str, Tensor]) -> Transformer:
    """A transformer with one head, in float32."""
    model = Transformer(shape)
    model.load_state_dict({name: tensors[name].float() for name in model.state_dict()})
    return model


def read_trunk(path: Path) -> tuple[TinyShape, dict[str, Tensor]]:
    """The shape and the weights of a byte-level model without its heads beyond the first."""
    _, shape, tensors = read_model_file(path)
    alone = TinyShape(**{**asdict(shape), "ahead": 1})
    return alone, {name: tensors[name] for name in weight_shapes(alone)}


def eyes_shapes(shape: TinyShape, vision: VisionShape) -> dict[str, tuple[int, ...]]:
    """The shapes of the eyes' weights, by name."""
    with torch.device("meta"):
        return {n: tuple(t.shape) for n, t in Eyes(vision, shape.layers).state_dict().items()}


def read_eyes(path: Path) -> EyesFile:
    """The eyes of a file. Raises CallError for a file that is damaged or not of the shapes that it
    names, and where the model that it was made for is not the one in this package."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    facts = read_facts(path)
    vision = _vision_shape(facts.get(EYES), path)
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise CallError(
            f"`{path}` is damaged: {error}", "take an older copy, or train again"
        ) from None
    shape, trunk = _trunk(path, facts, tensors)
    check_vision_shape(vision, shape)
    eyes = {n.removeprefix("eyes."): t for n, t in tensors.items() if n.startswith("eyes.")}
    for name, expected in eyes_shapes(shape, vision).items():
        found = tuple(eyes[name].shape) if name in eyes else "not there"
        if found != expected:
            raise CallError(
                f"`{path}` is of another shape than it says: eyes.{name} is {found}, not "
                f"{expected}",
                "the file was changed: take an older copy, or train again",
            )
    others = {n: t for n, t in tensors.items() if n not in trunk and not n.startswith("eyes.")}
    return EyesFile(facts, shape, trunk, vision, eyes, others)


def _trunk(
    path: Path, facts: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[TinyShape, dict[str, Tensor]]:
    """The frozen model of a file: from the file itself, or the one in this package."""
    if "lm_head.weight" in tensors:
        return read_trunk(path)
    shape, trunk = read_trunk(SHIPPED_TRUNK)
    if facts.get("trunk") != digest_of(trunk):
        raise CallError(
            f"the eyes in `{path}` belong to another `tiny` than this version of fkdsl has",
            "train them again with fkdsl train --images",
        )
    return shape, trunk


def _vision_shape(facts: Any, path: Path) -> VisionShape:
    """The shape of eyes that a header names."""
    kinds = {f.name: f.type for f in fields(VisionShape)}
    good = (
        isinstance(facts, dict)
        and facts.keys() == kinds.keys()
        and all(
            isinstance(v, int | float) and not isinstance(v, bool) and 0 < v <= LARGEST_DIMENSION
            for v in facts.values()
        )
        and all(isinstance(facts[n], int) for n, kind in kinds.items() if kind == "int")
    )
    if not good:
        raise CallError(
            f"`{path}` does not say of what shape its eyes are",
            "take an older copy, or train again",
        )
    return VisionShape(**facts)


def check_vision_shape(vision: VisionShape, shape: TinyShape) -> VisionShape:
    """The shape of eyes. Raises CallError if a model of `shape` cannot have them."""
    v = vision
    if v.width != shape.width or v.width % v.heads:
        raise CallError(
            f"eyes of width {v.width} with {v.heads} heads do not fit a model of width "
            f"{shape.width}",
            "leave --heads out, or use a divisor of the model's width",
        )
    if max(v.encoder_layers, v.resampler_layers) > MOST_LAYERS:
        raise CallError(f"eyes have at most {MOST_LAYERS} layers in each part")
    if v.pixels_high % 16 or v.pixels_wide % 4 or v.pixels_high * v.pixels_wide > MOST_PIXELS:
        raise CallError(f"no image has {v.pixels_wide} x {v.pixels_high} pixels here")
    if v.channels % GROUPS or v.width % GROUPS:
        raise CallError(f"{v.channels} channels and a width of {v.width} are no multiples of 8")
    return vision


# ------------------------------------------------------------------------------ writing


def save_eyes(
    run: VisionRun, path: Path, made: dict[str, Any], dtype: torch.dtype = torch.bfloat16
) -> None:
    """Writes the model alone, as `fkdsl run --model FILE.safetensors` loads it."""
    tensors, facts = _frozen(run.model)
    tensors |= {f"eyes.{n}": t for n, t in run.model.eyes.state_dict().items()}
    tensors = {name: t.detach().to(dtype) for name, t in tensors.items()}
    write_model_file(path, tensors, {**facts, "made": made})


def save_vision_run(run: VisionRun, path: Path) -> None:
    """Writes a checkpoint, which `read_vision_run` reads."""
    tensors, facts = _frozen(run.model)
    for name, parameter in run.trained().items():
        tensors[name] = parameter.detach()
        state = run.optimizer.state[parameter]
        tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS if state}
    facts |= {
        "settings": asdict(run.settings),
        "fonts": run.fonts,
        "step": run.step,
        "seconds": run.seconds,
        "curve": [asdict(point) for point in run.curve],
    }
    write_model_file(path, tensors, facts)


def _frozen(model: SeeingTransformer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(the frozen weights that a file needs, the facts about the shapes)."""
    _, shipped = read_trunk(SHIPPED_TRUNK)
    trunk = dict(model.trunk.state_dict())
    digest = digest_of(trunk)
    facts = {
        "shape": asdict(model.trunk.shape),
        EYES: asdict(model.eyes.shape),
        "trunk": digest,
    }
    return ({} if digest == digest_of(shipped) else trunk), facts


def read_vision_run(path: Path) -> VisionRun:
    """The run of a checkpoint. Raises CallError for one that is damaged, whose settings no run can
    have, or whose tensors do not have the shape that it names."""
    file = read_eyes(path)
    facts = file.facts
    try:
        settings = check_vision_settings(VisionSettings(**facts["settings"]))
        curve = [VisionPoint(**{**p, "exact": tuple(p["exact"])}) for p in facts["curve"]]
        step, seconds, fonts = int(facts["step"]), float(facts["seconds"]), str(facts["fonts"])
    except CallError:  # a ValueError too; this one says which setting is wrong
        raise
    except (KeyError, TypeError, ValueError):
        raise CallError(
            f"`{path}` is no checkpoint of a training run on images",
            "name the checkpoint.safetensors of fkdsl train --images",
        ) from None
    model, speller = file.model(), Speller(file.vision)
    optimizer = optimizer_of(model, speller, settings)
    run = VisionRun(settings, model, speller, optimizer, fonts, step, seconds, curve)
    for name, parameter in run.trained().items():
        stored = {n: file.others.get(f"{n}.{name}") for n in MOMENTS}
        if name.startswith("speller."):
            stored["weight"] = file.others.get(name)
        if any(t is None or t.shape != parameter.shape for t in stored.values()):
            raise CallError(f"`{path}` lacks the optimizer's state of {name}", "take an older copy")
        if (weight := stored.pop("weight", None)) is not None:
            parameter.data.copy_(weight)
        optimizer.state[parameter] = {"step": torch.tensor(float(step)), **stored}
    return run


def check_vision_settings(settings: VisionSettings) -> VisionSettings:
    """The settings. Raises CallError for values that no run can have."""
    refuse_wrong(settings, {})
    return settings
