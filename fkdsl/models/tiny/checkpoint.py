"""The files of a training run: checkpoints, and its weights alone.

A checkpoint has the weights, the optimizer's state and the curve in one file, so that they are
always of the same step.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fkdsl.base.errors import CallError
from fkdsl.models.tiny.files import read_model_file, write_model_file
from fkdsl.models.tiny.links import PREFIX, Links, filled_links
from fkdsl.models.tiny.training import (
    Point,
    TrainingRun,
    TrainingSettings,
    check_settings,
    optimizer_of,
)
from fkdsl.models.tiny.transformer import TinyShape, Transformer

MOMENTS = ("exp_avg", "exp_avg_sq")
"""Names of AdamW's running means of a gradient and of its square."""


def save_run(run: TrainingRun, path: Path) -> None:
    """Writes a checkpoint, which `read_run` reads."""
    tensors = dict(run.model.state_dict())
    for name, parameter in run.model.named_parameters():
        state = run.optimizer.state[parameter]
        tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS if state}
    facts = {
        "shape": asdict(run.shape),
        "settings": asdict(run.settings),
        "text": run.text,
        "step": run.step,
        "seconds": run.seconds,
        "curve": [asdict(point) for point in run.curve],
    }
    write_model_file(path, tensors, facts)


def read_run(path: Path) -> TrainingRun:
    """The run of a checkpoint. Raises CallError for one that is damaged, whose settings no run can
    have, or whose tensors do not have the shape that it names."""
    facts, shape, tensors = read_model_file(path)
    try:
        settings = check_settings(TrainingSettings(**facts["settings"]))
        curve = [
            Point(p["step"], p["seconds"], tuple(p["training"]), tuple(p["held_out"]))
            for p in facts["curve"]
        ]
        step, seconds, text = int(facts["step"]), float(facts["seconds"]), str(facts["text"])
    except CallError:  # a ValueError too; this one says which setting is wrong
        raise
    except (KeyError, TypeError, ValueError):
        raise CallError(
            f"`{path}` is no checkpoint of a training run", "name the checkpoint.safetensors"
        ) from None
    model = filled(shape, tensors)
    run = TrainingRun(
        shape, settings, model, optimizer_of(model, settings), text, step, seconds, curve
    )
    for name, parameter in model.named_parameters():
        moments = {moment: tensors.get(f"{moment}.{name}") for moment in MOMENTS}
        if any(t is None or t.shape != parameter.shape for t in moments.values()):
            raise CallError(f"`{path}` lacks the optimizer's state of {name}", "take an older copy")
        run.optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return run


def save_weights(
    run: TrainingRun, path: Path, made: dict[str, Any], dtype: torch.dtype = torch.bfloat16
) -> None:
    """Writes the weights alone, as `fkdsl run --model FILE.safetensors` loads them. made: how they
    were made, for people."""
    tensors = {name: t.to(dtype) for name, t in run.model.state_dict().items()}
    write_model_file(path, tensors, {"shape": asdict(run.shape), "made": made})


def save_links(links: Links, path: Path, made: dict[str, Any]) -> None:
    """Writes links into a file of weights, in place of earlier ones; the weights stay as they are.
    made: added to how the weights were made."""
    facts, _, tensors = read_model_file(path)
    kept = {name: t for name, t in tensors.items() if not name.startswith(PREFIX)}
    # float16 has eleven bits of precision, bfloat16 eight; logits are within float16's range.
    added = {PREFIX + name: t.detach().half() for name, t in links.state_dict().items()}
    write_model_file(path, kept | added, {**facts, "made": {**facts.get("made", {}), **made}})


def read_links(path: Path) -> Links | None:
    """The links in a file, in float32; None if it has none."""
    _, shape, tensors = read_model_file(path)
    return (
        filled_links(shape, tensors) if any(name.startswith(PREFIX) for name in tensors) else None
    )


def read_model(path: Path) -> Transformer:
    """The transformer of a checkpoint or of weights alone, in float32."""
    _, shape, tensors = read_model_file(path)
    return filled(shape, tensors)


def filled(shape: TinyShape, tensors: dict[str, Tensor]) -> Transformer:
    """A transformer with the weights among some tensors."""
    model = Transformer(shape)
    model.load_state_dict({name: tensors[name].float() for name in model.state_dict()})
    return model
