"""Constants that are no pattern, schema or grammar: the messages, the files, the bounds, and what
is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fkdsl
from fkdsl.base.errors import ProgramError
from fkdsl.base.rendering import render
from fkdsl.base.spans import Source
from fkdsl.language.compile import check_source
from fkdsl.values.library import patterns, schemas


def mistake(test: str, folder: Path) -> str:
    """The one error of a program with this condition, as a terminal shows it."""
    with pytest.raises(ProgramError) as error:
        check_source(
            Source("p.fk", f"program p(s: str = '') -> bool:\n    return {test}\n"), folder
        )
    (d,) = error.value.diagnostics
    return render(d)


def test_the_message_of_a_pattern(tmp_path: Path) -> None:
    assert mistake(r'matches(s, r"\d(ab")', tmp_path) == (
        "error[FK240]: not a pattern: missing ) at character 6\n"
        "  --> p.fk:2:30\n"
        ' 2 |     return matches(s, r"\\d(ab")\n'
        "   |                              ^ refused by `regex`\n"
        "   = help: write a pattern of Python's `re`, with a backslash before a bracket or sign "
        "that stands for itself"
    )


def test_a_pattern_that_the_literal_does_not_show_is_marked_whole(tmp_path: Path) -> None:
    message = mistake(r'matches(s, "\t(ab")', tmp_path)
    assert "missing ) at character 5" in message
    assert "--> p.fk:2:23" in message
    assert "^^^^^^^ refused by `regex`" in message


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (
            'valid_json(s, "a.json")',
            "error[FK241]: 'a.json' is no JSON schema: "
            "'strng' is not valid under any of the given schemas at $.items.type",
        ),
        (
            "valid_json(s, '{]')",
            "error[FK241]: this is no JSON schema: it is no JSON: "
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        (
            'valid_json(s, "b.json")',
            "error[FK243]: cannot read the schema 'b.json': there is no such file",
        ),
        (
            """valid_json(s, '{"type": "array", "minItems": 2, "maxItems": 1}')""",
            "error[FK244]: no JSON fits this schema: minItems (2) is greater than maxItems (1)",
        ),
        (
            'parses(s, "a.lark")',
            "error[FK242]: 'a.lark' is no Lark grammar: unexpected end of the line at line 2, "
            "column 11",
        ),
        ("parses(s, 'x: \"a\"')", "error[FK242]: this is no Lark grammar: it has no rule `start`"),
        (
            'parses(s, "latin.lark")',
            "error[FK243]: cannot read the grammar 'latin.lark': it is no UTF-8 text",
        ),
    ],
)
def test_the_messages_have_the_library_s_reason(test: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"items": {"type": "strng"}}')
    (tmp_path / "a.lark").write_text('start: item\nitem: ("a"\n')
    (tmp_path / "latin.lark").write_bytes(b'start: "caf\xe9"\n')
    assert mistake(test, tmp_path).splitlines()[0] == message


@pytest.mark.parametrize(
    ("schema", "reason", "help"),
    [
        (
            '{"properties": {"a": {"type": "number", "type": "string"}}}',
            "an object of it has the name 'type' twice",
            "leave one of the two out, or name it otherwise",
        ),
        ('{"minimum": 1,}', "it is no JSON", "none after the last"),
        ("{}" + " " * 200_000, "longer than 200,000 characters", "write it shorter"),
        ('{"items":' * 5000 + "{}" + "}" * 5000, "nested too deep", "write it shorter"),
    ],
)
def test_the_help_for_what_is_no_schema_is_for_its_reason(
    schema: str, reason: str, help: str, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(schema)
    message = mistake('valid_json(s, "a.json")', tmp_path)
    assert reason in message.splitlines()[0]
    assert help in message.splitlines()[-1]


def test_a_name_that_a_schema_has_twice_is_not_told_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text('{"secret": 1, "secret": 2}')
    assert "secret" not in mistake('valid_json(s, "a.txt")', tmp_path)


def test_a_file_with_a_near_name_is_offered(tmp_path: Path) -> None:
    (tmp_path / "person.json").write_text("{}")
    assert "did you mean 'person.json'?" in mistake('valid_json(s, "preson.json")', tmp_path)


@pytest.mark.skipif(os.sep != "/", reason="there a backslash is one way to write it")
def test_a_windows_path_is_answered_with_one_that_every_system_reads(tmp_path: Path) -> None:
    message = mistake(r'valid_json(s, r"forms\person.json")', tmp_path)
    assert message.endswith("= help: write `/` between folders: 'forms/person.json'")


def test_a_file_is_looked_for_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/person.fk").write_text(
        'def fits(s: str) -> bool:\n    return valid_json(s, "person.json")\n'
    )
    (tmp_path / "main.fk").write_text(
        'import "sub/person.fk"\nprogram p() -> bool:\n    return fits("3")\n'
    )
    with pytest.raises(ProgramError, match="cannot read the schema"):
        fkdsl.load(tmp_path / "main.fk")
    (tmp_path / "sub/person.json").write_text('{"type": "integer"}')
    assert fkdsl.load(tmp_path / "main.fk").exact().probability(True) == 1.0
    (tmp_path / "sub/person.json").write_text('{"type": "integer", "maximum": 2}')
    assert fkdsl.load(tmp_path / "main.fk").exact().probability(True) == 0.0


def test_what_is_too_long_is_refused_with_its_bound(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}" + " " * 200_000)
    (tmp_path / "a.lark").write_text('start: "a"\n' + " " * 200_000)
    assert "longer than 200,000 characters" in mistake('valid_json(s, "a.json")', tmp_path)
    assert "longer than 200,000 characters" in mistake('parses(s, "a.lark")', tmp_path)
    assert "longer than 5,000 characters" in mistake(f'matches(s, "{"a" * 5_001}")', tmp_path)


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [
        (r"(?:(?:ab|c){1000}){1000}", True),
        (r"(?:[(]{1000}){1000}", True),
        (r"(?x)(?:a{1000} # (" + "\n){1000}", True),
        ("(?:a?b?" * 40 + "){2}" * 40, True),
        (r"\d{4}-\d{2}-\d{2}", False),
        (r"(?:\w{1,1000} ){1,1000}", False),
    ],
)
def test_a_short_pattern_that_would_take_all_memory_is_refused(pattern: str, refused: bool) -> None:
    assert bool(patterns.pattern_mistake(pattern)) == refused


def test_what_is_nested_deep_is_refused() -> None:
    assert patterns.pattern_mistake("(" * 2_500 + ")" * 2_500) == "nested too deep"
    assert schemas.schema_mistake('{"properties": {"a": ' * 400 + "{}" + "}}" * 400)
    assert schemas.schema_mistake('{"a":' * 30_000)


def test_a_grammar_that_takes_too_long_to_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "READING_SECONDS", 0.2)
    optional = " ".join(f'"{chr(97 + i)}"?' for i in range(20))
    assert (
        schemas.grammar_mistake(f"start: {optional} ")
        == "it takes longer than 0.2 s of CPU time to read"
    )


def test_llguidance_is_imported_only_for_a_schema_or_a_grammar() -> None:
    check = (
        "import sys\nfrom fkdsl.base.spans import Source\nfrom fkdsl.language.compile import "
        "check_source\n"
        "check_source(Source('p.fk', 'program p(s: str = \"\") -> bool:\\n    return %s\\n'))\n"
        "assert ('llguidance' in sys.modules) == %s\nassert ('jsonschema' in sys.modules) == %s"
    )
    for test, needed in [
        ('matches(s, "a") and valid_json(s) and valid_json(s, s)', False),
        ('valid_json(s, "{}")', True),
    ]:
        subprocess.run([sys.executable, "-c", check % (test, needed, needed)], check=True)
