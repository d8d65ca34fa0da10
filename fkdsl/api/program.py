"""fkdsl from Python: load or parse a program, call it with its parameters, run it.

>>> program = load("programs/two_bits.fk")
>>> for answer in program(n=1).run(method="exact").posterior:
...     print(f"{answer.probability:.2f}", answer.value)
0.60 1
0.40 0

`feynman_kac()` gives the model itself, for inference of your own; `run` takes any Feynman-Kac model
written in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fkdsl.api.auto import AUTO_METHOD, auto_result, first_method
from fkdsl.api.called_program import DEFAULT_METHOD, NO_FILE, CalledProgram
from fkdsl.api.cluster.place import workers_of
from fkdsl.api.cluster.workers import Workers
from fkdsl.api.engines import Engines, ModelReference
from fkdsl.api.lookahead import AUTO, LookaheadReference
from fkdsl.api.request import MAX_STEPS, RunRequest, StepsByIsland
from fkdsl.api.run import run as run_request
from fkdsl.api.trace.file import TraceFile
from fkdsl.base.deadline import Deadline
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span
from fkdsl.inference.checked_model import CheckedModel
from fkdsl.inference.result import Result
from fkdsl.inference.run import Observer
from fkdsl.inference.run import run as run_method
from fkdsl.inference.samplers.adaptive import Aim
from fkdsl.language.compile import check_file, check_source
from fkdsl.steering.feynman_kac import SteeringModel

RUN_SETTINGS = ("timeout", "max_steps", "filtering", "observer", "exchange")
"""What a run of a Feynman-Kac model takes beside its method's options."""


def load(path: str | Path, *, allow_extern: bool = False, allow_outside: bool = False) -> Program:
    """The program of a file. Raises ProgramError with every mistake in it, and CallError if it
    cannot be read.

    allow_extern: whether it may run the Python code that it declares. allow_outside: whether it may
    name files outside its folder.
    """
    path = Path(path)
    checked = check_file(path, allow_outside=allow_outside)
    return Program(checked, path.parent, allow_extern, allow_outside=allow_outside)


def parse(
    text: str,
    *,
    name: str = NO_FILE,
    folder: str | Path = ".",
    allow_extern: bool = False,
    allow_outside: bool = False,
) -> Program:
    """The program of a text. The files that it names are in `folder`, or below it unless
    `allow_outside`."""
    checked = check_source(Source(name, text), Path(folder), allow_outside=allow_outside)
    return Program(checked, Path(folder), allow_extern, allow_outside=allow_outside)


def run(
    model: Any, method: str | None = None, *, seed: int = 0, islands: int = 1, **options: Any
) -> Result:
    """The Result of a method on a program (its text, a Program, or the path of a .fk file), or on
    any FeynmanKac written in Python. method: the program's own, or smc, where it is left out.
    options: those of the method; for a program, all that Program.run takes; for a FeynmanKac,
    `timeout`, `max_steps`, `filtering`, `observer` and `exchange` as there. Raises CallError for a
    FeynmanKac that breaks one of its laws, such as a step that changes a state in place.

    >>> import numpy as np
    >>> class Coin:
    ...     def initial(self, rngs): return [None] * len(rngs), np.zeros(len(rngs))
    ...     def step(self, rngs, xp):
    ...         return [rng.choice([0.5, 0.5]) for rng in rngs], np.zeros(len(xp))
    ...     def finished(self, x): return x is not None
    ...     def value(self, x): return x
    ...     def key(self, x): return x
    ...     def describe(self, x): return str(x)
    >>> run(Coin(), "exact").probability(1)
    0.5
    """
    if isinstance(model, Path) or (
        isinstance(model, str) and "\n" not in model and model.strip().endswith(".fk")
    ):
        model = load(model)
    if isinstance(model, str):
        model = parse(model)
    if isinstance(model, Program):
        return model.run(method, seed=seed, islands=islands, **options)
    if not isinstance(model, SteeringModel):
        model = CheckedModel(model)
    settings: dict[str, Any] = {"max_steps": MAX_STEPS}
    settings |= {name: options.pop(name) for name in RUN_SETTINGS if name in options}
    return run_method(model, method or DEFAULT_METHOD, seed, options, islands=islands, **settings)


@dataclass(frozen=True, repr=False)
class Program(CalledProgram):
    """A checked program that can be run; calling it gives one with its parameters set. Its models
    are loaded when it is run."""

    def run(
        self,
        method: str | None = None,
        *,
        model: ModelReference | None = None,
        engines: Engines | None = None,
        seed: int = 0,
        timeout: float | Deadline | None = None,
        max_steps: int | None = MAX_STEPS,
        filtering: bool = False,
        observer: Observer | None = None,
        islands: int = 1,
        target_se: float | None = None,
        budget_tokens: int | None = None,
        budget_seconds: float | None = None,
        trace: str | Path | TraceFile | None = None,
        resume: str | Path | StepsByIsland | None = None,
        blame: bool = False,
        queries: Mapping[str, str | Span] | None = None,
        lookahead: LookaheadReference = AUTO,
        twist: str | Path | None = None,
        prefill_store: str | Path | None = None,
        exchange: int | None = None,
        on: str | Workers | None = None,
        alternatives: int | None = None,
        **options: Any,
    ) -> Result:
        """Weighted samples of the posterior, and an unbiased estimate of Z.

        method and options: as in `infer`, or the file's own; with "auto" a pilot chooses them.
        model: in the default one's place: a reference, which each run loads anew, what
        fkdsl.load_model gave, which runs in several threads may share, or an engine. timeout:
        seconds from when the models are loaded, or a Deadline, which another thread may cancel.
        observer: called with each Step (Level of exact) as it comes. islands: as in
        fkdsl.inference.run. target_se: standard error of log Z, nats; with
        it, or with a budget, a pilot finds how many islands there are. trace: a file to write the
        run down in (docs/trace.md), with so many `alternatives` of each draw (5). resume: such a
        file to go on from, and in; or steps. filtering: whether the result has every P_t, by the
        program's own M_t and G_t: no text is then guided across steps. blame: whether
        `result.blame`, or that of PopulationDied, says what each line did. queries: further ones:
        expressions over `value`, by name. lookahead: how draws of constrained texts look ahead
        (docs/lookahead.md). twist: the file of a learned twist. prefill_store: a folder or URL from
        which prompts are fetched (docs/performance.md). exchange: after every so many steps whole
        islands are resampled, where few of them have most of the weight. on: what computes the
        islands, "ray" or "ray=ADDRESS" (docs/scale.md); the answer is the same. Raises
        PopulationDied, ProgramError for a mistake that shows only as it runs, CallError, and
        BudgetEnded or Interrupted with the population so far.
        """
        request = RunRequest.of(
            self, first_method(method, options, islands, resume is not None, on), options,
            model=model, engines=engines, seed=seed, islands=islands,
            aim=Aim(target_se, budget_tokens, budget_seconds), timeout=timeout,
            max_steps=max_steps, filtering=filtering, trace=trace, resume=resume, blame=blame,
            queries=queries, lookahead=lookahead, twist=twist, exchange=exchange,
            prefill_store=prefill_store, on=workers_of(on), alternatives=alternatives,
        )  # fmt: skip
        made = auto_result if method == AUTO_METHOD else run_request
        return made(request, observer)

    def exact(self, *, model: ModelReference | None = None, **options: Any) -> Result:
        """The posterior and Z by enumeration."""
        return self.run("exact", model=model, **options)
