"""What inference needs of a model, and what it yields.

A Feynman-Kac model is (s0, {M_t}, {G_t}) with absorbing states F (Lew et al. 2023, section 2):
`initial` gives s0 and log G_0, `step` draws x_t ~ M_t(. | x_{t-1}) and gives log G_t(x_{t-1}, x_t),
`finished` says x in F. The model sees all particles at once, so that a language model beneath it
does too.

A fair walk that ends at +-2, and weighs twice as much at +2:

>>> import math
>>> import numpy as np
>>> class Walk:
...     def initial(self, rngs): return [0] * len(rngs), np.zeros(len(rngs))
...     def step(self, rngs, xp):
...         x = [s + (1, -1)[rng.choice([0.5, 0.5])] for rng, s in zip(rngs, xp)]
...         return x, np.array([math.log(2.0) if s == 2 else 0.0 for s in x])
...     def finished(self, x): return abs(x) == 2
...     def value(self, x): return x
...     def key(self, x): return x
...     def describe(self, x): return str(x)
>>> from fkdsl.inference.run import run
>>> round(run(Walk(), "exact", options={"max_states": 200}, lazy=True).probability(2), 6)
0.666667
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from fkdsl.base.arrays import ArrayLike
from fkdsl.base.logspace import Floats
from fkdsl.base.probability_blocks import Probabilities
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng
from fkdsl.base.spans import Span

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class FeynmanKac(Protocol[S]):
    """(s0, {M_t}, {G_t}); states S are immutable values, so that a fork is a copy of a reference.

    Laws:
    - All randomness comes from the given streams, one a particle; a particle's outcome depends on
      its own state and stream only, never on its neighbours (batching changes no draw).
    - log G is float64 (n,), in nats; -inf kills, NaN and +inf are bugs.
    - A state with `finished(x)` is never stepped; nor is one of weight zero.
    """

    def initial(self, rngs: Sequence[Rng]) -> tuple[list[S], Floats]:
        """n copies of s0 (or draws of it), and log G_0 (n,)."""
        ...

    def step(self, rngs: Sequence[Rng], xp: Sequence[S]) -> tuple[list[S], Floats]:
        """x_t ~ M_t(. | xp) for each particle, and log G_t(xp, x) (n,)."""
        ...

    def finished(self, x: S) -> bool:
        """Whether x is in F: it has its value and is absorbed, with potential 1 from then on."""
        ...

    def value(self, x: S) -> Any:
        """The value of a finished state: what the posterior is over."""
        ...

    def key(self, x: S) -> Hashable:
        """Equal for two states iff their futures and values have the same law: such particles may
        be merged."""
        ...

    def describe(self, x: S) -> str:
        """One line for people: the value of a finished state, the text so far, or where a dead one
        died."""
        ...


class Charge(NamedTuple):
    """A part of log G, in nats, and the line of the model's source that it is charged to."""

    place: Span
    log_weight: float


@runtime_checkable
class Charged(Protocol[S_contra]):
    """A FeynmanKac that knows where its potentials come from, as a program does."""

    def charges(self, x: S_contra) -> Sequence[Charge]:
        """The parts of log G_t of the step that led to x, in order. Those of a dead state end with
        -inf for each place that had a part in its death, the most important one last. A part of 0
        marks a place that the particle has passed, in a run that asks for blame."""
        ...


class MoveObserver(Protocol[S_contra]):
    """What a loop reports every move of its particles to, with the weights that they had before it
    (`Account` in assess/blame.py). It cannot change a draw."""

    def begin(self, states: Sequence[S_contra]) -> None:
        """A population starts at these states, its particles all of one weight."""
        ...

    def moved(
        self, t: int, before: Sequence[S_contra], after: Sequence[S_contra], log_weights: ArrayLike
    ) -> None:
        """Particles went from `before` to `after` in step t; log_weights (n,): what they weighed
        before it, nats. One step may be reported in several parts."""
        ...


@runtime_checkable
class TellsDeaths(Protocol[S_contra]):
    """A FeynmanKac that knows the text of a particle that died, for reports."""

    def text_at_death(self, before: S_contra, dead: S_contra) -> str:
        """One line: the text that a particle had when it died in the step from `before`; "" if it
        had none."""
        ...


@runtime_checkable
class KeepsEvidence(Protocol[S_contra]):
    """A FeynmanKac that knows what its values rest on beside themselves, such as the documents
    that a program has drawn."""

    def evidence(self, x: S_contra) -> Sequence[Hashable]:
        """What a finished state rests on, each once."""
        ...


@runtime_checkable
class Bounded(Protocol[S_contra]):
    """A FeynmanKac that knows how large its potentials can be: what upper bounds on Z rest on."""

    def log_bound(self, x: S_contra) -> float:
        """On every path from x on, the potentials after x multiply to at most exp of it; inf where
        that is unknown."""
        ...


@dataclass(frozen=True, eq=False)
class Fan(Generic[S]):
    """The outcomes of the draw that a state stands at, before it is made.

    x: the state. p: (n,) not negative, float64 or float32: what each outcome multiplies the weight
    by; all zero where no outcome is left. log_mass: what of sum p the step that takes an outcome
    weighs itself, and charges to the lines that refused the rest (nats). guess: (n,) positive, None
    for all alike: what each promises beyond that, as far as is known; exp(log_scale) times it is
    comparable between states (log_scale in nats). It is no part of any weight. made: what the model
    wants to know again when an outcome is taken.
    """

    x: S
    p: Probabilities
    log_mass: float = 0.0
    guess: Probabilities | None = None
    log_scale: float = 0.0
    made: Any = None


@runtime_checkable
class ListsOutcomes(Protocol[S]):
    """A FeynmanKac that lists the outcomes of a draw, and takes one that it is given.

    Law: for each state x with a Fan and every f, with log_g of `take` and log_G of `step`,

        sum_v p(v) E[exp(log_g - log_mass) f(x_t) | v is taken] = E[exp(log_G) f(x_t)].
    """

    def fans(self, xp: Sequence[S]) -> list[Fan[S] | None]:
        """What the next draw of each state may give; None for a draw whose outcomes cannot be
        listed, a continuous one."""
        ...

    def take(
        self, rngs: Sequence[Rng], chosen: Sequence[tuple[Fan[S], int]]
    ) -> tuple[list[S], Floats]:
        """The rest of the step after these outcomes (n): the states, and the log of what the rest
        weighs (n,), nats. Each later draw of the step is made from the particle's stream."""
        ...


@dataclass(frozen=True)
class Particle(Generic[S]):
    """A state with its lineage: the key of all its draws, equal for no two particles of a
    population."""

    state: S
    lineage: bytes


@dataclass(frozen=True)
class Step(Generic[S]):
    """The population after step t. The inference loop yields one for t = 0 (s0, G_0), 1, 2, ...

    Convention (inference.md, Weights): Z_hat = sum_i w_i; each of N initial particles weighs 1/N.
    So no N/N' factor is ever needed, and at every t  E[sum_i w_i f(x_i)] = E_M[prod_{s<=t} G_s
    f(X_t)].

    particles: the population after M_t, G_t (and, for `steer`, reduction); dead ones included, with
    weight zero. log_weights: (n,) float64, nats, not normalised: those after G_t, which are also
    those before the next resampling, since a population is resampled at the beginning of a step.
    ancestors: (n,) index into the previous step's particles. resampled: whether resampling took
    place on the way to this step; by smc each particle then went into M_t with an n-th of the total
    weight of the step before. ess: of the weights. log_Z: of their sum. unfinished: how many live
    and have not finished; alive: how many live.
    island: which of a run's independent populations this is. proposed, accepted: moves of whole
    paths on the way to this step, where the method makes any.
    """

    t: int
    particles: tuple[Particle[S], ...]
    log_weights: Floats
    ancestors: tuple[int, ...]
    resampled: bool
    ess: float
    log_Z: float
    unfinished: int
    alive: int
    island: int = 0
    proposed: int = 0
    accepted: int = 0

    @property
    def states(self) -> tuple[S, ...]:
        """The particles' states."""
        return tuple(p.state for p in self.particles)


@dataclass(frozen=True)
class Level(Generic[S]):
    """Step t: states of positive weight, none twice, with E_M[prod_{s<=t} G_s 1{X_t = x}] in nats.

    dead: states that the last potential killed, for reports: some of them if there are many.
    """

    t: int
    states: tuple[S, ...]
    log_weights: tuple[float, ...]
    log_Z: float
    unfinished: int
    dead: tuple[S, ...]
