"""Lark's parse tree to the frozen nodes of tree.py, with spans; what LALR lets through and the
language does not is reported here: targets that are no names, statements outside a program."""

from __future__ import annotations

from collections.abc import Callable

from lark import Tree

from fkdsl.base.diagnostics import Diagnostic, Edit, near_name
from fkdsl.base.errors import InternalError, ProgramError
from fkdsl.base.spans import Source, Span
from fkdsl.language.syntax import other_languages, tree
from fkdsl.language.syntax.build_expressions import Node, is_token
from fkdsl.language.syntax.build_models import ModelBuilder
from fkdsl.language.syntax.line_mistakes import BLOCKS
from fkdsl.language.syntax.recovery import names_in
from fkdsl.values.types import NAMED_TYPES, Dist, List, Type

STRAY = "put it in a `program name() -> str:` block"
AUGMENTED = {"PLUSEQ": "+", "MINUSEQ": "-", "STAREQ": "*", "SLASHEQ": "/"}
ParseExpression = Callable[[Source, int, int, list[Diagnostic]], tree.Expr]


class Builder(ModelBuilder):
    """Builds declarations and statements; expressions come from its base."""

    def __init__(
        self, source: Source, parse_expression: ParseExpression, diagnostics: list[Diagnostic]
    ) -> None:
        super().__init__(source, parse_expression, diagnostics)
        self.unreadable: set[str] = set()

    def module(self, node: Node) -> tree.Module:
        nodes = [c for c in node.children if isinstance(c, Tree)]
        self.stray(nodes)
        declarations = tuple(self.declaration(c) for c in nodes if c.data != "stray_statement")
        return tree.Module(
            self.source, declarations, tuple(self.diagnostics), frozenset(self.unreadable)
        )

    def stray(self, declarations: list[Node]) -> None:
        """Reports statements outside a program, a whole script as one mistake; not those that are
        meant as the block of a line above, which was reported."""
        statements, block = [], False
        for c in declarations:
            inner = c.children[0] if c.data == "stray_statement" else None
            if inner is not None and inner.data == "unreadable":
                block = (
                    len(inner.children) == 2
                    and str(inner.children[0]).split(maxsplit=1)[0] in BLOCKS
                )
            elif inner is not None:
                self.unreadable.update(names_in(self.span(inner).text))
                statements += [] if block else [inner]
            else:
                block = False
        if statements:
            span, message, help = self.span(statements[0]), "a statement outside a program", STRAY
            if statements[0].data in ("assign", "annotated"):
                name = self.source.text[span.start : span.end].split("=")[0].split(":")[0].strip()
                message = "a variable outside a program"
                help = (
                    f"set it in the program, make it a parameter, `program main({name} = ...)`, "
                    f"or write `def {name}():` with a `return`, and call it"
                )
            more = f" ({len(statements)} such statements)" if len(statements) > 1 else ""
            self.report("FK126", message + more, span, "belongs in a program or def", help)

    # ----------------------------------------------------------- declarations

    def declaration(self, node: Node) -> tree.Decl:
        span, c = self.span(node), node.children
        match node.data:
            case "model_default" | "model_named" | "model_view" | "model_table":
                return self.model(node)
            case "import_":
                return tree.Import(span, self.plain_string(c[1]))
            case "index_":
                options = tuple(self.keyword(k) for k in self.trees(node, "keyword"))
                return tree.IndexDecl(span, self.name(c[1]).name, self.plain_string(c[3]), options)
            case "extern":
                returns = self.type(next(self.trees(node, "type")))
                path = self.plain_string(next(t for t in reversed(c) if is_token(t, "STRING")))
                name = next(self.trees(node, "name"))
                return tree.ExternDef(
                    span, self.name(name).name, self.parameters(node), returns, path
                )
            case "function" | "program":
                return self.function(node)
            case "infer":
                name = next(self.trees(node, "name"))
                args, keywords = self.arguments(next(self.trees(node, "arguments"), None))
                if args:
                    self.report(
                        "FK120",
                        "an option without its name",
                        args[0].span,
                        "here",
                        "write particles=16",
                    )
                return tree.Infer(span, self.name(name).name, keywords)
            case "query":
                return tree.Query(span, self.name(c[1]).name, self.expr(c[3]))
            case "test":
                expectations = tuple(
                    self.expr(e.children[1]) for e in self.trees(node, "expectation")
                )
                settings = tuple(self.keyword(k) for k in self.trees(node, "keyword"))
                return tree.Test(span, self.plain_string(c[1]), expectations, settings)
        raise InternalError(f"no declaration {node.data}")

    def function(self, node: Node) -> tree.FunctionDef:
        name = next(self.trees(node, "name"))
        declared = next(self.trees(node, "type"), None)
        body = self.suite(next(self.trees(node, "suite")))
        doc = ""
        match body:
            case (tree.ExprStmt(value=tree.Literal(value=str(text))), *_):
                doc, body = text, body[1:]
        return tree.FunctionDef(
            self.span(node),
            self.name(name).name,
            self.parameters(node),
            self.type(declared) if declared else None,
            doc,
            body,
            node.data == "program",
            self.span(name),
        )

    def parameters(self, node: Node) -> tuple[tree.Param, ...]:
        params = []
        for p in self.trees(next(self.trees(node, "parameters")), "parameter"):
            declared = next(self.trees(p, "type"), None)
            at = next((i for i, c in enumerate(p.children) if is_token(c, "EQUAL")), None)
            default = self.expr(p.children[at + 1]) if at is not None else None
            name = self.name(p.children[0]).name
            params.append(
                tree.Param(name, self.type(declared) if declared else None, default, self.span(p))
            )
        return tuple(params)

    def type(self, node: Node) -> Type:
        word = str(node.children[0])
        inner = next(self.trees(node, "type"), None)
        of = None if inner is None else self.type(inner)
        if of is not None and word in ("list", "dist"):
            return List(of) if word == "list" else Dist(of)
        if of is None and word in NAMED_TYPES:
            return NAMED_TYPES[word]
        meant = _type_of_others(word, of)
        if meant is not None and of is None and word in ("list", "dist"):
            help = f"write `{meant}` with the type of its items"
        elif meant is not None:
            help = f"write `{meant}`"
        else:
            help = f"types are {', '.join(NAMED_TYPES)}, list[...], dist[...]"
        self.report(
            "FK120",
            f"`{self.span(node).text}` is no type",
            self.span(node),
            "expected a type",
            help,
        )
        return meant or NAMED_TYPES["str"]

    # ------------------------------------------------------------- statements

    def suite(self, node: Node) -> tuple[tree.Stmt, ...]:
        statements: list[tree.Stmt] = []
        for c in node.children:
            if isinstance(c, Tree):
                statements.extend(self.around(c) if c.data == "unreadable" else [self.statement(c)])
        return tuple(statements)

    def around(self, node: Node) -> list[tree.Stmt]:
        """What is known of a line that could not be read: its names are set, to anything; it may
        draw, weigh or return; the block below it is read as it stands."""
        token, span = node.children[0], self.span(node.children[0])
        unknown = tree.Unreadable(span)
        names = tuple(tree.Name(span, name) for name in names_in(str(token)) or ["_"])
        statements: list[tree.Stmt] = [tree.Assign(span, (name,), unknown) for name in names]
        first = str(token).split(maxsplit=1)[0]
        if first == "return":
            statements = [tree.Return(span, unknown)]
        elif "~" in str(token) or first in ("condition", "factor", "twist", "observe"):
            statements.append(tree.Draw(span, tree.Name(span, "_"), unknown))
        for c in node.children:
            if isinstance(c, Tree) and c.data not in ("table_row", "expectation"):
                statements.extend(self.around(c) if c.data == "unreadable" else [self.statement(c)])
        return statements

    def statement(self, node: Node) -> tree.Stmt:  # noqa: C901  a case for each class
        span, c = self.span(node), node.children
        match node.data:
            case "assign":
                return tree.Assign(span, self.target_names(c[0]), self.expr(c[2]))
            case "annotated":
                names = self.target_names(c[0], one="annotate")
                return tree.Assign(span, names, self.expr(c[4]), self.type(c[2]))
            case "augmented":
                (name,) = self.target_names(c[0], one="update")
                return tree.AugAssign(span, name, AUGMENTED[c[1].type], self.expr(c[2]))
            case "draw":
                (name,) = self.target_names(c[0], one="draw")
                return tree.Draw(span, name, self.expr(c[2]))
            case "observe":
                return tree.Observe(span, self.expr(c[1]), self.expr(c[3]))
            case "condition":
                return tree.Condition(span, self.expr(c[1]))
            case "factor":
                return tree.Factor(span, self.expr(c[1]))
            case "twist":
                return tree.Twist(span, self.expr(c[1]))
            case "checkpoint":
                return tree.Checkpoint(span)
            case "break_":
                return tree.Break(span)
            case "continue_":
                return tree.Continue(span)
            case "pass_":
                return tree.Pass(span)
            case "return_":
                return tree.Return(span, self.expr(c[1]) if len(c) > 1 else None)
            case "bare":
                if (drawn := self.arrow(c[0].children[0])) is not None:
                    return drawn
                return tree.ExprStmt(span, self.expr(c[0].children[0]))
            case "if_":
                return self.if_statement(node)
            case "for_":
                names = tuple(self.name(n) for n in self.trees(c[1], "name"))
                return tree.For(span, names, self.expr(c[3]), self.suite(c[5]))
            case "while_":
                return tree.While(span, self.expr(c[1]), self.suite(c[3]))
        raise InternalError(f"no statement {node.data}")

    def arrow(self, node: Node) -> tree.Stmt | None:
        """`x <- e`, by which other languages draw, which is a comparison here: reported, and taken
        for `~`."""
        if node.data != "comparison" or len(node.children) != 3:
            return None
        left, op, right = node.children
        place = self.span(op)
        arrow = Span(self.source, place.start, place.end + 1)
        if left.data != "variable" or arrow.text != "<-" or right.data != "signed":
            return None
        name, value = str(left.children[0]), right.children[1]
        help = f"write `{name} ~ {self.span(value).text}` to draw, or `{name} = ...` to set it"
        change = (Edit(arrow, "~"),)
        self.report("FK120", "nothing is drawn by `<-`", arrow, "unexpected `<-`", help, change)
        return tree.Draw(self.span(node), tree.Name(self.span(left), name), self.expr(value))

    def if_statement(self, node: Node) -> tree.If:
        arms = [node, *self.trees(node, "elif_")]
        last = next(self.trees(node, "else_"), None)
        other = self.suite(last.children[2]) if last is not None else ()
        for arm in reversed(arms):
            statement = tree.If(
                self.span(arm), self.expr(arm.children[1]), self.suite(arm.children[3]), other
            )
            other = (statement,)
        if len(arms) > 50:
            help = "look the value up in a record, or use a loop"
            self.report(
                "FK109", "more than 50 branches in one `if`", self.span(arms[50]), "here", help
            )
            raise ProgramError(self.diagnostics)
        return statement

    def target_names(self, node: Node, one: str = "") -> tuple[tree.Name, ...]:
        """What stands left of `=` or `~`: names, or one name where `one` says what is done to
        it."""
        targets = [self.expr(c) for c in node.children if not is_token(c, "COMMA")]
        names = [e for e in targets if isinstance(e, tree.Name)]
        for e in targets:
            if not isinstance(e, tree.Name):
                help = "values do not change: build a new list or record, and name it"
                self.report("FK124", "only a name can be assigned", e.span, "expected a name", help)
        if one and len(targets) > 1:
            help = "write one line for each"
            self.report(
                "FK124",
                f"cannot {one} several names at once",
                self.span(node),
                "expected one name",
                help,
            )
        return tuple(names[:1] if one else names) or (tree.Name(self.span(node), "_"),)


def _type_of_others(word: str, of: Type | None) -> Type | None:
    """The type here that somebody means by a word that is none, of items of a type; None where that
    is not known."""
    here = other_languages.TYPES.get(word.lower()) or near_name(word, list(NAMED_TYPES))
    if word.lower() == "dist":
        return Dist(of or NAMED_TYPES["str"])
    if here is None:
        return None
    return List(of or NAMED_TYPES["str"]) if here.startswith("list") else NAMED_TYPES[here]
