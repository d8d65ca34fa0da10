"""A checked program to ir: statements to instructions (lower.py), expressions (expressions.py), and
the built-ins that are written in the language (prelude.py)."""
