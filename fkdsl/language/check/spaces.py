"""Warnings about the space before a word, which the tokens of most models bring themselves: for a
text that a context is given and that ends in one, and for the options of a choice, or a text with
conditions, that come behind a text without one and have none. Of numbers there are none: tokens of
digits bring no space."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeGuard

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Span
from fkdsl.language.check.next_text import digits_follow, glued_texts, is_name, moves_on
from fkdsl.language.check.scopes import World
from fkdsl.language.check.text_lists import argument
from fkdsl.language.syntax import edits, tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.values.types import CONTEXT

_END = re.compile(r"([ \t]+)(?:\"\"\"|'''|[\"'])\Z")
_QUOTE = re.compile(r"[rR]?(\"\"\"|\'\'\'|[\"\'])")
SIGNS = ":,;.?!)"
"""Signs behind which a word has a space before it."""
MAKERS = ("prompt", "chat")
SPACES = (" ", "\t")
OF_BYTES = ("byte", "byt5", "blt")
"""What is in the names of models over bytes."""


@dataclass(frozen=True)
class Spaces:
    """Looks at one function of a file."""

    world: World

    def check(self, body: Sequence[tree.Stmt]) -> None:
        contexts: dict[str, list[str]] = {}  # each variable's models
        for node in walk(*body):
            match node:
                case tree.Assign(targets=(target,), value=tree.Call() as call) if (
                    call.function.name in MAKERS
                ):
                    contexts.setdefault(target.name, []).append(self.model(call))
        numbers = {id(s.value) for s, rest in with_rest(body) if adds_before_a_digit(s, rest)}
        for node in walk(*body):
            match node:
                case tree.Call(function=tree.Name(name="prompt")) if id(node) in numbers:
                    pass  # vocabularies have digits without a space before them
                case tree.AugAssign(value=value) if id(value) in numbers:
                    pass
                case tree.Call(function=tree.Name(name="prompt")):
                    texts = [*node.args[-1:], *(k.value for k in node.keywords if k.name == "text")]
                    self.text(texts, [self.model(node)], "a prompt")
                case tree.AugAssign(op="+", target=target) if (
                    self.world.types.get(id(target)) == CONTEXT
                ):
                    self.text([node.value], contexts.get(target.name) or self.declared(), "`+=`")

        for statement, rest in with_rest(body):
            self.options(statement, rest, contexts)

    def options(
        self, statement: tree.Stmt, rest: Sequence[tree.Stmt], contexts: dict[str, list[str]]
    ) -> None:
        """Looks at the choice or text that comes next after a statement that gives a text to a
        context."""
        match statement:
            case tree.Assign(targets=(target,), value=tree.Call() as call) if (
                call.function.name == "prompt"
            ):
                last = max(len(call.args) - 1, 0)
                given, models = argument(call, last, "text"), [self.model(call)]
            case tree.AugAssign(op="+", target=target, value=given) if (
                self.world.types.get(id(target)) == CONTEXT
            ):
                models = contexts.get(target.name) or self.declared()
            case _:
                return
        if given is None or not wants_space(last_part(given)):
            return
        if not models or not all(map(self.over_tokens, models)):
            return
        glued = options_without_space(rest, target.name)
        if glued:
            self.world.report.warning(
                "FK504", "the options have no space before them", glued[0].span,
                f"`{end_of(last_part(given))}` comes before, and after it most models write a "
                "space and a word as one token",
                "begin each option with a space, and `strip` what is drawn",
                edits=tuple(e for option in glued for e in with_space(option)),
            )  # fmt: skip
        elif texts := glued_texts(rest, target.name):
            stripped = f"strip({texts[0].name})"
            self.world.report.warning(
                "FK504", "the text has no space before it", texts[0].span,
                f"`{end_of(last_part(given))}` comes before, and after it most models write a "
                "space and a word, or a brace, as one token",
                f"write `{stripped}` here, and where it is returned; or end the prompt with a new "
                "line, as its examples do",
                edits=tuple(e for name in texts for e in edits.instead(name.span, stripped)),
            )  # fmt: skip

    def text(self, texts: Iterable[tree.Expr], models: Iterable[str], what: str) -> None:
        sources = list(models)
        if not sources or not all(map(self.over_tokens, sources)):
            return
        for end in map(last_part, texts):
            if isinstance(end, tree.Literal | tree.FString) and ends_in_space(end):
                self.world.report.warning(
                    "FK503", f"the text of {what} ends in a space", end.span,
                    "most tokens begin with the space before a word, so hardly one that fits "
                    "follows a space",
                    "leave the space out: the next token brings it; or take the model as "
                    "`bytes(...)`",
                    edits=without_spaces(end),
                )  # fmt: skip

    def declared(self) -> list[str]:
        return [name or "" for name in self.world.models]

    def model(self, call: tree.Call) -> str:
        """A declared model's name, a reference, or "" for the default."""
        for k in call.keywords:
            match k.name, k.value:
                case "model", tree.Name(name=name) | tree.Literal(value=str(name)):
                    return name
        return ""

    def over_tokens(self, name: str) -> bool:
        """Whether a model has tokens of several characters, as far as its name says."""
        models = self.world.models
        only = next(iter(models.values())) if len(models) == 1 else None
        declared = models.get(name or None) or (only if not name else None)
        if declared is not None and declared.reference is None:
            return False  # a table, or a view over bytes
        reference = name if declared is None else declared.reference or ""
        of_bytes = reference in ("", "tiny", "tiny-vision") or reference.endswith(".safetensors")
        return not of_bytes and not any(part in reference.lower() for part in OF_BYTES)


def with_rest(body: Sequence[tree.Stmt]) -> Iterator[tuple[tree.Stmt, Sequence[tree.Stmt]]]:
    """Each statement of a body, those inside others too, with the ones behind it in its block."""
    blocks: list[Sequence[tree.Stmt]] = [body]
    while blocks:
        block = blocks.pop()
        for i, statement in enumerate(block):
            yield statement, block[i + 1 :]
            match statement:
                case tree.If(then=then, other=other):
                    blocks += [then, other]
                case tree.For(body=inner) | tree.While(body=inner):
                    blocks.append(inner)


def adds_before_a_digit(
    statement: tree.Stmt, rest: Sequence[tree.Stmt]
) -> TypeGuard[tree.Assign | tree.AugAssign]:
    """Whether a statement gives a text to a context that surely goes on with a digit."""
    match statement:
        case tree.Assign(targets=(target,), value=tree.Call(function=tree.Name(name="prompt"))):
            return digits_follow(rest, target.name)
        case tree.AugAssign(target=target, op="+"):
            return digits_follow(rest, target.name)
    return False


def last_part(e: tree.Expr) -> tree.Expr:
    """What a text that is put together ends in."""
    while isinstance(e, tree.Binary) and e.op == "+":
        e = e.right
    return e


def without_spaces(e: tree.Literal | tree.FString) -> edits.Edits:
    """The spaces at the end of a text, taken out, where they are written as they are."""
    match = _END.search(e.span.text)
    if match is None:
        return ()
    start = e.span.start + match.start(1)
    return edits.instead(Span(e.span.source, start, e.span.start + match.end(1)), "")


def end_of(e: tree.Expr) -> str:
    """The last characters of a text that is written out; "" where they are not known."""
    end: object = e.value if isinstance(e, tree.Literal) else ""
    if isinstance(e, tree.FString) and e.parts:
        end = e.parts[-1]
    return end[-12:].rpartition("\n")[2] if isinstance(end, str) else ""


def wants_space(e: tree.Expr) -> bool:
    """Whether a text ends in a word, or in a sign behind which a space comes."""
    end = end_of(e)[-1:]
    return end.isalnum() or (end != "" and end in SIGNS)


def options_without_space(rest: Sequence[tree.Stmt], context: str) -> list[tree.Literal]:
    """The options that begin with a letter, of the choice that is the first of some statements to
    move a context on; none where something else does."""
    first = next((s for s in rest if moves_on(s, context)), None)
    if not isinstance(first, tree.Draw) or not isinstance(first.value, tree.Call):
        return []
    call = first.value
    given = argument(call, 1, "options")
    if call.function.name != "choice" or not isinstance(given, tree.ListExpr):
        return []
    if not is_name(argument(call, 0, "context"), context):
        return []
    written = [o for o in given.items if isinstance(o, tree.Literal) and isinstance(o.value, str)]
    return [o for o in written if str(o.value)[:1].isalpha()]


def with_space(option: tree.Literal) -> edits.Edits:
    """A space behind the quote that an option begins with."""
    quote = _QUOTE.match(option.span.text)
    if quote is None:
        return ()
    at = option.span.start + quote.end()
    return edits.instead(Span(option.span.source, at, at), " ")


def ends_in_space(e: tree.Literal | tree.FString) -> bool:
    end = e.value if isinstance(e, tree.Literal) else e.parts[-1] if e.parts else ""
    return isinstance(end, str) and end.endswith(SPACES)
