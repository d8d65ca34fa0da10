"""Layer 3: from any Feynman-Kac model to weighted particles, Z_hat, posterior and diagnostics.

Knows no language and no language model: it imports `fkdsl.base` only. The methods of
`samplers` draw, those of `search` enumerate; `assess` finds errors and checks methods; `methods` is
the table of all methods, and `run` runs one.
"""
