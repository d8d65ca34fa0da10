"""Tests of values that a JSON text holds: of one value (`parse_json(s).kind == "refund"`,
`matches(parse_json(s).name, "[A-Z].*")`), of each of a list (`all(len(t) < 9 for t in v.tags)`),
and comparisons of sums of its numbers: `parse_json(s).born < parse_json(s).died`,
`parse_json(s).items[0]["width"] <= 2 * n`."""

from __future__ import annotations

from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, subexpressions
from fkdsl.ir.passes.forms import NEGATED
from fkdsl.ir.passes.inline import fresh_slot
from fkdsl.ir.passes.reading import addends, replaced_part
from fkdsl.ir.passes.views import JSON_SLOTS, LanguageOf, has_grammar, is_always_asked

COMPARED = ("lt", "le", "gt", "ge", "eq")
FLIPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}
POSITIVE = {"ne": "eq", "notin": "in"}
OF_PARTS = ("starts_with", "ends_with", "contains")
"""Built-in tests of a part of a text."""
OF_TEXTS = frozenset(
    {"matches", "words", "last_word", "lines", "sentences", "letters", "lower", "upper", "strip",
     "split", "count", "find", "replace", "len", *OF_PARTS}
)  # fmt: skip
"""Built-ins that take a text first, or a list."""
MOST_TERMS = 3
"""Most numbers, or products of two, of a comparison that a schema is narrowed by."""
Path = tuple[str | int, ...]
"""How to go from a JSON value to one in it: names of properties and places in lists."""
Tested = tuple[Path, object, ir.Expr]
"""The path of a value, a test as `.json_field` has it, and what it is tested against."""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Json:
    """Where JSON values are: those of the text in the slot `text`, by `parse_json`, and one in the
    slot `item`; -1 for none."""

    text: int = -1
    item: int = -1

    def path(self, e: ir.Expr) -> Path | None:
        """How an expression goes to a value; () for the whole value, None for others."""
        match e:
            case ir.Builtin(name="parse_json", args=(ir.Local(slot=slot), *_)) if slot == self.text:
                return ()
            case ir.Local(slot=slot) if slot == self.item:
                return ()
            case ir.Operate(
                operator="index",
                args=(of, ir.Operate(operator="neg", args=(ir.Const(value=int(back)),))),
            ) if not isinstance(back, bool):
                outer = self.path(of)
                return None if outer is None else (*outer, -back)
            case ir.Operate(operator="attribute" | "index", args=(of, ir.Const(value=step))):
                is_step = isinstance(step, str | int) and not isinstance(step, bool)
                outer = self.path(of) if is_step else None
                return None if outer is None else (*outer, step)
        return None

    def has_value(self, e: ir.Expr) -> bool:
        """Whether an expression goes to a value."""
        return any(self.path(part) is not None for part in subexpressions(e))

    def is_in(self, e: object) -> bool:
        """Whether an expression depends on a value."""
        return not {self.text, self.item}.isdisjoint(reads(e))


def json_language(test: ir.Expr, json: Json, language_of: LanguageOf) -> ir.Expr | None:
    """The language of a test of JSON values, and of what does not depend on them; None for others.
    It may be larger: no schema says more than it can."""
    span = test.span
    if not json.is_in(test):
        return ir.Builtin(span, ".when", (test,))
    match test:
        case ir.And(operands=operands):
            known = [p for o in operands if (p := json_language(o, json, language_of)) is not None]
            return _joined(".both", test, known) if known else None
        case ir.Or(operands=operands):
            parts = [p for o in operands if (p := json_language(o, json, language_of)) is not None]
            return _joined(".either", test, parts) if len(parts) == len(operands) else None
        case ir.Operate(operator="not", args=(inner,)) if (other := opposite(inner)) is not None:
            return json_language(other, json, language_of)
    return json_test(test, json, language_of)


def json_test(test: ir.Expr, json: Json, language_of: LanguageOf) -> ir.Expr | None:
    """The same, where the test is no `and` and no `or`."""
    return (
        _of_field(test, json)
        or json_comparison(_multiplied(test, json), json)
        or _of_extreme(test, json, language_of)
        or _of_items(test, json, language_of)
        or _of_text(test, json, language_of)
    )


def _joined(name: str, test: ir.Expr, parts: list[ir.Expr]) -> ir.Expr:
    return ir.Builtin(test.span, name, (ir.Operate(test.span, "list", tuple(parts)),))


def opposite(test: ir.Expr) -> ir.Expr | None:
    """What is true where a test is not; None where only `not` says it."""
    span = test.span

    def no(e: ir.Expr) -> ir.Expr:
        return ir.Operate(span, "not", (e,))

    match test:
        case ir.Operate(operator="not", args=(inner,)):
            return inner
        case ir.And(operands=operands):
            return ir.Or(span, tuple(map(no, operands)))
        case ir.Or(operands=operands):
            return ir.And(span, tuple(map(no, operands)))
        case ir.Operate(operator=operator, args=args) if operator in NEGATED:
            return ir.Operate(span, NEGATED[operator], args)
        case ir.Builtin(name="all" | "any" as name, args=(ir.Gather() as gather,)):
            other = ir.Gather(gather.span, no(gather.element), gather.clauses)
            return ir.Builtin(span, "any" if name == "all" else "all", (other,))
    return None


# ------------------------------------------------------------------ one value


def _of_field(test: ir.Expr, json: Json) -> ir.Expr | None:
    """The language of a test of one value against what does not depend on the text."""
    span, negated = test.span, False
    while isinstance(test, ir.Operate) and test.operator == "not":
        (test,), negated = test.args, not negated
    found: Tested | None = None
    match test:
        case ir.Operate(operator="in" | "notin" as operator, args=(a, b)):
            found = _against(a, operator, b, json) or _against(b, "has", a, json)
            if operator == "notin" and found is not None and found[1] == "has":
                negated = not negated
        case ir.Operate(operator=operator, args=(a, b)) if operator in FLIPPED:
            found = _against(a, operator, b, json) or _against(b, FLIPPED[operator], a, json)
        case ir.Builtin(name=name, args=(a, b)) if name in OF_PARTS:
            found = _against(a, name, b, json)
            if found is None and name == "contains":
                found = _against(b, "in", a, json)
        case ir.Operate(operator="attribute" | "index") | ir.Local():
            path = json.path(test)
            found = None if path is None else (path, "is", ir.Const(span, True))
    if found is None:
        return None
    path, how, value = found
    if isinstance(how, str) and how in POSITIVE:
        how, negated = POSITIVE[how], not negated
    constants = (ir.Const(span, path), ir.Const(span, how))
    return ir.Builtin(span, ".json_field", (*constants, value, ir.Const(span, negated)))


def _against(a: ir.Expr, operator: str, b: ir.Expr, json: Json) -> Tested | None:
    """`a operator b`, where a is a value or its length and b does not depend on the text."""
    if json.is_in(b):
        return None
    match a:
        case ir.Builtin(name="str", args=(of,)) | ir.Format(parts=((of, ""),)) if operator == "in":
            path = json.path(of)
            return None if path is None else (path, "written in", b)
        case ir.Builtin(name="len", args=(of,)) if operator not in ("has", *OF_PARTS):
            path = json.path(of)
            return None if path is None else (path, ("length", operator), b)
        case ir.Operate(operator="mod", args=(of, by)) if not json.is_in(by):
            path = json.path(of)
            if path is not None and operator in FLIPPED:
                return path, ("rest", operator), ir.Operate(a.span, "list", (by, b))
    path = json.path(a)
    is_order = operator in ("lt", "le", "gt", "ge")
    return None if path is None or is_order else (path, operator, b)


def _of_text(test: ir.Expr, json: Json, language_of: LanguageOf) -> ir.Expr | None:
    """The language of a test that looks at one value alone, as at a text."""
    values = {e: path for e in subexpressions(test) if (path := json.path(e)) is not None}
    view = (json.text if json.text >= 0 else json.item) + JSON_SLOTS
    for e, path in values.items():
        if not bound(test).isdisjoint(reads(e)):
            continue
        of_view = replaced_part(test, e, ir.Local(test.span, view))
        if json.is_in(of_view):
            continue
        part = language_of(of_view, view)
        if part is None or has_grammar(part):
            return None
        how = "as text" if _takes_texts(of_view, view) else "text"
        constants = (ir.Const(test.span, path), ir.Const(test.span, how))
        return ir.Builtin(test.span, ".json_field", (*constants, part, ir.Const(test.span, False)))
    return None


def _takes_texts(test: ir.Expr, view: int) -> bool:
    """Whether a test raises an error for a value that is no text, list or object."""
    for e in subexpressions(test):
        match e:
            case ir.Builtin(name=name, args=(ir.Local(slot=slot), *_)) if name in OF_TEXTS:
                pass
            case ir.Operate(operator="index" | "slice", args=(ir.Local(slot=slot), *_)):
                pass
            case _:
                continue
        if slot == view and is_always_asked(e, test):
            return True
    return False


def _of_items(test: ir.Expr, json: Json, language_of: LanguageOf) -> ir.Expr | None:
    """The language of `all(... for item in v.items)`, and of `any`."""
    match test:
        case ir.Builtin(name="all" | "any" as name, args=(ir.Gather() as gather,)):
            clause, *rest = gather.clauses
        case _:
            return None
    path = json.path(clause.iterable)
    if path is None or len(clause.targets) != 1:
        return None
    span, every = test.span, name == "all"
    element = gather.element
    if rest:
        element = ir.Builtin(span, name, (ir.Gather(gather.span, element, tuple(rest)),))
    if clause.conditions:
        failed = tuple(ir.Operate(span, "not", (c,)) for c in clause.conditions)
        element = (
            ir.Or(span, (*failed, element))
            if every
            else ir.And(span, (*clause.conditions, element))
        )
    if json.is_in(element):
        return None
    part = json_language(element, Json(item=clause.targets[0]), language_of)
    if part is None:
        return None
    constants = (ir.Const(span, path), ir.Const(span, every))
    return ir.Builtin(span, ".json_items", (*constants, part))


def _of_extreme(test: ir.Expr, json: Json, language_of: LanguageOf) -> ir.Expr | None:
    """The language of `max(v.counts) < 9`: of a test of every item, or of some."""
    match test:
        case ir.Operate(operator=operator, args=(ir.Builtin(name="max" | "min") as call, b)):
            pass
        case ir.Operate(operator=operator, args=(b, ir.Builtin(name="max" | "min") as call)):
            operator = FLIPPED.get(operator, operator)
        case _:
            return None
    path = json.path(call.args[0]) if len(call.args) == 1 else None
    if path is None or operator not in COMPARED or json.is_in(b):
        return None
    span, item = test.span, fresh_slot()
    below, above = ("le", "ge") if call.name == "max" else ("ge", "le")
    found: list[ir.Expr] = []
    for one in (below, above) if operator == "eq" else (operator,):
        element = ir.Operate(span, one, (ir.Local(span, item), b))
        part = json_language(element, Json(item=item), language_of)
        if part is None:
            return None
        every = (one in ("le", "lt")) == (call.name == "max")
        constants = (ir.Const(span, path), ir.Const(span, every))
        found.append(ir.Builtin(span, ".json_items", (*constants, part)))
    return found[0] if len(found) == 1 else _joined(".both", test, found)


# ------------------------------------------------------------------ sums of numbers


def _multiplied(test: ir.Expr, json: Json) -> ir.Expr:
    """`v.x / 2 > b` as `v.x + 0.0 > b * 2.0`, a sum with fractions, which may be rounded."""
    match test:
        case ir.Operate(
            operator=operator, args=(ir.Operate(operator="div", args=(x, ir.Const(value=by))), b)
        ) if operator in COMPARED and is_number(by) and by != 0 and not json.is_in(b):
            span = test.span
            sides = (
                ir.Operate(span, "add", (x, ir.Const(span, 0.0))),
                ir.Operate(span, "mul", (b, ir.Const(span, float(by)))),
            )
            return ir.Operate(span, operator if by > 0 else FLIPPED[operator], sides)
        case ir.Operate(operator=operator, args=(a, ir.Operate(operator="div") as b)) if (
            operator in COMPARED and not json.is_in(a)
        ):
            return _multiplied(ir.Operate(test.span, FLIPPED[operator], (b, a)), json)
    return test


def json_comparison(test: ir.Expr, json: Json) -> ir.Expr | None:
    """The language of a comparison of sums of such numbers; None for other tests."""
    match test:
        case ir.Operate(operator=operator, args=(a, b)) if operator in COMPARED:
            total = _Sum(json)
            if not (total.add(a, 1) and total.add(b, -1) and total.terms):
                return None
            if len(total.terms) + len(total.products) > MOST_TERMS:
                return None
            span = test.span
            paths = ir.Const(span, tuple(total.terms))
            factors = ir.Const(span, tuple(total.terms.values()))
            added = ir.Operate(span, "list", tuple(e for e, _ in total.others))
            times = ir.Const(span, tuple(factor for _, factor in total.others))
            is_side = len(total.others) <= 1 and not (json.is_in(a) and json.is_in(b))
            arguments = (
                *(paths, factors, ir.Const(span, operator)),
                *(added, times, ir.Const(span, is_side)),
                ir.Const(span, tuple((*both, n) for both, n in total.products.items())),
            )
            return ir.Builtin(span, ".json_numbers", arguments)
    return None


@dataclass
class _Sum:
    """terms: what the number at each path is multiplied with. others: what does not depend on the
    text, and what it is multiplied with. products: the same of products of two numbers."""

    json: Json
    terms: dict[Path, int] = field(default_factory=dict)
    others: list[tuple[ir.Expr, int]] = field(default_factory=list)
    products: dict[tuple[Path, Path], int] = field(default_factory=dict)

    def add(self, e: ir.Expr, factor: int) -> bool:
        """Adds an expression times a factor; whether it is such a sum."""
        if not self.json.is_in(e):
            self.others.append((e, factor))
            return not isinstance(e, ir.Const) or is_number(e.value)
        path = self.json.path(e)
        if path is not None:
            self.terms[path] = self.terms.get(path, 0) + factor
            return self.terms[path] != 0
        match e:
            case ir.Operate(operator="mul", args=(a, b)):
                one, other = self.json.path(a), self.json.path(b)
                if one is not None and other is not None:
                    both = (one, other)
                    self.products[both] = self.products.get(both, 0) + factor
                    return self.products[both] != 0
        parts = addends(e)
        return bool(parts) and all(self.add(part, factor * times) for part, times in parts)
