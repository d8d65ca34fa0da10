"""The logits processor by which vLLM's second model runner (V2) hands out rows. vLLM takes this
runner on a GPU; the tests run it on a processor, with its kernels interpreted."""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor

from fkdsl.models.vllm.rows import LatestRows, name_in


class RowsOfV2(LogitsProcessor):  # type: ignore[misc]  # of a library without types
    """Keeps each step's logits and changes none. The runner numbers its requests by slots;
    `ctx.idx_mapping_np` has the slot of each row, since without speculative decoding a request has
    one row."""

    def __init__(self, config: Any, states: Any) -> None:
        super().__init__(config, states)
        self.rows = LatestRows()
        self._names: dict[int, str | None] = {}

    def add_request(self, slot: int, params: Any) -> bool:
        """True, since the runner calls `apply` only where a request needs it."""
        self._names[slot] = name_in(params.extra_args)
        return True

    def apply(self, logits: torch.Tensor, ctx: Any) -> torch.Tensor:
        # A later stage may write into the logits that this one returns.
        self.rows.hold(logits.clone(), [self._names.get(int(s)) for s in ctx.idx_mapping_np])
        return logits
