"""What may be written next, with its documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fkdsl.editor.analysis import Analysis
from fkdsl.editor.completion_items import FILES, Item, Kind, files_below
from fkdsl.editor.cursor import Cursor, cursor
from fkdsl.editor.hover import method_text, shown_signature
from fkdsl.editor.signatures import (
    Signature,
    called_signature,
    option_doc,
    program_signature,
    signature,
)
from fkdsl.editor.words import ATTRIBUTES, FIELDS, FIGURES, TYPES, WORDS
from fkdsl.inference.methods import METHODS
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.declarations import show_default
from fkdsl.language.check.queries import MEANS, QUANTILES
from fkdsl.language.check.scopes import World
from fkdsl.language.check.tests import FIGURES as FIGURE_NAMES
from fkdsl.language.check.tests import SUPPORT
from fkdsl.models.registry import ALIASES, SHIPPED
from fkdsl.models.runtimes import RUNTIMES
from fkdsl.retrieval.spec import ENGINES, RANKINGS
from fkdsl.retrieval.spec import OPTIONS as INDEX_OPTIONS
from fkdsl.values.signatures import TABLE
from fkdsl.values.types import ANY, CONTEXT, DOCUMENT, RECORD, Type

AT_THE_TOP = ("program", "def", "model", "index", "import", "extern", "infer", "query", "test")
STATEMENTS = (
    "condition", "factor", "observe", "twist", "checkpoint", "if", "elif", "else", "for", "while",
    "return", "break", "continue", "pass",
)  # fmt: skip
BETWEEN = ("and", "or", "not", "in", "if", "else", "for")
"""What may follow a value."""
ENDS_OF_VALUES = frozenset(
    {
        "NAME",
        "NUMBER",
        "STRING",
        "FSTRING",
        "RPAR",
        "RSQB",
        "RBRACE",
        "TRUE",
        "FALSE",
        "NONE",
        "EOS",
    }
)
"""The kinds of tokens behind which a value has ended."""
CONSTANTS = ("true", "false", "none", "EOS")


def completion(analysis: Analysis, offset: int) -> list[Item]:
    """What may stand at a place; the editor filters it by the word that is begun there."""
    here = cursor(analysis, offset)
    if here.comment:
        return []
    items = _in_string(analysis, here) if here.string is not None else _outside(analysis, here)
    first: dict[tuple[str, str], Item] = {}
    for item in items:
        first.setdefault((item.label, item.insert), item)
    return list(first.values())


def _outside(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    if here.before == "DOT":
        yield from _attributes(analysis, here)
    elif here.first == "infer":
        yield from _infer(here)
    elif here.first == "extern" and len(here.line) == 1:
        yield _word("def")
    elif _wants_type(here):
        yield from (Item(name, "type", doc=doc) for name, doc in TYPES.items())
    elif here.first == "model":
        yield from _model_line(analysis, here)
    elif not here.line:
        yield from _line_begins(analysis, here)
    elif here.calls and here.calls[-1].keyword == "model":
        yield from _models(analysis.world)
    elif here.first == "test" and not here.calls:
        yield from _settings(analysis, here)
    elif here.first == "index":
        yield from _index_line(here)
    elif here.first in ("def", "program", "import"):
        if here.before in ("EQUAL",):
            yield from _constants()
    elif here.before in ENDS_OF_VALUES:
        yield from (_word(w) for w in BETWEEN)
    else:
        yield from _arguments(analysis, here)
        yield from _expression(analysis, here)


# ------------------------------------------------------------------ in strings


def _in_string(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    call = here.calls[-1] if here.calls else None
    argument = call.keyword if call is not None else ""
    if (here.first == "model" and "ARROW" not in {t.type for t in here.line}) or (
        argument == "model"
    ):
        yield from _aliases()
    elif here.first == "import":
        yield from files_below(analysis, here, "import")
    elif here.first == "index" and here.line[-1].type == "EQUAL":
        yield from _in_index(analysis, here)
    elif here.first == "extern" and str(here.line[-1]) == "from":
        yield from files_below(analysis, here, "from")
    elif call is not None:
        where = argument or _positional(analysis.world, call.name, call.argument)
        if where in FILES and not call.infer:
            yield from files_below(analysis, here, where)
        elif call.infer and call.name in METHODS:
            option = METHODS[call.name].all_options.get(argument)
            values = option.one_of if option is not None else ()
            if argument == "draft":
                values = ("none", "heads", "ngram", *ALIASES)
            yield from (Item(v, "value", insert=v) for v in values)


def _in_index(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    """The files of an index, or the values of one of its options."""
    if len(here.line) <= 4:
        yield from files_below(analysis, here, "index")
        return
    values = {"ranking": RANKINGS, "engine": ENGINES, "embedding": ("wordllama",)}
    yield from (Item(v, "value", insert=v) for v in values.get(str(here.line[-2]), ()))


def _positional(world: World | None, name: str, argument: int) -> str:
    found = signature(world, name)
    names = found.names if found is not None else ()
    return names[argument] if argument < len(names) else ""


def _aliases() -> Iterator[Item]:
    for name, alias in ALIASES.items():
        yield Item(name, "model", alias.title, f"Licence: {alias.licence}")
    for name in SHIPPED:
        yield Item(name, "model", "a byte-level model that ships with fkdsl")


# ---------------------------------------------------------- words of a line


def _word(word: str, rank: int = 5, insert: str = "") -> Item:
    return Item(word, "keyword", doc=WORDS[word], insert=insert, rank=rank)


def _constants() -> Iterator[Item]:
    return (_word(c) for c in CONSTANTS)


def _line_begins(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    """The words of a declaration at a line's very beginning, else those of a statement."""
    line_start = analysis.text.rfind("\n", 0, here.start) + 1
    if line_start == here.start:
        yield from (_word(w) for w in AT_THE_TOP)
        return
    word, _ = analysis.home(here.offset)
    if word == "test":
        yield _word("expect")
        return
    yield from (_word(w) for w in STATEMENTS)
    yield from _variables(analysis, here)
    yield from _functions(analysis.world, drawn=None)


def _wants_type(here: Cursor) -> bool:
    """Whether a type stands here: behind `->`, behind the colon of a parameter or a variable, or
    in the brackets of `list[...]` there."""
    kinds = [t.type for t in here.line]
    if here.first in ("def", "program", "extern"):
        depth = kinds.count("LPAR") - kinds.count("RPAR")
        inner = kinds[-1:] == ["LSQB"] and str(here.line[-2]) in ("list", "dist")
        return here.before == "ARROW" or (here.before == "COLON" and depth > 0) or inner
    return kinds == ["NAME", "COLON"]


def _model_line(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    kinds = [t.type for t in here.line]
    if kinds[-1:] == ["EQUAL"] or kinds == ["MODEL"]:
        doc = 'The same texts, a byte at a time: `bytes(judge)`, `bytes("smollm2", beam=5)`.'
        yield Item("bytes", "function", "bytes(model, beam=5)", doc)
    if kinds[-1:] == ["EQUAL"]:
        yield _word("table")
    if "LPAR" in kinds:
        yield from _models(analysis.world)
    if kinds[-1:] == ["STRING"] and "WITH" not in kinds and "LPAR" not in kinds:
        yield _word("with")
    elif kinds[-1:] in (["WITH"], ["COMMA"]):
        given = {str(t) for t in here.line}
        options = {o for name, r in RUNTIMES.items() if f'"{name}"' in given for o in r.options}
        for name in sorted({"engine", *options} - given):
            doc = f"What computes the model: {', '.join(RUNTIMES)}." if name == "engine" else ""
            yield Item(f"{name}=", "option", doc=doc, rank=1)


def _index_line(here: Cursor) -> Iterator[Item]:
    """The options of an index."""
    given = {str(t) for t in here.line}
    if here.before == "STRING" and "with" not in given:
        yield _word("with")
    elif here.before in ("WITH", "COMMA"):
        for name, (example, doc) in INDEX_OPTIONS.items():
            if name not in given:
                yield Item(f"{name}=", "option", f"such as {example}", doc, rank=1)


def _infer(here: Cursor) -> Iterator[Item]:
    if len(here.line) == 1:
        for name, method in METHODS.items():
            yield Item(name, "method", method.doc, method_text(name))
    elif here.calls and here.before in ("LPAR", "COMMA"):
        call = here.calls[-1]
        options = METHODS[call.name].all_options if call.name in METHODS else {}
        for name, option in options.items():
            if name not in call.given:
                doc = option_doc(name, option)
                yield Item(f"{name}=", "option", show_default(option.default), doc, rank=1)
    elif here.calls and here.before == "EQUAL":
        yield from (_word(w) for w in ("true", "false"))


def _settings(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    """The settings of a test: its table, its program, and the program's parameters."""
    world = analysis.world
    if len(here.line) == 2 and here.before == "STRING":
        yield _word("with")
    elif here.before in ("WITH", "COMMA"):
        yield Item("model=", "option", doc="A table that the file declares.", rank=1)
        yield Item("program=", "option", doc="Which of the file's programs.", rank=1)
        for d in world.programs.values() if world is not None else ():
            yield from (Item(f"{p.name}=", "option", f"a parameter of {d.name}") for p in d.params)
    elif here.before == "EQUAL" and str(here.line[-2]) == "model":
        yield from _models(world)
    elif here.before == "EQUAL" and str(here.line[-2]) == "program":
        for name in world.programs if world is not None else ():
            found = program_signature(world, name) if world is not None else None
            yield Item(name, "function", found.label if found else "", rank=1)
    elif here.before == "EQUAL":
        yield from _constants()


# ---------------------------------------------------------------- expressions


def _attributes(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    owner = _type_before_dot(analysis, here)
    if owner in (ANY, CONTEXT, None):
        for name, doc in ATTRIBUTES.items():
            yield Item(name, "attribute", doc=doc, rank=1)
    elif owner == DOCUMENT:
        for name, doc in FIELDS.items():
            yield Item(name, "attribute", doc=doc, rank=1)


def _type_before_dot(analysis: Analysis, here: Cursor) -> Type | None:
    """The type of the variable before the dot, None if that is not known."""
    if len(here.line) < 2 or here.line[-2].type != "NAME":
        return None if len(here.line) < 2 or here.line[-2].type in ("RPAR", "RSQB") else RECORD
    name = str(here.line[-2])
    return next((t for n, t in _scope(analysis, here) if n == name), None)


def _scope(analysis: Analysis, here: Cursor) -> list[tuple[str, Type]]:
    """The variables that a place sees, with their types."""
    world = analysis.world
    word, name = analysis.home(here.offset)
    if world is None or word not in ("def", "program"):
        return []
    scope = world.scopes.get(name)
    known = [(v.name, v.type) for v in scope.variables.values()] if scope is not None else []
    line = analysis.source.position(here.start)[0]
    for o in analysis.index.inside(analysis.source):
        if ":" in o.symbol.home and o.sets and o.span.line == line:
            known.append((o.symbol.name, analysis.type_of(o) or ANY))
    return known


def _variables(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    for name, t in _scope(analysis, here):
        if name != "_" and name != here.word:
            yield Item(name, "variable", str(t), rank=1)
    world = analysis.world
    for name, declared in world.indexes.items() if world is not None else ():
        yield Item(name, "variable", declared.span.text.splitlines()[0], rank=2)
    # The word that is being typed may have made a variable of itself.
    if any(name == here.word for name, _ in _scope(analysis, here)) and (
        analysis.text.count(here.word) > 1
    ):
        yield Item(here.word, "variable", rank=1)


def _models(world: World | None) -> Iterator[Item]:
    for name, d in world.models.items() if world is not None else ():
        if name is not None:
            yield Item(name, "model", d.span.text.splitlines()[0], rank=1)


def _arguments(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    """The names of the parameters of the call that a place is in; the values of one that is true or
    false."""
    if not here.calls or here.before not in ("LPAR", "COMMA", "EQUAL"):
        return
    call = here.calls[-1]
    found = called_signature(analysis.world, call)
    if found is None:
        return
    if here.before == "EQUAL":
        if any(label.startswith(f"{call.keyword}: bool") for label in found.parameters):
            yield from (_word(w, rank=1) for w in ("true", "false"))
        return
    for name, label in zip(found.names, found.parameters, strict=True):
        if name and name not in call.given and found.names.index(name) >= call.argument:
            yield Item(f"{name}=", "option", label, rank=2)


def _expression(analysis: Analysis, here: Cursor) -> Iterator[Item]:
    word, _ = analysis.home(here.offset)
    drawn = "TILDE" in {t.type for t in here.line} and not here.calls
    if here.first == "expect":
        names = (*MEANS, *FIGURE_NAMES, SUPPORT, "value")
        yield from (Item(n, "figure", doc=FIGURES[n], rank=1) for n in names)
    elif here.first == "query":
        names = ("value", *MEANS, *sorted(QUANTILES))
        yield from (Item(n, "figure", doc=FIGURES[n], rank=1) for n in names)
    else:
        yield from _variables(analysis, here)
    yield from _functions(analysis.world, drawn=drawn)
    yield from _constants()
    yield _word("not", rank=6)
    if word == "test" and here.first == "test":
        yield _word("with")


def _functions(world: World | None, *, drawn: bool | None) -> Iterator[Item]:
    """What can be called. drawn: whether it is drawn from, so that distributions come first; None
    for whatever begins a line."""
    own: Iterable[str] = [*world.functions, *world.externs] if world is not None else ()
    for name in own:
        stochastic = world is not None and name in world.stochastic
        yield _function(world, name, "function", 2 if bool(drawn) == stochastic else 4)
    for name, operation in OPERATIONS.items():
        good = (operation.kind == "value") != bool(drawn)
        yield _function(world, name, "function", 3 if good else 5)
    for name, built_in in TABLE.items():
        if not name.startswith("."):
            distribution = built_in.kind == "distribution"
            kind: Kind = "distribution" if distribution else "function"
            yield _function(world, name, kind, 3 if distribution == bool(drawn) else 5)


def _function(world: World | None, name: str, kind: Kind, rank: int) -> Item:
    found = signature(world, name) or Signature(name, (), (), "", "")
    return Item(name, kind, found.label, shown_signature(found), rank=rank)
