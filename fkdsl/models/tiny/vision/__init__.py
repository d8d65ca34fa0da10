"""Eyes for a byte-level model: the vision part, its training on rendered pictures, and the model
that sees."""
