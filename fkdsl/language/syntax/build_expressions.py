"""Expressions of lark's parse tree as nodes of tree.py."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from lark import Token, Tree

from fkdsl.base.diagnostics import Diagnostic, Edit
from fkdsl.base.errors import InternalError, ProgramError
from fkdsl.base.spans import Source, Span
from fkdsl.language.syntax import edits, tree
from fkdsl.language.syntax.literals import number, split_string, unescape
from fkdsl.language.syntax.other_languages import ATTRIBUTES, method_advice, method_call
from fkdsl.values.signatures import TABLE

Node = Any
"""A lark Tree or Token."""
MAX_DEPTH = 150
LAYOUT = ("NEWLINE", "INDENT", "DEDENT")


def is_token(node: Node, kind: str) -> bool:
    return isinstance(node, Token) and node.type == kind


class ExpressionBuilder:
    def __init__(
        self,
        source: Source,
        parse_expression: Callable[[Source, int, int, list[Diagnostic]], tree.Expr],
        diagnostics: list[Diagnostic],
    ) -> None:
        self.source, self.parse_expression, self.diagnostics = source, parse_expression, diagnostics
        self.depth = 0

    def report(
        self,
        code: str,
        message: str,
        span: Span,
        label: str,
        help: str,
        edits: tuple[Edit, ...] = (),
    ) -> None:
        self.diagnostics.append(Diagnostic(code, message, span, label, help, edits=edits))

    def node_span(self, node: Node) -> Span:
        first, last = _edge(node, 0), _edge(node, -1)
        if first is None or last is None:
            raise InternalError("a node without tokens")
        return Span(self.source, first.start_pos or 0, last.end_pos or 0)

    def name(self, node: Node) -> tree.Name:
        token = node.children[0]
        return tree.Name(self.node_span(node), str(token))

    def expr(self, node: Node) -> tree.Expr:
        """The node of an expression. Raises ProgramError when it is nested too deep."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            help = "name the inner parts and use the names"
            self.report(
                "FK109",
                f"an expression nested more than {MAX_DEPTH} deep",
                self.node_span(node),
                "here",
                help,
            )
            raise ProgramError(self.diagnostics)
        try:
            return self._expr(node)
        finally:
            self.depth -= 1

    def _expr(self, node: Node) -> tree.Expr:  # noqa: C901  a case for each class
        span, c = self.node_span(node), node.children
        match node.data:
            case "variable":
                return tree.Name(span, str(c[0]))
            case "number":
                return tree.Literal(span, number(str(c[0])))
            case "literal":
                return tree.Literal(span, {"true": True, "false": False, "none": None}[str(c[0])])
            case "eos":
                return tree.EosLiteral(span)
            case "string":
                return self.string(span, c)
            case "grouped":
                return self.expr(c[1])
            case "or_test" | "and_test":
                return tree.BoolOp(span, str(c[1]), tuple(self.expr(x) for x in c[::2]))
            case "negation":
                return tree.Unary(span, "not", self.expr(c[1]))
            case "signed":
                return tree.Unary(span, str(c[0]), self.expr(c[1]))
            case "if_expr":
                return tree.IfExpr(span, self.expr(c[2]), self.expr(c[0]), self.expr(c[4]))
            case "comparison":
                operators = [" ".join(map(str, op.children)) for op in c[1::2]]
                operands = [self.expr(x) for x in c[2::2]]
                return tree.Compare(
                    span, self.expr(c[0]), tuple(zip(operators, operands, strict=True))
                )
            case "sum" | "product":
                return self.chain(c)
            case "power":
                return tree.Binary(span, "**", self.expr(c[0]), self.expr(c[2]))
            case "call":
                return self.call(span, c)
            case "subscripted":
                return self.subscript(span, c)
            case "attribute":
                return tree.Attribute(span, self.expr(c[0]), str(c[2]))
            case "list":
                return tree.ListExpr(span, tuple(self.expr(x) for x in c if isinstance(x, Tree)))
            case "comprehension" | "generator":
                element, *rest = [x for x in c if isinstance(x, Tree)]
                return tree.Comprehension(span, self.expr(element), tuple(map(self.clause, rest)))
            case "record":
                return tree.RecordExpr(span, tuple(self.field(x) for x in c if isinstance(x, Tree)))
        raise InternalError(f"no expression {node.data}")

    def chain(self, c: list[Node]) -> tree.Expr:
        """`a + b - c`, from the left."""
        if len(c) > 2 * MAX_DEPTH:
            span = self.node_span(c[MAX_DEPTH])
            self.report(
                "FK109",
                f"more than {MAX_DEPTH} operators in a row",
                span,
                "here",
                "use `sum([...])` or `join`",
            )
            raise ProgramError(self.diagnostics)
        left = self.expr(c[0])
        for op, x in zip(c[1::2], c[2::2], strict=True):
            right = self.expr(x)
            left = tree.Binary(left.span.to(right.span), str(op), left, right)
        return left

    def call(self, span: Span, c: list[Node]) -> tree.Expr:
        function = self.expr(c[0])
        args, keywords = self.arguments(c[2] if isinstance(c[2], Tree) else None)
        if isinstance(function, tree.Attribute):
            return self.method(span, function, [a.span.text for a in args])
        if not isinstance(function, tree.Name):
            help = (
                "write `name(...)`; methods are functions here: words(lm.text), not lm.text.words()"
            )
            self.report(
                "FK124",
                "only a name can be called",
                function.span,
                "expected a function's name",
                help,
            )
            function = tree.Name(function.span, "str")
        return tree.Call(span, function, args, keywords)

    def method(self, span: Span, function: tree.Attribute, arguments: list[str]) -> tree.Expr:
        """Reports `value.name(...)`: there are no methods."""
        receiver, name = function.value.span.text, function.name
        receiver = receiver if len(receiver) <= 30 and "\n" not in receiver else "x"
        shown = [a if len(a) <= 30 and "\n" not in a else "..." for a in arguments]
        where = Span(self.source, function.value.span.end, function.span.end)
        help = method_advice(receiver, name, shown, name in TABLE)
        message = (
            f"`{name}` is no method"
            if name in ATTRIBUTES
            else f"there are no methods, such as `.{name}(...)`"
        )
        written = method_call(receiver, name, arguments, name in TABLE)
        whole = receiver == function.value.span.text and shown == arguments
        change = edits.instead(span, written) if written and whole else ()
        self.report("FK128", message, where, "called here", help, change)
        return tree.Unreadable(span)

    def arguments(
        self, node: Node | None
    ) -> tuple[tuple[tree.Expr, ...], tuple[tree.Keyword, ...]]:
        """Positional and keyword arguments, in order."""
        args: list[tree.Expr] = []
        keywords: list[tree.Keyword] = []
        for c in node.children if node is not None else ():
            if not isinstance(c, Tree):
                continue
            if c.data == "keyword":
                keywords.append(self.keyword(c))
            else:
                if keywords:
                    help = "put it before the named ones"
                    self.report(
                        "FK120",
                        "an argument without name after named ones",
                        self.node_span(c),
                        "here",
                        help,
                    )
                args.append(self.expr(c))
        return tuple(args), tuple(keywords)

    def keyword(self, node: Node) -> tree.Keyword:
        return tree.Keyword(
            str(node.children[0]), self.expr(node.children[2]), self.node_span(node)
        )

    def subscript(self, span: Span, c: list[Node]) -> tree.Expr:
        value, inner = self.expr(c[0]), c[2]
        if inner.data == "index":
            return tree.Index(span, value, self.expr(inner.children[0]))
        colon = next(i for i, x in enumerate(inner.children) if is_token(x, "COLON"))
        ends = [
            self.expr(part[0]) if part else None
            for part in (inner.children[:colon], inner.children[colon + 1 :])
        ]
        return tree.Slice(span, value, ends[0], ends[1])

    def clause(self, node: Node) -> tree.Clause:
        c = node.children
        targets = tuple(self.name(n) for n in c[1].children if isinstance(n, Tree))
        return tree.Clause(targets, self.expr(c[3]), tuple(self.expr(x) for x in c[5::2]))

    def field(self, node: Node) -> tuple[str, tree.Expr]:
        key = self.expr(node.children[0])
        name = f"? {key.span.start}"  # no two of them are the same field
        match key:
            case tree.Literal(value=str(text)):
                name = text
            case tree.Name(name=name):
                self.report(
                    "FK124",
                    "a record's field is named by a string",
                    key.span,
                    "expected a string",
                    f'quote the name: {{"{name}": ...}}',
                    edits.instead(key.span, f'"{name}"'),
                )
            case _:
                self.report(
                    "FK124",
                    "a record's field is named by a string",
                    key.span,
                    "expected a string",
                    'write {"name": value}',
                )
        return name, self.expr(node.children[2])

    # ---------------------------------------------------------------- strings

    def string(self, span: Span, tokens: list[Token]) -> tree.Expr:
        """One literal of adjacent strings; an f-string among them makes it one."""
        parts: list[str | tree.FormatPart] = []
        mistakes = len(self.diagnostics)
        for token in tokens:
            prefix, begin, end = split_string(str(token))
            start = token.start_pos or 0
            if "f" in prefix:
                parts.extend(self.fstring(start + begin, start + end, prefix.replace("f", "")))
            else:
                parts.append(self.string_value(prefix, start + begin, start + end))
        if len(self.diagnostics) > mistakes and any(is_token(token, "FSTRING") for token in tokens):
            return tree.Unreadable(span)
        if all(isinstance(p, str) for p in parts):
            return tree.Literal(span, "".join(p for p in parts if isinstance(p, str)))
        return tree.FString(span, tuple(p for p in parts if p != ""))

    def string_value(self, prefix: str, start: int, stop: int) -> str:
        if prefix == "r":
            return self.source.text[start:stop]
        return unescape(self.source, start, stop, self.diagnostics.append)

    def fstring(self, start: int, stop: int, prefix: str) -> Iterator[str | tree.FormatPart]:
        """The parts of an f-string's body between two offsets. prefix: "r" where a backslash is a
        backslash."""
        text, at, begin = self.source.text, start, start
        while at < stop:
            if text.startswith(("{{", "}}"), at):
                yield self.string_value(prefix, begin, at + 1)
                at += 2
                begin = at
            elif text[at] == "{":
                yield self.string_value(prefix, begin, at)
                part, at = self.format_part(at, stop, raw=prefix == "r")
                yield part
                begin = at
            elif text[at] == "}":
                span = Span(self.source, at, at + 1)
                self.report(
                    "FK112",
                    "`}` closes nothing in this f-string",
                    span,
                    "here",
                    "write `}}` for a brace",
                    edits.instead(span, "}}"),
                )
                at += 1
                begin = at
            else:
                at += 2 if text[at] == "\\" and prefix == "" else 1
        yield self.string_value(prefix, begin, stop)

    def format_part(self, at: int, stop: int, *, raw: bool) -> tuple[tree.FormatPart | str, int]:
        """`{value:spec}` that begins at `at`, and the offset after it. raw: in a pattern, where
        `{4}` would repeat."""
        text, depth, end, colon = self.source.text, 0, at + 1, -1
        quote = ""
        while end < stop and (depth or quote or text[end] != "}"):
            c = text[end]
            if quote:
                quote = "" if c == quote else quote
            elif c in "'\"":
                quote = c
            elif c in "([{":
                depth += 1
            elif c in ")]}":
                depth -= 1
            elif c == ":" and not depth and colon < 0:
                colon = end
            end += 1
        span = Span(self.source, at, min(end + 1, stop))
        value_end = colon if colon >= 0 else end
        if end >= stop or not text[at + 1 : value_end].strip():
            what = "is never closed" if end >= stop else "is empty"
            self.report(
                "FK112",
                f"`{{` in this f-string {what}",
                span,
                "here",
                "write {name}, or `{{` for a brace",
            )
            return "", end + 1
        inner = text[at + 1 : end]
        if raw and re.fullmatch(r"[\d,\s]+", inner):
            message = f"`{{{inner}}}` in an f-string is the value {inner}, which repeats nothing"
            self.report(
                "FK112",
                message,
                span,
                "a value",
                f"write `{{{{{inner}}}}}` for the braces of a pattern",
                edits.instead(span, f"{{{{{inner}}}}}"),
            )
            return "", end + 1
        if colon >= 0 and re.fullmatch(r"""\s*("[^"]*"|'[^']*')\s*""", text[at + 1 : colon]):
            message = "`{` begins a value in an f-string, and this is none"
            help = "write `{{` and `}}` for braces of the text"
            plain = not set(inner) & set("{}")
            change = edits.instead(span, f"{{{{{inner}}}}}") if plain else ()
            self.report("FK112", message, span, "a text?", help, change)
            return "", end + 1
        try:
            value = self.parse_expression(self.source, at + 1, value_end, self.diagnostics)
        except ProgramError as error:
            self.diagnostics.extend(d for d in error.diagnostics if d not in self.diagnostics)
            value = tree.Unreadable(span)
        return tree.FormatPart(value, text[colon + 1 : end] if colon >= 0 else "", span), end + 1


def _edge(node: Node, side: int) -> Token | None:
    """The first (0) or last (-1) token of a node that is no layout; no recursion, for text nested
    beyond reason."""
    todo = [node]
    while todo:
        top = todo.pop()
        if isinstance(top, Token):
            if top.type not in LAYOUT:
                return top
        else:
            todo.extend(reversed(top.children) if side == 0 else top.children)
    return None
