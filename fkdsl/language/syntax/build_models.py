"""`model` lines: references with their options, views of other models, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from lark import Token, Tree

from fkdsl.base.spans import Span
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.build_expressions import ExpressionBuilder, Node, is_token
from fkdsl.language.syntax.literals import number, split_string
from fkdsl.models.runtimes import RUNTIMES

GGUF = "gguf"


class ModelBuilder(ExpressionBuilder):
    """Builds the declarations of models."""

    def model(self, node: Node) -> tree.ModelDecl:
        named = next(self.trees(node, "name"), None)
        name = self.name(named).name if named is not None else None
        if node.data == "model_view":
            return self.called_model(node, name)
        if node.data == "model_table":
            rows: tuple[tree.TableRow, ...] | None = tuple(
                map(self.table_row, self.trees(node, "table_row"))
            )
            if next(self.trees(node, "unreadable"), None) is not None:
                rows = None  # of half a table nothing can be said
            return tree.ModelDecl(self.span(node), name, None, rows)
        reference = next(t for t in node.children if is_token(t, "STRING"))
        options = tuple(self.keyword(k) for k in self.trees(node, "keyword"))
        return tree.ModelDecl(
            self.span(node), name, self.plain_string(reference), None, options=options
        )

    def table_row(self, node: Node) -> tree.TableRow:
        entries = []
        for e in self.trees(node, "table_entry"):
            first = e.children[0]
            token = tree.End.EOS if is_token(first, "EOS") else self.plain_string(first)
            entries.append(tree.TableEntry(token, self.probability(e.children[2]), self.span(e)))
        return tree.TableRow(self.plain_string(node.children[0]), tuple(entries), self.span(node))

    def probability(self, node: Node) -> float:
        """`0.5`, `1/3`, or what is no probability: a negative number, or one too large for a float,
        which is inf."""
        values = [t for t in node.children if isinstance(t, Token)]
        numbers = [number(str(t)) for t in values if t.type == "NUMBER"]
        try:
            p = float(numbers[0] if len(numbers) == 1 else numbers[0] / numbers[1])
        except (OverflowError, ZeroDivisionError):
            p = math.inf
        return -p if values[0].type == "MINUS" else p

    def plain_string(self, token: Any) -> str:
        """The value of a STRING token."""
        start = token.start_pos
        prefix, begin, end = split_string(str(token))
        return self.string_value(prefix, start + begin, start + end)

    def called_model(self, node: Node, name: str | None) -> tree.ModelDecl:
        """`bytes(...)`, behind `model name =`; or a reference with its options in brackets:
        `gguf("file.gguf", engine="llamacpp")`, `vllm("org/name")`."""
        function = next(t for t in node.children if is_token(t, "NAME"))
        args, keywords = self.arguments(next(self.trees(node, "arguments"), None))
        if function not in (GGUF, *RUNTIMES):
            view = self.view(node, function, args, keywords)
            return tree.ModelDecl(self.span(node), name, None, None, view)
        if function != GGUF:
            engine = tree.Literal(self.span(function), str(function))
            keywords = (tree.Keyword("engine", engine, engine.span), *keywords)
        reference = ""
        match args:
            case (tree.Literal(_, str(reference)),):
                pass
            case _:
                help = f'write `model m = {function}("reference")`'
                self.report("FK325", "one reference is a model", self.span(node), "which?", help)
        return tree.ModelDecl(self.span(node), name, reference, None, options=keywords)

    def view(
        self,
        node: Node,
        function: Token,
        args: tuple[tree.Expr, ...],
        keywords: tuple[tree.Keyword, ...],
    ) -> tree.View:
        """`bytes(model, beam=n)`."""
        if function != "bytes":
            help = (
                'write a reference (`model m = "smollm2"`), `table:` with rows, or `bytes(...)` '
                "of another model"
            )
            self.report(
                "FK325", f"`{function}(...)` is no model", self.span(function), "no such view", help
            )
        beam: int | str | None = tree.DEFAULT
        for k in keywords:
            match k:
                case tree.Keyword("beam", tree.Literal(value=None | int() as n)) if n is None or (
                    n >= 1 and n is not True
                ):
                    beam = n
                case _:
                    help = (
                        "it has one option: how many tokenisations are kept, `beam=5`, "
                        "or `beam=none` for all"
                    )
                    self.report("FK325", "`bytes` has no such option", k.span, "here", help)
        match args:
            case (tree.Name(span, of),):
                return tree.View(span, of, True, beam)
            case (tree.Literal(span, str(of)),):
                return tree.View(span, of, False, beam)
        help = (
            'write `model m = bytes("smollm2")`, or the name of a declared model: '
            "`model m = bytes(toy)`"
        )
        self.report("FK325", "a view is of one model", self.span(node), "of which?", help)
        return tree.View(self.span(node), "", False, beam)

    def trees(self, node: Node, data: str) -> Iterator[Any]:
        return (c for c in node.children if isinstance(c, Tree) and c.data == data)

    def span(self, node: Any) -> Span:
        """From the first to the last token of a node, layout left out; a block's span is its
        header's line."""
        return self.node_span(node)
