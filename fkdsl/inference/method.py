"""What an inference method is: one object, which everything else asks.

The command line's help, the checker, `fkdsl test`, the laws of `fkdsl.testing`, `compare`, resuming
and the reports read what they need from it; none of them knows a method by its name. A new method
is one file, with its loop and its `Method`, and one entry in `METHODS`
(fkdsl/inference/methods.py).

>>> from fkdsl.inference.methods import METHODS
>>> smc = METHODS["smc"]
>>> smc.checked({"particles": 64})
{'particles': 64, 'ess': 0.5, 'resampling': 'multinomial', 'moves': 0}
>>> smc.draws, smc.log_z, smc.call({"moves": 1}).resumes
(True, 'estimate', False)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any, Generic, Literal, TypeVar

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import Rng
from fkdsl.inference.assess.uncertainty import ErrorEstimator, FixedEstimator, Unknown
from fkdsl.inference.interface import FeynmanKac, Level, MoveObserver, Step
from fkdsl.inference.options import DRAFTS, NO_DRAFT, Option

S = TypeVar("S")
Options = Mapping[str, Any]
"""All options of a method by name, as `Method.checked` gives them."""
Settings = Mapping[str, Any]
"""Some options of a method by name; the others stand at their defaults."""
LogZ = Literal["estimate", "exact", "bound", "none"]
"""What a method's log Z is: the log of an unbiased estimate, log Z itself, a lower bound, or no
figure that means anything."""


@dataclass(frozen=True)
class LoopSettings(Generic[S]):
    """What a run asks of a method's loop beside its options.

    max_steps: steps after which a run that has not ended raises BudgetEnded. merge: whether equal
    particles are resampled as one. start: the step to go on from, for a method that resumes. stop:
    gives the reason why a search is to end now, "" while it is not; where it is None, a search
    visits everything. observer: is told of every move.
    """

    max_steps: int | None = None
    merge: bool = True
    start: Step[S] | None = None
    stop: Callable[[], str] | None = None
    observer: MoveObserver[S] | None = None


Steps = Callable[
    [FeynmanKac[Any], Rng, Options, LoopSettings[Any]], Iterator[Step[Any]] | Iterator[Level[Any]]
]
"""A method's loop: yields the population after each step."""
FindError = Callable[[FeynmanKac[Any], Options, bool], ErrorEstimator]
"""How the errors of one population are found: an estimator for (model, options, whether equal
particles are resampled as one), which is given the steps as they come."""


@dataclass(frozen=True)
class Checks:
    """What tests hold a method to, and the small settings with which they run it.

    variants: the settings that the runs of `fkdsl test` take in turn, by the name that reports
        show. Small populations show best what is wrong: with two to four particles every step
        resamples, divides and merges. None stands for the method's defaults, with 2 to 4 particles
        if it has any.
    enumerated: settings with which a test can visit every outcome of the method's draws; None where
        there are none.
    stepwise: whether each step multiplies a weight by a potential, and resampling does not raise
        the total. Then every step can be held to what is still to come.
    reduces_after: whether the population is reduced after it was weighed, and not before.
    bounded: whether Z_hat is at most 1 where every product of potentials is.
    refuses_above_one: whether it runs only where every product of potentials is at most 1.
    """

    variants: Mapping[str, tuple[Settings, ...]] | None = None
    enumerated: Settings | None = None
    stepwise: bool = False
    reduces_after: bool = False
    bounded: bool = False
    refuses_above_one: bool = False


@dataclass(frozen=True)
class Count:
    """The option by which `fkdsl compare` sets how many tokens a run forwards.

    others: the options that a run of that count needs beside it. of_population: whether the share
    of particles that satisfy the program is of the last population, and not of the count.
    """

    option: str
    others: Callable[[int], Settings] = lambda count: {}
    of_population: bool = False


def no_particle_left(n: int, t: int, last: Step[Any] | Level[Any]) -> tuple[str, str]:
    """What is said where all n particles weigh zero after step t, and what to try."""
    of = {0: "no particle is", 1: "the only one is"}.get(n, f"all {n} particles are")
    return (
        f"every particle died: {of} of weight zero after step {t}",
        "use more particles, loosen the condition that killed most, or check it earlier in the "
        "text",
    )


@dataclass(frozen=True)
class Method:
    """An inference method.

    name, doc: as `infer`, the command line and docs/inference.md have them.
    options: by name, with defaults, bounds and help.
    steps: the loop.
    log_z: what its log Z is.
    draws: whether it draws at random. If not, it enumerates, its options bound the search, and it
        has no islands.
    resumes: whether it goes on from any of its steps. The others begin anew, with the same answer.
    error: how the errors of one population are found; None where only islands tell.
    moves_paths: whether, with these options, it puts other paths in the place of a particle's own,
        so that a particle's ancestors do not tell its past.
    takes_drafts: whether each particle's tokens are drawn in turn, so that they can be drafted.
    no_draft_weights: why drafts may not be weighed by p/q, "" where they may.
    looks_ahead: whether its draws may be tilted, and its particles twisted, by a guess of what is
        to come: potentials may then be above 1, and a draw's probability is not the model's.
    one_choice: whether each draw of the model must be one choice of a known probability.
    forgets_mass: whether the mass that a mask removes is left out of the weights.
    anytime: whether `LoopSettings.stop` can end it with bounds on Z.
    checks: what tests hold it to.
    count: how `compare` sets its cost; None where it cannot be compared.
    note: what a reader must know about the law that the answer is of, "" for nothing.
    all_died: what is said where no particle is left, and what to try; called with the number of
        particles, the step, and the last population.
    """

    name: str
    doc: str
    options: Mapping[str, Option]
    steps: Steps
    log_z: LogZ = "estimate"
    draws: bool = True
    resumes: bool = False
    error: FindError | None = None
    moves_paths: Callable[[Options], bool] = lambda options: False
    takes_drafts: bool = False
    no_draft_weights: str = ""
    looks_ahead: bool = False
    one_choice: bool = False
    forgets_mass: bool = False
    anytime: bool = False
    checks: Checks = field(default_factory=Checks)
    count: Count | None = None
    note: Callable[[Options], str] = lambda options: ""
    all_died: Callable[[int, int, Step[Any] | Level[Any]], tuple[str, str]] = no_particle_left

    @property
    def estimates_z(self) -> bool:
        """Whether Z_hat is an unbiased estimate of Z, and sum_i w_i f(x_i) one of Z E[f]."""
        return self.log_z == "estimate"

    @property
    def all_options(self) -> dict[str, Option]:
        """The method's own options, then those of drafts where it takes them."""
        return {**self.options, **(DRAFTS if self.takes_drafts else {})}

    def error_estimator(
        self, model: FeynmanKac[Any], options: Options, merge: bool
    ) -> ErrorEstimator:
        """What finds the errors of one population of a run."""
        if self.error is not None:
            return self.error(model, options, merge)
        why = f"{self.name} has no standard error from one run: --islands 8"
        return FixedEstimator(Unknown((why,)))

    def call(self, settings: Settings) -> MethodCall:
        """The method with all of its options. Raises CallError as `checked` does."""
        return MethodCall(self, self.checked(settings), settings)

    def checked(self, settings: Settings) -> dict[str, Any]:
        """All options: the given ones checked, the others at their defaults; those of drafts where
        one is given. Raises CallError for an option or a value that it does not have."""
        known = self.all_options
        for name in settings:
            if name not in known:
                near = near_name(name, list(known))
                has = f"it has: {', '.join(known) or 'none'}"
                raise CallError(
                    f"{self.name} has no option `{name}`",
                    f"did you mean `{near}`?" if near else has,
                )
        values = {
            name: option.checked(f"{self.name}: {name}", settings.get(name, option.default))
            for name, option in known.items()
        }
        if values.get("draft", NO_DRAFT) != NO_DRAFT:
            self._check_draft(values)
            return values
        if alone := [name for name in ("block", "verify") if name in settings]:
            raise CallError(
                f"{self.name}: {alone[0]} says how tokens are drafted, and nothing drafts them",
                'add draft="ngram"',
            )
        return {name: value for name, value in values.items() if name in self.options}

    def _check_draft(self, options: Options) -> None:
        """Raises CallError for options that do not go with a draft."""
        if self.moves_paths(options):
            raise CallError(
                f"{self.name}: moves of whole paths take no draft", "leave one of the two out"
            )
        if options["verify"] == "weigh" and self.no_draft_weights:
            raise CallError(
                f"{self.name}: verify cannot be `weigh`, {self.no_draft_weights}",
                "leave verify out",
            )


@dataclass(frozen=True)
class MethodCall:
    """A method with all of its options, checked: what `smc(particles=64)` says.

    Made by `Method.call`; whoever gets one checks nothing again. given: the options that were
    spelt out; the others stand at their defaults.
    """

    method: Method
    options: Options
    given: Settings

    @property
    def resumes(self) -> bool:
        """Whether a run goes on from its steps. With moves it does not: a step does not hold the
        paths that they need."""
        return self.method.resumes and not self.moves_paths

    @property
    def moves_paths(self) -> bool:
        """Whether a particle's ancestors do not tell its past (`Method.moves_paths`)."""
        return self.method.moves_paths(self.options)
