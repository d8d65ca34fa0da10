"""What draws that look ahead are tilted by: h of their outcomes, for a population at once.

    tilts_of([Guided(...), ...], settings)      # [(Tilt, drift), ...]

Draws whose outcomes are as many, and whose texts are under one constraint with as many tokens left,
are rows of the same arrays, since each call of numpy costs as much as some hundred numbers. A
tilt depends, to its last bit, on its own draw alone, whichever others are made with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fkdsl.base.logspace import Floats
from fkdsl.engine.constraints.backward import BackwardMessages, scaled
from fkdsl.models.surrogate.model import Array
from fkdsl.proposals.outcomes import Ids, TokenOutcomes
from fkdsl.proposals.trust import trusted_power

LIKELY = 5e-4
"""Share of the probability from which on a token's h is computed for itself. The others share the
average of those that lead to the same state of the automaton."""
FEW_TOKENS = 64
"""Where at most so many tokens are possible, each has its own."""
LEAST = 1e-300
"""The least h before a text."""
NOWHERE = -(1 << 14)
"""A power of two below all that there are."""
Messages = tuple[BackwardMessages, ...]
"""Those of each way in which a text may end: their probabilities add up."""


class Tilt(NamedTuple):
    """h: (n,) of each outcome, relative to the largest, so in (0, 1]. log_scale: the log of the
    largest, nats; of both, the power is taken already. power: b. log_h_0: of a text's first token,
    the log of the h before it, nats, of which no power is taken; None of a later token."""

    h: Floats
    log_scale: float
    power: float
    log_h_0: float | None = None

    def log_h(self, i: int) -> float:
        """log h(i)^b, nats; at most 0."""
        return self.log_scale + math.log(self.h[i])


class Guided(NamedTuple):
    """A draw that looks ahead. belief: (H,) about the hidden state. ids: of the text so far.
    power: the text's b, None at its first token, which chooses it. held: log h^b that the particle
    weighs already, nats, None for nothing."""

    outcomes: TokenOutcomes
    belief: Array
    messages: Messages
    ids: tuple[int, ...]
    tokens_left: int
    power: float | None
    held: float | None


class TiltSettings(NamedTuple):
    """power: b at most. floor: the least h, as a share of its mean under p. caution: as CAUTION of
    fkdsl.proposals.trust."""

    power: float
    floor: float
    caution: float


def tilts_of(draws: Sequence[Guided], settings: TiltSettings) -> list[tuple[Tilt, float]]:
    """The tilt of each draw, and what h was wrong by there, nats; NaN where nothing says so."""
    made: dict[int, tuple[Tilt, float]] = {}
    groups: dict[Any, list[int]] = {}
    for k, draw in enumerate(draws):
        p, ids = draw.outcomes.p, draw.outcomes.ids
        key = (draw.messages, draw.tokens_left, len(p), p.itemsize, ids is None)
        groups.setdefault(key, []).append(k)
    for group in groups.values():
        p = np.array([draws[k].outcomes.p for k in group])  # (m, n)
        few = np.count_nonzero(p > 0.0, axis=1) <= FEW_TOKENS
        for each in (few, ~few):
            rows = each.nonzero()[0].tolist()
            if rows:
                same = [draws[group[row]] for row in rows]
                tilts = _tilts(same, p[rows], bool(few[rows[0]]), settings)
                made |= zip([group[row] for row in rows], tilts, strict=True)
    return [made[k] for k in range(len(draws))]


def _tilts(
    draws: Sequence[Guided], p: Floats, few: bool, settings: TiltSettings
) -> list[tuple[Tilt, float]]:
    """Those of draws of one group, whose outcomes have the probabilities p (m, n)."""
    h, exponents = _h(draws, p, few)
    logs = (exponents * math.log(2.0)).tolist()  # that h is to be multiplied with
    firsts = [_first(draws[j], p[j], h[j], logs[j], settings) for j in range(len(draws))]
    powers = np.array([power for power, _ in firsts], dtype=h.dtype)
    if (powers != 1.0).any():
        h = np.power(h, powers[:, None])
    of_h = p.astype(h.dtype, copy=False)
    masses = p.sum(axis=1).tolist()
    masses_h = _sums(of_h, h)
    means = [a / mass if mass > 0.0 else 0.0 for a, mass in zip(masses_h, masses, strict=True)]
    # Of a smaller mean the floor is 0 in h's precision, and outcomes would never be drawn.
    least = float(np.finfo(h.dtype).tiny) / settings.floor if settings.floor else 0.0
    h = np.maximum(h, np.array([settings.floor * mean for mean in means], dtype=h.dtype)[:, None])
    largest = h.max(axis=1, initial=np.finfo(h.dtype).tiny)
    masses_h = _sums(of_h, h)
    h /= largest[:, None]
    result = []
    for j, (draw, (power, log_h_0)) in enumerate(zip(draws, firsts, strict=True)):
        if not means[j] > least:
            # Nothing is known: what has come is what was expected, so the weight stays.
            held = 0.0 if draw.held is None else draw.held
            to_come = min(held - math.log(masses[j]), 0.0) if masses[j] > 0.0 else held
            result.append((Tilt(np.ones_like(h[j]), to_come, power, log_h_0), math.nan))
            continue
        before = draw.held if log_h_0 is None else power * log_h_0
        scale = power * logs[j]
        drift = math.nan if before is None else math.log(masses_h[j]) + scale - before
        log_scale = math.log(float(largest[j])) + scale
        result.append((Tilt(h[j], log_scale, power, log_h_0), drift))
    return result


def _sums(p: Floats, h: Floats) -> list[float]:
    """(m,) the sums of p h (m, n), row by row: of all rows at once, numpy adds up those of more
    than 8192 numbers in pieces that begin where the row before ended."""
    return [float(np.einsum("n,n->", *row)) for row in zip(p, h, strict=True)]


def _first(
    draw: Guided, p: Floats, h: Floats, log: float, settings: TiltSettings
) -> tuple[float, float | None]:
    """b, and of a text's first token, which chooses it, log h before that. log: of what h is to be
    multiplied with."""
    if draw.power is not None:
        return draw.power, None
    before = [
        way.before(draw.belief, way.masks.position(draw.ids), draw.tokens_left)
        for way in draw.messages
    ]
    log_h_0 = math.log(min(max(math.fsum(before), LEAST), 1.0))
    return trusted_power(p, h, log_h_0 - log, settings.power, settings.caution), log_h_0


def _h(draws: Sequence[Guided], p: Floats, few: bool) -> tuple[Floats, NDArray[np.int32]]:
    """((m, n) h of each outcome of each draw, (m,) the power of two that these are to be multiplied
    with)."""
    beliefs, tokens_left = np.array([draw.belief for draw in draws]), draws[0].tokens_left
    ids = _ids(draws)
    likely = p > (0.0 if few else LIKELY * p.sum(axis=1, keepdims=True))
    texts, places = likely.nonzero()
    tokens: NDArray[np.int64] = places if ids is None else ids[texts, places]
    parts: list[tuple[Any, NDArray[np.int32]]] = []
    for way in draws[0].messages:
        positions = [way.masks.position(draw.ids) for draw in draws]
        h: Any
        of_tokens = way.of_tokens(beliefs, positions, tokens_left, texts, tokens)
        if few:  # faster than averages
            h = np.zeros(p.shape)
            h[texts, places] = of_tokens
            parts.append(scaled(h))
        else:
            averages, exponents = way.averages(beliefs, positions, tokens_left)
            h = averages if ids is None else np.take_along_axis(averages, ids, axis=1)
            if exponents.any():
                h, exponents = _raised(h, exponents, of_tokens, texts)
                of_tokens = np.ldexp(of_tokens, -exponents[texts])
            h[texts, places] = of_tokens
            parts.append((h, exponents))
    return parts[0] if len(parts) == 1 else _added(parts)


def _added(
    parts: Sequence[tuple[Floats, NDArray[np.int32]]],
) -> tuple[Floats, NDArray[np.int32]]:
    """The sum of what each way of ending gives, at most 1, as `_h` has them."""
    exponents = np.zeros(len(parts[0][0]), dtype=np.int32)
    if any(e.any() for _, e in parts):
        # A way that no token leads to says nothing of how small the others are.
        parts = [(h, np.where(h.any(axis=1), e, NOWHERE)) for h, e in parts]
        exponents = np.maximum.reduce([e for _, e in parts])
        exponents = np.where(exponents == NOWHERE, 0, exponents).astype(np.int32)
        parts = [(np.ldexp(h, (e - exponents)[:, None]), e) for h, e in parts]
    total: Floats = reduce(np.add, [h for h, _ in parts])
    with np.errstate(over="ignore"):  # of a bound that nothing comes near
        one = np.ldexp(total.dtype.type(1.0), -exponents)
    return np.minimum(total, one[:, None]), exponents


def _raised(
    h: Floats, exponents: NDArray[np.int32], of_tokens: Floats, texts: NDArray[np.intp]
) -> tuple[Floats, NDArray[np.int32]]:
    """(h (m, n), powers of two (m,) that it is to be multiplied with) with which the texts' own
    tokens are no more than 1: a token that a rare hidden state alone gives may have any multiple
    of the average."""
    largest = np.zeros(len(h))
    np.maximum.at(largest, texts, of_tokens)
    _, own = np.frexp(largest)
    raised = np.where(largest > 0.0, np.maximum(exponents, own), exponents)
    return np.ldexp(h, (exponents - raised)[:, None]), raised


def _ids(draws: Sequence[Guided]) -> Ids | None:
    """(m, n) the tokens of each draw's outcomes, None for the whole vocabulary."""
    listed = [draw.outcomes.ids for draw in draws]
    return None if listed[0] is None else np.array(listed)
