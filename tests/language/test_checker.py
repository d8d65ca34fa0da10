"""What the checker hands on, and that nothing makes it fall over. The rules are in spec/."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fkdsl.base.diagnostics import Diagnostic
from fkdsl.base.errors import ProgramError
from fkdsl.base.spans import NOWHERE, Source
from fkdsl.language.check.checker import Checked, check
from fkdsl.language.codes import CODES
from fkdsl.language.compile import check_source
from fkdsl.language.syntax import tree
from fkdsl.values.types import BOOL, FLOAT, INT, STR, TOKEN, List


def checked(text: str, folder: Path | None = None) -> Checked:
    return check_source(Source("test.fk", text), folder)


def mistakes(text: str, folder: Path | None = None) -> tuple[Diagnostic, ...]:
    with pytest.raises(ProgramError) as caught:
        checked(text, folder)
    return caught.value.diagnostics


def codes(text: str) -> set[str]:
    """The codes of all that is said about a text."""
    try:
        return {d.code for d in checked(text).warnings}
    except ProgramError as error:
        return {d.code for d in error.diagnostics}


LIBRARY = """
model judge = "smollm2"
extern def toxicity(s: str) -> float from "critics.py"
def short(s: str, k: int = 5) -> bool:
    return len(s) <= k
def line(lm: context):
    t ~ lm
    return t
def rate(s: str):
    return logprob(prompt(s), " Yes")
def rate_all(xs: list[str]):
    return [rate(x) for x in xs]
program main(n = 3):
    lm = prompt("x")
    t ~ line(lm)
    return short(t, n)
infer smc(particles=64, ess=1)
"""


def test_functions_carry_their_types_and_whether_they_draw_or_ask_a_model() -> None:
    c = checked(LIBRARY)
    info = {
        n: (f.params[-1:], f.returns, f.stochastic, f.asks_model) for n, f in c.functions.items()
    }
    assert info["short"] == ((INT,), BOOL, False, False)
    assert info["line"][1:] == (TOKEN, True, True)
    assert info["rate"] == ((STR,), FLOAT, False, True)
    assert info["rate_all"] == ((List(STR),), List(FLOAT), False, True)
    main = c.programs["main"]
    assert (main.params, main.returns, main.stochastic, main.asks_model) == (
        (INT,),
        BOOL,
        True,
        True,
    )
    assert c.externs["toxicity"].returns == FLOAT
    assert c.infer == ("smc", {"particles": 64, "ess": 1})


def test_the_only_named_model_is_the_default_one() -> None:
    assert checked('model a = "x"\n').models.keys() == {None, "a"}
    assert checked('model a = "x"\nmodel b = "y"\n').models.keys() == {"a", "b"}
    both = checked('model a = "x"\nmodel "y"\n').models
    assert both[None].reference == "y"


def test_every_expression_of_a_body_has_its_type() -> None:
    c = checked(LIBRARY)
    body = c.functions["short"].definition.body
    assert isinstance(body[0], tree.Return)
    assert body[0].value is not None
    assert c.types[id(body[0].value)] == BOOL


def test_imported_functions_externs_and_named_models_come_in(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "words.fk").write_text(LIBRARY, "utf-8")
    c = checked('import "sub/words.fk"\nprogram p() -> bool:\n    return short("x")\n', tmp_path)
    assert set(c.programs) == {"p"}
    assert {"short", "line"} <= set(c.functions)
    assert c.externs["toxicity"].folder == tmp_path / "sub"
    assert set(c.models) == {"judge"}
    assert c.infer is None
    assert len(c.imported) == 1


def test_mistakes_of_imported_files_are_reported_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "words.fk").write_text("def f() -> int:\n    return x\n", "utf-8")
    (d,) = mistakes('import "words.fk"\n', tmp_path)
    assert (d.code, Path(d.span.source.name).name, d.span.line) == ("FK203", "words.fk", 2)


def test_imports_may_be_loaded_by_the_caller() -> None:
    asked: list[Path] = []

    def load(path: Path) -> tree.Module:
        asked.append(path)
        return tree.Module(Source("b.fk", ""), ())

    module = tree.Module(Source("a.fk", ""), (tree.Import(NOWHERE, "b.fk"),))
    check(module, Path("x"), load)
    assert asked == [Path("x/b.fk")]


def test_near_names_say_where_the_known_name_comes_from() -> None:
    (d,) = mistakes("program p(max_letters: int = 5) -> int:\n    return max_leters\n")
    assert d.help == "did you mean `max_letters`, a parameter of line 1?"
    (d,) = mistakes(
        'program p() -> str:\n    lm = prompt("x")\n    text ~ word(lm)\n    return txt\n'
    )
    assert d.help == "did you mean `text`, drawn at line 3?"


def test_a_changed_type_names_the_line_that_gave_the_first() -> None:
    (d,) = mistakes("program p() -> int:\n    n = 0\n    n = 0.5\n    return n\n")
    assert "line 2" in d.help
    assert "line 2" in d.notes[0]


@pytest.mark.parametrize(
    "expression",
    [
        "+".join(["1"] * 140),
        "(" * 90 + "1" + ")" * 90,
        "abs(" * 90 + "1" + ")" * 90,
        "- " * 100 + "1",
        "[" * 60 + "1" + "]" * 60,
        "(" * 50 + "1" + "+1+1+1+1)" * 50,
        ("(" + "abs(") * 45 + "1" + "))" * 45,
        "max(" * 99 + "1+1+1+1+1+1+1+1+1" + ", 1)" * 99,
    ],
)
def test_deep_expressions_are_checked_or_refused_but_never_overflow(expression: str) -> None:
    assert codes(f"program p():\n    return {expression}\n") <= {"FK109"}
    assert codes(f"query q = {expression}\n") <= {"FK109", "FK345", "FK314"}
    assert codes(f"def f(a = {expression}) -> int:\n    return 1\n") <= {"FK109", "FK308"}
    blocks = "".join("    " * i + "if true:\n" for i in range(1, 39))
    assert codes(f"program p() -> int:\n{blocks}{'    ' * 39}x = {expression}\n    return 1\n") <= {
        "FK109"
    }


def test_long_chains_of_calls_between_functions_do_not_overflow() -> None:
    n = 2000
    text = "".join(f"def f{i}(x: int):\n    return f{i + 1}(x)\n" for i in range(n))
    c = checked(text + f"def f{n}(x: int):\n    return x\n")
    assert all(f.returns == INT for f in c.functions.values())


NAMES = ["a", "b", "lm", "f", "words", "value", "len"]
EXPRESSIONS = st.recursive(
    st.sampled_from(
        [
            *NAMES,
            "1",
            "2.5",
            '"x"',
            "true",
            "EOS",
            "[]",
            "{}",
            "none",
            "bernoulli(0.5)",
            'prompt("x")',
        ]
    ),
    lambda e: st.one_of(
        st.builds(
            "({} {} {})".format,
            e,
            st.sampled_from(["+", "*", "/", "**", "<", "==", "in", "and"]),
            e,
        ),
        st.builds(
            "{}({})".format, st.sampled_from([*NAMES, "text", "choice", "max", "zip", "fork"]), e
        ),
        st.builds(
            "{}({}, {}={})".format,
            st.sampled_from(NAMES),
            e,
            st.sampled_from(["s", "model", "k"]),
            e,
        ),
        st.builds("({} if {} else {})".format, e, e, e),
        st.builds("[{} for {} in {} if {}]".format, e, st.sampled_from(NAMES), e, e),
        st.builds("({})[{}]".format, e, e),
        st.builds("({}).{}".format, e, st.sampled_from(["text", "done", "x"])),
        st.builds('{{"a": {}, "b": {}}}'.format, e, e),
        st.builds("[{}, {}]".format, e, e),
    ),
    max_leaves=6,
)
SIMPLE = st.one_of(
    st.builds("{} = {}".format, st.sampled_from(NAMES), EXPRESSIONS),
    st.builds("{} ~ {}".format, st.sampled_from(NAMES), EXPRESSIONS),
    st.builds("{} += {}".format, st.sampled_from(NAMES), EXPRESSIONS),
    st.builds("a, b = {}".format, EXPRESSIONS),
    st.builds("observe {} ~ {}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("{} {}".format, st.sampled_from(["condition", "factor", "return"]), EXPRESSIONS),
    st.sampled_from(["break", "continue", "pass", "return"]),
)
BLOCKS = st.builds(
    "if {}:\n        {}\n    else:\n        {}".format, EXPRESSIONS, SIMPLE, SIMPLE
) | st.builds("for {} in {}:\n        {}".format, st.sampled_from(NAMES), EXPRESSIONS, SIMPLE)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(SIMPLE | BLOCKS, min_size=1, max_size=6),
    st.sampled_from(["def f(lm: context)", "program f(a = 1)"]),
)
def test_any_program_is_accepted_or_given_known_diagnostics(
    statements: list[str], head: str
) -> None:
    text = f"{head}:\n" + "".join(f"    {s}\n" for s in statements)
    try:
        found = checked(text).warnings
    except ProgramError as error:
        found = error.diagnostics
        assert found
    for d in found:
        assert d.code in CODES
        assert d.help
        assert d.message
        assert d.span.source.text == text
    assert len({(d.code, d.span.start, d.span.end, d.message) for d in found}) == len(found)
