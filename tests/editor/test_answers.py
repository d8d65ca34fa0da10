"""What is answered about a place: plain data, over texts that are in no editor."""

import re

import pytest

from fkdsl.base.errors import CallError
from fkdsl.editor import places
from fkdsl.editor.completion import completion
from fkdsl.editor.formatting import formatted
from fkdsl.editor.hints import SHORT, hints
from fkdsl.editor.hover import hover
from fkdsl.editor.outline import folds, outline
from fkdsl.editor.renames import rename
from fkdsl.editor.signatures import signature_help
from fkdsl.editor.words import ATTRIBUTES, FIGURES, TYPES, WORDS
from fkdsl.inference.methods import METHODS
from fkdsl.ir import guides
from fkdsl.language.check import expressions
from fkdsl.language.check.context_operations import OPERATIONS
from fkdsl.language.check.queries import MEANS, QUANTILES
from fkdsl.language.check.tests import FIGURES as FIGURE_NAMES
from fkdsl.language.check.tests import SUPPORT
from fkdsl.language.codes import CODES
from fkdsl.language.syntax.lexer import DECLARATIONS, KEYWORDS, WITHIN
from fkdsl.values.types import NAMED_TYPES
from tests.editor.asking import analysed, at_mark, labels

PROGRAM = """\
model toy = table:
    "" -> "a": 0.5, "b": 0.5

def half(x: float, by: float = 2.0) -> float:
    \"\"\"A part of x.\"\"\"
    return x / by

program main(n: int = 2) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
        condition t != "b"
    total = half(1.0)
    return lm.text
"""


def seen(text):
    """The Markdown at the `|` of a text, "" for none."""
    _, analysis, offset = at_mark(text)
    found = hover(analysis, offset)
    return found.text if found is not None else ""


def test_every_word_and_name_of_the_language_is_explained():
    assert set(WORDS) == KEYWORDS | DECLARATIONS | set().union(*WITHIN.values())
    assert set(TYPES) == {*NAMED_TYPES, "list", "dist"}
    assert set(ATTRIBUTES) == set(expressions.ATTRIBUTES)
    assert set(FIGURES) == {*MEANS, *FIGURE_NAMES, SUPPORT, "value", *QUANTILES}
    assert all(operation.doc for operation in OPERATIONS.values())


# -------------------------------------------------------------------------- hover


def test_a_variable_shows_its_type_and_where_it_is_from():
    assert "lm: context" in seen(PROGRAM.replace("return lm", "return l|m"))
    assert "a parameter of `main`" in seen(PROGRAM.replace("range(n)", "range(n|)"))


def test_a_function_shows_its_signature_and_its_text():
    text = seen(PROGRAM.replace("= half(", "= ha|lf("))
    assert "half(x: float, by: float = 2.0) -> float" in text
    assert "A part of x." in text
    assert "range(" in seen(PROGRAM.replace("in range(", "in ran|ge("))


def test_a_draw_shows_what_it_looks_ahead_to():
    for place in ("t| ~ lm", "t |~ lm"):
        text = seen(PROGRAM.replace("t ~ lm", place))
        assert "line 12, by a mask over the vocabulary" in text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("s ~ text(lm, clo|sed=true)", "closed: bool = false"),
        ("x = valid_json('', spa|ces = 3)", "spaces: int = 20"),
        ("c ~ choice(lm, ['a'], oth|er='b')", "other: str"),
        ("tw|ist 0.5", "until the next twist"),
        ("x = n| == 2", "a parameter of `main`"),
    ],
)
def test_an_argument_and_a_newer_word_are_explained(line, text):
    assert text in seen(in_main(line))


def test_a_true_or_false_argument_is_offered_both_first():
    _, analysis, offset = at_mark(in_main("s ~ text(lm, closed=|"))
    ranked = sorted(completion(analysis, offset), key=lambda item: item.rank)
    assert [item.label for item in ranked[:2]] == ["true", "false"]


def test_a_mistake_shows_the_beginning_of_its_page_and_a_code_its_page():
    text = seen(PROGRAM.replace("return lm.text", "return l|mm.text"))
    assert "**FK203**: unknown name" in text
    assert "A name is read that is no parameter" in text
    assert "# FK203: unknown name" in seen("# FK2|03\n" + PROGRAM)


def test_nothing_is_said_within_texts_and_comments():
    assert seen('program p() -> str:\n    return "while| true"\n') == ""
    assert seen("# while| true\n" + PROGRAM) == ""


def test_methods_and_their_options_are_explained():
    text = seen("infer sm|c(particles=3)\n")
    assert METHODS["smc"].doc in text
    assert "`particles`" in text
    assert "by default `16`" in seen("infer smc(part|icles=3)\n")


def test_a_strangers_text_makes_no_images_links_or_markup():
    evil = "![a](http://x/y.png) <img src=z> [b](c) ```d"
    text = f'def f() -> int:\n    """{evil}"""\n    return 1\n\ndef g() -> int:\n    return f|()\n'
    found = seen(text)
    assert "http" in found
    assert not re.search(r"(?<!\\)[\[<]|(?<!\\)`", found.partition("\n```\n")[2])
    found = seen(
        'def f(s: str = "```\\n![a](b)") -> int:\n    return len(s)\n'.replace("f(s", "f|(s")
    )
    assert found.startswith("````fk\n")
    assert found.endswith("\n````")


# ---------------------------------------------------------------------- completion


def in_main(line):
    """A line in the middle of the program."""
    return PROGRAM.replace("    total = half(1.0)\n", f"    {line}\n")


@pytest.mark.parametrize(
    ("text", "offered", "not_offered"),
    [
        ("|", ["program", "model", "infer"], ["condition"]),
        (in_main("|"), ["condition", "lm", "half"], ["program"]),
        (in_main("con|"), ["condition"], []),
        (in_main("lm.|"), ["text", "tokens", "done"], ["lm", "words"]),
        (in_main("x = lm.te|"), ["text"], ["words"]),
        (in_main("i.|"), [], ["text"]),
        (in_main("x ~ |"), ["bernoulli", "lm", "choice"], []),
        (in_main("x = half(|"), ["x=", "by=", "lm", "len"], []),
        (in_main("x = half(1.0, |"), ["by="], ["x="]),
        (in_main("x ~ text(lm, |"), ["until=", "max_tokens="], ["lm="]),
        (in_main("x ~ text(lm, closed=|"), ["true", "false"], []),
        (in_main('condition valid_json("", |'), ["schema=", "spaces="], []),
        (in_main("tw|"), ["twist"], []),
        (in_main("k = prompt('', model=|"), ["toy"], ["lm"]),
        (in_main('y = f"a {|}"'), ["lm", "n"], ["program"]),
        (in_main('y = "a |"'), [], ["lm"]),
        (in_main('y = "a"|'), ["in", "if"], ["lm", "words"]),
        (in_main("y = lm.done a|"), ["and"], ["lm", "not_at_all"]),
        (in_main("for i |"), ["in"], ["lm"]),
        (in_main("# |"), [], ["lm"]),
        ("infer |", sorted(METHODS), ["text"]),
        ("infer smc(|", ["particles=", "ess="], ["text"]),
        ("infer smc(particles=2, |)", ["ess="], ["particles="]),
        ('infer smc(resampling="|"', ["multinomial"], ["lm"]),
        ('model "|"', ["smollm2", "tiny"], []),
        ('model m = "|', ["smollm2"], []),
        ("model m = |", ["table", "bytes"], []),
        ("def f(x: |", ["int", "context", "list"], ["lm"]),
        ("def f(x) -> list[|", ["int"], ["lm"]),
        (PROGRAM + 'test "t" with |', ["model=", "n="], []),
        (PROGRAM + 'test "t" with model=|', ["toy"], []),
        (PROGRAM + 'test "t":\n    |', ["expect"], ["condition"]),
        (PROGRAM + 'test "t":\n    expect |', ["P", "Z", "support"], []),
        (PROGRAM + "query q = |", ["value", "quantile", "half"], []),
    ],
)
def test_what_may_be_written_is_offered(text, offered, not_offered):
    found = labels(text)
    assert set(offered) <= set(found)
    assert not set(not_offered) & set(found)


def test_files_are_offered_where_they_are_named(tmp_path):
    from fkdsl.editor.completion import completion
    from fkdsl.editor.workspace import Workspace

    (tmp_path / "inner").mkdir()
    for name in ("a.fk", "words.fk", "s.json", "cat.png", "inner/deep.fk"):
        (tmp_path / name).write_text("")
    workspace = Workspace()
    for text, expected in [
        ('import "', ["words.fk", "inner/"]),
        ('import "inner/', ["deep.fk"]),
        ('import "../', []),
        ('program p(s: str) -> bool:\n    return valid_json(s, "', ["s.json", "inner/"]),
        ('program p() -> str:\n    lm = prompt(image("', ["cat.png", "inner/"]),
    ]:
        workspace.change(str(tmp_path / "a.fk"), text)
        found = completion(workspace.analyse(str(tmp_path / "a.fk")), len(text))
        assert [item.label for item in found] == expected


def test_a_function_that_is_offered_has_its_documentation():
    from fkdsl.editor.completion import completion

    _, analysis, offset = at_mark(in_main("x = |"))
    found = {item.label: item for item in completion(analysis, offset)}
    assert "A part of x." in found["half"].doc
    assert found["half"].detail == "half(x: float, by: float = 2.0) -> float"
    assert found["lm"].detail == "context"


def test_a_large_text_is_completed_by_the_names_last_known():
    from fkdsl.editor.completion import completion

    _, analysis = analysed(PROGRAM)
    text = in_main("x = lm.|") + "# more\n"
    offset = text.index("|")
    later = analysis.with_text(text.replace("|", ""))
    assert [i.label for i in completion(later, offset)] == ["text", "tokens", "done"]


def test_after_a_mistake_that_ends_the_parse_the_older_names_are_known():
    workspace, analysis = analysed(PROGRAM)
    path = analysis.source.name
    broken = PROGRAM + "(((\n" * 30 + "    return l"
    workspace.change(path, broken)
    after = workspace.analyse(path)
    assert after.survey is None
    assert after.world is analysis.world


# ---------------------------------------------------------------------- signatures


@pytest.mark.parametrize(
    ("line", "name", "active"),
    [
        ("x = half(|", "half", 0),
        ("x = half(1.0, |", "half", 1),
        ("x = half(by=|", "half", 1),
        ('x ~ text(lm, until=["a", |', "text", 1),
        ("x = max(1, 2, |", "max", 1),
        ("x = len(words(|", "words", 0),
        ("x = len(words(s), |", "len", None),
    ],
)
def test_a_call_shows_its_signature_and_the_parameter_under_way(line, name, active):
    _, analysis, offset = at_mark(in_main(line))
    found = signature_help(analysis, offset)
    assert found.signature.name == name
    assert found.active == active


def test_a_methods_options_are_a_signature_too():
    _, analysis, offset = at_mark("infer smc(particles=2, ess=|")
    found = signature_help(analysis, offset)
    assert found.signature.names[found.active] == "ess"


# ------------------------------------------------------------------------- places


def test_definitions_and_references_cross_files():
    main = 'import "words.fk"\n\nprogram p() -> int:\n    return lo|ng("a")\n'
    words = "def long(s: str) -> int:\n    return len(s)\n"
    workspace, analysis, offset = at_mark(main, words=words)
    found = places.definition(analysis, offset)
    assert found.source.name.endswith("words.fk")
    assert found.text == "long"
    there = workspace.analyse(found.source.name)
    importers = list(workspace.importers(there.source.name))
    where = places.references(there, found.start, importers)
    assert {o.span.source.name.rpartition("/")[2] for o in where} == {"a.fk", "words.fk"}
    edits = rename(workspace, there.source.name, found.start, "size")
    assert {name.rpartition("/")[2] for name in edits} == {"a.fk", "words.fk"}


def test_an_import_leads_to_its_file(tmp_path):
    from fkdsl.editor.workspace import Workspace

    (tmp_path / "words.fk").write_text("def f() -> int:\n    return 1\n")
    workspace = Workspace()
    workspace.change(str(tmp_path / "a.fk"), 'import "words.fk"\n')
    found = places.definition(workspace.analyse(str(tmp_path / "a.fk")), 10)
    assert found.source.name == str(tmp_path / "words.fk")


def test_an_import_is_read_as_it_is_typed_and_never_outside_the_folder(tmp_path):
    from fkdsl.editor.workspace import Workspace

    (tmp_path / "in").mkdir()
    (tmp_path / "words.fk").write_text("def f() -> int:\n    return 1\n")
    workspace = Workspace()
    path = str(tmp_path / "in" / "a.fk")
    workspace.change(path, 'import "../words.fk"\nprogram p() -> int:\n    return f()\n')
    assert "FK360" in [d.code for d in workspace.analyse(path).diagnostics]
    workspace.change(path, 'import "w.fk"\nprogram p() -> int:\n    return f()\n')
    assert "FK330" in [d.code for d in workspace.analyse(path).diagnostics]
    workspace.change(str(tmp_path / "in" / "w.fk"), "def f() -> int:\n    return 1\n")
    assert not workspace.analyse(path).diagnostics


def test_a_rename_that_would_be_caught_by_a_comprehension_is_refused():
    text = "program p(x: int = 1) -> int:\n    return len([x + w for w in range(3)]) + x\n"
    workspace, analysis = analysed(text)
    with pytest.raises(CallError, match="something else"):
        rename(workspace, analysis.source.name, text.index("x:"), "w")
    assert rename(workspace, analysis.source.name, text.index("w for"), "v")


# ------------------------------------------------------- outlines, folds, hints


def test_the_outline_names_declarations_and_what_they_set():
    _, analysis = analysed(PROGRAM + "query q = len(value)\ninfer smc()\n")
    found = outline(analysis)
    assert [(e.name, e.kind) for e in found] == [
        ("toy", "model"), ("half", "function"), ("main", "program"), ("q", "query"),
        ("smc", "infer"),
    ]  # fmt: skip
    assert [c.name for c in found[2].children] == ["lm", "i", "t", "total"]
    for e in found:
        assert e.span.start <= e.name_span.start <= e.name_span.end <= e.span.end


def test_blocks_and_comments_fold():
    text = "# one\n# two\n\ndef f() -> int:\n    if true:\n        return 1\n    return 2\n\n\nx"
    _, analysis = analysed(text)
    assert [(f.first, f.last, f.comment) for f in folds(analysis)] == [
        (0, 1, True), (3, 6, False), (4, 5, False),
    ]  # fmt: skip


def test_hints_say_types_and_what_guides_each_draw():
    _, analysis = analysed(PROGRAM)
    found = [(analysis.text[: h.offset].count("\n") + 1, h.text) for h in hints(analysis, 0, 999)]
    assert found == [
        (9, ": context"), (10, ": int"), (11, ": token"), (11, "mask"), (13, ": float"),
    ]  # fmt: skip


def test_a_call_of_text_shows_what_guides_the_draws_inside_it():
    text = """\
model toy = table:
    "" -> "a": 0.5, "b": 0.5

program p() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=4)
    condition matches(s, "a+b")
    w ~ word(lm)
    return s + w
"""
    _, analysis = analysed(text)
    found = {
        text[: h.offset].count("\n") + 1: h for h in hints(analysis, 0, 999) if h.kind == "draw"
    }
    assert [(line, h.text) for line, h in found.items()] == [(6, "automaton")]
    assert "line 7, by an automaton" in found[6].doc
    assert "line 7, by an automaton" in seen(text.replace("s ~ text", "s |~ text"))


def test_every_means_of_looking_ahead_has_a_word():
    assert set(SHORT) <= {*guides.MEANS, "weaker", "in part"}
    assert {SHORT.get(kind, kind) for kind in (*guides.MEANS, "weaker", "in part")} == {
        "mask", "automaton", "early", "tried", "surrogate",
    }  # fmt: skip


def test_formatting_keeps_line_ends_and_leaves_mistakes():
    assert formatted("def  f()->int:\r\n  return 1\r\n") == "def f() -> int:\r\n    return 1\r\n"
    assert formatted("def f(:\n") is None


def test_every_code_has_a_page_to_link_to():
    from fkdsl.editor.pages import page_path, summary

    for code in CODES:
        assert page_path(code).is_file()
        assert len(summary(code)) > len(code) + len(CODES[code]) + 20
