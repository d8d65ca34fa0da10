"""Layer 3: from any Feynman-Kac model to weighted particles, Z_hat, posterior and diagnostics.

Knows no language and no language model: it imports `fkdsl.base` only. `samplers` draw, `search`
enumerates, `assess` says what a run is worth; `run` puts them together.
"""
