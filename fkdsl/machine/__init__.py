"""A particle that runs: its state, its ops, the log-probabilities of texts."""
