"""Training: each step runs the heads one after the other, forward and backward, on the trunk's
detached output, then the trunk's backward once.

The loss is the sum over k of discount^(k-1) times head k's mean cross-entropy, in nats. The
gradient is that of one backward through everything, but the activations and logits of only one head
are in memory at a time (Gloeckle et al. 2024, section 2, figure 2).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.tiny.data import Documents, check_length
from fkdsl.models.tiny.evaluation import model_bits
from fkdsl.models.tiny.schedule import Schedule
from fkdsl.models.tiny.transformer import TinyShape, Transformer, initialised

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TrainingSettings(Schedule):
    """The settings of a training run. short: until the rate falls, windows are so many times
    shorter than the context, and there are so many times `rows` of them, since long windows cost
    more and teach little before a model can spell. decay: weight decay of matrices. clip: the
    largest norm of the gradient. precision: of the matrix products; weights are float32."""

    rows: int = 6
    short: int = 3
    decay: float = 0.1
    clip: float = 1.0
    discount: float = 0.5
    seed: int = 0
    precision: str = "float32"

    def windows_at(self, step: int, context: int) -> tuple[int, int]:
        """(windows, symbols in each) of a step."""
        if step < self.falls_from() and self.short < context:
            return self.rows * self.short, context // self.short
        return self.rows, context


@dataclass(frozen=True)
class Point:
    """A point of the training curve. training: bits per byte of each head, the mean over the steps
    since the last point; held_out: of each head on the held-out text. seconds: of the whole run so
    far."""

    step: int
    seconds: float
    training: tuple[float, ...]
    held_out: tuple[float, ...]


@dataclass
class TrainingRun:
    """The state of a training run, which a checkpoint holds. text: the digest of the text that it
    trains on."""

    shape: TinyShape
    settings: TrainingSettings
    model: Transformer
    optimizer: torch.optim.Optimizer
    text: str
    step: int = 0
    seconds: float = 0.0
    curve: list[Point] = field(default_factory=list)

    @classmethod
    def begun(cls, shape: TinyShape, settings: TrainingSettings, text: str) -> TrainingRun:
        """A run before its first step. text: the digest of what it trains on."""
        model = initialised(shape, settings.seed)
        return cls(shape, settings, model, optimizer_of(model, settings), text)


def optimizer_of(model: Transformer, settings: TrainingSettings) -> torch.optim.Optimizer:
    """AdamW with weight decay of matrices, not of embeddings and norms."""
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    groups = [
        {"params": matrices, "weight_decay": settings.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), eps=1e-9)


def head_loss(model: Transformer, k: int, z: Tensor, symbols: Tensor) -> Tensor:
    """Head k's mean cross-entropy in nats; z (B, T, d), symbols (B, at least T + k)."""
    aims = symbols[:, k : k + z.shape[1]]
    return cross_entropy(model.head(k, z).float().flatten(0, 1), aims.flatten())


def backward_by_heads(model: Transformer, symbols: Tensor, discount: float) -> list[float]:
    """Adds the gradient of the loss to the parameters' gradients, head by head; returns each head's
    cross-entropy. symbols: (B, T + n)."""
    z = model.trunk(symbols[:, : -model.shape.ahead])
    cut = z.detach().requires_grad_()
    losses = []
    for k in range(1, model.shape.ahead + 1):
        loss = head_loss(model, k, cut, symbols)
        weighted = loss * discount ** (k - 1)
        weighted.backward()  # adds to cut.grad, and frees this head's activations
        losses.append(loss.item())
    z.backward(cut.grad)
    return losses


def backward_at_once(model: Transformer, symbols: Tensor, discount: float) -> list[float]:
    """The same gradient by one backward, with which tests compare `backward_by_heads`."""
    z = model.trunk(symbols[:, : -model.shape.ahead])
    losses = [head_loss(model, k, z, symbols) for k in range(1, model.shape.ahead + 1)]
    torch.stack([loss * discount**i for i, loss in enumerate(losses)]).sum().backward()
    return [loss.item() for loss in losses]


def train(
    run: TrainingRun,
    training: Documents,
    held_out: Documents,
    *,
    save: Callable[[TrainingRun], None],
    every: int = 200,
    compiled: bool = False,
    observer: Callable[[int, list[float]], None] = lambda step, losses: None,
) -> TrainingRun:
    """Continues a run to its last step. Every `every` steps it adds a point to the curve and saves
    the run.

    A run that was saved, read and continued equals the uninterrupted one bit for bit, on the same
    machine with the same threads. compiled: compile the layers by torch.compile first, which takes
    a minute and a C++ compiler. observer: called after each step with its number and each head's
    loss in bits per byte.
    """
    shape, settings = run.shape, run.settings
    check_run(run, training)
    half = PRECISIONS[settings.precision]
    for layer in (*run.model.model.layers, *run.model.heads.values()) if compiled else ():
        layer.compile(dynamic=False)
    sums = torch.zeros(shape.ahead, dtype=torch.float64)
    last_point, began = run.step, time.perf_counter() - run.seconds
    while run.step < settings.steps:
        for group in run.optimizer.param_groups:
            group["lr"] = settings.rate_at(run.step)
        rows, window = settings.windows_at(run.step, shape.context)
        symbols = torch.from_numpy(
            training.batch(settings.seed, run.step, rows, window + shape.ahead)
        )
        with torch.autocast("cpu", half, enabled=half is not None):
            losses = backward_by_heads(run.model, symbols, settings.discount)
        if not all(map(math.isfinite, losses)):
            raise CallError(
                f"the loss is {losses} at step {run.step}: training diverged", "use a lower --rate"
            )
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), settings.clip)
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.step += 1
        bits = [loss / math.log(2) for loss in losses]
        sums += torch.tensor(bits, dtype=torch.float64)
        observer(run.step, bits)
        if run.step % every == 0 or run.step == settings.steps:
            with torch.compiler.set_stance("force_eager"):
                held_out_bits = tuple(model_bits(run.model, held_out, window, most=SAMPLE))
            run.seconds = time.perf_counter() - began
            means = tuple((sums / (run.step - last_point)).tolist())
            run.curve.append(Point(run.step, run.seconds, means, held_out_bits))
            sums, last_point = torch.zeros_like(sums), run.step
            save(run)
    return run


def check_run(run: TrainingRun, training: Documents) -> TrainingRun:
    """The run. Raises CallError if it cannot continue with a text: it is another one, or too
    short."""
    if run.text != training.digest:
        raise CallError(
            "the checkpoint is of a run on another text", "give the same --text, or begin a new run"
        )
    check_length(training, run.shape.context + run.shape.ahead, "training")
    return run


SAMPLE = 32_768
"""About how many bytes of the held-out text a point of the curve is measured on."""


def check_settings(settings: TrainingSettings) -> TrainingSettings:
    """The settings. Raises CallError for values that no run can have."""
    s = settings
    refuse_wrong(s, {"short": s.short < 1, "discount": not 0 <= s.discount <= 1})
    return settings


def refuse_wrong(s: Any, more: Mapping[str, bool]) -> None:
    """Raises CallError for what no training can have, of text or of images. more: the settings of
    the one alone, and whether they are wrong."""
    if s.precision not in PRECISIONS:
        raise CallError(
            f"there is no training in `{s.precision}`", f"one of {', '.join(PRECISIONS)}"
        )
    wrong = {
        "steps": s.steps < 1,
        "rows": s.rows < 1,
        "rate": not 0 < s.rate < math.inf,
        "warm_up": s.warm_up < 1,
        "cool_down": not 0 <= s.cool_down <= 1,
        "seed": s.seed < 0,
        **more,
    }
    for name in (name for name, is_wrong in wrong.items() if is_wrong):
        raise CallError(
            f"--{name.replace('_', '-')} cannot be {getattr(s, name)}", "see `fkdsl train -h`"
        )


def longer(settings: TrainingSettings, steps: int, done: int) -> TrainingSettings:
    """The settings with another number of steps. done: steps already taken. Raises CallError if one
    of these would have had another learning rate."""
    other = replace(settings, steps=steps)
    if steps != settings.steps and done > min(settings.falls_from(), other.falls_from()):
        raise CallError(
            f"the run has done {done} steps, and its learning rate would have fallen from step "
            f"{other.falls_from()}",
            "leave --steps out to end the run as it was begun",
        )
    return other
