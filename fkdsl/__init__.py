"""fkdsl: a language for steering language models by sequential Monte Carlo."""

__version__ = "0.1.0"
