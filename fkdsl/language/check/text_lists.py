"""Lists of texts that are written out in a call: the stops of a text, the options of a choice.

What is computed is looked at when the program runs (FK412, FK402).
"""

from __future__ import annotations

from fkdsl.language.check.report import Report
from fkdsl.language.syntax import tree


def check_stops(report: Report, call: tree.Call) -> None:
    """Reports a written list of stops with none in it, or with an empty one."""
    given = argument(call, 1, "until")
    if not isinstance(given, tree.ListExpr):
        return
    if not given.items:
        report.error(
            "FK252", "a text that ends at one of no stops", given.span, "an empty list",
            'leave `until` out, or write `until=""`: the text then ends at EOS or max_tokens',
        )  # fmt: skip
    for item in given.items:
        if isinstance(item, tree.Literal) and item.value == "":
            report.error(
                "FK252",
                '`""` is no stop',
                item.span,
                "every text holds it",
                "leave it out of the list",
            )


def check_options(report: Report, call: tree.Call) -> None:
    """Reports options of a choice that cannot be told apart: equal ones, an empty one, and `other`
    if it is one of them."""
    given = argument(call, 1, "options")
    if not isinstance(given, tree.ListExpr):
        return
    if not given.items:
        report.error(
            "FK253", "a choice among no options", given.span, "an empty list",
            "give one text at least",
        )  # fmt: skip
    seen: set[str] = set()
    for item in given.items:
        if not isinstance(item, tree.Literal) or not isinstance(item.value, str):
            continue
        if item.value == "":
            report.error(
                "FK253", '`""` is no option', item.span, "every text begins with it",
                'leave it out; for none of the others, write `other="..."`',
            )  # fmt: skip
        elif item.value in seen:
            report.error(
                "FK253", f"the option `{item.span.text}` stands twice", item.span, "again here",
                "leave one of them out",
            )  # fmt: skip
        seen.add(item.value)
    other = argument(call, 2, "other")
    if isinstance(other, tree.Literal) and other.value != "" and other.value in seen:
        report.error(
            "FK253", "`other` is one of the options", other.span, "an option too",
            "give it a text of its own: it is what comes out for none of the options",
        )  # fmt: skip


def argument(call: tree.Call, position: int, name: str) -> tree.Expr | None:
    """What a call gives for a parameter, by position or by name."""
    if position < len(call.args):
        return call.args[position]
    return next((k.value for k in call.keywords if k.name == name), None)
