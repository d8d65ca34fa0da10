"""The version of fkdsl, where every layer can read it; pyproject.toml says the same."""

VERSION = "0.1.0"
