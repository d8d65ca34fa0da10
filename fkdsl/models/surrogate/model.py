"""A surrogate: a hidden Markov model over a language model's tokens.

    z_1 ~ start,   x_k ~ emission[z_k],   z_{k+1} ~ transition[z_k]

Its future can be summed exactly, which no transformer's can: the probability that a text ends in a
constraint's language is a sum over pairs of a hidden state and a state of the constraint's
automaton (Ctrl-G, Zhang et al. 2024, arXiv 2406.13892, section 3). What is made of it is a
proposal and a twist, so a bad surrogate costs particles, never the answer.

>>> import numpy as np
>>> rows = [[0.5, 0.5], [0.25, 0.75]]
>>> a = Surrogate.of([1, 0], [[0, 1], [1, 0]], rows, fingerprint="")
>>> [[round(float(p), 3) for p in row] for row in a.beliefs([(), (0,), (0, 1)])]
[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.surrogate.head import Head

Array = NDArray[np.float32]

WINDOW = 16
"""How many of a text's last tokens a belief depends on."""
BLOCK = 8
"""Rows of one product of matrices. It is fixed, so that a belief does not depend, not even in its
rounding, on which texts are asked about with it."""
MOST_STEPS, SETTLED = 10_000, 1e-9
"""Most steps of the chain towards its stationary distribution, and the largest change of a step (in
total variation) after which it counts as that."""


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A hidden Markov model with H states over a vocabulary of V tokens.

    start: (H,) P(z_1), of the state that emits a context's first token. transition: (H, H)
    P(z_{k+1} = j | z_k = i). emission: (H, V) P(x_k = x | z_k), all positive. All are float32, and
    their rows sum to 1. fingerprint: of the vocabulary (fkdsl.models.vocabulary) whose ids the
    tokens are. about: what it was fitted to, how, and how good it is; ready for JSON. head: what
    tells the state from the model's rows, None for nothing but the filter.
    """

    start: Array = field(repr=False)
    transition: Array = field(repr=False)
    emission: Array = field(repr=False)
    fingerprint: str
    about: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    head: Head | None = None

    @classmethod
    def of(
        cls,
        start: ArrayLike,
        transition: ArrayLike,
        emission: ArrayLike,
        fingerprint: str,
        about: Mapping[str, Any] = MappingProxyType({}),
        head: Head | None = None,
    ) -> Surrogate:
        """A surrogate of non-negative numbers, each row of which is divided by its sum."""
        # A token's column is contiguous, since filtering reads one for each token of a text.
        return cls(
            _normalised(start),
            _normalised(transition),
            np.asfortranarray(_normalised(emission)),
            fingerprint,
            dict(about),
            head,
        )

    @property
    def states(self) -> int:
        """H, the number of hidden states."""
        return len(self.start)

    @property
    def vocabulary_size(self) -> int:
        """V, the number of tokens."""
        return int(self.emission.shape[1])

    @cached_property
    def stationary(self) -> Array:
        """(H,) float32: the law of z_k for large k."""
        # A step that is made with probability 1/2 has the same stationary law and no period.
        # Of rows that float32 has rounded the sums are not quite 1, and the law would never settle.
        law, transition = self.start.astype(np.float64), self.transition.astype(np.float64)
        transition /= transition.sum(axis=1, keepdims=True)
        for _ in range(MOST_STEPS):
            change = 0.5 * (law @ transition - law)
            law = law + change
            if np.abs(change).sum() <= SETTLED:
                break
        return _normalised(law)

    def beliefs(self, texts: Sequence[tuple[int, ...]]) -> Array:
        """(N, H) float32: P(z_next | the last WINDOW tokens of each text), of the state that emits
        the token after it.

        The filter begins at `start`, and for a text of more than WINDOW tokens at the stationary
        distribution, WINDOW tokens before its end. Pure: a row depends on its text's last tokens
        alone.
        """
        result = np.empty((len(texts), self.states), dtype=np.float32)
        for i in range(0, len(texts), BLOCK):
            result[i : i + BLOCK] = self._block(texts[i : i + BLOCK])
        return result

    def after(self, beliefs: Array, tokens: Sequence[int]) -> Array:
        """(N, H) float32: the beliefs (N, H) once each text has one more token. Pure, and row by
        row: a row depends on its own text alone."""
        result = np.empty_like(beliefs)
        for i in range(0, len(tokens), BLOCK):
            some = slice(i, i + BLOCK)
            joint = np.zeros((BLOCK, self.states), dtype=np.float32)
            n = len(tokens[some])
            np.multiply(beliefs[some], self.emission.T[list(tokens[some])], out=joint[:n])
            result[some] = self._laws((joint @ self.transition)[:n])
        return result

    def _laws(self, moved: Array) -> Array:
        """(n, H) each row (n, H) divided by its sum; the stationary law where that is zero, after a
        token that the surrogate holds to be impossible."""
        totals = moved.sum(axis=1, keepdims=True)
        laws = np.repeat(self.stationary[None], len(moved), axis=0)
        np.divide(moved, totals, out=laws, where=totals > 0.0)
        return laws

    def _block(self, texts: Sequence[tuple[int, ...]]) -> Array:
        """(n, H): the beliefs of at most BLOCK texts. Their windows end together, so that a shorter
        one begins later."""
        windows = [text[-WINDOW:] for text in texts]
        longest = max(map(len, windows))
        belief = np.tile(self.start, (BLOCK, 1))
        for row, text in enumerate(texts):
            if len(text) > WINDOW:
                belief[row] = self.stationary
        columns = self.emission.T  # (V, H)
        joint, moved = np.zeros_like(belief), np.empty_like(belief)
        for k in range(longest, 0, -1):
            begun = [row for row, window in enumerate(windows) if len(window) >= k]
            tokens = [windows[row][-k] for row in begun]
            rows = slice(len(begun)) if len(begun) == len(windows) else begun  # views are faster
            joint[rows] = belief[rows] * columns[tokens]
            np.matmul(joint, self.transition, out=moved)
            belief[rows] = self._laws(moved[rows])
        return belief[: len(texts)]


def _normalised(numbers: ArrayLike) -> Array:
    """The numbers as float32, each row divided by its sum."""
    rows = np.asarray(numbers)
    sums = rows.sum(axis=-1, keepdims=True, dtype=np.float64)
    normalised: Array = np.multiply(rows, 1 / sums, dtype=np.float32, casting="same_kind")
    return normalised
