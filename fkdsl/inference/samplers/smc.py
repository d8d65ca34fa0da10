"""Sequential Monte Carlo with adaptive resampling (Del Moral, Doucet and Jasra 2006), importance
sampling, and the biased baseline `local`.

In smc and importance sampling Z_hat = sum of the weights is unbiased for Z, and sum_i w_i f(x_i)
for Z E[f], at every step and for every N.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from fkdsl.base.arrays import np
from fkdsl.base.errors import InternalError
from fkdsl.base.logspace import normalised
from fkdsl.base.random import Rng
from fkdsl.inference.assess.genealogy import FamilyTree
from fkdsl.inference.assess.uncertainty import ErrorEstimator, FixedEstimator, Unknown
from fkdsl.inference.interface import FeynmanKac, MoveObserver, Step
from fkdsl.inference.method import Checks, Count, LoopSettings, Method, Options
from fkdsl.inference.options import ESS, MOST, PARTICLES, Option
from fkdsl.inference.population import check_steps, initial_step, make_step, mutate, offspring
from fkdsl.inference.population import merge as merged
from fkdsl.inference.samplers.moves import path_smc
from fkdsl.inference.samplers.resampling import RESAMPLING

S = TypeVar("S")


def smc(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 16,
    ess: float = 0.5,
    resampling: str = "multinomial",
    moves: int = 0,
    max_steps: int | None = None,
    merge: bool = True,
    start: Step[S] | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Step[S]]:
    """N particles, resampled before a step when their ESS falls below ess * N.

    After resampling each of the N particles weighs (sum of the weights) / N, so that Z_hat stays
    the same on every path. With `merge`, particles in equal states are resampled as one particle
    with the sum of their weights. moves: how many suffix moves each running particle makes after
    steps 1, 2, 4, ... (fkdsl.inference.samplers.moves); then nothing is merged, and there is no
    `start`, since a step does not hold the paths that led to it. start: the step to go on from, as
    this function yielded it; None begins.
    """
    if moves:
        if start is not None:
            raise InternalError("smc with moves goes on from no step")
        paths = path_smc(model, rng, particles, ess, resampling, moves, max_steps, observer)
        yield from (step for step, _ in paths)
        return
    N, scheme = particles, RESAMPLING[resampling]
    step = start if start is not None else initial_step(model, rng, N, observer)
    yield step
    while step.unfinished:
        t, x, lw, A, resampled = step.t + 1, step.particles, step.log_weights, list(range(N)), False
        check_steps(t, max_steps)
        if step.ess < ess * N:
            if merge:
                x, lw, A = merged(model, x, lw, A)
            chosen = scheme(rng.split("resample", t), normalised(lw), N)
            A = [A[j] for j in chosen]
            x, lw, resampled = offspring(x, chosen, t), np.full(N, step.log_Z - np.log(N)), True
        x, lw = mutate(model, rng, t, x, lw, observer)
        step = make_step(model, t, x, lw, A, resampled=resampled)
        yield step


def importance(
    model: FeynmanKac[S],
    rng: Rng,
    particles: int = 64,
    max_steps: int | None = None,
    start: Step[S] | None = None,
    observer: MoveObserver[S] | None = None,
) -> Iterator[Step[S]]:
    """N independent weighted runs: smc that never resamples."""
    return smc(model, rng, particles, ess=0.0, max_steps=max_steps, start=start, observer=observer)


def _family_tree(model: FeynmanKac[S], options: Options, merge: bool) -> ErrorEstimator:
    """The errors are read from the population's family tree, which moves of whole paths break."""
    if options.get("moves"):
        why = "smc with moves has no standard error from one run: --islands 8"
        return FixedEstimator(Unknown((why,)))
    return FamilyTree(model, options.get("resampling", ""), merge)


def _smc_steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Step[S]]:
    return smc(
        model,
        rng,
        max_steps=loop.max_steps,
        merge=loop.merge,
        start=loop.start,
        observer=loop.observer,
        **options,
    )


SMC = Method(
    name="smc",
    doc="one draw each; resampled before a step when ESS < ess * N (ess=1: before each step but "
    "where all weights are equal; ess=0: never)",
    options={
        "particles": PARTICLES,
        "ess": ESS,
        "resampling": Option("multinomial", one_of=tuple(RESAMPLING), doc="resampling scheme"),
        "moves": Option(0, 0, 1000, doc="moves of each path; in smc, after steps 1, 2, 4, ..."),
    },
    steps=_smc_steps,
    resumes=True,
    error=_family_tree,
    moves_paths=lambda options: bool(options.get("moves")),
    takes_drafts=True,
    looks_ahead=True,
    checks=Checks(
        variants={
            **{
                f"smc({scheme})": tuple(
                    {"particles": n, "ess": ess, "resampling": scheme}
                    for n, ess in ((2, 1.0), (3, 1.0), (4, 0.7))
                )
                for scheme in RESAMPLING
            },
            "smc(moves)": tuple({"particles": n, "ess": 1.0, "moves": 1} for n in (2, 3, 4)),
        },
        enumerated={"particles": 2, "ess": 1.0},
        stepwise=True,
        bounded=True,
    ),
    count=Count("particles"),
)


def _importance_steps(
    model: FeynmanKac[S], rng: Rng, options: Options, loop: LoopSettings[S]
) -> Iterator[Step[S]]:
    return importance(
        model,
        rng,
        max_steps=loop.max_steps,
        start=loop.start,
        observer=loop.observer,
        **options,
    )


IMPORTANCE = Method(
    name="importance",
    doc="independent weighted runs",
    options={"particles": Option(64, 1, MOST, doc="independent runs")},
    steps=_importance_steps,
    resumes=True,
    error=_family_tree,
    takes_drafts=True,
    looks_ahead=True,
    checks=Checks(
        variants={"importance": ({"particles": 2},)},
        enumerated={"particles": 1},
        stepwise=True,
        bounded=True,
    ),
    count=Count("particles"),
)


def _biased(model: FeynmanKac[S], options: Options, merge: bool) -> ErrorEstimator:
    why = "local is biased, by an amount that no standard error tells"
    return FixedEstimator(Unknown((why,)))


LOCAL = Method(
    name="local",
    doc="the usual baseline: mask, renormalise, forget the mass; biased, and no estimate of Z",
    options={"particles": PARTICLES},
    steps=_importance_steps,
    log_z="none",
    resumes=True,
    error=_biased,
    takes_drafts=True,
    no_draft_weights="under which its answer would depend on the draft",
    forgets_mass=True,
    count=Count("particles"),
)
