"""`fkdsl tune`: fits a learned twist to a program by rounds of runs, and measures what it is worth.

    tuned = tune(program, engines, TuneSettings(rounds=3, runs=8), save=...)
    tuned.twist, tuned.verdict

A round runs smc with the twist so far, fits a new one to all that its runs and those before have
come to (inference/assess/twist_fit.py), and saves it. In the first round there is none, and every
second run does not resample, so that no particle is lost to a guess that nobody has made. At the
end the program is run with the twist and without by seeds of its own, at equal tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.api.lookahead import AUTO, LookaheadChoice, LookaheadReference
from fkdsl.api.lookahead_pilot import decide, may_look_ahead
from fkdsl.api.request import RunRequest
from fkdsl.api.steering import steering_model
from fkdsl.api.tuned import Round, Spread, Tuned, spread_of
from fkdsl.api.twist_data import Recorder, Scout, flock_of
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import CallError
from fkdsl.base.logspace import Floats, log_sum_exp
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng
from fkdsl.inference.assess.twist_fit import (
    Flock,
    best_penalty,
    fit,
    joined,
    rescaled,
    thinned,
    with_bias,
)
from fkdsl.inference.interface import Step
from fkdsl.inference.methods import check_method
from fkdsl.inference.run import steps_of
from fkdsl.steering.learned_twist import LARGEST, LearnedTwist, feature_count
from fkdsl.steering.particle_step import Guesser

MOST_PARTICLES = 4000
"""Particles that one fit is made of at most."""
KEPT = 3
"""Rounds, the last ones, whose particles a fit is made of."""
HIDDEN, READ, COMPONENTS = 32, 6, 8
"""Hidden units, how many inputs each reads, and how many principal components of the rows are among
these inputs."""
ROWS = 0.3
"""What standardised log-probabilities are multiplied by in the fit."""
FLAT = 0.01
"""Components of less than this share of the largest are left out: they are rounding."""
CheckedSteps = list[Step[Any]]


@dataclass(frozen=True)
class TuneSettings:
    """rounds: of runs and fits. runs: of a round, and of each of the two sets that are compared at
    the end. particles: of a run; None for the file's, or 32. tokens: forwarded at most, about; None
    for no bound. max_steps, lookahead: as for a run; a twist learns what is still to come beside
    what draws look ahead to by a surrogate."""

    rounds: int = 3
    runs: int = 8
    particles: int | None = None
    tokens: int | None = None
    seed: int = 0
    max_steps: int | None = 10_000
    lookahead: LookaheadReference = AUTO

    def check(self) -> None:
        """Raises CallError for a number that no tuning can have."""
        for name, value, least in (
            ("rounds", self.rounds, 1), ("runs", self.runs, 2),
            ("particles", self.particles, 2), ("tokens", self.tokens, 1),
        ):  # fmt: skip
            if value is not None and value < least:
                raise CallError(f"--{name} is at least {least}, not {value}", f"leave --{name} out")

    @property
    def entropy(self) -> int:
        """The seed as numpy takes it, from 0 on."""
        return self.seed % (1 << 64)


Save = Callable[[LearnedTwist, Tuned], None]
Watch = Callable[[str, Any, int], None]
"""Called after each step of each run with a title, the step, and the tokens so far."""


def nothing_watches(title: str, step: Any, tokens: int) -> None:
    """A Watch that does nothing."""


class Tuner:
    """A tuning in progress; `tuned` is what it has come to."""

    def __init__(
        self,
        program: CalledProgram,
        engines: Engines,
        settings: TuneSettings,
        save: Save,
        watch: Watch = nothing_watches,
        report: Callable[[Round], None] = lambda round: None,
    ) -> None:
        settings.check()
        self.program, self.engines, self.settings = program, engines, settings
        self.save, self.watch, self.report = save, watch, report
        self.tuned = Tuned()
        smc, options = check_method("smc"), program.method[1]
        # Runs are by smc, with what the file says of its own method as far as smc has it too.
        own = {k: v for k, v in options.items() if k in smc.all_options and k != "moves"}
        own["particles"] = settings.particles or own.get("particles", 32)
        self.options: dict[str, Any] = smc.checked(own)
        self.rng = KeyedRng(settings.seed).split("tune")
        self.runs = settings.runs
        self.flocks: list[tuple[int, Flock]] = []
        self.lookahead = LookaheadChoice.of(settings.lookahead)
        self.prompts: object = None  # kept in the cache from the pilot on

    def run(self, timeout: float | Deadline | None = None) -> Tuned:
        """Every round, then the comparison. Ended by the deadline, it has what there was before.

        Raises CallError where nothing can be learned, and ProgramError as a run does.
        """
        for name in self.program.model_names():
            _ = self.engines[name]
        try:
            with until(Deadline.of(timeout)):
                self._decide()
                scout = Scout()
                self._scout(scout)
                for number in range(1, self.settings.rounds + 1):
                    self._round(number, scout)
                self._compare()
        except DeadlinePassed as passed:
            self.tuned.ended = f"time ran out {passed}"
        return self.tuned

    # ------------------------------------------------------------------- runs

    def _decide(self) -> None:
        """How `--lookahead auto` looks ahead, once for all runs, which are compared."""
        request = RunRequest.of(
            self.program, "smc", self.options, engines=self.engines, seed=self.settings.seed,
            lookahead=self.lookahead,
        )  # fmt: skip
        if not may_look_ahead(request):
            return
        decision, self.prompts = decide(request, self.options["particles"] * self.runs)
        self.lookahead = request.decided(decision).lookahead
        self.tuned.notes = decision.notes

    def _steps(
        self,
        title: str,
        rng: KeyedRng,
        guessers: Sequence[Guesser],
        engines: Engines,
        merge: bool = True,
        **options: Any,
    ) -> CheckedSteps:
        chosen = {**self.options, **options}
        request = RunRequest.of(
            self.program, "smc", chosen, engines=engines, lookahead=self.lookahead
        )
        model = steering_model(
            request, engines, lookahead=request.completion_lookahead(), guessers=guessers
        )
        steps: CheckedSteps = []
        for step in steps_of(model, rng, request.call, None, self.settings.max_steps, merge):
            assert isinstance(step, Step)
            steps.append(step)
            self.watch(title, step, engines.counts()[1])
        return steps

    def _scout(self, scout: Scout) -> None:
        before = self.engines.counts()[1]
        self._steps("scouting", self.rng.split("scout"), [scout], self.engines, ess=0.0)
        tokens = self.engines.counts()[1] - before
        names, budget = scout.names(), self.settings.tokens
        if not names and not scout.mass:
            raise CallError(
                f"`{self.program.name}` has at most one draw on its way: "
                "there is nothing to weigh before it returns",
                "run it as it is",
            )
        if budget is not None and tokens:
            room = (budget - tokens) / tokens / (self.settings.rounds + 2)
            self.runs = max(2, min(self.runs, int(room)))

    def _round(self, number: int, scout: Scout) -> None:
        names, tokens_of = scout.names(), scout.tokens()
        before, thinning = (
            self.engines.counts()[1],
            np.random.default_rng(self.settings.entropy),
        )
        log_z: list[float] = []
        flocks: list[tuple[float, Flock]] = []
        power = 1.0
        for k in range(self.runs):
            rng = self.rng.split("round", number, k)
            resampled = number > 1 or k % 2 == 0
            options = {} if resampled else {"ess": 0.0}
            title = f"round {number}: run {k + 1} of {self.runs}"
            recorder = Recorder(names, tokens_of, self.tuned.twist)
            steps = self._steps(title, rng, [recorder], self.engines, merge=False, **options)
            log_z.append(steps[-1].log_Z)
            # At the scale of the run's own Z_hat until that of all runs is known.
            own = log_z[-1] if log_z[-1] > -math.inf else 0.0
            flock, least = flock_of(steps, recorder, rng, number * self.runs + k, own)
            flocks.append((own, thinned(flock, MOST_PARTICLES, thinning)))
            power = min(power, least)
        tokens = (self.engines.counts()[1] - before) / self.runs
        spread = spread_of(log_z, self.options["particles"], tokens)
        if not spread.log_z:
            if self.tuned.twist is None:
                raise CallError(
                    f"none of {self.runs * self.options['particles']} particles lived: there is "
                    "nothing to learn from",
                    "raise --particles, or tune with looser conditions first",
                )
            return
        log_scale = log_sum_exp(np.array(spread.log_z)) - math.log(len(log_z))
        self.flocks += [
            (number, rescaled(flock, own - log_scale)) for own, flock in flocks if len(flock)
        ]
        explained, penalty = self._fit(names, tokens_of)
        done = Round(number, spread, explained, penalty, power)
        self.tuned.rounds.append(done)
        assert self.tuned.twist is not None
        self.save(self.tuned.twist, self.tuned)
        self.report(done)

    # -------------------------------------------------------------------- fit

    def _fit(
        self, names: tuple[str, ...], tokens_of: Mapping[str, tuple[int, ...]]
    ) -> tuple[float, float]:
        """Fits the twist to the last rounds; the share of the deviance explained, and the
        penalty."""
        if not self.flocks:
            raise CallError(
                f"no particle of `{self.program.name}` goes on after its first step: there is "
                "nothing to weigh on its way",
                "run it as it is",
            )
        rng = np.random.default_rng(self.settings.entropy)
        newest = self.flocks[-1][0]
        self.flocks = [(n, f) for n, f in self.flocks if n > newest - KEPT]
        flock = thinned(joined([f for _, f in self.flocks]), MOST_PARTICLES, rng)
        shape = _shape(flock.x, names, tokens_of, rng)
        z = shape.standardised(flock.x)
        # Many columns of rows stand beside few others: scaled down, each bears a larger penalty.
        scales = np.where(np.arange(z.shape[1]) < len(shape.names), 1.0, ROWS)
        phi = np.concatenate([z * scales, np.tanh(z @ shape.hidden + shape.offset)], axis=1)
        phi = with_bias(phi)
        penalty, explained = best_penalty(phi, flock)
        theta = fit(phi, flock, penalty)
        f, features = phi @ theta, z.shape[1]
        theta[:features] *= scales
        low, high = np.clip([f.min() - 1.0, f.max() + 1.0], -LARGEST, LARGEST)
        self.tuned.twist = LearnedTwist(
            shape.names, shape.tokens, shape.mean, shape.scale, shape.hidden, shape.offset,
            theta[:features], theta[features:-1], float(theta[-1]), float(low), float(high),
        )  # fmt: skip
        return explained, penalty

    # ---------------------------------------------------------------- compare

    def _compare(self) -> None:
        """Runs with the twist, and runs without it of as many particles as forward as many
        tokens."""
        if self.tuned.twist is None:
            return
        N = self.options["particles"]
        with_twist = self._spread("with the twist", [self.tuned.twist], N)
        (first,) = self._tokens_of(N)
        count = N
        if first and with_twist.tokens > first:
            count = min(4 * N, round(N * with_twist.tokens / first))
        without = self._spread("without it", [], count)
        self.tuned.with_twist, self.tuned.without = with_twist, without

    def _tokens_of(self, particles: int) -> list[int]:
        """Tokens that a run without the twist forwards from an empty cache."""
        engines = self.engines.fresh()
        rng = self.rng.split("tokens")
        self._steps("tokens of a run", rng, [], engines, particles=particles)
        return [engines.counts()[1]]

    def _spread(self, title: str, guessers: Sequence[Guesser], particles: int) -> Spread:
        log_z, tokens = [], []
        for k in range(self.runs):
            engines = self.engines.fresh()
            # Both sets have seeds of their own: nothing was fitted to their runs.
            rng = self.rng.split("compare", len(guessers), k)
            name = f"{title}: run {k + 1} of {self.runs}"
            steps = self._steps(name, rng, guessers, engines, particles=particles)
            log_z.append(steps[-1].log_Z)
            tokens.append(engines.counts()[1])
        return spread_of(log_z, particles, float(np.mean(tokens)))


def tune(
    program: CalledProgram,
    engines: Engines,
    settings: TuneSettings,
    save: Save = lambda twist, tuned: None,
    timeout: float | Deadline | None = None,
) -> Tuned:
    """A twist for the program with its arguments, and what it is worth. save: called with the twist
    after each round. Raises as Tuner.run does."""
    return Tuner(program, engines, settings, save).run(timeout)


def _shape(
    x: Floats,
    names: tuple[str, ...],
    tokens_of: Mapping[str, tuple[int, ...]],
    rng: np.random.Generator,
) -> LearnedTwist:
    """A twist that says 0: features' means and scales, and hidden units that read a few of them
    each, drawn at random and not fitted."""
    with np.errstate(invalid="ignore"):
        there = ~np.isnan(x)
        count = np.maximum(there.sum(axis=0), 1)
        mean = np.where(there, x, 0.0).sum(axis=0) / count
        variance = (np.where(there, x - mean, 0.0) ** 2).sum(axis=0) / count
    scale = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
    mean, scale = (a.astype(np.float32).astype(np.float64) for a in (mean, scale))
    size, cheap = feature_count(names, tokens_of), len(names)
    nothing = np.zeros(size)
    twist = LearnedTwist(
        names, tokens_of, mean, scale, np.zeros((size, HIDDEN)), np.zeros(HIDDEN),
        nothing, np.zeros(HIDDEN), 0.0, 0.0, 0.0,
    )  # fmt: skip
    z = twist.standardised(x)
    basis = np.zeros((size, cheap + COMPONENTS))
    basis[:cheap, :cheap] = np.eye(cheap)
    if size > cheap:
        rows = z[:, cheap:]
        _, singular, components = np.linalg.svd(rows, full_matrices=False)
        k = min(COMPONENTS, int((singular > FLAT * singular[0]).sum())) if singular[0] > 0.0 else 0
        whitened = components[:k].T * (math.sqrt(len(z)) / singular[:k])
        basis[cheap:, cheap : cheap + k] = whitened
    inputs = np.flatnonzero(np.abs(basis).sum(axis=0))
    mixing = np.zeros((basis.shape[1], HIDDEN))
    for unit in range(HIDDEN):
        read = rng.choice(inputs, min(READ, len(inputs)), replace=False)
        mixing[read, unit] = rng.normal(size=len(read)) * 1.5 / math.sqrt(len(read))
    hidden = (basis @ mixing).astype(np.float32).astype(np.float64)
    offset = rng.normal(size=HIDDEN).astype(np.float32).astype(np.float64)
    return LearnedTwist(
        names, tokens_of, mean, scale, hidden, offset,
        nothing, np.zeros(HIDDEN), 0.0, 0.0, 0.0,
    )  # fmt: skip
