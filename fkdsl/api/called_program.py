"""A checked program with its parameters: from its text to a Feynman-Kac model. It runs nothing.

`Program` (program.py) adds the runs to it; what a run is made of knows this class alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from fkdsl.api.arguments import check_argument
from fkdsl.api.engines import Engines, ModelReference
from fkdsl.api.externs import load_externs
from fkdsl.api.indexes import Indexes
from fkdsl.base.diagnostics import Diagnostic, near_name
from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.ir import nodes
from fkdsl.ir.build import Environment, build
from fkdsl.ir.effects import subexpressions
from fkdsl.ir.passes import PASSES
from fkdsl.language.check.checker import Checked, FunctionInfo
from fkdsl.language.check.constants import constant
from fkdsl.language.compile import compile_ir, program_warnings
from fkdsl.language.queries import Query, declared, further
from fkdsl.machine.clock import Clock
from fkdsl.machine.particle import Executable
from fkdsl.models.progress import Progress
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.steering.feynman_kac import SteeringModel
from fkdsl.steering.particle_step import Guesser
from fkdsl.values.faults import LIMITS, Limits

DEFAULT_METHOD = "smc"
OPTIMISATIONS = (*PASSES, "force", "merge")
"""What `without` and `--no-opt` switch off."""
COMPILED = ("_optimised", "_built", "_indexes")
"""What is made once of a program, whatever its parameters are."""
LARGE = 1000
"""Tokens of a vocabulary beyond which exact does not visit every outcome of a draw."""
NO_FILE = "<text>"
"""The name of a program that is in no file."""


@dataclass(frozen=True, repr=False)
class CalledProgram:
    """A checked program; calling it gives one with its parameters set. Loads no model.

    selected: which of the file's programs, needed if there are several. arguments: parameters that
    differ from their defaults. off: passes of the optimiser that are left out. limits: on the work
    of each particle.
    """

    checked: Checked
    folder: Path
    allow_extern: bool = False
    selected: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    off: frozenset[str] = frozenset()
    allow_outside: bool = False
    limits: Limits = LIMITS

    def __repr__(self) -> str:
        """The call that gives the program."""
        source = self.checked.module.source
        origin = (
            f"parse({program_literal(source.text)})"
            if source.name == NO_FILE
            else f"load({source.name!r})"
        )
        selection = f".select({self.selected!r})" if self.selected is not None else ""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        call = f"({arguments})" if arguments else ""
        off = ", ".join(map(repr, sorted(self.off)))
        return f"fkdsl.{origin}{selection}{call}{f'.without({off})' if off else ''}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Hypothesis and IPython print the program's lines as they are."""
        printer.text(repr(self))

    def __call__(self, /, **parameters: Any) -> Self:
        """The program with parameters set. Raises CallError for one that it does not have, or of
        another type."""
        arguments = {**self.arguments}
        for name, value in parameters.items():
            arguments[name] = check_argument(self.info, name, value)
        called = replace(self, arguments=arguments)
        for name in COMPILED:
            if name in self.__dict__:
                called.__dict__[name] = self.__dict__[name]
        return called

    def select(self, name: str) -> Self:
        """The file's program of that name."""
        if name not in self.checked.programs:
            near = near_name(name, list(self.checked.programs))
            known = ", ".join(self.checked.programs) or "none"
            help = f"did you mean `{near}`?" if near else f"its programs are: {known}"
            raise CallError(
                f"there is no program `{name}` in {self.checked.module.source.name}", help
            )
        return replace(self, selected=name)

    def without(self, *passes: str) -> Self:
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
            count = len(self.checked.programs) or "no"
            raise CallError(
                f"{self.checked.module.source.name} has {count} programs",
                f"choose one by --program: {names}" if names else "add a `program` block",
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
        return program_warnings(self.checked, self.ir())

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
        proposals: ProposalSettings | None = None,
        guessers: Sequence[Guesser] = (),
    ) -> SteeringModel:
        """(s0, {M_t}, {G_t}) of the program with its arguments. model: a reference, a LanguageModel
        or an engine in place of the program's default model. proposals: how draws are made.
        guessers: who guess at the end of each step what is to come."""
        engines = engines if engines is not None else self.engines(model)
        clock = proposals.clock if proposals is not None else None
        code = self._built if clock is None else build(self.ir(), self.environment(clock))
        values = tuple(self.parameter_values().values())
        return SteeringModel(code, engines, values, self.limits, proposals, guessers)

    @cached_property
    def _built(self) -> Executable:
        """Built once, for what it remembers from run to run: masks, and what comprehensions made of
        texts."""
        return build(self.ir(), self.environment())

    def environment(self, clock: Clock | None = None) -> Environment:
        """What the program is built with. clock: of a run that asks for blame."""
        externs = load_externs(self.checked.externs, self.allow_extern)
        return Environment(self.folder, externs, self.checked.folders, clock, self._indexes)

    @cached_property
    def _indexes(self) -> Indexes:
        return Indexes(self.checked.indexes)

    def renew_indexes(self, progress: Progress) -> None:
        """Looks anew at the files of its indexes, for a run that begins. progress: is told of those
        that are made."""
        self._indexes.renew(progress)

    def index_notes(self) -> tuple[str, ...]:
        """What a reader must know of the indexes that a run has asked."""
        return self._indexes.notes()

    def index_digest(self, name: str) -> str:
        """What tells the content of an index from others; "" where it cannot be had, of which the
        run itself says why."""
        return self._indexes.digest(name)

    def queries(self, expressions: Mapping[str, str | Span] | None = None) -> tuple[Query, ...]:
        """The file's queries and further ones: expressions over `value`, by name. Raises
        ProgramError for a mistake."""
        return (*declared(self.checked), *further(self.checked, self.name, expressions or {}))

    def engines(self, model: ModelReference | None = None, **options: Any) -> Engines:
        """The language models that the program names, each loaded when it is first needed."""
        return Engines(
            self.checked.models, self.folder, model, allow_outside=self.allow_outside, **options
        )

    def is_large(self, engines: Engines) -> bool:
        """Whether one of its models has so many tokens that exact does not visit every outcome of a
        draw. Loads them."""
        return engines.vocabulary(self.model_names()) > LARGE

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


def program_literal(text: str) -> str:
    """A program's text as Python has it: lines that can be copied, between triple quotes."""
    quotes = "'''" if '"""' in text else '"""'
    if quotes in text or not text.endswith("\n"):
        return repr(text)
    first = "" if text.startswith("\n") else "\n"
    return ("r" if "\\" in text else "") + quotes + first + text + quotes
