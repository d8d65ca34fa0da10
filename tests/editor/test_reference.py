"""The page docs/reference.md says what the tables say, and leaves nothing out."""

import re

from fkdsl.editor.grammar import names
from fkdsl.editor.reference import ASSIGNMENTS, EXAMPLE, OPERATORS, PAGE, REST, reference
from fkdsl.editor.signatures import signature
from fkdsl.editor.words import ATTRIBUTES, WORDS
from fkdsl.inference.methods import METHODS
from fkdsl.language.check.expressions import ATTRIBUTES as ATTRIBUTE_TYPES
from fkdsl.language.syntax.lexer import DECLARATIONS, KEYWORDS
from fkdsl.language.syntax.lexer import OPERATORS as SIGNS
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import Type

TEXT = PAGE.read_text("utf-8")
ELSEWHERE = {"->", "=", "~", "(", ")", "[", "]", "{", "}", ",", ":", "."}
"""Signs that are no operators of expressions."""


def entries():
    """Heading -> what stands below it, for the headings of single names."""
    return dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_the_page_is_what_the_tables_make():
    assert reference() == TEXT, "python -m fkdsl.editor.reference"


def test_every_name_that_is_called_has_an_entry_with_its_signature():
    called = [n for group in ("functions", "distributions", "operations") for n in names()[group]]
    for name in called:
        text = entries()[name]
        assert f"`{signature(None, name).label}`" in text
        assert len(text.splitlines()) > 2, f"{name} has no documentation"


def test_every_result_that_depends_on_arguments_is_said_in_words():
    for name, s in TABLE.items():
        if not name.startswith(".") and not isinstance(s.returns, Type):
            assert s.returns.__doc__, f"the rule of {name} has no documentation"
            assert s.returns.__doc__[1:] in entries()[name].partition("Type of the result: ")[2]


def test_every_method_has_an_entry_with_every_option_and_default():
    for method in METHODS.values():
        text = entries()[method.name]
        for option, o in method.options.items():
            row = re.search(rf"^\| `{option}` \| .* by default `(.*)` \|$", text, re.MULTILINE)
            assert row, (method.name, option)
            assert row[1].strip('"') == str(o.default).lower(), (method.name, option)


def test_every_word_has_a_row():
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert rows >= KEYWORDS | DECLARATIONS | WORDS.keys() | set(REST)
    assert ATTRIBUTES.keys() == ATTRIBUTE_TYPES.keys()
    assert all(f"| `.{n}` | `{t}` |" in TEXT for n, t in ATTRIBUTE_TYPES.items())


def test_every_sign_of_the_lexer_is_an_operator_of_the_page():
    shown = {o for row, _ in OPERATORS for o in row} | {sign for sign, _ in ASSIGNMENTS}
    assert set(SIGNS) - ELSEWHERE <= shown


def test_the_example_has_nearly_all_words():
    missing = {w for w in KEYWORDS | DECLARATIONS if not re.search(rf"\b{w}\b", EXAMPLE)}
    assert missing == {"checkpoint", "extern", "import", "index", "none"}
