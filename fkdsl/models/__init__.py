"""Layer 1: next-token distributions (table, transformers, ...) and the names by which users call
them."""
