"""A byte-level model that runs its heads: the decoder's trunk, then all heads on the trunk's
output, in one forward.

    model = byte_model.with_heads()                # the same weights, the other heads included
    result, = model.forward([ForwardRow(None, tokens, (3,))])
    outputs = result.head_outputs[0]               # (n - 1, V) logits of heads 2..n after token 3
    model.draft_log_probs([(outputs, (104, 101))])    # of linked head 3, after two drafted bytes

Each head is one layer beside the others, with keys and values of its own. So a forward writes keys
and values of every new token for every head, and computes the rest of a head for wanted positions
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkdsl.base.errors import InternalError
from fkdsl.models.cost import Cost
from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_weights import LayerPacking
from fkdsl.models.interface import ForwardResult, ForwardRow
from fkdsl.models.kv_pool import KVPool
from fkdsl.models.tiny.links import ORDER, Links
from fkdsl.models.tiny.transformer import TinyShape
from fkdsl.models.tokenized import ModelTexts, TokenizedModel, row_log_probs


class TinyDraftModel(TokenizedModel):
    """A RunsHeads model of a Decoder's packed weights and those of the other heads. heads: the
    weights of these, by name. Its pool is its own: a plane for each of the trunk's layers, then one
    for each head's layer."""

    def __init__(
        self,
        decoder: Decoder,
        shape: TinyShape,
        heads: Mapping[str, Tensor],
        links: Links,
        texts: ModelTexts,
    ) -> None:
        super().__init__(texts)
        packing = LayerPacking(heads, decoder.width, decoder.precision)
        self.decoder = decoder
        self.trunk = decoder.layers[:-1]
        self.heads = [
            decoder.layers[-1],
            *(packing.layer(f"heads.{k}") for k in range(2, shape.ahead + 1)),
        ]
        self.cost = _cost(decoder.cost, shape)
        self._pool = decoder.pool_of(len(self.trunk) + len(self.heads))
        self._tables = links.tables().numpy()

    @property
    def pool(self) -> KVPool:
        return self._pool

    @property
    def reach(self) -> int:
        return len(self.heads) - 1

    def forward(self, rows: Sequence[ForwardRow]) -> list[ForwardResult]:
        """See LanguageModel. One batch; rows may differ in their numbers of new tokens.
        head_outputs: (wanted, n - 1, V) logits, float32 (of a model in float64: float64)."""
        if any(not row.tokens for row in rows):
            raise InternalError("this model has no distribution after no token")
        with torch.inference_mode():
            batch, segments = self.decoder.batch(rows, self.pool)
            z = self.decoder.through(self.trunk, self.pool, batch)
            wanted = self.decoder.queries(batch, [row.wanted for row in rows])
            planes = self.pool.planes[len(self.trunk) :]
            first, *others = [
                self.decoder.logits(self.decoder.layer_output(head, plane, batch, wanted, z))
                for head, plane in zip(self.heads, planes, strict=True)
            ]
            wide = torch.float64 if first.dtype == torch.float64 else torch.float32
            outputs = torch.stack(others, dim=1).to(wide).cpu().numpy()
        ends = np.cumsum([len(row.wanted) for row in rows])
        return [
            ForwardResult(p, s, outputs[end - len(p) : end])
            for p, s, end in zip(row_log_probs(first, rows), segments, ends, strict=True)
        ]

    def draft_log_probs(self, drafts: Sequence[tuple[Any, tuple[int, ...]]]) -> list[NDArray[Any]]:
        """See RunsHeads. After k tokens by head k + 1: its logits plus the rows of its link for the
        last tokens."""
        if not drafts:
            return []
        k = np.array([len(tokens) for _, tokens in drafts])
        if k.min() < 1 or k.max() > self.reach:
            raise InternalError(
                f"heads speak of 1 to {self.reach} tokens on, not of {k.min()} to {k.max()}"
            )
        logits = np.stack([heads[len(tokens) - 1] for heads, tokens in drafts])  # (rows, V)
        for h in range(1, ORDER + 1):
            # Where fewer than h tokens were drafted, the table is zero for every symbol.
            before = np.array([tokens[-h] if len(tokens) >= h else 0 for _, tokens in drafts])
            logits += self._tables[k - 1, h - 1, before]
        logits -= logits.max(axis=1, keepdims=True)
        return list(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def _cost(first: Cost, shape: TinyShape) -> Cost:
    """The cost of a forward with heads 2..n. first: the cost without them. Keys and values of the
    further heads are computed for every token, the rest of them for wanted positions; attention
    is counted as if every position were wanted, as in decoding."""
    d, others = shape.width, shape.ahead - 1
    keys, rest = 2 * d * d * others, (2 * d * d + 3 * d * shape.hidden) * others
    head = rest + first.head * (others + 1)
    share = first.weight_bytes / (first.linear + first.head)  # bytes of a weight
    return Cost(
        linear=first.linear + keys,
        head=head,
        attended=first.attended + d * others,
        weight_bytes=share * (first.linear + keys + first.head + rest),
        slot_bytes=first.slot_bytes // shape.layers * (shape.layers + others),
    )
