"""Patches of bytes by the entropy of the next one (Pagnoni et al. 2024, arXiv 2412.09871, section
2.3).

A patch begins where the next byte is hard to tell, so that the large model of a byte-latent
transformer is asked there, once, and small ones spell the rest of the patch. With H(x_i) the
entropy (nats) of byte i given those before it, as a small byte-level model has it, byte i begins a
patch if

    H(x_i) > threshold                   GlobalThreshold
    H(x_i) - H(x_{i-1}) > threshold      Monotonic: it is harder than the byte before it

Bytes 0 and 1 always begin one: the first stands for the beginning of the text, about which no model
can say anything. Whether byte i begins a patch is known before byte i is: a boundary may stand
behind the last byte, and then the next byte will begin a patch.

>>> H = np.array([3.0, 0.2, 2.5, 2.0, 2.4])           # of bytes 1, 2, 3, 4, 5: of five bytes and the next
>>> patch_starts(H, GlobalThreshold(2.2)), patch_starts(H, Monotonic(0.3))
([0, 1, 3, 5], [0, 1, 3, 5])
>>> patch_starts(H, GlobalThreshold(1.0)), patch_starts(H, GlobalThreshold(9.0), longest=3)
([0, 1, 3, 4, 5], [0, 1, 4])
>>> patches(b"hello", patch_starts(H, GlobalThreshold(1.0)))
[b'h', b'el', b'l', b'o', b'']
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]


class Rule(Protocol):
    """Where patches begin, by entropies alone."""

    def begins(self, entropies: Floats) -> NDArray[np.bool_]:
        """(L,) whether byte i + 1 begins a patch, by entropies[i] = H(x_{i+1}), nats, and those
        before it."""
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
    result: Floats = -np.sum(p * np.where(p > 0.0, rows, 0.0), axis=-1)
    return result


def patch_starts(entropies: Floats, rule: Rule, longest: int | None = None) -> list[int]:
    """The bytes that begin a patch, ascending, of len(entropies) bytes; the last may be the byte to
    come.

    entropies[i] = H(x_{i+1}), nats. longest: most bytes of a patch, which ends there whatever
    comes. Starts up to byte i do not depend on what follows it.
    """
    begins = rule.begins(np.asarray(entropies))
    starts = [0]
    for i in range(1, len(begins) + 1):
        if i == 1 or begins[i - 1] or (longest is not None and i - starts[-1] >= longest):
            starts.append(i)
    return starts


def patches(raw: bytes, starts: list[int]) -> list[bytes]:
    """The bytes of each patch; the last is empty if the byte to come begins one."""
    return [raw[a:b] for a, b in zip(starts, [*starts[1:], len(raw)], strict=True)]
