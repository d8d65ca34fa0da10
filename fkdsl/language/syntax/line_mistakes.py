"""Lines that do not parse and have messages of their own: another language's statements, blocks
without `:` or indentation, `=` for `==`, words that are reserved.

Each function says what the mistake is, or None; LINE_MISTAKES is the order in which they are asked.
"""

from __future__ import annotations

from collections.abc import Callable

from fkdsl.base.diagnostics import Diagnostic, near_name
from fkdsl.base.spans import Span
from fkdsl.language.syntax import edits
from fkdsl.language.syntax.lexer import DECLARATIONS, KEYWORDS
from fkdsl.language.syntax.other_languages import WORDS as WORDS_ELSEWHERE
from fkdsl.language.syntax.other_languages import module_advice
from fkdsl.language.syntax.stop import Stop
from fkdsl.values.types import NAMED_TYPES

BLOCKS = {"def", "program", "if", "elif", "else", "for", "while", "test"}
COMPARING = {"if", "elif", "while", "condition", "return", "factor", "twist", "expect", "observe"}
"""Words that begin a line in which `=` is meant as `==`."""
COMPARISONS = ("LT", "GT", "LE", "GE", "EQEQ", "NE", "IN", "COMPARE")
OF_A_STATEMENT = ("EQUAL", "TILDE", "DOT", "LSQB", "PLUSEQ", "MINUSEQ", "COMMA")
"""What stands behind a variable that begins a line."""


def another_language(stop: Stop) -> Diagnostic | None:
    """A line that begins as another language's statements do."""
    begun = [t for t in (*stop.line, stop.token, stop.following) if t is not None]
    first, second = begun[0], begun[1] if len(begun) > 1 else None
    start = first.start_pos or 0
    where = Span(stop.source, start, max(first.end_pos or 0, 1))
    word, behind = str(first), "" if second is None else second.type
    if word in ("import", "from") and second is not None and behind == "NAME":
        message = "there are no modules of Python here"
        whole = where.to(Span(stop.source, start, second.end_pos or 0))
        return Diagnostic("FK129", message, whole, "not a .fk file", module_advice(str(second)))
    if first.type != "NAME":
        return None
    if word in WORDS_ELSEWHERE and behind not in (*OF_A_STATEMENT, "LPAR"):
        message = f"`{word}` is not a word of this language"
        return Diagnostic("FK125", message, where, "here", WORDS_ELSEWHERE[word])
    if word in NAMED_TYPES and behind == "NAME":
        message, help = "a type stands behind its variable", f"write `{second}: {word} = ...`"
        assert second is not None
        both = where.to(stop.place(second))
        change = edits.instead(both, f"{second}: {word}")
        return Diagnostic("FK125", message, where, "here", help, edits=change)
    return None


def indented(stop: Stop) -> Diagnostic | None:
    if stop.token.type != "INDENT":
        return None
    message = "this line is indented, but no block begins before it"
    help = "indent it like the line above, or end that line with `:`"
    return stop.mistake("FK105", message, "unexpected indent", help)


def not_indented(stop: Stop) -> Diagnostic | None:
    if "INDENT" not in stop.expected or stop.token.type == "INDENT":
        return None
    help = "indent the block's lines by four spaces; write `pass` if it is empty"
    return stop.mistake("FK121", "expected an indented block", "this line is not indented", help)


def no_colon(stop: Stop) -> Diagnostic | None:
    if stop.token.type != "NEWLINE" or "COLON" not in stop.expected or stop.first not in BLOCKS:
        return None
    message = f"{'an' if stop.first[0] in 'ei' else 'a'} `{stop.first}` line ends with `:`"
    change = edits.behind(stop.place(stop.before), ":") if stop.before is not None else ()
    return stop.mistake("FK122", message, "expected `:`", "add `:`", change)


def equals(stop: Stop) -> Diagnostic | None:
    """`=` for `==`, or for the `~` of observe."""
    if stop.token.type != "EQUAL" or stop.first not in COMPARING:
        return None
    if stop.first == "observe":
        help, change = "write `observe value ~ distribution`", edits.instead(stop.span, "~")
        return stop.mistake("FK123", "`observe` compares by `~`", "expected `~`", help, change)
    message = f"`=` in a line that begins with `{stop.first}`"
    change = edits.instead(stop.span, "==")
    return stop.mistake("FK123", message, "`=` assigns", "write `==` to compare", change)


def observed_condition(stop: Stop) -> Diagnostic | None:
    """`observe` with a condition in place of a value and a distribution."""
    if stop.first != "observe" or stop.token.type != "NEWLINE" or "TILDE" not in stop.expected:
        return None
    help = "write `observe value ~ distribution`, or `condition ...` for what must hold"
    return stop.mistake("FK120", "`observe` without its `~`", "expected `~`", help)


def else_if(stop: Stop) -> Diagnostic | None:
    if stop.token.type != "IF" or not stop.follows("ELSE"):
        return None
    assert stop.before is not None
    change = edits.instead(stop.place(stop.before).to(stop.span), "elif")
    message = "`else if` is one word here"
    return stop.mistake("FK125", message, "expected `:`", "write `elif`", change)


def word_of_another_language(stop: Stop) -> Diagnostic | None:
    before = stop.before if stop.follows("NAME") and stop.token.type == "NAME" else None
    for word in (before, stop.token):
        if word is None or str(word) not in WORDS_ELSEWHERE:
            continue
        if str(word) in ("import", "from") and stop.first not in ("import", "from"):
            continue
        where = Span(stop.source, word.start_pos or 0, stop.span.end)
        message = f"`{word}` is not a word of this language"
        return Diagnostic("FK125", message, where, "here", WORDS_ELSEWHERE[str(word)])
    return None


def misspelt_word(stop: Stop) -> Diagnostic | None:
    """Two names in a row, the first of which is nearly a word of the language."""
    before = stop.before
    if before is None or not stop.follows("NAME") or stop.token.type != "NAME":
        return None
    near = near_name(str(before), sorted(KEYWORDS | DECLARATIONS))
    if not near or len(stop.line) != 1:
        return None
    message = f"`{before}` is not a word of this language"
    where = Span(stop.source, before.start_pos or 0, before.end_pos or 0)
    change = edits.instead(where, near)
    return Diagnostic("FK125", message, where, "here", f"did you mean `{near}`?", edits=change)


def reserved_word(stop: Stop) -> Diagnostic | None:
    token, expected = stop.token, stop.expected
    if str(token) not in KEYWORDS or "NAME" not in expected or token.type in expected:
        return None
    help = "write an expression here" if stop.wants_expression else "choose another name"
    return stop.mistake("FK127", f"`{token}` is a reserved word", f"expected {stop.wanted}", help)


def increment(stop: Stop) -> Diagnostic | None:
    """`x++`, `x--`."""
    token = stop.token
    if token.type not in ("PLUS", "MINUS") or not stop.follows(token.type):
        return None
    message = f"`{token}{token}` has no meaning here"
    return stop.mistake("FK125", message, "here", f"write `x {token}= 1`")


def nothing_drawn_from(stop: Stop) -> Diagnostic | None:
    if stop.token.type != "NEWLINE" or not stop.follows("TILDE"):
        return None
    label, help = "expected a distribution or a context", "write `t ~ lm` or `x ~ bernoulli(0.5)`"
    return stop.mistake("FK120", "nothing stands right of `~`", label, help)


def dots(stop: Stop) -> Diagnostic | None:
    """`...` as a statement, or behind a name."""
    start = stop.span.start
    if stop.token.type == "DOT" and not stop.line and stop.source.text.startswith("...", start):
        whole = Span(stop.source, start, start + 3)
        message, change = "`...` is no statement", edits.instead(whole, "pass")
        return Diagnostic("FK120", message, whole, "here", "write `pass`", edits=change)
    if stop.token.type != "DOT" or not stop.follows("DOT"):
        return None
    return stop.mistake("FK120", "`...` is no statement", "here", "write `pass`")


def comment(stop: Stop) -> Diagnostic | None:
    """`// a comment`, `/* a comment`, `-- a comment`."""
    text, start = stop.source.text, stop.span.start
    sign = next((s for s in ("//", "/*", "--") if text.startswith(s, start)), "")
    if stop.line or not sign:
        return None
    where = Span(stop.source, start, start + len(sign))
    change = edits.instead(where, "#")
    help = "a comment begins with `#`"
    return Diagnostic("FK120", f"unexpected `{sign}`", where, "here", help, edits=change)


def misplaced_declaration(stop: Stop) -> Diagnostic | None:
    """`infer`, `query`, `test` or a `model` within a block."""
    before = stop.before
    if before is None or len(stop.line) != 1 or before.type != "NAME":
        return None
    if str(before) not in DECLARATIONS or stop.token.type not in ("NAME", "STRING"):
        return None
    where = stop.place(before)
    column = where.column
    if column == 1:
        return None
    message = f"`{before}` stands in a block"
    help = f"move the line behind the block, and let `{before}` begin it without indentation"
    return Diagnostic("FK125", message, where, "indented", help)


def infer_text(stop: Stop) -> Diagnostic | None:
    """`infer "smc"`."""
    if stop.first != "infer" or stop.token.type != "STRING":
        return None
    name = str(stop.token).strip("\"'")
    help = f"write `infer {name}(particles=16)`, without quotes"
    return stop.mistake("FK120", "a method stands without quotes", "expected a name", help)


def model_without_quotes(stop: Stop) -> Diagnostic | None:
    """`model smollm2`."""
    if stop.token.type != "NEWLINE" or [t.type for t in stop.line] != ["MODEL", "NAME"]:
        return None
    name = stop.line[1]
    where, quoted = stop.place(name), f'"{name}"'
    help, change = f"write `model {quoted}`", edits.instead(where, quoted)
    return Diagnostic("FK120", "a model stands in quotes", where, "here", help, edits=change)


def table_in_braces(stop: Stop) -> Diagnostic | None:
    """`model m = {"": {"a": 0.5}}`."""
    if str(stop.token) != "{" or [t.type for t in stop.line] != ["MODEL", "NAME", "EQUAL"]:
        return None
    help = f'write `model {stop.line[1]} = table:`, and below it lines such as `"" -> "a": 0.5`'
    return stop.mistake("FK120", "a table has lines, and no braces", "expected `table`", help)


def query_without_name(stop: Stop) -> Diagnostic | None:
    """`query contains(value, "a")`."""
    if stop.first != "query" or len(stop.line) != 2 or "EQUAL" not in stop.expected:
        return None
    name = stop.line[1]
    if stop.token.type == "COLON":
        change = edits.instead(stop.span, " =")
        help = f"write `query {name} = ...`"
        return stop.mistake("FK120", "unexpected `:`", "expected `=`", help, change)
    help = f"name it: `query is_so = {name}...`"
    return stop.mistake("FK120", "a query has a name", "expected `=`", help)


def draw_inside(stop: Stop) -> Diagnostic | None:
    """`1 + (t ~ lm)`."""
    if stop.token.type != "TILDE" or stop.innermost == "":
        return None
    help = "draw on a line of its own before: `t ~ lm`, and use `t` here"
    return stop.mistake("FK120", "a draw is a statement", "no `~` within a value", help)


def half_comparison(stop: Stop) -> Diagnostic | None:
    """`len(s) < 4 and > 2`."""
    if stop.token.type not in COMPARISONS or not (stop.follows("AND") or stop.follows("OR")):
        return None
    help = "name the left side again, `x < 4 and x > 2`, or chain: `2 < x < 4`"
    message = f"`{stop.before}` joins whole comparisons"
    return stop.mistake("FK120", message, "what is compared?", help)


def else_of_a_loop(stop: Stop) -> Diagnostic | None:
    if stop.token.type not in ("ELSE", "ELIF") or stop.line:
        return None
    help = "indent it like its `if`; loops have none"
    message = f"`{stop.token}` follows no `if`"
    return stop.mistake("FK120", message, "no `if` ends here", help)


def debugging_form(stop: Stop) -> Diagnostic | None:
    """`f"{x=}"`."""
    behind = stop.source.text[stop.span.end : stop.span.end + 1]
    if stop.token.type != "EQUAL" or behind not in ("}", ":", "!") or not stop.line:
        return None
    help = f'write the name: `f"{stop.line[0]}={{{stop.line[0]}}}"`'
    return stop.mistake("FK120", "unexpected `=` in an f-string", "here", help)


LINE_MISTAKES: tuple[Callable[[Stop], Diagnostic | None], ...] = (
    another_language,
    comment,
    misplaced_declaration,
    infer_text,
    model_without_quotes,
    table_in_braces,
    query_without_name,
    draw_inside,
    half_comparison,
    else_of_a_loop,
    debugging_form,
    indented,
    not_indented,
    no_colon,
    equals,
    observed_condition,
    else_if,
    word_of_another_language,
    misspelt_word,
    reserved_word,
    increment,
    nothing_drawn_from,
    dots,
)
