"""Eyes for a byte-level model: the vision part, its training on rendered images, and the model
that sees."""
