"""Checks of declarations: models and their tables, parameters, infer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.spans import Span
from fkdsl.inference.methods import METHODS, check_options
from fkdsl.inference.options import DRAFTS
from fkdsl.language.check.constants import check_value, is_constant
from fkdsl.language.check.expressions import Expressions
from fkdsl.language.check.report import Report, a, did_you_mean, listed
from fkdsl.language.check.scopes import Scope, World
from fkdsl.language.syntax import edits, tree
from fkdsl.models.runtimes import RUNTIMES, Runtime, wrong_option
from fkdsl.values.signatures import REQUIRED
from fkdsl.values.types import ANY, BOOL, FLOAT, IMAGE, INT, STR, List, Type

SUM_TOLERANCE = 1e-9


def check_models(
    report: Report, declared: Iterable[tree.ModelDecl]
) -> dict[str | None, tree.ModelDecl]:
    """The models by name; None is the default, which is also the only one if just one is
    declared."""
    models: dict[str | None, tree.ModelDecl] = {}
    for d in declared:
        if d.name in models:
            what = f"model `{d.name}`" if d.name else "a default model"
            report.error(
                "FK324", f"{what} is declared twice", d.span, "again here",
                "give one of them another name: `model other = ...`",
                notes=(f"first in line {models[d.name].span.line}",),
            )  # fmt: skip
            continue
        models[d.name] = d
        if d.table is not None:
            check_table(report, d)
        check_model_options(report, d)
    if None not in models and len(models) == 1:
        models[None] = next(iter(models.values()))
    return models


def check_model_options(report: Report, d: tree.ModelDecl) -> None:
    """The options of a reference: an engine that there is, and what it takes."""
    values = d.option_values
    runtime = RUNTIMES.get(str(values.get("engine")))
    known = ["engine", *(runtime.options if runtime is not None else ())]
    seen = set()
    for k in d.options:
        if k.name in seen:
            report.given_twice(k.name, k.span)
        elif k.name not in known:
            owner = next((name for name, r in RUNTIMES.items() if k.name in r.options), None)
            otherwise = f"it has {listed(known)}"
            if owner is not None:
                otherwise = f'it is an option of `engine="{owner}"`'
            report.error(
                "FK341", f"a model has no option `{k.name}`", k.span, "unknown option",
                did_you_mean(k.name, known, otherwise),
                edits=edits.spelt(k.span, k.name, known),
            )  # fmt: skip
        elif k.name == "engine" and runtime is None:
            value = str(values["engine"])
            report.error(
                "FK342", f"`engine` of a model is one of {', '.join(RUNTIMES)}", k.value.span,
                "no such engine", did_you_mean(value, RUNTIMES, 'such as `engine="llamacpp"`'),
            )  # fmt: skip
        elif (
            runtime is not None
            and k.name != "engine"
            and (wanted := wrong_option(runtime, k.name, values[k.name]))
        ):
            report.error(
                "FK342", f"`{k.name}` of a model is {wanted}", k.value.span,
                "not a value it can have", f"such as `{k.name}={_example(runtime, k.name)}`",
            )  # fmt: skip
        seen.add(k.name)


def _example(runtime: Runtime, option: str) -> int:
    """A number that an option may be and that many machines can serve: neither the least nor, where
    that is thousands, the most."""
    return min(8, runtime.options[option][1])


def check_views(report: Report, models: Mapping[str | None, tree.ModelDecl]) -> None:
    """Each view of a model that there is, and that is no view itself. models: those of all
    files."""
    for d in {id(d): d for d in models.values()}.values():
        if d.view is None:
            continue
        of, known = d.view.of, [m for m in models if m is not None and models[m].view is None]
        inner = models.get(of)
        if inner is None and d.view.declared:
            otherwise = f'a reference stands in quotes: `bytes("{of}")`' + (
                f"; there is {listed(known)}" if known else ""
            )
            report.error(
                "FK224",
                f"unknown model `{of}`",
                d.view.span,
                "no such model",
                did_you_mean(of, known, otherwise),
                edits=edits.spelt(d.view.span, of, known),
            )
        elif inner is not None and inner.view is not None:
            report.error(
                "FK325",
                f"`{of}` is a model of bytes already",
                d.view.span,
                "a view of a view",
                "take it as it is",
            )


def check_table(report: Report, d: tree.ModelDecl) -> None:
    """Each row a distribution, each context once, and a row that applies when no other does."""
    seen: dict[str, tree.TableRow] = {}
    for row in d.table or ():
        if row.context in seen:
            report.error(
                "FK322", f'two rows for "{row.context}"', row.span, "again here",
                "put their entries in one row",
                notes=(f"first in line {seen[row.context].span.line}",),
            )  # fmt: skip
        seen.setdefault(row.context, row)
        _check_row(report, row)
    if "" not in seen:
        report.error(
            "FK323", f'model `{d.name}` has no row for ""', d.span,
            "no row applies to an unknown text",
            'add a row `"" -> ...`: the longest row that is a suffix of the text so far applies',
        )  # fmt: skip


def _check_row(report: Report, row: tree.TableRow) -> None:
    tokens: set[str | tree.End] = set()
    sound = True
    for entry in row.entries:
        if entry.token in tokens or entry.token == "":
            again = entry.token != ""
            message = (
                f"{_entry_name(entry)} is in this row twice"
                if again
                else "a token has at least one character"
            )
            help = "add their probabilities" if again else "write EOS for the end of the text"
            report.error(
                "FK322", message, entry.span, "again here" if again else "an empty text", help
            )
        tokens.add(entry.token)
        if not 0.0 <= entry.probability <= 1.0:
            sound = False
            report.error(
                "FK321", f"a probability of {entry.probability:g}", entry.span, "not from 0 to 1",
                "probabilities are from 0 to 1",
            )  # fmt: skip
    total = math.fsum(e.probability for e in row.entries) if sound else 1.0
    if not abs(total - 1.0) <= SUM_TOLERANCE:
        more = "add" if total < 1.0 else "take away"
        report.error(
            "FK320", f"the probabilities of this row sum to {total:.10g}, not 1", row.span,
            f"sums to {total:.10g}",
            f"{more} {abs(1.0 - total):.10g}, or write fractions such as 1/3",
        )  # fmt: skip


def _entry_name(entry: tree.TableEntry) -> str:
    return "EOS" if isinstance(entry.token, tree.End) else f'"{entry.token}"'


# ------------------------------------------------------------------ parameters


def check_parameters(world: World, d: tree.FunctionDef | tree.ExternDef) -> tuple[Type, ...]:
    """The parameters' types: as declared, else the default's, else (in a def) any."""
    report = world.report
    is_program = isinstance(d, tree.FunctionDef) and d.is_program
    types: list[Type] = []
    seen: dict[str, tree.Param] = {}
    defaulted = False
    for p in d.params:
        if p.name in seen:
            report.error(
                "FK201",
                f"parameter `{p.name}` is declared twice",
                p.span,
                "again here",
                "give it another name",
            )
        seen.setdefault(p.name, p)
        if p.default is None and defaulted:
            report.error(
                "FK309", f"parameter `{p.name}` has no default, but one before it has", p.span,
                "no default",
                "move it before those with defaults, or give it one",
            )  # fmt: skip
        defaulted = defaulted or p.default is not None
        found = ANY if p.default is None else _default_type(world, p, p.default)
        types.append(p.type if p.type is not None else found)
        if is_program:
            _check_program_parameter(report, p, types[-1])
    return tuple(types)


def _default_type(world: World, p: tree.Param, default: tree.Expr) -> Type:
    if not is_constant(default):
        world.report.error(
            "FK308", f"the default of `{p.name}` is no constant", default.span, "computed",
            "write literals and operators, and compute in the body",
        )  # fmt: skip
        return ANY
    expressions = Expressions(world, Scope())
    mistakes = len(world.report.errors)
    if p.type is not None:
        found = expressions.expect(default, p.type, f"the default of `{p.name}`")
    else:
        found = expressions.type_of(default)
    if len(world.report.errors) == mistakes:
        check_value(world.report, default, "FK308", f"the default of `{p.name}`")
    return found


def _check_program_parameter(report: Report, p: tree.Param, t: Type) -> None:
    if p.type is None and p.default is None:
        report.error(
            "FK307", f"parameter `{p.name}` of a program has no type", p.span, "of what type?",
            f"write `{p.name}: int`, or give it a default: `{p.name} = 5`",
        )  # fmt: skip
        return
    item = t
    while isinstance(item, List):
        item = item.item
    if item not in (BOOL, INT, FLOAT, STR, IMAGE) and not (
        item == ANY and p.default is not None and t == ANY
    ):
        report.error(
            "FK307", f"a program cannot be given {a(t)}", p.span, f"this is `{t}`",
            "a program's parameters are bool, int, float, str, image or lists of them: "
            "`-p name=value` gives them",
        )  # fmt: skip


# --------------------------------------------------------------------- infer


def check_infer(
    report: Report, declared: Iterable[tree.Infer]
) -> tuple[str, dict[str, Any]] | None:
    """The method and its options, if `infer` is said; mistaken options are left out."""
    result: tuple[str, dict[str, Any]] | None = None
    first: tree.Infer | None = None
    for d in declared:
        if first is not None:
            report.error(
                "FK343", "a file has one `infer`", d.span, "another one",
                "keep one of them; `--method` chooses another for one run",
                notes=(f"first in line {first.span.line}",),
            )  # fmt: skip
            continue
        first = d
        if d.method not in METHODS:
            report.error(
                "FK340", f"unknown inference method `{d.method}`", d.span, "no such method",
                did_you_mean(d.method, METHODS, f"the methods are {listed(METHODS)}"),
                edits=edits.spelt(_method_name(d), d.method, METHODS),
            )  # fmt: skip
            continue
        result = (d.method, _check_options(report, d.method, d.options))
    return result


def _near_value(k: tree.Keyword, values: Sequence[str]) -> edits.Edits:
    """The value at one or two letters' distance in place of a text."""
    given = k.value.value if isinstance(k.value, tree.Literal) else None
    near = near_name(given, values) if isinstance(given, str) else None
    return edits.instead(k.value.span, f'"{near}"') if near is not None else ()


def _method_name(d: tree.Infer) -> Span:
    """From the method's name on: behind `infer` and the spaces."""
    start = d.span.start + len(d.span.text) - len(d.span.text.removeprefix("infer").lstrip())
    return Span(d.span.source, start, d.span.end)


def _check_options(report: Report, method: str, given: Iterable[tree.Keyword]) -> dict[str, Any]:
    known = METHODS[method].all_options
    options: dict[str, Any] = {}
    last: tree.Keyword | None = None
    for k in given:
        if k.name in options:
            report.given_twice(k.name, k.span)
        elif k.name not in known:
            otherwise = f"it has {listed(known)}" if known else f"write `infer {method}()`"
            report.error(
                "FK341", f"`{method}` has no option `{k.name}`", k.span, "unknown option",
                did_you_mean(k.name, known, otherwise),
                edits=edits.spelt(k.span, k.name, known),
            )  # fmt: skip
        else:
            value = _literal(k.value)
            help = f"such as `{k.name}={show_default(known[k.name].default)}`"
            if value is REQUIRED:
                report.error(
                    "FK342", f"option `{k.name}` is no literal", k.value.span, "computed", help
                )
                continue
            try:
                alone = {"draft": "ngram"} if k.name in DRAFTS else {}
                check_options(method, {**alone, k.name: value})
            except CallError as error:
                report.error(
                    "FK342",
                    error.message,
                    k.value.span,
                    "not a value it can have",
                    error.help or help,
                    edits=_near_value(k, known[k.name].one_of),
                )
                continue
            options[k.name] = value
            last = k
    try:
        check_options(method, options)
    except CallError as error:
        assert last is not None
        report.error(
            "FK342", error.message, last.span, "with the others", error.help or "leave it out"
        )
        return {}
    return options


def show_default(value: int | float | str) -> str:
    """A default as a program writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _literal(e: tree.Expr) -> Any:
    """A literal's value, or REQUIRED if the expression is none."""
    match e:
        case tree.Literal(value=value):
            return value
        case tree.Unary(op="-", operand=tree.Literal(value=int() | float() as value)):
            return -value
    return REQUIRED
