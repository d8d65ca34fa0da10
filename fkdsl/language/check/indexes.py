"""Checks of `index` lines: the names, the options, and that there are files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fkdsl.base.folders import Folder
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.language.check.imports import File
from fkdsl.language.check.report import Report, did_you_mean, listed
from fkdsl.language.syntax import edits, tree
from fkdsl.retrieval.errors import OutsideFolder, RetrievalError
from fkdsl.retrieval.spec import ENGINES, OPTIONS, PASSAGE, RANKINGS, IndexSpec


@dataclass(frozen=True)
class IndexInfo:
    """A declared index. folder: what its files are relative to."""

    declaration: tree.IndexDecl
    spec: IndexSpec
    folder: Folder


def declare_indexes(report: Report, file: File, known: dict[str, tree.IndexDecl]) -> None:
    """Adds a file's indexes to those that are known; two of one file must not have one name."""
    own: dict[str, tree.IndexDecl] = {}
    for d in file.module.declarations:
        if not isinstance(d, tree.IndexDecl):
            continue
        if d.name in own:
            report.error(
                "FK327", f"index `{d.name}` is declared twice", d.span, "again here",
                "give one of them another name",
                notes=(f"first in line {own[d.name].span.line}",),
            )  # fmt: skip
        own.setdefault(d.name, d)
    for name, d in own.items():
        known.setdefault(name, d)


def check_indexes(
    report: Report, files: Iterable[File], known: Mapping[str, tree.IndexDecl], main: Folder
) -> dict[str, IndexInfo]:
    """What each index is, with its options, by its name."""
    folders = {
        id(d): main.beside(file.folder) if file.folder is not None else main
        for file in files
        for d in file.module.declarations
    }
    found = {}
    for name, d in known.items():
        spec = replace(IndexSpec(d.pattern), **_options(report, d))
        found[name] = IndexInfo(d, spec, folders[id(d)])
        _check_files(report, found[name])
    return found


def _check_files(report: Report, info: IndexInfo) -> None:
    from fkdsl.retrieval.files import (  # with SQLite, which most programs do not need
        embedding_name,
        find_files,
    )

    try:
        find_files(info.spec.pattern, info.folder)
        embedding_name(info.spec, info.folder)
        if info.spec.adapter:
            from fkdsl.retrieval.adapter import read_adapter

            read_adapter(info.spec.adapter, info.folder)
    except RetrievalError as error:
        code = "FK360" if isinstance(error, OutsideFolder) else "FK326"
        report.error(code, error.message, info.declaration.span, "cannot be read", error.help)


def _options(report: Report, d: tree.IndexDecl) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for k in d.options:
        if k.name in options:
            report.given_twice(k.name, k.span)
        elif k.name not in OPTIONS:
            report.error(
                "FK341", f"an index has no option `{k.name}`", k.span, "unknown option",
                did_you_mean(k.name, OPTIONS, f"it has {listed(OPTIONS)}"),
                edits=edits.spelt(k.span, k.name, OPTIONS),
            )  # fmt: skip
        else:
            value = k.value.value if isinstance(k.value, tree.Literal) else None
            wanted = _wanted(k.name, value)
            if wanted:
                report.error(
                    "FK342", f"`{k.name}` of an index is {wanted}", k.value.span,
                    "not a value it can have", f"such as `{k.name}={OPTIONS[k.name][0]}`",
                )  # fmt: skip
            else:
                options[k.name] = value
    if options.get("engine") == "qdrant" and options.get("ranking") != "dense":
        report.error(
            "FK342", "the engine qdrant ranks by embeddings alone", d.span, "ranked by words",
            'write `with engine="qdrant", ranking="dense"`',
        )  # fmt: skip
    if "adapter" in options and not IndexSpec("", **options).embeds:
        report.error(
            "FK342", "an adapter is for embeddings", d.span, "ranked by words",
            'write `with ranking="dense"`, or leave the adapter out',
        )  # fmt: skip
    return options


def _wanted(name: str, value: Any) -> str:
    """What an option's value must be, in words; "" if it is that."""
    among = {"ranking": RANKINGS, "engine": ENGINES}.get(name)
    if among is not None:
        return "" if value in among else f"one of {', '.join(among)}"
    if name == "passage":
        low, high = PASSAGE
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if fits else f"a number of characters from {low} to {high:,}"
    return "" if isinstance(value, str) and value else "a text"
