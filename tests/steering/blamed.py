"""Small programs over a table, and their blame."""

import fkdsl
from fkdsl.base.errors import PopulationDied


def program(body, table='"a": 0.5, "b": 0.3, "c": 0.2', head="program p() -> str:"):
    """A program over a table of single characters."""
    text = f'model m = table:\n    "" -> {table}\n\n{head}\n    lm = prompt("")\n'
    return fkdsl.parse(text + "".join(f"    {line}\n" for line in body))


def blame_of(p, method="exact", **options):
    """Of a run, or of one that died."""
    try:
        return p.run(method, blame=True, **options).blame
    except PopulationDied as died:
        return died.blame
