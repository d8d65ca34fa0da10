"""Walks see every node of the syntax tree."""

from dataclasses import is_dataclass

from fkdsl.base.spans import Source
from fkdsl.language.syntax import tree, tree_expressions
from fkdsl.language.syntax.parser import parse
from fkdsl.language.syntax.tree_walk import walk


def test_every_class_of_the_tree_is_a_node():
    for module in (tree, tree_expressions):
        for kind in vars(module).values():
            if is_dataclass(kind) and kind.__module__ == module.__name__:
                assert issubclass(kind, tree.NODES), kind


def test_a_walk_comes_to_names_within_calls_and_f_strings():
    module = parse(Source("a.fk", 'def f(x: str) -> str:\n    return f"{g(y, k=[z])}"\n'))
    assert {n.name for n in walk(module) if isinstance(n, tree.Name)} == {"g", "y", "z"}
