"""The laws that gpu.py holds a device to before it measures: rows of a small random Llama, in
float32 and bfloat16, however they are computed, and a run whose rows stay on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gpu_models import SIZES, model_of, random_module, steered, texts_of

from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models import tokenized
from fkdsl.models.decoder_model import DecoderModel
from fkdsl.models.device import rows as device_rows
from fkdsl.models.device.operators import PlainOperators
from fkdsl.models.huggingface import HuggingFaceModel

TOLERANCE = 2e-4
"""Most that a probability of the small model may differ from transformers', in float32."""


@contextmanager
def rows_stay(stay: bool) -> Iterator[None]:
    """Within it rows stay on the device that computes them, be it the processor, or none does."""
    before, tokenized.stays = tokenized.stays, lambda device: stay
    try:
        yield
    finally:
        tokenized.stays = before


def rows_of_walk(model: Any, steps: int = 6) -> np.ndarray:
    """Rows of contexts that share a prompt, are extended, forked and asked together."""
    engine, rng = CachedTransformer(model), np.random.default_rng(4)
    held = [engine.extend(engine.root, tuple(range(60)))] * 12
    found = []
    for _ in range(steps):
        held = [
            engine.extend(held[i], (int(rng.integers(900)),)) for i in rng.integers(12, size=12)
        ]
        found += [np.array(row) for row in engine.log_probs(held)]
    return np.exp(np.stack(found))


def check_laws(device: str) -> float:
    """The largest difference of a probability from transformers' own. Raises AssertionError where a
    law does not hold on this device."""
    size = SIZES["small"]
    module = random_module(size, device, torch.float32)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight.mul_(8.0)  # rows far from uniform
    ours = model_of(module, size, "float32")
    expected = rows_of_walk(HuggingFaceModel(module, texts_of(size)))
    found = rows_of_walk(ours)
    difference = float(np.abs(found - expected).max())
    assert difference <= TOLERANCE, f"rows are off by {difference:.2g}"
    assert expected.max() > 0.05, "rows are nearly uniform"
    check_steps(ours, found)
    answers = []
    for left in (True, False):
        with rows_stay(left):
            answers.append(steered(ours, 8, 6, "a" * 60))
    there, here = ({a.value: a.probability for a in answer.posterior} for answer in answers)
    assert there.keys() == here.keys(), "rows left on the device give other answers"
    assert all(abs(there[value] - here[value]) <= 1e-3 for value in here)
    assert abs(answers[0].log_z - answers[1].log_z) <= 1e-3
    half = module.to(torch.bfloat16)
    mine, theirs = (
        np.abs(rows_of_walk(model) - expected).mean()
        for model in (model_of(half, size, "bfloat16"), HuggingFaceModel(half, texts_of(size)))
    )
    assert mine <= 2.0 * theirs, f"bfloat16 is off by {mine:.2g}, transformers' by {theirs:.2g}"
    return difference


def check_steps(model: DecoderModel, found: np.ndarray) -> None:
    """Steps that are not replayed, and those of torch's public operators, give the same rows."""
    step, device = model.step, model.decoder.device
    assert step is not None
    rows = type(device_rows.operators_for(device)).__name__
    recorded = "none" if step.graphs is None else str(step.graphs.recorded)
    print(f"{type(step.operators).__name__}, {rows}, CUDA graphs recorded: {recorded}")
    graphs, operators = step.graphs, step.operators
    for name, other in (
        ("no graphs", operators),
        ("public operators", PlainOperators(model.decoder)),
    ):
        step.graphs, step.operators = None, other
        difference = float(np.abs(rows_of_walk(model) - found).max())
        assert difference <= TOLERANCE, f"{name}: rows are off by {difference:.2g}"
    step.graphs, step.operators = graphs, operators
