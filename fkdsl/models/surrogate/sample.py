"""Texts drawn from a model, with what is kept of each row that a token was drawn from: what a
surrogate is fitted to. Contexts with similar futures have similar sketches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.quick_dataclass import dataclass

SKETCH = 48
"""Numbers in a sketch of a row: random sums of the square roots of its probabilities."""
NONE = -1
"""Stands in `tokens` after a text's end."""


@dataclass(frozen=True, eq=False)
class Sample:
    """n texts of at most L tokens. Those of the model's own begin after the prompt's.

    tokens: (n, L) int32, NONE after the end. given: (n,) int32, the tokens of each prompt. sketch:
    (n, L, SKETCH) float16, of the row from which token k of text i was drawn; zero where nothing
    was drawn. features: (n, L, K) float16, likewise, the log-probabilities (nats) of K tokens, for
    a head. total: (V,) float64, the sum of all rows.
    """

    tokens: NDArray[np.int32]
    given: NDArray[np.int32]
    sketch: NDArray[np.float16]
    features: NDArray[np.float16]
    total: NDArray[np.float64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) the tokens of each text, its prompt's included."""
        lengths: NDArray[np.int64] = (self.tokens != NONE).sum(axis=1)
        return lengths

    @property
    def drawn(self) -> int:
        """How many tokens the model drew."""
        return int((self.lengths - self.given).sum())

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def part(self, texts: NDArray[np.intp]) -> Sample:
        """Some of the texts, with the sum of all rows."""
        rows = {n: t[texts] for n, t in self.tensors().items() if n != "total"}
        return Sample(**rows, total=self.total)


def joined(samples: Sequence[Sample]) -> Sample:
    """Several samples as one."""
    longest = max(s.tokens.shape[1] for s in samples)
    parts: dict[str, list[NDArray[Any]]] = {}
    for sample in samples:
        missing = longest - sample.tokens.shape[1]
        for name, tensor in sample.tensors().items():
            if tensor.ndim > 1:
                fill = NONE if name == "tokens" else 0
                widths = [(0, 0), (0, missing), *[(0, 0)] * (tensor.ndim - 2)]
                tensor = np.pad(tensor, widths, constant_values=fill)
            parts.setdefault(name, []).append(tensor)
    total: NDArray[np.float64] = np.sum(parts.pop("total"), axis=0)
    return Sample(**{n: np.concatenate(p) for n, p in parts.items()}, total=total)
