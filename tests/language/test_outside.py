"""What a program names stays below the folder of its main file, and no message shows a line of any
other file."""

import socket

import pytest

import fkdsl
from fkdsl.base.errors import CallError, FkdslError, PopulationDied, ProgramError
from fkdsl.cli.main import main

SECRET = "hunter2"
HEAD = 'model m = table:\n    "" -> "a": 0.5, EOS: 0.5\n\n'
BODY = (
    'program p() -> str:\n    lm = prompt("a", model=m)\n    t ~ lm\n    {}\n    return lm.text\n'
)
WORDS = "def shout(s: str) -> str:\n    return upper(s)\n"


@pytest.fixture
def place(tmp_path):
    """main/p.fk, with files beside it, below it, and above it."""
    for folder in ("main/sub", "main/.hidden", "other"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "other", tmp_path / "main", tmp_path / "main/sub"):
        (folder / "words.fk").write_text(WORDS)
        (folder / "secret.fk").write_text(f"password = {SECRET} {SECRET}\n")
        (folder / "s.json").write_text('{"type": "string"}')
        (folder / "g.lark").write_text('start: "a"\n')
        (folder / "keys.env").write_text(f"{SECRET}: {SECRET} {SECRET}\n{SECRET}\n")
        (folder / "keys.json").write_text(f"{{{SECRET}: [1,\n")
    return tmp_path / "main"


def written(place, text, name="p.fk"):
    (place / name).write_text(text)
    return place / name


def message(path, **allowed):
    with pytest.raises(FkdslError) as error:
        fkdsl.load(path, **allowed).run("exact")
    return str(error.value)


CONSTRAINTS = {
    "schema": 'condition valid_json(lm.text, schema="{}")',
    "grammar": 'condition parses(lm.text, grammar="{}")',
    "schema at run time": 'condition valid_json(lm.text, schema=lower("{}"))',
    "grammar at run time": 'condition parses(lm.text, grammar=lower("{}"))',
}


@pytest.mark.parametrize(
    "name", ["../words.fk", "sub/../../words.fk", "link.fk", "linked/words.fk"]
)
def test_an_import_stays_below_the_folder_of_the_main_file(place, name):
    (place / "link.fk").symlink_to("../secret.fk")
    (place / "linked").symlink_to("../other")
    path = written(place, f'import "{name}"\n{HEAD}{BODY.format("pass")}')
    with pytest.raises(ProgramError) as error:
        fkdsl.load(path)
    assert [d.code for d in error.value.diagnostics] == ["FK360"]
    assert SECRET not in str(error.value)
    if name != "link.fk":
        assert fkdsl.load(path, allow_outside=True).run("exact").log_z == 0.0


def test_files_below_the_folder_import_each_other(place):
    written(
        place / "sub",
        'import "../words.fk"\ndef loud(s: str) -> str:\n    return shout(s)\n',
        "loud.fk",
    )
    path = written(
        place, f'import "sub/loud.fk"\n{HEAD}' + BODY.format('condition loud("a") == "A"')
    )
    assert fkdsl.load(path).run("exact").log_z == 0.0


def test_an_imported_file_does_not_lead_out_either(place):
    written(place / "sub", 'import "../../words.fk"\n', "out.fk")
    assert "FK360" in message(written(place, f'import "sub/out.fk"\n{HEAD}{BODY.format("pass")}'))


@pytest.mark.parametrize("name", ["keys.env", "sub/keys.json"])
def test_an_import_of_another_kind_of_file_shows_nothing_of_it(place, name):
    found = message(written(place, f'import "{name}"\n{HEAD}{BODY.format("pass")}'))
    assert "FK361" in found
    assert SECRET not in found
    (place / "alias.fk").symlink_to(name)
    found = message(written(place, f'import "alias.fk"\n{HEAD}{BODY.format("pass")}'))
    assert "FK361" in found
    assert SECRET not in found


@pytest.mark.parametrize("way", CONSTRAINTS)
@pytest.mark.parametrize("name", ["../{}", "link{}", "linked/{}", "/etc/passwd", "sub/../../{}"])
def test_schemas_and_grammars_stay_below_the_folder_too(place, way, name):
    target = "g.lark" if "grammar" in way else "s.json"
    suffix = target[1:]
    (place / f"link{suffix}").symlink_to(f"../{target}")
    (place / "linked").symlink_to("../other")
    name = name.format(suffix if "link{}" in name else target)
    path = written(place, HEAD + BODY.format(CONSTRAINTS[way].format(name)))
    found = message(path)
    assert "lies outside the program's folder" in found
    assert "root:" not in found
    if name != "/etc/passwd":
        program = fkdsl.load(path, allow_outside=True)
        if "grammar" in way:
            assert [a.value for a in program.run("exact").posterior] == ["a"]
        else:
            with pytest.raises(PopulationDied):  # neither "a" nor "" is JSON
                program.run("exact")


def test_a_schema_that_has_been_read_is_read_again_when_it_changed(place):
    """It is examined once for many draws, but again later, and after a link took its place."""
    path = written(place, HEAD + BODY.format('condition valid_json("1", schema="t.json")'))
    (place / "t.json").write_text('{"type": "integer"}')
    assert fkdsl.load(path).run("exact").log_z == 0.0
    (place / "t.json").write_text('{"type": "string"}')
    with pytest.raises(PopulationDied):
        fkdsl.load(path).run("exact")
    (place / "t.json").unlink()
    (place / "t.json").symlink_to("../s.json")
    assert "outside the program's folder" in message(path)


@pytest.mark.parametrize("way", CONSTRAINTS)
@pytest.mark.parametrize("name", ["keys.env", "keys.json", "alias"])
def test_what_is_wrong_with_a_file_of_another_kind_is_said_without_its_words(place, way, name):
    if name == "alias":
        name = "alias.lark" if "grammar" in way else "alias.json"
        (place / name).symlink_to("keys.env")
    found = message(written(place, HEAD + BODY.format(CONSTRAINTS[way].format(name))))
    assert "line" in found or "another kind" in found
    assert SECRET not in found


def test_a_schema_in_a_file_of_another_name_is_placed_by_the_words_of_json_schema(place):
    (place / "person.txt").write_text(f'{{"properties": {{"{SECRET}": {{"type": "{SECRET}"}}}}}}')
    found = message(written(place, HEAD + BODY.format(CONSTRAINTS["schema"].format("person.txt"))))
    assert "'person.txt' is no JSON schema: the mistake is at properties type" in found
    assert SECRET not in found


@pytest.mark.parametrize("name", ["keys.env", "noext"])
def test_a_main_file_that_is_named_as_no_program_shows_no_line(place, name, capsys):
    (place / "noext").write_text(f"{SECRET} {SECRET}\n")
    with pytest.raises(CallError, match="its first mistake is in line 1"):
        fkdsl.load(place / name)
    for command in ("check", "run", "explain", "test"):
        assert main([command, str(place / name)]) == 2
        assert SECRET not in "".join(capsys.readouterr())


def test_tables_that_a_program_names_stay_below_its_folder(place):
    (place.parent / "t.fk").write_text(HEAD)
    path = written(place, 'model "../t.fk"\n' + BODY.format("pass").replace(", model=m", ""))
    assert "the tables `../t.fk` are not read: it lies outside" in message(path)
    assert fkdsl.load(path, allow_outside=True).run("exact").log_z == 0.0
    assert fkdsl.load(path).run("exact", model=str(place.parent / "t.fk")).log_z == 0.0


IMPORTS = [
    "%import .words",
    "%import .words.A",
    "%import words.A",
    "%import ..words.A",
    "%import sub.words (A, B)",
]


@pytest.mark.parametrize("line", IMPORTS)
def test_a_grammar_imports_no_file(place, line, monkeypatch):
    for folder in (place, place / "sub", place.parent):
        (folder / "words.lark").write_text(f'A: "{SECRET}"\nB: A\n')
    monkeypatch.chdir(place)
    monkeypatch.setattr("__main__.__file__", str(place / "main.py"), raising=False)
    (place / "g.lark").write_text(f"{line}\nstart: A\n")
    found = message(written(place, HEAD + BODY.format(CONSTRAINTS["grammar"].format("g.lark"))))
    assert SECRET not in found
    assert "is no Lark grammar" in found


@pytest.mark.parametrize("key", ["$ref", "$dynamicRef", "$schema", "$id"])
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x.json", "file:///etc/passwd", "s.json", "../s.json#/type"]
)
def test_a_schema_fetches_nothing(place, key, url, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(place)
    (place / "a.json").write_text(
        f'{{"{key}": "{url}", "properties": {{"a": {{"{key}": "{url}"}}}}}}'
    )
    with pytest.raises(FkdslError) as error:
        fkdsl.load(written(place, HEAD + BODY.format(CONSTRAINTS["schema"].format("a.json")))).run(
            "exact"
        )
    assert "root:" not in str(error.value)
