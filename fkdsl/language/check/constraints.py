"""Constant patterns, schemas, grammars and names of images and data: what their libraries refuse,
and what cannot be read, is found here, before anything runs.

    matches(s, "(ab")    valid_json(s, schema="person.json")    parses(s, grammar="list.lark")
    image("cat.png")         read_rows("examples.jsonl")

Files are looked for in the folder of the file that names them. What is no string literal is left to
run time. The pass is over the whole tree, apart from the types, so that the libraries have the
whole stack for what is nested deep.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fkdsl.base.folders import Folder
from fkdsl.base.lazy import lazy_import
from fkdsl.base.spans import Span
from fkdsl.language.check.imports import File
from fkdsl.language.check.report import Report
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.values.signatures import TABLE, BuiltinError

if TYPE_CHECKING:
    from fkdsl.values.library import data, images, patterns, places, schemas, structured
else:
    data = lazy_import("fkdsl.values.library.data")
    images = lazy_import("fkdsl.values.library.images")
    patterns = lazy_import("fkdsl.values.library.patterns")
    places = lazy_import("fkdsl.values.library.places")
    schemas = lazy_import("fkdsl.values.library.schemas")
    structured = lazy_import("fkdsl.values.library.structured")


def check_constraints(report: Report, files: Iterable[File], main: Folder) -> None:
    """Reports each constant that is no pattern, schema or grammar, and no file that is there."""
    for file in files:
        folder = main.beside(file.folder or Path())
        for node in walk(*file.module.declarations):
            if not isinstance(node, tree.Call):
                continue
            match node.function.name:
                case "matches":
                    _check_pattern(report, _given(node, "pattern"))
                case "valid_json":
                    _check_schema(report, _given(node, "schema"), folder)
                case "parses":
                    _check_grammar(report, _given(node, "grammar"), folder)
                case "image":
                    _check_file(report, images.image_file, _given(node, "path"), folder)
                case "read_rows":
                    _check_file(report, data.data_file, _given(node, "path"), folder)


def _given(call: tree.Call, name: str) -> tree.Literal | None:
    """The string literal that a call gives for a parameter, by position or by name."""
    position = [p.name for p in TABLE[call.function.name].params].index(name)
    by_name = next((k.value for k in call.keywords if k.name == name), None)
    given = call.args[position] if position < len(call.args) else by_name
    return given if isinstance(given, tree.Literal) and isinstance(given.value, str) else None


def _check_pattern(report: Report, given: tree.Literal | None) -> None:
    mistake = patterns.pattern_mistake(str(given.value)) if given is not None else ""
    if given is not None and mistake:
        report.error(
            "FK240",
            f"not a pattern: {mistake}",
            _place_in(given, mistake),
            "refused by `regex`",
            patterns.PATTERN_HELP,
        )


def _place_in(given: tree.Literal, mistake: str) -> Span:
    """The character at which the library stopped, if the literal shows the pattern as it is; else
    the literal."""
    at = re.search(r" at character (\d+)$", mistake)
    begins = given.span.text.rfind(str(given.value))
    if at is None or begins < 0:
        return given.span
    place = given.span.start + begins + int(at[1]) - 1
    return Span(given.span.source, place, place + 1)


def _check_file(
    report: Report,
    find: Callable[[str, Folder], Path],
    given: tree.Literal | None,
    folder: Folder,
) -> None:
    """Whether the file is there; what is in it is read when the program runs."""
    if given is None:
        return
    try:
        find(str(given.value), folder)
    except BuiltinError as error:
        report.error(error.code, error.message, given.span, "not read", error.help)


def _check_schema(report: Report, given: tree.Literal | None, folder: Folder) -> None:
    if given is None or not given.value:
        return
    schema = str(given.value)
    try:
        text = structured.schema_source(folder, schema)
    except BuiltinError as error:
        report.error("FK243", error.message, given.span, "not read", error.help)
        return
    mistake = schemas.schema_mistake(text)
    if mistake:
        refused = structured.no_schema(schema, mistake)
        report.error("FK241", refused.message, given.span, "not a schema", refused.help)
        return
    nothing = schemas.unsatisfiable(text)
    if nothing:
        said = nothing if text == schema or schema.endswith(".json") else places.DEMANDS
        report.error(
            "FK244", f"no JSON fits this schema: {said}", given.span, "nothing satisfies it",
            "loosen one of the demands that exclude each other",
        )  # fmt: skip


def _check_grammar(report: Report, given: tree.Literal | None, folder: Folder) -> None:
    if given is None:
        return
    grammar = str(given.value)
    try:
        text = structured.grammar_source(folder, grammar)
    except BuiltinError as error:
        report.error("FK243", error.message, given.span, "not read", error.help)
        return
    mistake = schemas.grammar_mistake(text)
    if mistake:
        refused = structured.no_grammar(grammar, mistake, text)
        report.error("FK242", refused.message, given.span, "not a grammar", refused.help)
