"""Layer 7: fkdsl from Python. The names here are what `import fkdsl` offers."""

from fkdsl.api.program import Program, load, parse, run

__all__ = ["Program", "load", "parse", "run"]
