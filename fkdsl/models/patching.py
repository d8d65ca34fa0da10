"""Patches of bytes by the entropy of the next byte (Pagnoni et al. 2024, arXiv 2412.09871, section
2.3).

A patch begins where the next byte is hard to predict: the large model of a byte-latent transformer
runs there, once, and small models write the rest of the patch. Let H(x_i) be the entropy (nats) of
byte i given the bytes before it, by a small byte-level model. Byte i begins a patch if

    H(x_i) > threshold                   GlobalThreshold
    H(x_i) - H(x_{i-1}) > threshold      Monotonic: it is harder to predict than the byte before it

Bytes 0 and 1 always begin a patch; byte 0 marks the beginning of the text. Whether byte i begins a
patch is known before byte i is, so a patch may begin after the last byte of a text.

>>> H = np.array([3.0, 0.2, 2.5, 2.0, 2.4])    # of bytes 1 to 5; the text has five bytes, 0 to 4
>>> patch_starts(H, GlobalThreshold(2.2)), patch_starts(H, Monotonic(0.3))
([0, 1, 3, 5], [0, 1, 3, 5])
>>> patch_starts(H, GlobalThreshold(1.0)), patch_starts(H, GlobalThreshold(9.0), longest=3)
([0, 1, 3, 4, 5], [0, 1, 4])
>>> patches(b"hello", patch_starts(H, GlobalThreshold(1.0)))
[b'h', b'el', b'l', b'o', b'']
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.logspace import Floats
from fkdsl.base.quick_dataclass import dataclass


class Rule(Protocol):
    """A rule for where patches begin, by entropies alone."""

    def begins(self, entropies: Floats) -> NDArray[np.bool_]:
        """(L,) whether byte i + 1 begins a patch. entropies[i] = H(x_{i+1}), nats; the result at i
        depends on entropies[: i + 1] alone."""
        ...


@dataclass(frozen=True)
class GlobalThreshold:
    threshold: float

    def begins(self, entropies: Floats) -> NDArray[np.bool_]:
        return np.asarray(entropies > self.threshold)


@dataclass(frozen=True)
class Monotonic:
    threshold: float

    def begins(self, entropies: Floats) -> NDArray[np.bool_]:
        return np.diff(entropies, prepend=np.inf) > self.threshold


def entropies_of(log_probs: Floats) -> Floats:
    """(L,) the entropy (nats) of each row of next-byte log-probabilities (L, V), in float64."""
    rows = np.asarray(log_probs, dtype=np.float64)
    p = np.exp(rows)
    entropies: Floats = -np.sum(p * np.where(p > 0.0, rows, 0.0), axis=-1)
    return entropies


def patch_starts(entropies: Floats, rule: Rule, longest: int | None = None) -> list[int]:
    """The indices of the bytes that begin a patch, ascending. The last may be the index of the byte
    after the text.

    entropies[i] = H(x_{i+1}), nats, for each of the text's bytes. longest: most bytes of a patch.
    Whether byte i begins a patch does not depend on byte i or later ones.
    """
    begins = rule.begins(np.asarray(entropies))
    starts = [0]
    for i in range(1, len(begins) + 1):
        if i == 1 or begins[i - 1] or (longest is not None and i - starts[-1] >= longest):
            starts.append(i)
    return starts


def patches(raw: bytes, starts: list[int]) -> list[bytes]:
    """The bytes of each patch; the last is empty if a patch begins after the text."""
    return [raw[a:b] for a, b in zip(starts, [*starts[1:], len(raw)], strict=True)]
