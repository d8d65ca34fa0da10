"""What a context goes on with after a text, as far as the statements behind it say: whether that
begins with a digit.

    lm = prompt("Date: ")
    s ~ text(lm, until="\\n")
    condition matches(s, r"[12][0-9]{3}")

The pattern begins with a digit; so may the options of a choice, or what `+=` appends.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence

from fkdsl.language.check.text_lists import argument
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import targets, walk
from fkdsl.values.library.patterns import compiled_pattern, timed_match
from fkdsl.values.signatures import BuiltinError

NO_DIGITS = [*sorted(set(string.printable) - set(string.digits)), "é", "ж", "中", "\u3000"]
"""Characters by which a pattern is asked whether it may begin with something else."""


def digits_follow(rest: Sequence[tree.Stmt], context: str) -> bool:
    """Whether the first of some statements that adds to a context surely adds a digit first."""
    for i, statement in enumerate(rest):
        if not moves_on(statement, context):
            continue
        match statement:
            case tree.Draw(target=target, value=tree.Call() as call):
                if not is_name(argument(call, 0, "lm"), context) and not is_name(
                    argument(call, 0, "context"), context
                ):
                    return False
                if call.function.name == "text":
                    return is_number_by_pattern(target.name, rest[i + 1 :])
                return call.function.name == "choice" and has_number_options(call)
            case tree.AugAssign(target=tree.Name(), value=tree.Literal(value=str(text))):
                return text[:1].isdecimal()
            case tree.Observe(value=tree.Literal(value=str(text))):
                return text[:1].isdecimal()
        return False
    return False


def moves_on(statement: tree.Stmt, context: str) -> bool:
    """Whether a statement names a context otherwise than to read an attribute of it."""
    named = sum(is_name(node, context) for node in walk(statement))
    read = sum(
        is_name(node.value, context) for node in walk(statement) if isinstance(node, tree.Attribute)
    )
    return named > read


def is_number_by_pattern(text: str, rest: Sequence[tree.Stmt]) -> bool:
    """Whether a condition has a drawn text match a pattern that begins with a digit."""
    for statement in rest:
        if isinstance(statement, tree.Condition):
            for call in conjuncts(statement.test):
                if not isinstance(call, tree.Call) or call.function.name != "matches":
                    continue
                pattern = argument(call, 1, "pattern")
                if is_name(argument(call, 0, "s"), text) and isinstance(pattern, tree.Literal):
                    return begins_with_digit(str(pattern.value))
        if any(name.name == text for name in targets(statement)):
            return False
    return False


def has_number_options(call: tree.Call) -> bool:
    options = argument(call, 1, "options")
    return (
        argument(call, 2, "other") is None
        and isinstance(options, tree.ListExpr)
        and all(
            isinstance(o, tree.Literal) and isinstance(o.value, str) and o.value[:1].isdecimal()
            for o in options.items
        )
    )


def begins_with_digit(pattern: str) -> bool:
    """Whether what a pattern matches in full begins with a digit, or is empty.

    >>> [begins_with_digit(p) for p in (r"\\d{4}|0x", "[12]?-?[0-9]", "a|1", "(")]
    [True, False, False, False]
    """
    try:
        may_begin = compiled_pattern(pattern).fullmatch

        def begins(first: str) -> bool:
            return timed_match(may_begin, first, None, None, None, True) is not None  # partial=True

        return any(map(begins, string.digits)) and not any(map(begins, NO_DIGITS))
    except BuiltinError:
        return False


def glued_texts(rest: Sequence[tree.Stmt], context: str) -> list[tree.Name]:
    """The text that is the first of some statements to move a context on, as it is named in each
    condition that has it begin without a space: `valid_json(s, ...)`, and `matches` and
    `starts_with` by what begins with a letter."""
    at = next((i for i, s in enumerate(rest) if moves_on(s, context)), len(rest))
    match rest[at : at + 1]:
        case [tree.Draw(target=target, value=tree.Call() as call)] if (
            call.function.name == "text" and is_name(argument(call, 0, "lm"), context)
        ):
            text = target.name
        case _:
            return []
    found: list[tree.Name] = []
    for statement in rest[at + 1 :]:
        if isinstance(statement, tree.Condition):
            for test in conjuncts(statement.test):
                given = argument(test, 0, "s") if isinstance(test, tree.Call) else None
                if isinstance(given, tree.Name) and given.name == text and is_glued(test):
                    found.append(given)
        if any(name.name == text for name in targets(statement)):
            break
    return found


def is_glued(test: tree.Expr) -> bool:
    """Whether a call is false of a text that begins with a space, and true of some that begins
    with a letter or a brace."""
    match test:
        case tree.Call(function=tree.Name(name="valid_json")):
            return True
        case tree.Call(function=tree.Name(name="starts_with"), args=(_, tree.Literal(value=part))):
            return str(part)[:1].isalpha()
        case tree.Call(function=tree.Name(name="matches"), args=(_, tree.Literal(value=pattern))):
            return begins_with_letter(str(pattern))
    return False


def begins_with_letter(pattern: str) -> bool:
    """Whether what a pattern matches in full may begin with a letter, and not with a space.

    >>> [begins_with_letter(p) for p in ("[A-Z].*", " ?yes", ".+", "[0-9]+", "(")]
    [True, False, False, False, False]
    """
    try:
        may_begin = compiled_pattern(pattern).fullmatch

        def begins(first: str) -> bool:
            return timed_match(may_begin, first, None, None, None, True) is not None  # partial=True

        return not begins(" ") and any(map(begins, string.ascii_letters))
    except BuiltinError:
        return False


def conjuncts(test: tree.Expr) -> Iterator[tree.Expr]:
    if isinstance(test, tree.BoolOp) and test.op == "and":
        for operand in test.operands:
            yield from conjuncts(operand)
    else:
        yield test


def is_name(e: object, name: str) -> bool:
    return isinstance(e, tree.Name) and e.name == name
