"""Methods that draw: each a generator of `Step`s over any Feynman-Kac model."""
