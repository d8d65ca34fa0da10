"""Views of a text: other texts that are made of it, such as `lower(s)`, `s[:3]`, `lines(s)[0]`,
`f"The {s}."`.

A test that looks at a text through one view is a test of the view: the language of the text is that
of the texts whose view is in the language of the test. Views of views work from the inside out:
`words(lines(s)[1])[0] == "Sea"` is a test of the line, then of the text.
"""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.base.spans import Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, subexpressions
from fkdsl.ir.passes.reading import replaced_part

LanguageOf = Callable[[ir.Expr, int], ir.Expr | None]
VIEW_SLOTS = 2_000_000
"""Added to a text's slot it is a slot beyond those of any function, which stands for a view of the
text while the language of that view is found."""
JSON_SLOTS = 700_000_000
"""The same for a value in a JSON text."""
MAY_FAIL = (".item_at", ".character_at")
"""Views that some texts do not have."""
JSON_TESTS = (".json_numbers", ".json_field", ".json_items")
"""Languages of a JSON text by the values in it."""
LISTS = ("words", "lines", "sentences")
"""Built-ins that take a text apart."""


def view_language(test: ir.Expr, text: int, language_of: LanguageOf) -> ir.Expr | None:
    """The language of a test that looks at the text through one view; None for other tests."""
    bound_here = bound(test)
    for e in subexpressions(test):
        name_and_args = _view(e, text)
        if name_and_args is None or not bound_here.isdisjoint(reads(e)):
            continue
        name, args = name_and_args
        if name in MAY_FAIL and not is_always_asked(e, test):
            continue
        view = text + VIEW_SLOTS
        known = replaced_part(test, e, ir.Local(test.span, view))
        if text in reads(known):
            continue
        part = language_of(known, view)
        if part is not None and has_grammar(part):
            return _after(name, args, part)
        return part and ir.Builtin(test.span, name, (*args, part))
    return None


def _after(name: str, args: tuple[ir.Expr, ...], part: ir.Expr) -> ir.Expr | None:
    """The language of a schema or grammar with a text before it, and of a schema with white space
    about it; None for other views."""
    match name, args, part:
        case ".stripped", (ir.Const(value=""),), ir.Builtin(name=".json"):
            return ir.Builtin(part.span, ".json_stripped", (part,))
        case ".stripped", (ir.Const(value=""),), _ if has_json_test(part) and not _has_schema(part):
            return part
        case (
            ".framed",
            (before, ir.Const(value="")),
            ir.Builtin(name=".json" | ".grammar" | ".after"),
        ):
            return ir.Builtin(part.span, ".after", (before, part))
    return None


def is_always_asked(e: ir.Expr, test: ir.Expr) -> bool:
    """Whether an expression is evaluated whenever a test is in which it stands: it is in no part
    that only some values of others lead to."""
    match test:
        case _ if test == e:
            return True
        case ir.Operate(args=args) | ir.Builtin(args=args):
            return any(is_always_asked(e, part) for part in args)
        case ir.And(operands=(first, *_)) | ir.Or(operands=(first, *_)):
            return is_always_asked(e, first)
        case ir.Choose(test=first):
            return is_always_asked(e, first)
        case ir.Gather(clauses=(first_clause, *_)):
            return is_always_asked(e, first_clause.iterable)
        case ir.Format(parts=parts):
            return any(is_always_asked(e, p[0]) for p in parts if not isinstance(p, str))
    return False


def _view(e: ir.Expr, text: int) -> tuple[str, tuple[ir.Expr, ...]] | None:
    """The built-in that gives the language of a text from that of its view e, and the arguments
    before the latter."""
    match e:
        case ir.Builtin(name="last_word", args=(ir.Local(slot=slot),)) if slot == text:
            return ".last_word", ()
        case ir.Builtin(name="lower" | "upper" as to, args=(ir.Local(slot=slot),)) if slot == text:
            return ".cased", (ir.Const(e.span, to),)
        case ir.Builtin(name="strip", args=(ir.Local(slot=slot), characters)) if (
            slot == text and text not in reads(characters)
        ):
            return ".stripped", (characters,)
        case ir.Operate(operator="index", args=(ir.Local(slot=slot), at)) if (
            slot == text and text not in reads(at)
        ):
            return ".character_at", (at,)
        case ir.Operate(operator="slice", args=(ir.Local(slot=slot), start, stop)) if (
            slot == text and text not in reads((start, stop))
        ):
            return ".sliced", (start, stop)
        case ir.Builtin(name="replace", args=(ir.Local(slot=slot), old, new)) if (
            slot == text and text not in reads((old, new))
        ):
            return ".replaced", (old, new)
        case ir.Operate(operator="add", args=(ir.Local(slot=slot), behind)) if (
            slot == text and text not in reads(behind)
        ):
            return ".framed", (ir.Const(e.span, ""), behind)
        case ir.Operate(operator="add", args=(before, ir.Local(slot=slot))) if (
            slot == text and text not in reads(before)
        ):
            return ".framed", (before, ir.Const(e.span, ""))
        case ir.Format(parts=parts):
            return _framed(e, parts, text)
        case ir.Operate(operator="index", args=(listed, at)) if text not in reads(at):
            by = items_of(listed, text)
            return None if by is None else (".item_at", (by, at))
    return None


def _framed(
    e: ir.Format, parts: tuple[str | tuple[ir.Expr, str], ...], text: int
) -> tuple[str, tuple[ir.Expr, ...]] | None:
    """An f-string that says the text once, as it is, with other texts before and behind it."""
    whole = [i for i, part in enumerate(parts) if text in reads(part)]
    if len(whole) != 1 or parts[whole[0]] != (ir.Local(e.span, text), ""):
        return None
    ends = []
    for some in (parts[: whole[0]], parts[whole[0] + 1 :]):
        fixed = [part for part in some if isinstance(part, str)]
        is_fixed = len(fixed) == len(some)
        ends.append(ir.Const(e.span, "".join(fixed)) if is_fixed else ir.Format(e.span, some))
    return ".framed", tuple(ends)


def items_of(e: ir.Expr, text: int) -> ir.Expr | None:
    """How an expression takes the text apart into a list of texts, as what the built-ins of
    languages take for `by`; None if it does something else."""
    match e:
        case ir.Builtin(name=name, args=(ir.Local(slot=slot),)) if slot == text and name in LISTS:
            return ir.Const(e.span, name)
        case ir.Builtin(name="split", args=(ir.Local(slot=slot), between)) if (
            slot == text and text not in reads(between)
        ):
            return ir.Builtin(e.span, ".parts", (between,))
    return None


def iterated(e: ir.Expr, text: int) -> ir.Expr | None:
    """`items_of` for what a comprehension runs over: a text gives its characters."""
    return ir.Const(e.span, "characters") if e == ir.Local(e.span, text) else items_of(e, text)


def own_form(span: Span, view: ir.Expr, other: ir.Expr, text: int) -> ir.Expr | None:
    """The language of `lower(s) == s`, of the like with upper and strip, and of
    `join(words(s), " ") == s`."""
    if other != ir.Local(span, text):
        return None
    match view:
        case ir.Builtin(name="join", args=(ir.Builtin(name="words", args=(s,)), between)) if (
            s == other and text not in reads(between)
        ):
            return ir.Builtin(span, ".joined_words", (between,))
    match _view(view, text):
        case (".cased", args):
            return ir.Builtin(span, ".in_case", args)
        case (".stripped", args):
            return ir.Builtin(span, ".trimmed", args)
    return None


def has_grammar(language: ir.Expr) -> bool:
    """Whether a schema or grammar is in it. Masks follow these by themselves, in an `and` and in an
    `or`, but not negated, and not of a part or a form of the text."""
    return any(
        isinstance(e, ir.Builtin) and e.name in (".json", ".grammar", *JSON_TESTS)
        for e in subexpressions(language)
    )


def _has_schema(language: ir.Expr) -> bool:
    return any(
        isinstance(e, ir.Builtin) and e.name in (".json", ".grammar")
        for e in subexpressions(language)
    )


def has_json_test(language: ir.Expr) -> bool:
    """Whether it has a test of values in a JSON text in it."""
    return any(isinstance(e, ir.Builtin) and e.name in JSON_TESTS for e in subexpressions(language))
