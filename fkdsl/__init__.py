"""fkdsl: a language for steering language models by sequential Monte Carlo.

>>> import fkdsl
>>> program = fkdsl.load("programs/two_bits.fk")
>>> result = program(n=3).run(particles=64, seed=7)
>>> abs(result.log_z) < 1e-12, len(result.particles)
(True, 64)

What is offered is loaded when it is first used, so that importing fkdsl is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fkdsl.base.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from fkdsl.api import Program, load, parse, run
    from fkdsl.api.compare import compare
    from fkdsl.api.comparison import Comparison
    from fkdsl.base.deadline import Deadline
    from fkdsl.base.errors import (
        BudgetEnded,
        CallError,
        FkdslError,
        InferenceFailed,
        InternalError,
        Interrupted,
        ModelUnavailable,
        PopulationDied,
        ProgramError,
    )
    from fkdsl.cli.report import result_json
    from fkdsl.inference.interface import FeynmanKac, Step
    from fkdsl.inference.result import Result
    from fkdsl.inference.unfinished import Unfinished
    from fkdsl.models.registry import load_model
    from fkdsl.values.values import plain

_HOMES = {
    **dict.fromkeys(("Program", "load", "parse", "run"), "fkdsl.api"),
    "compare": "fkdsl.api.compare",
    "Comparison": "fkdsl.api.comparison",
    **dict.fromkeys(
        (
            "BudgetEnded",
            "CallError",
            "FkdslError",
            "InferenceFailed",
            "InternalError",
            "Interrupted",
            "ModelUnavailable",
            "PopulationDied",
            "ProgramError",
        ),
        "fkdsl.base.errors",
    ),
    "Deadline": "fkdsl.base.deadline",
    "FeynmanKac": "fkdsl.inference.interface",
    "Result": "fkdsl.inference.result",
    "Step": "fkdsl.inference.interface",
    "Unfinished": "fkdsl.inference.unfinished",
    "load_model": "fkdsl.models.registry",
    "plain": "fkdsl.values.values",
    "result_json": "fkdsl.cli.report",
}
__all__ = [
    "BudgetEnded",
    "CallError",
    "Comparison",
    "Deadline",
    "FeynmanKac",
    "FkdslError",
    "InferenceFailed",
    "InternalError",
    "Interrupted",
    "ModelUnavailable",
    "PopulationDied",
    "Program",
    "ProgramError",
    "Result",
    "Step",
    "Unfinished",
    "__version__",
    "compare",
    "load",
    "load_model",
    "parse",
    "plain",
    "result_json",
    "run",
]


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext fkdsl` calls: registers the cell magic `%%fk` (fkdsl/notebook/magic.py)."""
    from fkdsl.notebook.magic import load as load_magic

    load_magic(shell)


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fkdsl' has no attribute {name!r}")
