"""The stochastic built-ins that are written in the language, such as `text`: prelude.fk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pkgutil import get_data

from fkdsl.base.spans import PRELUDE, Source
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.parser import parse


@lru_cache(maxsize=1)
def prelude() -> Mapping[str, tree.FunctionDef]:
    """The stochastic built-ins that are written in the language, by their names."""
    declarations = parse(prelude_source()).declarations
    return {d.name: d for d in declarations if isinstance(d, tree.FunctionDef)}


def prelude_source() -> Source:
    text = get_data("fkdsl.language", "prelude.fk")
    assert text is not None
    return Source(PRELUDE, text.decode("utf-8").replace("\r\n", "\n"))
