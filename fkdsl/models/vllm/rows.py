"""The rows of vLLM's latest step, kept in the process that computed them until they are fetched.

A worker of vLLM makes one logits processor for each engine. It notes which request is in which row
of the batch, and keeps the batch's logits until the next step.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import torch

KEY = "fkdsl"
"""Where a request's `extra_args` name its session."""


class LatestRows:
    """The logits of the latest step of one engine. names: by row, the session of its request, None
    for a request that is not ours. logits: (rows, V) float32, before vLLM's own sampling; None
    before the first step."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self.logits: torch.Tensor | None = None
        KEPT.add(self)

    def hold(self, logits: torch.Tensor, names: list[str | None]) -> None:
        """Keeps the logits of a step."""
        self.logits, self.names = logits, names


KEPT: WeakSet[LatestRows] = WeakSet()
"""The rows of every engine of this process."""


def name_in(extra_args: Any) -> str | None:
    """The session that a request's `extra_args` name; None for a request that is not ours."""
    return (extra_args or {}).get(KEY)


def fetch(worker: Any, names: list[str], to_cpu: bool) -> torch.Tensor | None:
    """The logits (len(names), V) of sessions after the latest step; None from the workers of other
    ranks than the first. vLLM calls it in each worker's process."""
    if getattr(worker, "rank", 0) != 0:
        return None
    for rows in KEPT:
        at = {name: i for i, name in enumerate(rows.names) if name is not None}
        if rows.logits is not None and all(name in at for name in names):
            order = [at[name] for name in names]
            picked = rows.logits
            if order != list(range(len(picked))):
                picked = picked.index_select(0, torch.tensor(order, device=picked.device))
            return picked.cpu() if to_cpu else picked
    raise KeyError(f"no step of vLLM computed rows of {names}")
