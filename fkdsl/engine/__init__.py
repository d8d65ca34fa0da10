"""Layer 2: the cached transformer: prefix tree, cache store, batched forward."""
