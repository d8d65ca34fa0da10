"""What a beginning of a text shows of texts that are made of it, and of tests of them."""

from itertools import product

import pytest

import fkdsl
from fkdsl.base.spans import NOWHERE
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.beginnings import beginning
from fkdsl.ir.passes.constant import constant_value
from fkdsl.ir.passes.early import early_form
from fkdsl.ir.passes.reading import substitute

TEXT = 7
TEXTS = [
    *("".join(t) for n in range(5) for t in product("aB- ", repeat=n)),
    *("".join(t) for n in range(1, 5) for t in product("\u0391\u03a3' ", repeat=n)),
    *["\u00dfa", "i\u0307a", "\u0130a", "ab ab", "ab-ab", "aaa-b"],
]


def expression(written):
    """The expression over the slot TEXT that a condition on s stands for."""
    program = fkdsl.parse(f"program p(s: str) -> bool:\n    condition {written}\n    return true\n")
    (function,) = program.without().ir().functions.values()
    (condition,) = (i for i in function.body if isinstance(i, ir.Condition))
    return substitute(condition.test, {0: ir.Local(NOWHERE, TEXT)})


def value(e, text):
    if isinstance(e, ir.Or):
        return any(value(o, text) for o in e.operands)
    return constant_value(substitute(e, {TEXT: ir.Const(NOWHERE, text)}), {})


@pytest.mark.parametrize(
    "written",
    [
        "s",
        "upper(s)",
        "lower(s)",
        "strip(s)",
        'strip(s, "a")',
        "s[1:]",
        "s[1:3]",
        'replace(s, "a", "--")',
        'upper(strip(replace(lower(s), "-", " ")))[1:]',
    ],
)
def test_what_a_text_begins_with_stays(written):
    e = expression(f'{written} == ""').args[0]
    begins = beginning(e, TEXT)
    assert begins is not None
    for text in TEXTS:
        whole = value(e, text)
        for k in range(len(text) + 1):
            assert whole.startswith(value(begins, text[:k])), (text, k)


@pytest.mark.parametrize("written", ["s[-1:]", "s[:-1]", 'replace(s, "aB", "")', "last_word(s)"])
def test_of_other_texts_nothing_is_known(written):
    assert beginning(expression(f'{written} == ""').args[0], TEXT) is None


@pytest.mark.parametrize(
    "written",
    [
        r'matches(s, r"(\w+)[ -]\1")',
        r'matches(lower(s), r"(\w+)[ -]\1")',
        r'matches(upper(strip(s)), r"(\w+)[ -]\1")',
        r'matches(replace(s, "-", "a")[1:], r"(\w+) \1")',
        'find(s, "aB") == 1',
        'find(upper(s), "B") >= 2',
        '2 > find(s, "-")',
        'not find(s, "a") == 0',
    ],
)
def test_what_is_refused_early_is_refused_of_all_that_begins_so(written):
    e = expression(written)
    check = early_form(e, TEXT)
    assert check is not None
    refused = 0
    for text in TEXTS:
        early = [value(check, text[:k]) for k in range(len(text) + 1)]
        refused += not all(early)
        assert all(early) or not value(e, text), text
    assert refused
