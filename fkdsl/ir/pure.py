"""Pure functions called from outside any particle: what queries and expectations compute of a
returned value."""

from __future__ import annotations

from typing import Any

from fkdsl.base.errors import ProgramError
from fkdsl.base.random import KeyedRng
from fkdsl.ir import nodes as ir
from fkdsl.ir.build import Environment, build
from fkdsl.machine.interpreter import call_pure
from fkdsl.machine.particle import ActiveFrame, RunningParticle
from fkdsl.values.faults import Fault


class PureFunctions:
    """The functions of an ir program that draw nothing and ask no model, called from Python."""

    def __init__(self, program: ir.Program, environment: Environment) -> None:
        self._executable = build(program, environment)

    def call(self, name: str, *args: Any, note: str = "") -> Any:
        """The function's value. Raises ProgramError with the place and the note where it has
        none."""
        particle = RunningParticle(self._executable, {}, KeyedRng())
        try:
            return call_pure(ActiveFrame(name, 0, [], 0, particle), name, list(args))
        except Fault as fault:
            raise ProgramError(
                [fault.diagnostic(self._executable.functions[name].span, note)]
            ) from None
