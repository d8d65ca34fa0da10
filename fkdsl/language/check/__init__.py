"""Syntax tree -> checked program, or every mistake in it."""
