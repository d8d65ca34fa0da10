"""A syntax tree to a checked program, or every mistake in it at once: checker.py is the way in."""
