"""`fkdsl new`: each template is a program that checks, in canonical form, whose tests pass."""

import pytest

from fkdsl.base.spans import Source
from fkdsl.cli.flags import command_parser
from fkdsl.language.formatting.formatter import format_text
from fkdsl.templates import TEMPLATES
from tests.cli.test_cli import call


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_program_checks_and_its_test_passes(template, tmp_path, capsys):
    name = tmp_path / "my-program"
    status, out, _ = call(capsys, "new", str(name), "--template", template)
    assert status == 0
    for line in out.splitlines()[1:]:
        command_parser().parse_args(line.split("   ")[0].split()[1:])
    assert f"fkdsl test {name}.fk" in out
    path = name.with_suffix(".fk")
    text = path.read_text("utf-8")
    assert "program my_program(" in text
    assert "NAME" not in text
    assert format_text(Source("p.fk", text)) == text
    status, out, err = call(capsys, "check", str(path))
    assert (status, out, err) == (0, f"{path}: ok\n", "")
    status, out, _ = call(capsys, "test", str(path), "--no-methods")
    assert status == 0
    assert "1 passed" in out


def test_nothing_is_written_over(tmp_path, capsys):
    path = tmp_path / "a.fk"
    path.write_text("mine")
    status, _, err = call(capsys, "new", str(path))
    assert status == 2
    assert "is there already" in err
    (tmp_path / "b.json").write_text("mine")
    assert call(capsys, "new", str(tmp_path / "b"), "--template", "json")[0] == 2
    assert path.read_text() == "mine"
    assert not (tmp_path / "b.fk").exists()


@pytest.mark.parametrize("name", ["1st", "def", "model"])
def test_a_name_that_is_none_is_refused(name, tmp_path, capsys):
    assert call(capsys, "new", str(tmp_path / f"{name}.fk"))[0] == 2
    assert call(capsys, "new", str(tmp_path / "no" / "a.fk"))[0] == 2


def test_the_list_names_each_template(capsys):
    status, out, _ = call(capsys, "new", "--list")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == list(TEMPLATES)
    for name in TEMPLATES:
        command_parser().parse_args(["new", "x", "--template", name])


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_program_runs_at_once(template, tmp_path, capsys):
    name = tmp_path / "mine"
    call(capsys, "new", str(name), "--template", template)
    model = () if template == "table" else ("--model", "tiny")
    status, out, err = call(capsys, "run", f"{name}.fk", *model)
    assert (status, "log Z" in out) == (0, True), err
