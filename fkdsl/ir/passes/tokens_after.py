"""How many tokens a context may have when a loop of draws is over, as far as its text says."""

from __future__ import annotations

from collections.abc import Collection

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, subexpressions, writes
from fkdsl.ir.passes.reading import conjuncts, is_of_end, loops


@dataclass(frozen=True)
class TokensAfter:
    """stop: the most tokens that the context has when the loop is over, over the slots at the draw.
    ends_every_way: whether the loop is over only when it has so many, or has ended. others: the
    other parts of the loop's test."""

    stop: ir.Expr
    ends_every_way: bool
    others: tuple[ir.Expr, ...] = ()


def tokens_after(
    function: ir.Function, pc: int, context: int, at: int, between: Collection[int]
) -> TokensAfter | None:
    """What is known of the tokens that may follow a draw up to a condition, at another position;
    None where nothing is. between: the positions from which a particle may go on to it."""
    around = [(a, b) for a, b in loops(function) if a <= pc <= b and not a <= at <= b]
    if not around or pc not in between:
        return None
    return _of_loop(function, max(around), pc, context, between, len(around) == 1)


def tokens_in_loop(function: ir.Function, pc: int, context: int) -> TokensAfter | None:
    """What is known of the tokens that may follow a draw in the loop that it is in; None where
    nothing is."""
    around = [(a, b) for a, b in loops(function) if a <= pc <= b]
    if not around:
        return None
    first, last = max(around)
    inside = range(first, last + 1)
    return _of_loop(function, (first, last), pc, context, inside, len(around) == 1)


def _of_loop(
    function: ir.Function,
    loop: tuple[int, int],
    pc: int,
    context: int,
    between: Collection[int],
    outermost: bool,
) -> TokensAfter | None:
    """What the head of a loop says, if nothing between goes into the context but the draw."""
    if any(i != pc and may_extend(function, function.body[i], context) for i in between):
        return None
    first, last = loop
    written = set[int]().union(*(writes(function.body[i]) for i in between))
    head = function.body[first + 1]
    match head:
        case ir.Branch(test=test):
            return _of_while(function, loop, test, context, written)
        case ir.Next(items=items, counter=counter) if outermost:
            span = head.span
            taken, length = (
                ir.Local(span, counter),
                ir.Builtin(span, "len", (ir.Local(span, items),)),
            )
            left = ir.Operate(span, "sub", (length, taken))
            now = ir.Operate(span, "add", (_tokens(head, context), ir.Const(span, 1)))
            stop = ir.Operate(span, "add", (now, left))
            return TokensAfter(stop, _is_left_at_ends_only(function, first, last, context))
    return None


def _of_while(
    function: ir.Function,
    loop: tuple[int, int],
    test: ir.Expr,
    context: int,
    written: set[int],
) -> TokensAfter | None:
    """What the test of a `while` says: `not lm.done and lm.tokens < n`."""
    first, last = loop
    stop: ir.Expr | None = None
    others: list[ir.Expr] = []
    for part in conjuncts(test):
        bound_here = _bound(part, context)
        if (
            stop is None
            and bound_here is not None
            and not reads(bound_here) & written
            and all(e.contexts is ir.Contexts.NONE for e in subexpressions(bound_here))
        ):
            stop = bound_here
        elif not _says_not_done(part, context):
            others.append(part)
    if stop is None:
        return None
    only = not others and _is_left_at_ends_only(function, first, last, context)
    return TokensAfter(stop, only, tuple(others))


def _bound(test: ir.Expr, context: int) -> ir.Expr | None:
    """n of `lm.tokens < n`."""
    match test:
        case ir.Operate(operator="lt", args=(tokens, n)) if tokens == _tokens(test, context):
            return n
        case ir.Operate(operator="gt", args=(n, tokens)) if tokens == _tokens(test, context):
            return n
        case ir.Operate(operator="le", args=(tokens, n)) if tokens == _tokens(test, context):
            return ir.Operate(test.span, "add", (n, ir.Const(test.span, 1)))
    return None


def _says_not_done(test: ir.Expr, context: int) -> bool:
    match test:
        case ir.Operate(
            operator="not",
            args=(
                ir.Operate(
                    operator="attribute", args=(ir.Local(slot=slot), ir.Const(value="done"))
                ),
            ),
        ):
            return slot == context
    return False


def _is_left_at_ends_only(function: ir.Function, first: int, last: int, context: int) -> bool:
    """Whether a loop is left, but for its head, only where the token that is drawn is an end."""
    body = function.body
    inside = {i.name for i in body[first : last + 1] if isinstance(i, ir.Label)}
    draws = [i for i in body[first : last + 1] if isinstance(i, ir.Draw)]
    drawn = [i.target for i in draws if may_extend(function, i, context)]
    for pc in range(first + 2, last + 1):
        match body[pc]:
            case ir.Jump(label=label) if label not in inside:
                match body[pc - 1]:
                    case ir.Branch(test=test) if any(is_of_end(test, t, context) for t in drawn):
                        pass
                    case _:
                        return False
            case ir.Branch(otherwise=label) | ir.Next(done=label) if label not in inside:
                return False
    return True


def may_extend(function: ir.Function, instr: ir.Instr, context: int) -> bool:
    """Whether an instruction may append to a context: but for draws of numbers and the like, what
    goes into what is seen to be another context, and `n += 1` for what is seen to be none."""
    match instr:
        case ir.Draw(distribution=ir.Local(slot=slot)) | ir.Append(target=slot) if (
            slot != context and _is_new(function, slot) and _is_known(function, context)
        ):
            return False
        case ir.Draw(distribution=ir.Builtin()) | ir.Observe(distribution=ir.Builtin()):
            return False
        case ir.Append(target=slot):
            return slot == context or not _is_no_context(function, slot)
        case ir.Evaluate():
            return True
    return instr.contexts is ir.Contexts.EXTENDS


def _is_new(function: ir.Function, slot: int) -> bool:
    """Whether a variable is seen to hold a context that nothing before it held."""
    # What is appended to a context leaves it in its variable.
    set_by = [i for i in function.body if slot in writes(i) and not isinstance(i, ir.Append)]
    match set_by:
        case [ir.Set(value=ir.Model(operation=("prompt" | "chat" | "fork")))]:
            return slot >= function.parameters
    return False


def _is_known(function: ir.Function, slot: int) -> bool:
    """Whether a variable is seen to hold nothing that another of the function's own began with."""
    given = slot < function.parameters and not any(slot in writes(i) for i in function.body)
    return given or _is_new(function, slot)


def _is_no_context(function: ir.Function, slot: int) -> bool:
    """Whether a variable is seen to hold numbers, texts or lists that are written out."""
    written = [i for i in function.body if slot in writes(i)]
    return slot >= function.parameters and all(
        (
            isinstance(i, ir.Set)
            and len(i.targets) == 1
            and isinstance(i.value, ir.Const | ir.Format | ir.And | ir.Or)
        )
        or (
            isinstance(i, ir.Set)
            and isinstance(i.value, ir.Operate)
            and i.value.operator in ("add", "sub", "mul", "list")
        )
        for i in written
    )


def _tokens(at: ir.Expr | ir.Instr, context: int) -> ir.Expr:
    span = at.span
    return ir.Operate(span, "attribute", (ir.Local(span, context), ir.Const(span, "tokens")))
