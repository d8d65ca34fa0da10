"""What is known of one text: its tokens, its mistakes, its names, and how its draws are made.

All of it is computed when it is first asked for, and is about this text alone: an edit makes
another analysis. A text that is broken is known as far as the parser's recovery goes; where that
gives up, names alone are taken from the last text that could be read.
"""

from __future__ import annotations

import re
import traceback
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from pathlib import Path

from lark import Token

from fkdsl.base.deadline import Deadline, DeadlinePassed, OutOfTime, until
from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.guides import draws_by_place
from fkdsl.language.check.checker import Survey
from fkdsl.language.check.scopes import World
from fkdsl.language.compile import compile_ir
from fkdsl.language.navigation.occurrences import index_of
from fkdsl.language.navigation.symbols import Index, Occurrence
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.lexer import Lexer
from fkdsl.language.syntax.recovery import LAYOUT
from fkdsl.values.types import Type

SECONDS = 10.0
"""For compiling a file's programs, after which nothing is said of their draws."""
_HOME = re.compile(
    r"^(def|program|query|test|model|index|infer|import|extern)\b[ \t]*(\w*)", re.MULTILINE
)


@dataclass(frozen=True)
class Compiled:
    """What the optimiser says of a file's programs. diagnostics: its warnings, or its errors.
    draws: by the span of the statement that makes them. outside: of the conditions that no draw
    looks ahead to, why. problem: a failure of ours, for the log."""

    diagnostics: tuple[Diagnostic, ...] = ()
    draws: Mapping[Span, tuple[ir.Draw, ...]] = field(default_factory=dict)
    outside: Mapping[Span, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(eq=False)
class Analysis:
    """One text. survey: None where it could not be parsed at all; mistakes: then, why. world: of
    the text, or of an older one where there is none; its names and types hold, its places do not.
    """

    source: Source
    folder: Path
    survey: Survey | None
    mistakes: tuple[Diagnostic, ...] = ()
    older: World | None = None

    def with_text(self, text: str) -> Analysis:
        """Another text of the same file, of which nothing is known but the names of this one."""
        return Analysis(Source(self.source.name, text), self.folder, None, (), self.world)

    @property
    def text(self) -> str:
        return self.source.text

    @property
    def world(self) -> World | None:
        return self.survey.world if self.survey is not None else self.older

    @property
    def module(self) -> tree.Module | None:
        return (
            self.survey.files[0].module if self.survey is not None and self.survey.files else None
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the text's own file and of those that it imports."""
        files = self.survey.files if self.survey is not None else ()
        return tuple(f.module.source.name for f in files) or (self.source.name,)

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """The checker's mistakes and warnings."""
        return self.survey.diagnostics if self.survey is not None else self.mistakes

    @cached_property
    def index(self) -> Index:
        return index_of(self.survey) if self.survey is not None else Index([])

    @cached_property
    def tokens(self) -> list[Token]:
        """The tokens of the text; where it is too long or too wrong, those of its beginning."""
        return Lexer(self.source).tokens() if len(self.text) <= 2_000_000 else []

    @cached_property
    def _token_starts(self) -> list[int]:
        return [t.start_pos or 0 for t in self.tokens]

    def tokens_before(self, offset: int) -> list[Token]:
        """The tokens that begin before an offset."""
        return self.tokens[: bisect_left(self._token_starts, offset)]

    def token_at(self, offset: int) -> Token | None:
        """The token that an offset is in; else the one that ends there, which is no layout."""
        near = self.tokens[max(0, bisect_right(self._token_starts, offset) - 4) :][:8]
        touching = [t for t in near if (t.start_pos or 0) <= offset <= (t.end_pos or 0)]
        visible = [t for t in touching if t.type not in LAYOUT]
        inside = [t for t in visible if offset < (t.end_pos or 0)]
        return next(iter(inside or visible), None)

    @cached_property
    def _homes(self) -> list[tuple[int, str, str]]:
        return [(m.start(), m[1], m[2]) for m in _HOME.finditer(self.text)]

    @cached_property
    def compiled(self) -> Compiled:
        """What the optimiser says; nothing for a text with mistakes."""
        checked = self.survey.checked if self.survey is not None else None
        if checked is None:
            return Compiled()
        diagnostics: dict[Diagnostic, None] = {}
        draws: dict[Span, tuple[ir.Draw, ...]] = {}
        outside: dict[Span, str] = {}
        try:
            with until(Deadline(SECONDS)):
                for name in checked.programs:
                    program = compile_ir(checked, name)
                    diagnostics.update(dict.fromkeys(program.warnings))
                    outside.update({a.span: a.means for a in program.outside})
                    for span, made in draws_by_place(program).items():
                        draws[span] = (*draws.get(span, ()), *made)
        except ProgramError as error:
            diagnostics.update(dict.fromkeys(error.diagnostics))
        except (DeadlinePassed, OutOfTime):
            return Compiled()
        except Exception:  # the other answers do not need it
            return Compiled(problem=traceback.format_exc())
        return Compiled(tuple(diagnostics), draws, outside)

    # -------------------------------------------------------------- at a place

    def home(self, offset: int) -> tuple[str, str]:
        """The word and the name of the declaration that an offset is in, by the text alone."""
        at = bisect_right(self._homes, offset, key=lambda home: home[0]) - 1
        return self._homes[at][1:] if at >= 0 else ("", "")

    def occurrence(self, offset: int) -> Occurrence | None:
        return self.index.at(self.source, offset)

    def type_of(self, occurrence: Occurrence) -> Type | None:
        """The type of a variable where it stands, else that of the whole function."""
        if self.world is None or occurrence.symbol.kind != "variable":
            return None
        symbol = occurrence.symbol
        known = self.world.types.get(id(occurrence.node))
        if known is not None:
            return known
        scope = self.world.scopes.get(symbol.function)
        variable = scope.variables.get(symbol.name) if scope is not None else None
        if variable is not None and ":" not in symbol.home:
            return variable.type
        first = self.index.definition(symbol)
        return self.world.types.get(id(first.node)) if first is not None else None
