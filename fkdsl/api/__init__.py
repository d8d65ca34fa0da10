"""Layer 7: fkdsl from Python. The names here, and those of fkdsl.api.compare, are what `import
fkdsl` offers."""

from fkdsl.api.program import Program, load, parse, run

__all__ = ["Program", "load", "parse", "run"]
