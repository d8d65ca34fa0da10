"""A run as a page to look at (`fkdsl report`) and as figures (`fkdsl plot`), from its trace."""

FIGURES = ("steps", "genealogy", "posterior")
"""What `fkdsl plot` draws (figures.py)."""
