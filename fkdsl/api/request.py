"""A run as one value: its program, method, options, models and files, checked once, when the
request is made.

The command line, Python, `compare`, test blocks and resumed runs each make a RunRequest and hand it
on; what gets one checks nothing again.

    request = RunRequest.of(program, "smc", {"particles": 64}, seed=7)
    result = run(request)                                               # fkdsl.api.run
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.cluster.engines import RemoteEngines
from fkdsl.api.cluster.workers import Workers
from fkdsl.api.engines import Engines, ModelReference
from fkdsl.api.lookahead import (
    AUTO,
    LookaheadChoice,
    LookaheadDecision,
    LookaheadReference,
    Surrogates,
    lookahead_of,
)
from fkdsl.api.trace.file import TraceFile
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import CallError
from fkdsl.base.files import real_path
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Step
from fkdsl.inference.islands import check_exchange, check_islands
from fkdsl.inference.method import MethodCall
from fkdsl.inference.methods import check_method
from fkdsl.inference.samplers.adaptive import Aim
from fkdsl.language.queries import Query
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.completion import CompletionLookahead

MAX_STEPS = 10_000
"""Steps after which a run that has not ended is stopped, unless the caller says otherwise."""
ALTERNATIVES, MOST_ALTERNATIVES = 5, 50
"""Likeliest outcomes of each draw that a trace tells of: unless the caller says otherwise, and at
most."""
NO_AIM = Aim()
StepsByIsland = Mapping[int, Sequence[Step[ProgramState]]]
"""The steps that each island has behind it, from step 0 on."""


@dataclass(frozen=True)
class RunRequest:
    """A run to be made.

    program: with its parameters; without the pass `texts` where the filtering posteriors are asked
    for, since no text is then guided across steps. call: the method with all of its options, those
    of drafts among them. engines: its language models, each loaded when it is first asked. islands:
    independent populations, whose number a pilot finds where there is an aim. deadline: counts its
    seconds from when the models are loaded. max_steps: after which a run that has not ended is
    stopped; None for never. filtering: whether the result has every P_t. trace: the file to write
    the run down in. resume: the file to go on from, and in; or steps. blame: whether the result
    says what each line did. queries: about the returned value. lookahead: how draws of
    constrained texts look ahead by a surrogate. twist: the file of a learned twist (`fkdsl tune`).
    prefill_store: the folder or URL that the prompts are fetched from.
    exchange: after every so many steps whole islands may be resampled; None for never. on: what
    computes the islands; None for this process.
    alternatives: how many of each draw's likeliest outcomes the trace tells of.
    A request is made by `of`, which checks it.
    """

    program: CalledProgram
    call: MethodCall
    engines: Engines
    seed: int
    islands: int
    aim: Aim
    deadline: Deadline
    max_steps: int | None
    filtering: bool
    trace: Path | TraceFile | None
    resume: Path | StepsByIsland | None
    blame: bool
    queries: tuple[Query, ...]
    lookahead: LookaheadChoice
    twist: Path | None = None
    prefill_store: str | None = None
    exchange: int | None = None
    on: Workers | None = None
    alternatives: int = 0

    @classmethod
    def of(
        cls,
        program: CalledProgram,
        method: str | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        model: ModelReference | None = None,
        engines: Engines | None = None,
        seed: int = 0,
        islands: int = 1,
        aim: Aim = NO_AIM,
        timeout: float | Deadline | None = None,
        max_steps: int | None = MAX_STEPS,
        filtering: bool = False,
        trace: str | Path | TraceFile | None = None,
        resume: str | Path | StepsByIsland | None = None,
        blame: bool = False,
        queries: Mapping[str, str | Span] | None = None,
        lookahead: LookaheadReference | LookaheadChoice = AUTO,
        twist: str | Path | None = None,
        prefill_store: str | Path | None = None,
        exchange: int | None = None,
        on: Workers | None = None,
        alternatives: int | None = None,
    ) -> RunRequest:
        """The request of a run, its arguments as Program.run takes them. Loads no model. Raises
        CallError for a method, option or flag that does not go with the others, and ProgramError
        for a mistake in a query and for conditions that contradict each other."""
        _check_kinds(program, options or {}, model, timeout, queries)
        own, own_options = program.method
        name = method or own
        given = {**own_options, **(options or {})} if name == own else options or {}
        call = check_method(name).call(given)
        check_islands(call.method, islands)
        aim.check(call.method.name, islands, resumed=resume is not None)
        if exchange is not None:
            _check_exchanged(aim, blame, trace or resume)
            check_exchange(call, islands, exchange)
        _check_filtering(call, filtering)
        ahead = LookaheadChoice.of(lookahead)
        if twist is not None:
            _check_twist(call, filtering)
        trace = Path(trace) if isinstance(trace, str) else trace
        resume = Path(resume) if isinstance(resume, str) else resume
        _check_files(trace, resume)
        if filtering and not call.method.forgets_mass:
            program = _unguided(program)
        engines = engines if engines is not None else program.engines(model)
        if on is not None:
            _check_on(call, blame)
            engines = RemoteEngines(engines)
        return cls(
            program=program, call=call, engines=engines, on=on,
            seed=_check_seed(seed), islands=islands, aim=aim, deadline=Deadline.of(timeout),
            max_steps=_check_steps(max_steps), filtering=filtering, trace=trace, resume=resume,
            blame=blame, queries=program.queries(queries), lookahead=ahead,
            twist=Path(twist) if twist is not None else None, exchange=exchange,
            prefill_store=str(prefill_store) if prefill_store is not None else None,
            alternatives=_check_alternatives(alternatives, isinstance(trace or resume, Path)),
        )  # fmt: skip

    @cached_property
    def surrogates(self) -> Surrogates:
        """Those of its models, for look-ahead, each loaded when it is first asked for."""
        return Surrogates(self.engines, self.lookahead)

    def decided(self, decision: LookaheadDecision | None) -> RunRequest:
        """The request with what `auto` has come to."""
        return replace(self, lookahead=replace(self.lookahead, decided=decision))

    def completion_lookahead(self) -> CompletionLookahead | None:
        """How draws of constrained texts look ahead, for one run; None where none do."""
        return lookahead_of(self.lookahead, self.program, self.call, self.surrogates)

    @property
    def known_islands(self) -> int | None:
        """The number of islands; None where a pilot finds it."""
        return None if self.aim.asked else self.islands

    @property
    def merge(self) -> bool:
        """Whether equal particles are resampled as one."""
        return "merge" not in self.program.off

    @property
    def goes_on(self) -> bool:
        """Whether the run can go on from its steps; if not it begins anew, which gives the same
        answer."""
        return self.call.resumes and not self.aim.asked and self.exchange is None

    def is_lazy(self) -> bool:
        """Whether exact takes the heaviest outcomes first: every outcome of a level is too many of
        a large vocabulary. Loads the models."""
        if not self.call.method.anytime or self.filtering:
            return False
        return bool(_lazy_options(self.call)) or self.program.is_large(self.engines)


def _lazy_options(call: MethodCall) -> list[str]:
    """The options given to exact that only mean something where it takes the heaviest outcomes
    first."""
    return [name for name in ("max_tokens", "gap") if name in call.given]


def _check_steps(max_steps: int | None) -> int | None:
    """The bound on steps. Raises CallError for one below 0."""
    if max_steps is not None and max_steps < 0:
        raise CallError(f"a run has 0 steps or more, not {max_steps}", "write --max-steps 1000")
    return max_steps


def _check_kinds(
    program: CalledProgram, options: Mapping[str, Any], model: Any, timeout: Any, queries: Any
) -> None:
    """Raises CallError for what a caller in Python gives that is of another kind, and for a
    parameter of the program among the options of its run."""
    parameters = [p.name for p in program.info.definition.params]
    if mistaken := [name for name in options if name in parameters]:
        given = ", ".join(f"{name}={options[name]!r}" for name in mistaken)
        raise CallError(
            f"`{mistaken[0]}` is a parameter of the program, and no option of its run",
            f"call the program with it: program({given}).run(...)",
        )
    if not (
        model is None or isinstance(model, str | CachedTransformer) or hasattr(model, "forward")
    ):
        raise CallError(
            f"`model` is no language model: {model!r}",
            'give a name such as "smollm2", or what fkdsl.load_model gave',
        )
    if not (timeout is None or isinstance(timeout, int | float | Deadline)):
        raise CallError(
            f"a timeout is a number of seconds, not {timeout!r}", "write one such as 60"
        )
    if not (queries is None or isinstance(queries, Mapping)):
        raise CallError(
            f"`queries` are expressions by name, not {queries!r}",
            'write queries={"long": "len(value) > 9"}',
        )


def _check_seed(seed: Any) -> int:
    if not isinstance(seed, Integral):
        raise CallError(f"a seed is a whole number, not {seed!r}", "write seed=7")
    return int(seed)


def _check_filtering(call: MethodCall, filtering: bool) -> None:
    """Raises CallError for options that exact does not have where it goes level by level."""
    if filtering and call.method.anytime and (lazy := _lazy_options(call)):
        raise CallError(
            f"exact goes level by level for --filtering, and has no {lazy[0]} there",
            "leave one out",
        )


def _unguided(program: CalledProgram) -> CalledProgram:
    """The program with texts that no condition behind them guides."""
    if "texts" in program.off:
        return program
    _ = program.ir()  # its conditions may contradict each other, which the pass finds
    return program.without("texts")


def _check_twist(call: MethodCall, filtering: bool) -> None:
    """Raises CallError for what a learned twist does not go with."""
    if filtering:
        raise CallError(
            "under a twist the filtering posteriors are twisted too",
            "leave --twist or --filtering out",
        )
    if "draft" in call.options:
        raise CallError(
            "a twist needs the model's row at the end of each step, which a draft is to spare",
            "leave --twist or --draft out",
        )


def _check_on(call: MethodCall, blame: bool) -> None:
    """Raises CallError for what cannot be computed elsewhere."""
    if not call.method.draws:
        raise CallError(
            f"`{call.method.name}` draws nothing, and has no islands to compute elsewhere",
            "leave --on out, or use smc",
        )
    if blame:
        raise CallError(
            "what each line did is not sent from other machines", "leave --blame or --on out"
        )


def _check_exchanged(aim: Aim, blame: bool, file: object) -> None:
    """Raises CallError for what does not go with islands that are exchanged."""
    if aim.asked:
        raise CallError(
            "a target or a budget finds how many independent islands a run needs, and those that "
            "are exchanged are not",
            "give --islands with --exchange, and no target or budget",
        )
    if blame:
        raise CallError(
            "a line's part in the weights is not followed from island to island",
            "leave --blame or --exchange out",
        )
    if file is not None:
        raise CallError(
            "a trace does not say which island a population came from",
            "leave --trace and --resume, or --exchange, out",
        )


def _check_alternatives(wanted: int | None, written: bool) -> int:
    """How many alternatives of each draw are told of. written: whether the run is written down for
    a reader. Raises CallError for more than there may be."""
    if wanted is None:
        return ALTERNATIVES if written else 0
    if not 0 <= wanted <= MOST_ALTERNATIVES:
        raise CallError(
            f"a trace tells of 0 to {MOST_ALTERNATIVES} alternatives of a draw, not {wanted}",
            f"ask for {ALTERNATIVES}",
        )
    return wanted


def _check_files(trace: Path | TraceFile | None, resume: Path | StepsByIsland | None) -> None:
    """Raises CallError for a run that is resumed from one file and traced in another."""
    if trace is None or resume is None:
        return
    same = (
        isinstance(trace, Path)
        and isinstance(resume, Path)
        and real_path(trace) == real_path(resume)
    )
    if not same:
        raise CallError(
            "a run that is resumed is traced in the file that it is resumed from",
            "leave --trace out",
        )
