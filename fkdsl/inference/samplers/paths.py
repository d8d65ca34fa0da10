"""Whole paths (x_0, ..., x_T) with their potentials and their draws: what moves work on.

The potential of a step may be random given its states (adaptive weighted rejection sampling). So a
step counts as one draw of (x_t, log G_t), and the law of a path is

    gamma(path) = prod_{t<=T} M_t(dx_t, dG_t | x_{t-1}) G_t.

Its marginal over the states is the model's own, since a random G_t is right in expectation. So a
kernel that leaves gamma unchanged leaves the posterior unchanged (Andrieu and Roberts 2009,
pseudo-marginal).

A Recorder keeps every draw of a step; a Replayer gives the same draws again from another state.

>>> from fkdsl.base.random import KeyedRng
>>> recorder = Recorder(KeyedRng(7))
>>> i = recorder.split("a").choice([0.25, 0.75])
>>> draws = recorder.draws()
>>> draws.outcomes == (i,), round(math.exp(draws.log_M), 12) == (0.25, 0.75)[i]
(True, True)
>>> Replayer(draws).choice([0.5, 0.5]) == i
True
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from fkdsl.base.arrays import ArrayLike, NDArray, np
from fkdsl.base.deadline import check as check_deadline
from fkdsl.base.errors import InternalError
from fkdsl.base.logspace import Floats, check_log_weights
from fkdsl.base.probability_blocks import Probabilities
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Key, KeyedRng, LabelledRng, Rng, check_probabilities
from fkdsl.inference.interface import FeynmanKac, MoveObserver

S = TypeVar("S")
Labels = NDArray["np.int64"]


class Draws(NamedTuple):
    """The randomness of one step.

    outcomes: in the order of the draws, the index or label of each choice and the number of each
    uniform. log_M: log of the probability of these choices, in nats; a uniform has density 1.
    log_p: the same by the probabilities as the stream was given them, not scaled to sum to 1: of a
    guided draw M' = p e / A it is the log of p, without A.
    """

    outcomes: tuple[Any, ...] = ()
    log_M: float = 0.0
    log_p: float = 0.0


class Recorder(LabelledRng):
    """A stream that keeps what is drawn from it, and from the streams that are split from it."""

    def __init__(self, rng: Rng, kept: list[Draws] | None = None) -> None:
        self._rng, self._kept = rng, kept if kept is not None else []

    def choice(self, probabilities: ArrayLike) -> int:
        return self._chosen(check_probabilities(probabilities), None)

    def labelled(self, p: Probabilities, labels: Labels) -> int:
        return self._chosen(p, labels)

    def _chosen(self, p: Probabilities, labels: Labels | None) -> int:
        i = self._rng.choice(p)
        self._kept.append(
            _chosen(i if labels is None else int(labels[i]), float(p[i]), float(p.sum()))
        )
        return i

    def uniform(self) -> Any:
        u = self._rng.uniform()
        self._kept.append(Draws((u,)))
        return u

    def split(self, *key: Key) -> Recorder:
        return Recorder(self._rng.split(*key), self._kept)

    def draws(self) -> Draws:
        """What has been drawn so far."""
        return _joined(self._kept)


class Replayer(LabelledRng):
    """A stream that gives recorded draws again, whatever it is split by.

    Where that is impossible (an outcome has probability zero, or the model draws more often than
    was recorded), `draws` is None, and the rest is drawn from a fixed stream, so that the model
    meets no outcome that it could not have drawn itself.
    """

    def __init__(self, recorded: Draws) -> None:
        self._remaining = list(reversed(recorded.outcomes))
        self._kept: list[Draws] = []
        self._fallback: Rng | None = None  # set once the recorded draws do not fit

    def choice(self, probabilities: ArrayLike) -> int:
        return self._chosen(check_probabilities(probabilities), None)

    def labelled(self, p: Probabilities, labels: Labels) -> int:
        return self._chosen(p, labels)

    def _chosen(self, p: Probabilities, labels: Labels | None) -> int:
        label = self._remaining.pop() if self._remaining and self._fallback is None else None
        if not isinstance(label, int):
            return self._fallen_back().choice(p)
        i = _place(label, labels)
        if i >= len(p) or not p[i] > 0.0:
            return self._fallen_back().choice(p)
        self._kept.append(_chosen(label, float(p[i]), float(p.sum())))
        return i

    def uniform(self) -> Any:
        u = self._remaining.pop() if self._remaining and self._fallback is None else None
        if u is None or isinstance(u, int):
            return self._fallen_back().uniform()
        self._kept.append(Draws((u,)))
        return u

    def split(self, *key: Key) -> Replayer:
        return self

    def _fallen_back(self) -> Rng:
        self._fallback = self._fallback or KeyedRng(0)
        return self._fallback

    def draws(self) -> Draws | None:
        """The draws, with their probabilities in the state where they were replayed; None if the
        model did not make exactly these draws."""
        return None if self._remaining or self._fallback is not None else _joined(self._kept)


def _place(label: int, labels: Labels | None) -> int:
    """The index of a label; len(labels) if it is not among them."""
    if labels is None:
        return label
    places = np.flatnonzero(labels == label)
    return int(places[0]) if len(places) else len(labels)


def _chosen(label: int, p: float, total: float) -> Draws:
    return Draws((label,), math.log(p) - math.log(total), math.log(p))


def _joined(kept: Sequence[Draws]) -> Draws:
    outcomes = tuple(x for d in kept for x in d.outcomes)
    return Draws(outcomes, math.fsum(d.log_M for d in kept), math.fsum(d.log_p for d in kept))


@dataclass(frozen=True)
class Path(Generic[S]):
    """x_0, ..., x_T, where T is the step at which it finished, or the last one so far.

    states: (T + 1). log_G: (T + 1), nats; -inf at the end of a dead path and nowhere else. draws:
    (T), of steps 1 to T.
    """

    states: tuple[S, ...]
    log_G: tuple[float, ...]
    draws: tuple[Draws, ...] = ()

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.draws)

    @property
    def last(self) -> S:
        """x_T."""
        return self.states[-1]

    def then(self, x: S, log_G: float, draws: Draws) -> Path[S]:
        """The path with one more step."""
        return Path((*self.states, x), (*self.log_G, log_G), (*self.draws, draws))

    def upto(self, t: int) -> Path[S]:
        """x_0, ..., x_t; the whole path where it ends before."""
        if t >= self.T:
            return self
        return Path(self.states[: t + 1], self.log_G[: t + 1], self.draws[:t])

    def log_G_after(self, t: int) -> float:
        """log of prod_{s>t} G_s."""
        return math.fsum(self.log_G[t + 1 :])

    def log_M_after(self, t: int) -> float:
        """log of the probability of all draws after step t."""
        return math.fsum(d.log_M for d in self.draws[t:])

    def log_p_after(self, t: int) -> float:
        """The same by the probabilities that the stream was given (`Draws.log_p`)."""
        return math.fsum(d.log_p for d in self.draws[t:])


def extended(
    model: FeynmanKac[S],
    rngs: Sequence[Rng],
    paths: Sequence[Path[S]],
    lw: Floats | None = None,
    observer: MoveObserver[S] | None = None,
) -> list[Path[S]]:
    """Every path one step longer, x ~ M(. | its last state), in one `model.step`.

    lw: (n,) log weights before the step, nats, of particles that are all at one step; None where
    the paths are proposals, which the observer does not see. Raises DeadlinePassed once the run's
    deadline has passed.
    """
    check_deadline()
    if not paths:
        return []
    recorders, before = [Recorder(rng) for rng in rngs], [path.last for path in paths]
    states, log_G = model.step(recorders, before)
    if lw is not None and observer is not None:
        observer.moved(paths[0].T + 1, before, states, lw)
    return [
        path.then(x, float(g), recorder.draws())
        for path, x, g, recorder in zip(
            paths, states, check_log_weights(log_G), recorders, strict=True
        )
    ]


def may_go_on(model: FeynmanKac[S], path: Path[S]) -> bool:
    """Whether a path is alive and has not finished."""
    return path.log_G[-1] > -math.inf and not model.finished(path.last)


def completed(
    model: FeynmanKac[S],
    rngs: Sequence[Rng],
    paths: Sequence[Path[S]],
    until: int | None = None,
    check: Callable[[int], None] = lambda t: None,
) -> list[Path[S]]:
    """Every path continued until it finishes, dies or reaches step `until`. check: is called with
    each step."""
    done = list(paths)
    while moving := [
        i for i, p in enumerate(done) if may_go_on(model, p) and (until is None or until > p.T)
    ]:
        check(max(done[i].T for i in moving) + 1)
        streams = [rngs[i].split("step", done[i].T + 1) for i in moving]
        for i, path in zip(
            moving, extended(model, streams, [done[i] for i in moving]), strict=True
        ):
            done[i] = path
    return done


def grafted(
    model: FeynmanKac[S], prefixes: Sequence[Path[S]], path: Path[S], t: int
) -> list[Path[S] | None]:
    """Each prefix, of t steps, continued by the draws that a finished path has after its step t.
    None where that is impossible: one of the draws has probability zero there, or the prefix's path
    needs more draws, or fewer."""
    if not may_go_on(model, path.upto(t)):
        raise InternalError("a path that ends before step t has nothing to graft")
    grafts: list[Path[S] | None] = [p if may_go_on(model, p) else None for p in prefixes]
    for s in range(t, path.T):
        growing = [(i, p) for i, p in enumerate(grafts) if p is not None]
        if not growing:
            break
        check_deadline()
        replayers = [Replayer(path.draws[s]) for _ in growing]
        states, log_G = model.step(replayers, [p.last for _, p in growing])
        for (i, p), x, g, replayer in zip(
            growing, states, check_log_weights(log_G), replayers, strict=True
        ):
            draws = replayer.draws()
            fits = draws is not None and g > -math.inf and model.finished(x) == (s + 1 == path.T)
            grafts[i] = p.then(x, float(g), draws) if fits and draws is not None else None
    return grafts
