"""Program text to the syntax tree.

    text -> tokens (lexer.py) -> lark's LALR parse by grammar.lark -> frozen nodes (build_tree.py)

Every mistake in the text is found at once (recovery.py). No lark exception leaves here.
"""

from __future__ import annotations

import difflib
import errno
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from fkdsl.base.diagnostics import Diagnostic, near_name
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.base.files import read_file
from fkdsl.base.spans import Source, Span
from fkdsl.base.surrogates import first_surrogate
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.build_tree import Builder
from fkdsl.language.syntax.grammar_tables import lalr
from fkdsl.language.syntax.lexer import MAX_ERRORS, MAX_LINE, Lexer
from fkdsl.language.syntax.recovery import Recovery
from fkdsl.language.syntax.syntax_errors import explain

MAX_FILE = 2_000_000
"""Characters of a program."""
MAX_BYTES = 4 * MAX_FILE
"""No text of MAX_FILE characters has more."""


@lru_cache(maxsize=1)
def _lark() -> Lark:
    return lalr()


def parse(source: Source) -> tree.Module:
    """The module that a source says. Raises ProgramError with every mistake in its text."""
    module = parse_around_mistakes(source)
    if module.mistakes:
        raise ProgramError(module.mistakes)
    return module


def parse_around_mistakes(source: Source) -> tree.Module:
    """The module that a source says, but for the lines that cannot be read, which its `mistakes`
    tell of. Raises ProgramError where so little can be read that nothing more can be said."""
    _check_size(source)
    lexer = Lexer(source)
    tokens = list(lexer.tokens())
    if len(lexer.diagnostics) > MAX_ERRORS or any(d.code == "FK109" for d in lexer.diagnostics):
        raise ProgramError(lexer.diagnostics)
    recovery = Recovery(source, tokens, lexer.diagnostics)
    parsed = recovery.parse(_lark())
    if parsed is None:
        raise ProgramError(lexer.diagnostics)
    builder = Builder(source, parse_expression, lexer.diagnostics)
    builder.unreadable.update(recovery.names())
    return builder.module(parsed)


def parse_expression(
    source: Source, start: int, stop: int, diagnostics: list[Diagnostic]
) -> tree.Expr:
    """The expression between two offsets, such as the inside of an f-string's braces."""
    parsed = _parse(source, Lexer(source, start, stop, inline=True), "expression")
    return Builder(source, parse_expression, diagnostics).expr(parsed.children[0])


def _parse(source: Source, lexer: Lexer, start: str) -> Tree[Token]:
    tokens = list(lexer.tokens())
    if lexer.diagnostics:
        raise ProgramError(lexer.diagnostics)
    try:
        return _lark().parse(tokens, start=start)
    except UnexpectedInput as error:
        raise ProgramError([explain(source, tokens, error)]) from None


def _check_size(source: Source) -> None:
    if len(source.text) > MAX_FILE:
        message = f"this file has {len(source.text):,} characters; a program may have {MAX_FILE:,}"
        help = "read long texts from a model's context, or split the program by `import`"
        raise ProgramError([Diagnostic("FK108", message, Span(source, 0, 1), "in this file", help)])
    half = first_surrogate(source.text)
    if half is not None:
        code = f"U+{ord(source.text[half]):04X}"
        message = f"this is half of a character (a surrogate, {code}), which no text has"
        span = Span(source, half, half + 1)
        raise ProgramError(
            [Diagnostic("FK107", message, span, "here", "write the character itself")]
        )
    starts = (*source.line_starts, len(source.text) + 1)
    for a, b in pairwise(starts):
        if b - a > MAX_LINE:
            message = f"this line has {b - a - 1:,} characters; one may have {MAX_LINE:,}"
            raise ProgramError(
                [Diagnostic("FK108", message, Span(source, a, a + 1), "begins here", "break it up")]
            )


def read_source(path: Path) -> Source:
    """A file's text. Raises CallError if it cannot be read, ProgramError if it is not UTF-8."""
    try:
        if path.is_dir():
            raise CallError(f"{path} is a folder", "name a .fk file in it")
        raw = read_file(path, MAX_BYTES)
    except FileNotFoundError:
        names = [p.name for p in path.parent.glob("*.fk")] if path.parent.is_dir() else []
        near = near_name(path.name, names) or next(
            iter(difflib.get_close_matches(path.name, names, 1)), None
        )
        help = f"did you mean {path.parent / near}?" if near else "check the path"
        raise CallError(f"there is no file {path}", help) from None
    except OSError as error:
        help = (
            "check the file's permissions"
            if error.errno == errno.EACCES
            else "name a file of program text"
        )
        raise CallError(f"cannot read {path}: {error.strerror}", help) from None
    except CallError:
        raise
    except ValueError:
        raise CallError(
            f"cannot read {path}: its name has a character that no file's has", "check it"
        ) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _not_utf8(path, raw, error)
    return Source(str(path), text.replace("\r\n", "\n"))


def _not_utf8(path: Path, raw: bytes, error: UnicodeDecodeError) -> Source:
    good = raw[: error.start].decode("utf-8-sig").replace("\r\n", "\n")
    source = Source(str(path), raw.decode("utf-8-sig", "replace").replace("\r\n", "\n"))
    message = f"this file is not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start}"
    span = Span(source, len(good), len(good) + 1)
    raise ProgramError([Diagnostic("FK107", message, span, "this byte", "save the file as UTF-8")])
