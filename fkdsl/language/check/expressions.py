"""The types of expressions, within one function's variables. After a mistake an expression is
`any`, so that one mistake is reported once."""

from __future__ import annotations

import re

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import InternalError
from fkdsl.base.spans import Span
from fkdsl.language.check.advice import LENGTHS, number_in, several_texts, shown
from fkdsl.language.check.calls import Calls
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.fitting import Fitting
from fkdsl.language.check.operators import (
    NUMBERS,
    TEXTS,
    Misfit,
    binary_type,
    compare_misfit,
    is_distribution,
    merged,
)
from fkdsl.language.check.report import a, did_you_mean, listed
from fkdsl.language.check.scopes import Scope, Variable, World
from fkdsl.language.syntax import edits, tree
from fkdsl.values.documents import FIELDS
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import (
    ANY,
    BOOL,
    CONTEXT,
    DOCUMENT,
    FLOAT,
    INDEX,
    INT,
    NONE,
    RECORD,
    STR,
    TOKEN,
    List,
    Pair,
    Type,
)

ATTRIBUTES: dict[str, Type] = {"text": STR, "tokens": INT, "done": BOOL}
"""Those of a context."""

SPELLINGS = {"True": "true", "False": "false", "None": "none", "eos": "EOS", "null": "none"}
LITERAL_TYPES: dict[type, Type] = {bool: BOOL, int: INT, float: FLOAT, str: STR, type(None): NONE}
SAMPLES: dict[Type, object] = {BOOL: True, INT: 0, FLOAT: 0.0, STR: "", TOKEN: ""}
WIDEST = 1000
"""The largest width or precision of an f-string's format."""


class Expressions(Fitting):
    """Checks expressions over the variables of `scope`."""

    def __init__(self, world: World, scope: Scope) -> None:
        super().__init__(world, scope)
        self.calls = Calls(self)

    def type_of(self, e: tree.Expr) -> Type:
        """The expression's type, with its mistakes reported; noted in `world.types`."""
        t = self._type_of(e)
        self.world.types[id(e)] = t
        return t

    # -------------------------------------------------------------------- nodes

    def _type_of(self, e: tree.Expr) -> Type:  # noqa: C901  a case for each class
        match e:
            case tree.Literal(value=value):
                return LITERAL_TYPES[type(value)]
            case tree.EosLiteral():
                return TOKEN
            case tree.Unreadable():
                return ANY
            case tree.Name():
                return self._name(e)
            case tree.FString(parts=parts):
                for part in parts:
                    if isinstance(part, tree.FormatPart):
                        self._format(part)
                return STR
            case tree.ListExpr(items=items):
                return List(
                    self._common([(i, self.type_of(i)) for i in items], "the items of a list")
                )
            case tree.RecordExpr(fields=fields):
                return self._record(fields)
            case tree.Unary():
                return self._unary(e)
            case tree.Binary():
                return self._binary(e)
            case tree.Compare():
                return self._compare(e)
            case tree.BoolOp(op=op, operands=operands):
                if help := several_texts(operands):
                    self.report.error("FK212", f"`{op}` joins conditions", e.span, "texts", help)
                    return ANY
                for operand in operands:
                    self.truth(operand, f"an operand of `{op}`")
                return BOOL
            case tree.IfExpr(test=test, then=then, other=other):
                self.truth(test, "the test of `if`")
                branches = [(then, self.type_of(then)), (other, self.type_of(other))]
                return self._common(branches, "the two sides of `if else`")
            case tree.Index():
                return self._index(e)
            case tree.Slice():
                return self._slice(e)
            case tree.Attribute():
                return self._attribute(e)
            case tree.Comprehension():
                return self._comprehension(e)
            case tree.Call():
                return self.calls.value(e)
        raise InternalError(f"no type for {type(e).__name__}")

    def _name(self, e: tree.Name) -> Type:
        name = e.name
        if name in self.scope.variables:
            return self.scope.variables[name].type
        if name in self.scope.all_names:
            return ANY  # set further down: whether that is too late is for check_flow to say
        world = self.world
        if name in world.unreadable:
            return ANY
        if name in world.indexes:
            return INDEX
        if name in world.functions or name in world.externs or name in OPERATIONS or name in TABLE:
            self.report.error(
                "FK228", f"`{name}` is a function, which is no value", e.span, "not called",
                self.scope.near(name) or f"call it: `{name}(...)`",
            )  # fmt: skip
        elif name in world.models:
            self.report.error(
                "FK203", f"`{name}` is a model, not a variable", e.span, "not a value",
                f'make a context of it: `lm = prompt("...", model={name})`',
            )  # fmt: skip
        else:
            help, change = self.scope.near(name), self.scope.respelt(e)
            if name in SPELLINGS:
                help = f"write `{SPELLINGS[name]}`"
                change = edits.instead(e.span, SPELLINGS[name])
            known = [v for v in self.scope.variables if not v.startswith("_")]
            near = near_name(name, list(world.indexes))
            if not help and near is not None:
                help, change = f"did you mean the index `{near}`?", edits.instead(e.span, near)
            help = help or (
                f"the variables here are {listed(known)}" if known else "set it first: `x = ...`"
            )
            self.report.error(
                "FK203", f"unknown name `{name}`", e.span, "not defined here", help, edits=change
            )
        return ANY

    def _format(self, part: tree.FormatPart) -> None:
        actual = self.type_of(part.value)
        if is_distribution(actual) or actual == NONE:
            self.mismatch(part.value, STR, actual, "a part of an f-string", "FK213")
            return
        spec = part.spec
        if not spec or actual == ANY:
            return
        too_wide = any(int(n) > WIDEST for n in re.findall(r"\d{1,9}", spec)) or re.search(
            r"\d{10}", spec
        )
        try:
            if too_wide or actual not in SAMPLES:
                raise ValueError
            format(SAMPLES[actual], spec)
        except ValueError:
            help = (
                f"a width or precision is at most {WIDEST}"
                if too_wide
                else "such as {x:.2f}, {n:5d} or {s:>10}"
            )
            self.report.error(
                "FK222",
                f"format `{spec}` does not fit `{actual}`",
                part.value.span,
                f"this is `{actual}`",
                help,
            )

    def _common(self, typed: list[tuple[tree.Expr, Type]], what: str) -> Type:
        """The one type of several expressions; any for none."""
        result: Type | None = None
        for e, t in typed:
            both = t if result is None else merged(result, t)
            if both is None:
                self.report.error(
                    "FK223", f"{what} have one type, but these are `{result}` and `{t}`", e.span,
                    f"this is `{t}`",
                    'convert one of them, or write a record: `{"name": value}`',
                )  # fmt: skip
                return ANY
            result = both
        return ANY if result is None else result

    def _record(self, fields: tuple[tuple[str, tree.Expr], ...]) -> Type:
        seen: set[str] = set()
        for name, value in fields:
            actual = self.type_of(value)
            if is_distribution(actual):
                self.mismatch(value, STR, actual, f"field `{name}` of a record", "FK213")
            if name in seen:
                self.report.error(
                    "FK207",
                    f"field `{name}` is given twice",
                    value.span,
                    "again here",
                    "leave one of them out",
                )
            seen.add(name)
        return RECORD

    def _unary(self, e: tree.Unary) -> Type:
        if e.op == "not":
            self.truth(e.operand, "the operand of `not`")
            return BOOL
        operand = self.expect(e.operand, FLOAT, f"the operand of `{e.op}`", "FK211")
        return INT if operand == BOOL else operand

    def _binary(self, e: tree.Binary) -> Type:
        a, b = self.type_of(e.left), self.type_of(e.right)
        result = binary_type(e.op, a, b)
        if isinstance(result, Misfit):
            number = (e.right if a in TEXTS else e.left).span
            change = edits.instead(number, f"str({number.text})") if result.to_text else ()
            self.report.error(
                "FK211", result.message, e.span, f"`{a}` {e.op} `{b}`", result.help, edits=change
            )
            return ANY
        match e.right:
            case tree.Literal(value=int()) if e.op == "**" and a in (INT, BOOL):
                return INT
        return result

    def _compare(self, e: tree.Compare) -> Type:
        left, a = e.first, self.type_of(e.first)
        for op, right in e.rest:
            b = self.type_of(right)
            misfit = compare_misfit(op, a, b)
            if misfit is not None:
                label = f"`{a}` {op} `{b}`"
                text = left if a in TEXTS else right
                help = number_in(text) if misfit.of_numbers else misfit.help
                self.report.error("FK211", misfit.message, left.span.to(right.span), label, help)
            left, a = right, b
        return BOOL

    def _index(self, e: tree.Index) -> Type:
        container = self.type_of(e.value)
        if container == RECORD:
            self.expect(e.index, STR, "the name of a record's field")
            return ANY
        if container == DOCUMENT:
            self.expect(e.index, STR, "the name of a document's field")
            field = e.index.value if isinstance(e.index, tree.Literal) else None
            return FIELDS.get(str(field), ANY)
        match container:
            case List(item):
                result = item
            case Pair(items):
                result = ANY
                match e.index:
                    case tree.Literal(value=int(at)) if 0 <= at < len(items):
                        result = items[at]
            case _ if container in TEXTS:
                result = STR
            case _:
                self.type_of(e.index)
                if container != ANY:
                    self._not_indexable(e, container)
                return ANY
        self.expect(e.index, INT, "an index")
        return result

    def _slice(self, e: tree.Slice) -> Type:
        container = self.type_of(e.value)
        for end in (e.start, e.stop):
            if end is not None:
                self.expect(end, INT, "an end of a slice")
        if isinstance(container, List):
            return container
        if container in TEXTS:
            return STR
        if container != ANY:
            self._not_indexable(e, container)
        return ANY

    def _not_indexable(self, e: tree.Index | tree.Slice, actual: Type) -> None:
        advice = (
            "take a part of its text: `lm.text[...]`"
            if actual == CONTEXT
            else "only lists, texts and records have parts"
        )
        self.report.error(
            "FK226", f"{a(actual)} has no parts", e.value.span, f"this is `{actual}`", advice
        )

    def _attribute(self, e: tree.Attribute) -> Type:
        owner = self.type_of(e.value)
        if owner == CONTEXT and e.name in ATTRIBUTES:
            return ATTRIBUTES[e.name]
        if owner in (ANY, RECORD):
            return ANY
        if owner == DOCUMENT and e.name in FIELDS:
            return FIELDS[e.name]
        change: edits.Edits = ()
        if owner in (CONTEXT, DOCUMENT):
            known = ATTRIBUTES if owner == CONTEXT else FIELDS
            more = "; other columns: `read_rows(d.source)`" * (known is FIELDS)
            has = f"{a(owner).replace('`', '')} has {listed(known)}{more}"
            help = did_you_mean(e.name, known, has)
            name = Span(e.span.source, e.span.end - len(e.name), e.span.end)
            change = edits.spelt(name, e.name, known)
        elif owner == TOKEN and e.name == "text":
            help = f"a token is its own text: write `{shown(e.value)}`"
            change = edits.instead(e.span, e.value.span.text)
        elif e.name in TABLE or e.name in LENGTHS:
            function = "len" if e.name in LENGTHS else e.name
            help = f"functions are called by name: `{function}({shown(e.value)})`"
            change = edits.instead(e.span, f"{function}({e.value.span.text})")
        else:
            help = "only contexts and records have attributes"
        self.report.error(
            "FK219", f"{a(owner)} has no attribute `{e.name}`", e.span, f"this is `{owner}`", help,
            edits=change,
        )  # fmt: skip
        return ANY

    # ----------------------------------------------------- iteration and binding

    def _comprehension(self, e: tree.Comprehension) -> Type:
        with self.scope.inner():
            for clause in e.clauses:
                items = self.unpacked(
                    self.item_type(clause.iterable), clause.targets, clause.iterable
                )
                for target, item in zip(clause.targets, items, strict=True):
                    self.world.types[id(target)] = item
                    self.scope.variables[target.name] = Variable(
                        target.name, item, target.span, "a loop variable"
                    )
                for condition in clause.conditions:
                    self.truth(condition, "the condition of a comprehension")
            element = self.type_of(e.element)
        return List(element)

    def item_type(self, iterable: tree.Expr) -> Type:
        """What `for` gives of it, one after the other."""
        container = self.type_of(iterable)
        if isinstance(container, List):
            return container.item
        if container in (RECORD, DOCUMENT) or container in TEXTS:
            return STR
        if container != ANY:
            advice = "`for` runs over a list, a text or a record"
            change: edits.Edits = ()
            if container in NUMBERS:
                advice = f"write `range({shown(iterable)})`"
                change = edits.instead(iterable.span, f"range({iterable.span.text})")
            elif container == CONTEXT:
                advice = "run over its text: `words(lm.text)`; or draw: `while not lm.done:`"
            self.report.error(
                "FK220",
                f"cannot run over {a(container)}",
                iterable.span,
                f"this is `{container}`",
                advice,
                edits=change,
            )
        return ANY

    def unpacked(
        self, actual: Type, targets: tuple[tree.Name, ...], value: tree.Expr
    ) -> tuple[Type, ...]:
        """The type of each of the names that a value is taken apart into; one name takes all of
        it."""
        if len(targets) == 1:
            return (actual,)
        match actual:
            case Pair(items) if len(items) == len(targets):
                return items
            case List(item):
                return (item,) * len(targets)
            case _ if actual == ANY:
                return (ANY,) * len(targets)
        shown_type = (
            f"{len(actual.items)} values" if isinstance(actual, Pair) else f"one value, `{actual}`"
        )
        self.report.error(
            "FK221", f"{len(targets)} names for {shown_type}", value.span, f"this gives `{actual}`",
            "`zip` and `enumerate` give pairs: `for i, x in enumerate(xs)`",
        )  # fmt: skip
        return (ANY,) * len(targets)
