"""fkdsl from Python: load or parse a program, call it with its parameters, run it.

    program = fkdsl.load("short_words.fk")
    result = program(max_letters=4).run(method="smc", particles=64, seed=7)
    for answer in result.posterior:
        print(answer.probability, answer.value)

`feynman_kac()` gives the model itself, for inference of your own; `run` takes any Feynman-Kac model
written in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from fkdsl.api.arguments import check_argument
from fkdsl.api.blame import Watch
from fkdsl.api.drafts import drafting_of, told
from fkdsl.api.engines import Engines, ModelReference
from fkdsl.api.externs import load_externs
from fkdsl.api.queries import answers
from fkdsl.api.trace.file import TraceFile
from fkdsl.api.trace.record import recording
from fkdsl.base.deadline import Deadline, until
from fkdsl.base.diagnostics import Diagnostic, near_name
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.base.spans import Source, Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.interface import Step
from fkdsl.inference.methods import check_method
from fkdsl.inference.result import Result
from fkdsl.inference.run import Observer
from fkdsl.inference.run import run as run_model
from fkdsl.inference.samplers.adaptive import Aim, adaptive_run
from fkdsl.ir import nodes
from fkdsl.ir.effects import subexpressions
from fkdsl.ir.passes import PASSES
from fkdsl.language.check.checker import Checked, FunctionInfo
from fkdsl.language.check.constants import constant
from fkdsl.language.compile import Environment, build, check_source, compile_ir
from fkdsl.language.queries import Question, ask, declared
from fkdsl.language.syntax.parser import read_source
from fkdsl.machine.clock import Clock
from fkdsl.machine.ops import Executable
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.propose import Guides
from fkdsl.steering.feynman_kac import SteeringModel

DEFAULT_METHOD = "smc"
LARGE = 1000
"""Tokens of a vocabulary beyond which exact does not visit every outcome of a draw."""
OPTIMISATIONS = (*PASSES, "force", "merge")
"""What `without` and `--no-opt` switch off."""
NO_FILE = "<text>"
"""The name of a program that is in no file."""
MAX_STEPS = 10_000
"""Steps after which a run that has not ended is stopped, unless the caller says otherwise."""


def load(path: str | Path, *, allow_extern: bool = False, allow_outside: bool = False) -> Program:
    """The program of a file. Raises ProgramError with every mistake in it, CallError if it cannot
    be read.

    allow_extern: whether it may run the Python code that it declares. allow_outside: whether it may
    name files that are not below its folder.
    """
    path = Path(path)
    try:
        return _program(read_source(path), path.parent, allow_extern, allow_outside)
    except ProgramError as error:
        if path.suffix == ".fk" or path == Path("/dev/stdin"):
            raise
        # Its mistakes would show its lines, and it may be no program at all.
        message = (
            f"{path} is no program: its first mistake is in line {error.diagnostics[0].span.line}"
        )
        raise CallError(
            message, "a program's file is named .fk: rename it to see each mistake"
        ) from None


def parse(
    text: str,
    *,
    name: str = NO_FILE,
    folder: str | Path = ".",
    allow_extern: bool = False,
    allow_outside: bool = False,
) -> Program:
    """The program that a text says; the files that it names are in `folder`, or below it unless
    `allow_outside`."""
    return _program(Source(name, text), Path(folder), allow_extern, allow_outside)


def _program(source: Source, folder: Path, allow_extern: bool, allow_outside: bool) -> Program:
    checked = check_source(source, folder, allow_outside=allow_outside)
    return Program(checked, folder, allow_extern, allow_outside=allow_outside)


def run(
    model: Any, method: str | None = None, *, seed: int = 0, islands: int = 1, **options: Any
) -> Result:
    """The Result of a method on a program (its text, a Program, or the path of a .fk file), or on
    any FeynmanKac (fkdsl.inference.interface) written in Python. method: the program's own, or smc,
    where it is left out.

    >>> import numpy as np
    >>> class Coin:
    ...     def initial(self, rngs): return [None] * len(rngs), np.zeros(len(rngs))
    ...     def step(self, rngs, xp): return [rng.choice([0.5, 0.5]) for rng in rngs], np.zeros(len(xp))
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
    if missing := [
        name for name in ("initial", "step", "finished", "value", "key") if not hasattr(model, name)
    ]:
        message = f"this {type(model).__name__} is no program and no Feynman-Kac model: it has no `{missing[0]}`"
        raise CallError(
            message,
            "give a program's text, fkdsl.load(path), or an object with initial, step, finished, ...",
        )
    return run_model(
        model, method or DEFAULT_METHOD, seed, options, islands=islands, max_steps=MAX_STEPS
    )


def shown_text(text: str) -> str:
    """A program's text as Python has it: lines that can be copied, between triple quotes."""
    quotes = "'''" if '"""' in text else '"""'
    if quotes in text or not text.endswith("\n"):
        return repr(text)
    first = "" if text.startswith("\n") else "\n"
    return ("r" if "\\" in text else "") + quotes + first + text + quotes


@dataclass(frozen=True, repr=False)
class Program:
    """A checked program; calling it gives one with its parameters set. Loads no model until it is
    run.

    selected: which of the file's programs, needed if there are several. arguments: parameters that
    differ from their defaults. off: passes of the optimiser that are left out.
    """

    checked: Checked
    folder: Path
    allow_extern: bool = False
    selected: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    off: frozenset[str] = frozenset()
    allow_outside: bool = False

    def __repr__(self) -> str:
        """The call that gives the program."""
        source = self.checked.module.source
        made = (
            f"parse({shown_text(source.text)})"
            if source.name == NO_FILE
            else f"load({source.name!r})"
        )
        chosen = f".select({self.selected!r})" if self.selected is not None else ""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        off = ", ".join(map(repr, sorted(self.off)))
        return f"fkdsl.{made}{chosen}{f'({arguments})' if arguments else ''}{f'.without({off})' if off else ''}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis and IPython print the program's lines as they are."""
        printer.text(repr(self))

    def __call__(self, /, **parameters: Any) -> Program:
        """The program with parameters set. Raises CallError for one that it does not have, or of
        another type."""
        info = self.info
        given = {**self.arguments}
        for name, value in parameters.items():
            given[name] = check_argument(info, name, value)
        return replace(self, arguments=given)

    def select(self, name: str) -> Program:
        """The file's program of that name."""
        if name not in self.checked.programs:
            near = near_name(name, list(self.checked.programs))
            known = ", ".join(self.checked.programs) or "none"
            help = f"did you mean `{near}`?" if near else f"its programs are: {known}"
            raise CallError(
                f"there is no program `{name}` in {self.checked.module.source.name}", help
            )
        return replace(self, selected=name)

    def without(self, *passes: str) -> Program:
        """The program with passes of the optimiser switched off; all of them if none is named."""
        for name in passes:
            if name not in OPTIMISATIONS:
                near = near_name(name, OPTIMISATIONS)
                help = f"did you mean `{near}`?" if near else f"one of {', '.join(OPTIMISATIONS)}"
                raise CallError(f"there is no optimisation `{name}`", help)
        return replace(self, off=self.off | frozenset(passes or OPTIMISATIONS))

    @property
    def info(self) -> FunctionInfo:
        """The declaration of the program that is run."""
        if self.selected is not None:
            return self.checked.programs[self.selected]
        if len(self.checked.programs) != 1:
            names = ", ".join(self.checked.programs)
            message = f"{self.checked.module.source.name} has {len(self.checked.programs) or 'no'} programs"
            raise CallError(
                message, f"choose one by --program: {names}" if names else "add a `program` block"
            )
        return next(iter(self.checked.programs.values()))

    @property
    def name(self) -> str:
        return self.info.definition.name

    @property
    def method(self) -> tuple[str, dict[str, Any]]:
        """The method and the options that the file gives, or the default."""
        return self.checked.infer or (DEFAULT_METHOD, {})

    def ir(self) -> nodes.Program:
        """The intermediate representation, as it is built and run."""
        return self._optimised

    @cached_property
    def _optimised(self) -> nodes.Program:
        return compile_ir(self.checked, self.name, self.off)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What the checker and the optimiser warn of, in the order of the lines."""
        found = (*self.checked.warnings, *self.ir().warnings)
        return tuple(sorted(found, key=lambda d: (d.span.source.name, d.span.start)))

    def model_names(self) -> list[str]:
        """The models that the program may ask, '' for the default."""
        names = {
            e.model
            for function in self.ir().functions.values()
            for instr in function.body
            for e in subexpressions(instr)
            if isinstance(e, nodes.Model) and e.operation in ("prompt", "chat")
        }
        return sorted(names)

    def feynman_kac(
        self,
        model: ModelReference | None = None,
        engines: Mapping[str, CachedTransformer] | None = None,
        guides: Guides | None = None,
    ) -> SteeringModel:
        """(s0, {M_t}, {G_t}) of the program with its arguments. model: a reference, a LanguageModel
        or an engine in place of the program's default model. guides: how guided draws choose."""
        engines = engines if engines is not None else self.engines(model)
        clock = guides.clock if guides is not None else None
        code = self._built if clock is None else build(self.ir(), self.environment(clock))
        return SteeringModel(code, engines, tuple(self.parameter_values().values()), guides=guides)

    @cached_property
    def _built(self) -> Executable:
        """Built once, for what it remembers from run to run: masks, and what comprehensions made of
        texts."""
        return build(self.ir(), self.environment())

    def environment(self, clock: Clock | None = None) -> Environment:
        """What the program is built with. clock: of a run that asks for blame."""
        externs = load_externs(self.checked.externs, self.allow_extern)
        return Environment(self.folder, externs, self.checked.folders, clock)

    def questions(self, queries: Mapping[str, str | Span] | None = None) -> tuple[Question, ...]:
        """The file's queries and further ones, by name: expressions over `value`. Raises
        ProgramError for a mistake."""
        return (*declared(self.checked), *ask(self.checked, self.name, queries or {}))

    def engines(self, model: ModelReference | None = None, **options: Any) -> Engines:
        """The language models that the program names, each loaded when it is first needed."""
        return Engines(
            self.checked.models, self.folder, model, allow_outside=self.allow_outside, **options
        )

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
        resume: str | Path | Mapping[int, Sequence[Step[ProgramState]]] | None = None,
        blame: bool = False,
        queries: Mapping[str, str | Span] | None = None,
        **options: Any,
    ) -> Result:
        """Weighted samples of the posterior, and an unbiased estimate of Z.

        method and options: as in `infer`; the file's own where they are left out. timeout: seconds
        from when the models are loaded, or a Deadline, whose `cancel` another thread may call.
        islands: as in fkdsl.inference.run. target_se: standard error of log Z, nats; with it, or
        with a budget, a pilot finds how many islands there are (fkdsl.inference.samplers.adaptive).
        trace: a file to write the run down in (docs/trace.md). resume: such a file to go on from,
        and in; or steps, as in fkdsl.inference.run. filtering: whether the result has every P_t, by
        the program's own M_t and G_t: no text is then guided across steps. blame: what each line
        did is in `result.blame`, or in that of PopulationDied. queries: as in `questions`. Raises
        PopulationDied, ProgramError for a mistake that shows only as it runs, CallError, and
        BudgetEnded or Interrupted with the population so far.
        """
        questions = self.questions(queries)
        own, own_options = self.method
        chosen = method or own
        how = check_method(chosen)
        if filtering and not how.forgets_mass and "texts" not in self.off:
            _ = self.ir()  # whose conditions may contradict each other
            return self.without("texts").run(
                method, model=model, engines=engines, seed=seed, timeout=timeout, max_steps=max_steps, filtering=True,
                observer=observer, islands=islands, target_se=target_se, budget_tokens=budget_tokens,
                budget_seconds=budget_seconds, trace=trace, resume=resume, blame=blame, queries=queries, **options,
            )  # fmt: skip
        given = {**own_options, **options} if chosen == own else options
        aim = Aim(target_se, budget_tokens, budget_seconds)
        aim.check(chosen, islands, resumed=resume is not None)
        engines = engines if engines is not None else self.engines(model)
        guides = Guides(
            rejection=not how.one_choice,
            forget=how.forgets_mass,
            force="force" not in self.off,
        )
        guides.clock = Clock() if blame else None
        guides.drafting = drafting_of(engines, self.model_names(), chosen, given)
        found = None if aim.asked else islands
        with recording(
            self, engines, trace, resume, method=chosen, options=given, seed=seed, islands=found
        ) as record:
            target = self.feynman_kac(engines=record.engines, guides=guides)
            watch = Watch.of(self, target, sampled=how.draws) if blame else None
            # Models are loaded before the clock starts, and before any particle does.
            for name in self.model_names():
                _ = record.engines[name]
            engines.watch()
            deadline = Deadline.of(timeout).begin()

            def observe(step: Any) -> None:
                record.step(step)
                if observer is not None:
                    observer(step)

            call: dict[str, Any] = {
                "program": self.name,
                "observer": observe,
                "timeout": deadline,
                "max_steps": max_steps,
                "filtering": filtering,
                "merge": "merge" not in self.off,
                "counts": engines.counts,
                "account": watch.account if watch is not None else None,
            }
            with watch.deaths(engines) if watch is not None else nullcontext():
                if aim.asked:
                    result = adaptive_run(target, chosen, seed, given, aim, **call)
                else:
                    call["lazy"] = how.anytime and self._lazily(engines, given, filtering)
                    with nullcontext() if how.draws else engines.keeping_rows():
                        result = run_model(
                            target,
                            chosen,
                            seed,
                            given,
                            islands=islands,
                            resume=record.courses,
                            **call,
                        )
            if watch is not None:
                result = watch.of_result(result)
            with until(deadline):
                answered, mistakes, late = answers(
                    self.checked, self.environment, questions, result
                )
            counts, notes = told(guides.drafting)
            notes = (*result.notes, *late, *notes, *engines.notes())
            result = replace(result, queries=answered, notes=notes, drafts=counts)
            record.end(result)
            if mistakes:
                raise ProgramError(mistakes, result)
            return result

    def _lazily(self, engines: Engines, options: Mapping[str, Any], filtering: bool) -> bool:
        """Whether exact takes the heaviest outcomes first: every outcome of a level is too many of
        a large vocabulary. Raises CallError for options that only then mean something."""
        own = [name for name in ("max_tokens", "gap") if name in options]
        if filtering and own:
            raise CallError(
                f"exact goes level by level for --filtering, and has no {own[0]} there",
                "leave one out",
            )
        return not filtering and (bool(own) or self.is_large(engines))

    def is_large(self, engines: Engines) -> bool:
        """Whether one of its models has so many tokens that exact does not visit every outcome of a
        draw."""
        return engines.vocabulary(self.model_names()) > LARGE

    def exact(self, *, model: ModelReference | None = None, **options: Any) -> Result:
        """The posterior and Z by enumeration."""
        return self.run("exact", model=model, **options)

    def parameter_values(self) -> dict[str, Any]:
        """Every parameter's value, in order. Raises CallError for one that has none."""
        values = {}
        for p in self.info.definition.params:
            if p.name in self.arguments:
                values[p.name] = self.arguments[p.name]
            elif p.default is not None:
                values[p.name] = constant(p.default)
            else:
                raise CallError(
                    f"`{self.name}` needs its parameter `{p.name}`", f"give it by -p {p.name}=..."
                )
        return values
