"""The value of an expression that is known before the program runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fkdsl.base.folders import Folder
from fkdsl.base.lazy import lazy_import
from fkdsl.base.spans import Source, Span
from fkdsl.engine.constraints.language_parts import is_plain
from fkdsl.engine.constraints.languages import JsonText, Language
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import subexpressions
from fkdsl.ir.passes.views import has_grammar, has_json_test
from fkdsl.values.faults import Fault
from fkdsl.values.operators import OPERATORS
from fkdsl.values.signatures import TABLE, BuiltinError

if TYPE_CHECKING:
    from fkdsl.engine.constraints import composition, constraint, json_narrowing, json_paths
    from fkdsl.values.library import schema_so_far
else:
    composition = lazy_import("fkdsl.engine.constraints.composition")
    constraint = lazy_import("fkdsl.engine.constraints.constraint")
    json_narrowing = lazy_import("fkdsl.engine.constraints.json_narrowing")
    json_paths = lazy_import("fkdsl.engine.constraints.json_paths")
    schema_so_far = lazy_import("fkdsl.values.library.schema_so_far")

IsWhole = Callable[[tuple[str | int, ...]], bool]
"""Of a path into a JSON text, whether a whole number is there."""
UNKNOWN = "what it is becomes known when the program runs"


class NotConstant(Exception):
    """The expression reads a variable, asks a model, or has no value."""


def constant_value(e: ir.Expr, folders: Mapping[Source, Folder]) -> Any:
    """The value of the expression. Raises NotConstant. folders: where the files are that a source
    names."""
    match e:
        case ir.Const(value=value):
            return value
        case ir.Operate(operator=operator, args=args) if operator != "attribute":
            function, given = OPERATORS[operator], args
        case ir.Builtin(name=name, args=args):
            if TABLE[name].needs_indexes:
                raise NotConstant
            function, given = TABLE[name].call, args
        case _:
            raise NotConstant
    values = [constant_value(a, folders) for a in given]
    try:
        if isinstance(e, ir.Builtin) and TABLE[e.name].needs_folder:
            return function(*values, folder=folders.get(e.span.source, Folder.main(None)))
        return function(*values)
    except (BuiltinError, Fault, ArithmeticError, ValueError, TypeError, LookupError):
        raise NotConstant from None


def known_language(e: ir.Expr, folders: Mapping[Source, Folder]) -> Language | None:
    """The language that an expression evaluates to, if that is known before the program runs."""
    try:
        value = constant_value(e, folders)
    except NotConstant:
        return None
    return value if isinstance(value, Language) else None


def why_not_followed(e: ir.Expr, folders: Mapping[Source, Folder]) -> str:
    """Why no mask can follow any part of a language; "" if one can, or if the language is not known
    before the program runs."""
    language = known_language(e, folders)
    if language is None or is_plain(language):
        return ""
    return constraint.why_unfollowed(language)


def unfollowed_parts(e: ir.Expr, folders: Mapping[Source, Folder]) -> tuple[str, ...]:
    """The parts of a language that masks do not follow; they are tried where the text may end. A
    schema or grammar that is not known before the program runs may have some."""
    language = known_language(e, folders)
    return (
        constraint.parts_left_out(language)
        if language is not None
        else (UNKNOWN,)
        if has_grammar(e)
        else ()
    )


def early_parts(e: ir.Expr, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the parts of a language that no mask follows that a check of a text's beginning asks
    about before its end."""
    return tuple(p for p in parts if not has_grammar(e) or schema_so_far.is_seen_early(p))


def grown_parts(e: ir.Expr, folders: Mapping[Source, Folder]) -> tuple[str, ...]:
    """The parts of a language that masks may cease to follow in the middle of a text."""
    language = known_language(e, folders)
    large = language is not None and constraint.may_outgrow(language)
    return (f"an automaton with more than {composition.EXPLORED_STATES:,} states",) if large else ()


def has_unknown_pattern(e: ir.Expr, folders: Mapping[Source, Folder]) -> bool:
    """Whether a language is not known before the program runs and has a pattern in it, which
    automata may not follow exactly."""
    return known_language(e, folders) is None and any(
        isinstance(part, ir.Builtin) and part.name == ".matches" for part in subexpressions(e)
    )


def weak_json_tests(
    languages: Sequence[tuple[Span, ir.Expr]], folders: Mapping[Source, Folder]
) -> Mapping[int, str]:
    """Of some conditions on a text, the tests of values in JSON that masks are known to follow in
    part: what they do not follow."""
    if not any(has_json_test(e) for _, e in languages):
        return {}
    return json_narrowing.weakly_followed([known_language(e, folders) for _, e in languages])


def idle_json_tests(languages: Sequence[ir.Expr], folders: Mapping[Source, Folder]) -> set[int]:
    """Which of some languages are tests of values in a JSON text that are known to narrow none of
    the schemas among them."""
    if not any(map(has_json_test, languages)):
        return set()
    return set(json_narrowing.idle_tests([known_language(e, folders) for e in languages]))


def whole_numbers(schemas: Sequence[ir.Expr], folders: Mapping[Source, Folder]) -> IsWhole:
    """Whether the value at a path is written as a whole number, by one of some schemas: as far as
    they are known before the program runs."""
    known = [of for e in schemas if isinstance(of := known_language(e, folders), JsonText)]
    loaded = [_loaded(of.schema) for of in known if not of.before]

    def is_whole(path: tuple[str | int, ...]) -> bool:
        found = [json_paths.schema_at(schema, path, schema) for schema in loaded]
        return any(isinstance(s, dict) and s.get("type") == "integer" for s in found)

    return is_whole


def _loaded(schema: str) -> Any:
    try:
        return json.loads(schema)
    except ValueError:
        return None
