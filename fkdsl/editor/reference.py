"""The page docs/reference.md: every word, operator, type, function, distribution, operation and
method of the language, from the tables that the checker reads.

    python -m fkdsl.editor.reference      writes the page again

A test holds the page to the tables. What stands here by hand is the order, and an example.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fkdsl.editor.grammar import names
from fkdsl.editor.signatures import Signature, option_doc, plain_doc, signature
from fkdsl.editor.words import ATTRIBUTES, FIELDS, FIGURES, TILDE, TYPES, WORDS
from fkdsl.inference.method import Method
from fkdsl.inference.methods import METHODS
from fkdsl.inference.options import DRAFTS, Option
from fkdsl.language.check.declarations import show_default
from fkdsl.language.check.expressions import ATTRIBUTES as ATTRIBUTE_TYPES
from fkdsl.retrieval.spec import OPTIONS as INDEX_OPTIONS
from fkdsl.values.documents import FIELDS as FIELD_TYPES
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import Type

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"

INTRODUCTION = """# Reference

Every name of the language, with its types, as the checker has them. What the names are for is said
in [the language](language.md); editors show the same lines [as you type](editor.md). The page is
made of the checker's own tables, by `python -m fkdsl.editor.reference`."""

EXAMPLE = """```fk
model bits = table:
    ""  -> "0": 0.5, "1": 0.25, EOS: 0.25
    "1" -> "1": 0.5, EOS: 0.5

def even(n: int) -> bool:
    return n % 2 == 0

def bit(lm: context) -> str:
    t ~ lm
    if t == EOS:
        return "-"
    return t

program main(n: int = 3) -> str:
    lm = prompt("")
    for i in range(n):
        if lm.done:
            break
        elif i == n:
            pass
        else:
            b ~ bit(lm)
        twist 0.1 * len(lm.text)
        condition not contains(lm.text, "10") and (even(i) or true)
        factor -0.5 if "1" in lm.text else 0.0
    k ~ uniform_int(1, 2)
    while k < 2:
        k += 1
        continue
    observe false ~ bernoulli(0.25)
    return lm.text

infer smc(particles=32)
query ones = count(value, "1")

test "ends are told apart" with n=1:
    expect P(value == "1") > 0 and E(len(value)) < 1
```"""

GROUPS = (
    ("Declarations", "declarations"),
    ("Statements that draw and weigh", "weighing"),
    ("Control", "control"),
    ("Words in expressions", "operators"),
    ("Constants", "constants"),
)
REST = ("def", "table", "from", "with")
"""Words of declarations that are special within a line only, and `def`, in their order."""

OPERATORS = (
    (("**",), "power; of a distribution over tokens, its renormalised power"),
    (("-x", "+x"), "sign"),
    (
        ("*", "/", "//", "%"),
        "`/` is a float, `//` rounds down, `%` has the sign of the right side; `*` repeats a text "
        "or list, and of two distributions over tokens it is the renormalised product",
    ),
    (("+", "-"), "`+` joins texts, and lists, too"),
    (
        ("==", "!=", "<", "<=", ">", ">=", "in", "not in"),
        "comparisons, which chain: `0 < x <= 5`; numbers and texts have an order",
    ),
    (("not",), "its operand is a bool"),
    (("and",), "evaluates its right side only where the left one is true"),
    (("or",), "evaluates its right side only where the left one is false"),
    (("a if test else b",), "evaluates one of its two sides"),
)
"""Operators from those that bind closest to those that bind last, with what they do."""
ASSIGNMENTS = (
    ("=", "assigns; several names at once too: `a, b = pair`"),
    ("+=", "adds; to a context, appends a text without weight"),
    ("-=", "subtracts"),
    ("*=", "multiplies"),
    ("/=", "divides"),
)

KINDS = (
    ("texts", "Functions of texts", "text"),
    ("lists", "Functions of lists", "sequences"),
    ("numbers", "Functions of numbers", "numbers"),
    ("structures", "Functions of structures", "structured"),
    ("data", "Functions of data", "data"),
    ("documents", "Functions of documents", "retrieval"),
    ("images", "Functions of images", "images"),
)
"""What functions are of, with the module of fkdsl/values/library that has them."""

LOG_Z = {
    "estimate": "Its Z is an unbiased estimate.",
    "exact": "Its Z is exact, or lies between its bounds.",
    "bound": "Its Z is a lower bound.",
    "none": "It has no estimate of Z.",
}


def reference() -> str:
    """The whole page, in Markdown."""
    parts = [
        INTRODUCTION,
        "## Words",
        "One program with nearly all of them:",
        EXAMPLE,
        *_words(),
        "## Operators",
        *_operators(),
        "## Types",
        _table(("type", ""), ((f"`{name}`", doc) for name, doc in sorted(TYPES.items()))),
        "## Attributes of a context",
        _table(
            ("attribute", "type", ""),
            ((f"`.{n}`", f"`{ATTRIBUTE_TYPES[n]}`", ATTRIBUTES[n]) for n in sorted(ATTRIBUTES)),
        ),
        "## Fields of a document",
        _table(
            ("field", "type", ""),
            ((f"`.{n}`", f"`{FIELD_TYPES[n]}`", FIELDS[n]) for n in FIELDS),
        ),
        "## Options of an index",
        'Written behind it: `index notes = "notes/*.md" with passage=400`.',
        _table(
            ("option", ""),
            ((f"`{n}={example}`", doc) for n, (example, doc) in INDEX_OPTIONS.items()),
        ),
        "## Operations on contexts",
        "Those that give `dist[T]` are drawn from, and observed.",
        *_called(names()["operations"]),
        "## Distributions",
        "Each is drawn from by `~`, and observed.",
        *_called(names()["distributions"]),
    ]
    for _, title, module in KINDS:
        parts += [f"## {title}", *_called(_functions(module))]
    parts += ["## Figures", "In `query` and `expect` lines."]
    parts += [_table(("figure", ""), ((f"`{n}`", doc) for n, doc in sorted(FIGURES.items())))]
    parts += ["## Methods", *_methods()]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(c) for c in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _words() -> list[str]:
    groups = names()
    parts = []
    for title, group in GROUPS:
        rows = [(f"`{word}`", WORDS[word]) for word in groups[group]]
        if group == "weighing":
            rows.insert(0, ("`~`", TILDE))
        if group == "declarations":
            rows += [(f"`{word}`", WORDS[word]) for word in REST]
        parts += [f"### {title}", _table(("word", ""), rows)]
    return parts


def _operators() -> list[str]:
    rows = [(" ".join(f"`{o}`" for o in operators), doc) for operators, doc in OPERATORS]
    assigning = [(f"`{o}`", doc) for o, doc in ASSIGNMENTS]
    return [
        "From those that bind closest to those that bind last:",
        _table(("operators", ""), rows),
        "Assignments are statements:",
        _table(("assignment", ""), assigning),
    ]


def _functions(module: str) -> list[str]:
    """The functions that a module of the library has."""
    return [n for n in names()["functions"] if TABLE[n].call.__module__.endswith(f".{module}")]


def _called(called: Iterable[str]) -> list[str]:
    """An entry for each name that is called."""
    parts = []
    for name in called:
        found = signature(None, name)
        assert found is not None
        parts += [f"### {name}", *_entry(found)]
    return parts


def _entry(s: Signature) -> list[str]:
    parts = [f"`{s.label}`", s.doc]
    if s.name in TABLE and not s.returns:
        rule = TABLE[s.name].returns
        assert not isinstance(rule, Type)
        doc = plain_doc(rule.__doc__ or "")
        parts.append(f"Type of the result: {doc[:1].lower()}{doc[1:]}")
    return parts


def _methods() -> list[str]:
    parts = ["Written after `infer`, or as `--method`; options also as flags: `--particles 64`."]
    for method in METHODS.values():
        parts += [f"### {method.name}", *_method(method)]
    drafts = _table(("option", ""), (_option(n, o) for n, o in DRAFTS.items()))
    takers = ", ".join(f"`{m.name}`" for m in METHODS.values() if m.takes_drafts)
    return [*parts, "### Options of drafts", f"Of {takers} ([drafts](drafts.md)).", drafts]


def _method(method: Method) -> list[str]:
    facts = [LOG_Z[method.log_z]]
    if method.looks_ahead:
        facts.append("It can [look ahead](lookahead.md).")
    if method.takes_drafts:
        facts.append("It takes [drafts](#options-of-drafts).")
    given = ", ".join(f"{n}={show_default(o.default)}" for n, o in method.options.items())
    doc = method.doc[0].upper() + method.doc[1:]
    return [
        f"`infer {method.name}({given})`",
        f"{doc}.",
        " ".join(facts),
        _table(("option", ""), (_option(n, o) for n, o in method.options.items())),
    ]


def _option(name: str, option: Option) -> tuple[str, str]:
    return f"`{name}`", option_doc(name, option)


if __name__ == "__main__":
    PAGE.write_text(reference(), "utf-8")
