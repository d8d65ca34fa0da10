"""How what is called is called: the parameters, result and documentation of functions, operations,
distributions and methods, from the checker's own tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import cleandoc

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.cursor import OpenCall, cursor
from fkdsl.inference.methods import METHODS
from fkdsl.inference.options import Option
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.declarations import show_default
from fkdsl.language.check.scopes import World
from fkdsl.language.syntax import tree
from fkdsl.values.signatures import REQUIRED, TABLE, Parameter
from fkdsl.values.types import ANY, NONE, Type
from fkdsl.values.values import show

_MARKDOWN = re.compile(r"[\\`*_\[\]<]")
STOCHASTIC = "Stochastic: it is called by `~`."


@dataclass(frozen=True)
class Signature:
    """parameters: each as it is written in the label; names: of each, "" for further arguments.
    returns: "" where the result's type depends on the arguments'."""

    name: str
    parameters: tuple[str, ...]
    names: tuple[str, ...]
    returns: str
    doc: str
    word: str = ""

    @property
    def label(self) -> str:
        result = f" -> {self.returns}" if self.returns else ""
        return f"{self.word}{self.name}({', '.join(self.parameters)}){result}"


@dataclass(frozen=True)
class Help:
    """The signature of the call that a place is in, and the parameter there, None for none."""

    signature: Signature
    active: int | None


def signature_help(analysis: Analysis, offset: int) -> Help | None:
    """The innermost call that a place is in, with its parameter there."""
    for call in reversed(cursor(analysis, offset).calls):
        found = called_signature(analysis.world, call)
        if found is not None:
            return Help(found, _active(found, call))
    return None


def called_signature(world: World | None, call: OpenCall) -> Signature | None:
    return method_signature(call.name) if call.infer else signature(world, call.name)


def signature(world: World | None, name: str) -> Signature | None:
    """The signature of what a name calls, as the checker finds it; None for no function."""
    definition = world.functions.get(name) if world is not None else None
    if world is not None and definition is not None:
        doc = escaped(definition.doc)
        if name in world.stochastic:
            doc = f"{doc}\n\n{STOCHASTIC}" if doc else STOCHASTIC
        return _declared(definition, world.params.get(name, ()), world.returns.get(name), doc, "")
    if world is not None and name in world.externs:
        extern = world.externs[name]
        doc = f"A function of Python, from {escaped(extern.definition.path)}."
        return _declared(extern.definition, extern.params, extern.returns, doc, "")
    if name in OPERATIONS:
        o = OPERATIONS[name]
        doc = f"{o.doc}\n\n{STOCHASTIC}" if o.kind == "draw" else o.doc
        extra = ("model",) if o.takes_model else ()
        return _built_in(name, o.params, str(o.returns), doc, extra)
    if name in TABLE and not name.startswith("."):
        t = TABLE[name]
        returns = str(t.returns) if isinstance(t.returns, Type) else ""
        return _built_in(name, t.params, returns, plain_doc(t.doc), ("...",) if t.variadic else ())
    return None


def program_signature(world: World, name: str) -> Signature | None:
    """That of a program, which is run and not called."""
    d = world.programs.get(name)
    if d is None:
        return None
    return _declared(
        d, world.params.get(name, ()), world.returns.get(name), escaped(d.doc), "program "
    )


def method_signature(name: str) -> Signature | None:
    """An inference method with its options."""
    method = METHODS.get(name)
    if method is None:
        return None
    options = method.all_options
    parameters = tuple(f"{n}={show_default(o.default)}" for n, o in options.items())
    return Signature(name, parameters, tuple(options), "", method.doc, "infer ")


def option_doc(name: str, option: Option) -> str:
    """What an option of a method is, and which values it takes."""
    if option.one_of:
        values = "one of " + ", ".join(f"`{show_default(v)}`" for v in option.one_of)
    elif isinstance(option.default, bool):
        values = "true or false"
    elif isinstance(option.default, str):
        values = "a name in quotes"
    else:
        values = f"from {_figure(option.least)} to {_figure(option.most)}"
    return f"{option.doc or name}; {values}, by default `{show_default(option.default)}`"


def _figure(number: float) -> str:
    return f"{number:,g}" if number < 10_000 else f"{number:,.0f}"


def plain_doc(doc: str) -> str:
    """A docstring of the library for a reader of programs: without its indentation and Python's
    examples."""
    paragraphs = cleandoc(doc).split("\n\n")
    return "\n\n".join(p for p in paragraphs if not p.lstrip().startswith(">>>"))


def escaped(text: str) -> str:
    """A text of a program in Markdown: it may be a stranger's, so it makes no links and images,
    which an editor might fetch."""
    return _MARKDOWN.sub(r"\\\g<0>", cleandoc(text))


def _declared(
    d: tree.FunctionDef | tree.ExternDef,
    types: Sequence[Type],
    returns: Type | None,
    doc: str,
    word: str,
) -> Signature:
    parameters = []
    for i, p in enumerate(d.params):
        t = types[i] if i < len(types) else p.type
        text = p.name if t is None or t == ANY else f"{p.name}: {t}"
        parameters.append(text + (f" = {p.default.span.text}" if p.default is not None else ""))
    result = "" if returns is None or returns in (ANY, NONE) else str(returns)
    return Signature(d.name, tuple(parameters), tuple(p.name for p in d.params), result, doc, word)


def _built_in(
    name: str, params: Sequence[Parameter], returns: str, doc: str, extra: Sequence[str]
) -> Signature:
    labels = [_parameter(p) for p in params]
    labels += ["..." if e == "..." else f"{e}=NAME" for e in extra]
    names = [*(p.name for p in params), *("" if e == "..." else e for e in extra)]
    return Signature(name, tuple(labels), tuple(names), returns, doc)


def _parameter(p: Parameter) -> str:
    text = p.name if p.type == ANY else f"{p.name}: {p.type}"
    if p.default is REQUIRED:
        return text
    default = show_default(p.default) if isinstance(p.default, str) else show(p.default)
    return f"{text} = {default}"


def _active(signature: Signature, call: OpenCall) -> int | None:
    if call.keyword:
        return signature.names.index(call.keyword) if call.keyword in signature.names else None
    if call.infer or not signature.names:
        return None
    if call.argument < len(signature.names):
        return call.argument
    return len(signature.names) - 1 if signature.names[-1] == "" else None
