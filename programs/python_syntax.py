"""What Python says of a text that is, or is to become, an expression: the externs of
python_expression.fk."""

import ast
import codeop
import keyword
import re
import warnings

WORDS = ("and", "async", "else", "for", "if", "in", "is", "lambda", "not", "or")


def parses_as_python(s: str) -> bool:
    """Whether a text is a Python expression."""
    try:
        _read(s)
    except (SyntaxError, ValueError):
        return False
    return True


def may_become_python(s: str) -> bool:
    """Whether some Python expression begins with a text. False of no such beginning that has no
    backslash; true of a few texts that are none."""
    return any(
        _is_unfinished("(", s + rest) and _is_unfinished("_[", s + rest) for rest in _rests(s)
    )


def _rests(s: str) -> list[str]:
    """What may be missing of the last token: the end of a text, of a number such as 0x, of != and
    its like, of a word; "in" may become "int"."""
    word = re.search(r"\w*$", s)[0]
    numbers = ["0"] if word[:1].isdigit() else []
    words = [w[len(word) :] for w in WORDS if word and w.startswith(word)] + [
        "_"
    ] * keyword.iskeyword(word)
    texts = [mark for mark in ("'", '"') if mark in s]
    marks = {"!": ["="], ":": ["="], "*": ["*"], ".": [".", ".."]}
    return ["", *numbers, *words, *texts, *marks.get(s[-1:], [])]


def _is_unfinished(bracket: str, s: str) -> bool:
    """Whether Python reads the bracket and the text to their end, and misses only what comes
    after."""
    try:
        _read(f"{bracket}{s} ", codeop.PyCF_ALLOW_INCOMPLETE_INPUT)
    except SyntaxError as error:
        return error.msg == "incomplete input"
    except ValueError:
        pass
    return False


def _read(s: str, flags: int = 0) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile(s, "<text>", "eval", ast.PyCF_ONLY_AST | flags)
