"""The logits processor by which vLLM's first model runner (V1) hands out rows."""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.interface import MoveDirectionality

from fkdsl.models.vllm.rows import LatestRows, name_in


class RowsOfV1(LogitsProcessor):  # type: ignore[misc]  # of a library without types
    """Keeps each step's logits and changes none. The runner calls `update_state` before a step with
    the changes of its batch, and `apply` with a row for each request of the batch, also for those
    of which it has read a part only."""

    def __init__(self, config: Any, device: torch.device, pin_memory: bool) -> None:
        self.rows = LatestRows()
        self._names: dict[int, str | None] = {}

    def is_argmax_invariant(self) -> bool:
        """False, though it changes nothing: for greedy requests vLLM leaves invariant ones out."""
        return False

    def update_state(self, update: Any) -> None:
        if update is None:
            return
        names = self._names
        for i in update.removed:
            names.pop(i, None)
        for i, params, _, _ in update.added:
            names[i] = name_in(params.extra_args)
        for a, b, direction in update.moved:
            if direction == MoveDirectionality.SWAP:
                names[a], names[b] = names.get(b), names.get(a)
            else:
                names[b] = names.pop(a, None)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        self.rows.hold(logits, [self._names.get(i) for i in range(len(logits))])
        return logits
