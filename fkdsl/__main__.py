"""`python -m fkdsl`."""

from fkdsl.cli.main import entry

entry()
