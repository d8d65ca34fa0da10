"""Gradient ascent over named numbers, in passes over the positions of a sample: a function of its
arguments alone, which goes on from any pass to the same end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.surrogate.ahead import Positions

POSITIONS, BATCHES = 1024, 64
"""Most positions in a batch, and the least batches of a pass, where there are so many positions."""
WARM = 0.1
"""Share of the steps in which the rates rise; then they fall to zero."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's, by its own names."""
LogLikelihood = Callable[[Mapping[str, torch.Tensor], Positions], torch.Tensor]
"""Nats a token of what follows some positions, under some numbers."""


@dataclass(frozen=True, eq=False)
class GradientFit:
    """A fit so far. numbers: by name, those that are fitted, with Adam's moments of each, and
    others that stay. steps: batches that are done. curve: a figure on held-out texts, the less the
    better, before the first pass and after each."""

    numbers: Mapping[str, NDArray[Any]]
    passes: int = 0
    steps: int = 0
    curve: tuple[float, ...] = field(default=())

    @classmethod
    def begun(cls, numbers: Mapping[str, NDArray[Any]], rates: Mapping[str, float]) -> GradientFit:
        moments = {f"{n} {m}": np.zeros_like(numbers[n]) for n in rates for m in MOMENTS}
        return cls(dict(numbers) | moments)

    def tensors(self) -> dict[str, NDArray[Any]]:
        done = {"done": np.array([self.passes, self.steps]), "curve": np.array(self.curve)}
        return dict(self.numbers) | done

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> GradientFit:
        numbers = {n: t for n, t in tensors.items() if n not in ("done", "curve")}
        passes, steps = tensors["done"].tolist()
        return cls(numbers, passes, steps, tuple(tensors["curve"].tolist()))


def ascended(
    fit: GradientFit,
    rates: Mapping[str, float],
    log_p: LogLikelihood,
    positions: Positions,
    passes: int,
    seed: int,
    *,
    measure: Callable[[GradientFit], float],
    save: Callable[[GradientFit], None] = lambda fit: None,
    observer: Callable[[int, int, float], None] = lambda done, total, figure: None,
) -> GradientFit:
    """The fit after all passes that are missing, by Adam (Kingma and Ba 2015). A pass after which
    the figure is worse is undone, and is the last. rates: the largest steps of the numbers that are
    fitted, by their names. measure: the figure of the curve. save: is told after each pass.
    observer: is told after each batch (batches done, batches of all passes, the last figure)."""
    batches = max(len(positions) // POSITIONS, min(BATCHES, len(positions)))
    if passes and not fit.curve:
        fit = GradientFit(fit.numbers, curve=(measure(fit),))
    while fit.passes < passes:
        order = np.random.default_rng((seed, fit.passes)).permutation(len(positions))
        figure, steps = min(fit.curve), fit.steps
        numbers = {n: torch.tensor(fit.numbers[n], requires_grad=True) for n in rates}
        adam = _adam(fit, numbers)
        for some in np.array_split(order, batches):
            at = (steps + 1) / (passes * batches + 1)
            for group, rate in zip(adam.param_groups, rates.values(), strict=True):
                group["lr"] = rate * min(at / WARM, (1 - at) / (1 - WARM))
            adam.zero_grad()
            (-log_p(numbers, positions.part(some))).backward()
            adam.step()
            steps += 1
            observer(steps, passes * batches, figure)
        moved = dict(fit.numbers)
        for name, tensor in numbers.items():
            moved[name] = tensor.detach().numpy().copy()
            moved |= {f"{name} {m}": adam.state[tensor][m].numpy().copy() for m in MOMENTS}
        new = measure(GradientFit(moved))
        if new < figure:
            fit = GradientFit(moved, fit.passes + 1, steps, (*fit.curve, new))
        else:
            fit = GradientFit(fit.numbers, passes, steps, (*fit.curve, new))
        save(fit)
    return fit


def _adam(fit: GradientFit, numbers: Mapping[str, torch.Tensor]) -> torch.optim.Adam:
    """Adam as the fit left it."""
    adam = torch.optim.Adam([{"params": [tensor]} for tensor in numbers.values()])
    for name, tensor in numbers.items():
        moments = {m: torch.tensor(fit.numbers[f"{name} {m}"]) for m in MOMENTS}
        adam.state[tensor] = {"step": torch.tensor(float(fit.steps)), **moments}
    return adam
