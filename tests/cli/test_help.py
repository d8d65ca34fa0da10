"""The help of the commands fits a screen and leaves nothing out; errors name what was meant."""

import argparse

import pytest

from fkdsl.cli.commands import COMMANDS
from fkdsl.cli.flags import command_parser
from tests.cli.test_cli import call


def commands():
    (chosen,) = (a for a in command_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return chosen.choices


def test_the_list_has_every_command_in_80_columns(capsys):
    status, out, _ = call(capsys)
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    for name, command in COMMANDS.items():
        assert f"\n  {name:<15} {command.doc}\n" in out
    assert set(commands()) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_whole_and_fits_80_columns(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    parser = commands()[name]
    text = parser.format_help()
    assert max(map(len, text.splitlines())) <= 80
    for action in parser._actions:
        hidden = action.help is argparse.SUPPRESS
        for flag in action.option_strings:
            assert hidden or flag in text
        assert action.help or isinstance(action, argparse._SubParsersAction), action
    examples = COMMANDS[name].examples
    assert len(text.partition("examples:\n")[2].splitlines()) == len(examples)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_help_parse(name):
    for line, _ in COMMANDS[name].examples:
        words = line.replace('eval "$(', "").replace(')"', "").split(" | ")[0]
        words = words.replace('"the sea"', "sea").replace("--no-opt", "--no-opt=all").split()
        assert words[0] == "fkdsl"
        command_parser().parse_args(words[1:])


@pytest.mark.parametrize(
    ("args", "message", "help"),
    [
        (["rn", "x.fk"], "there is no command `rn`", "did you mean `run`?"),
        (["zzzzzz"], "there is no command `zzzzzz`", "see `fkdsl -h`"),
        (["run", "x.fk", "--partciles=5"], "no option --partciles", "`--particles`"),
        (["run", "x.fk", "y.fk"], "'y.fk' is one argument too many", "see `fkdsl run -h`"),
        (["new", "x", "--template", "jsn"], "there is no --template jsn", "`json`"),
        (["plot", "r.jsonl", "-o", "x.svg", "--figure", "zzz"], "--figure zzz", "one of steps,"),
    ],
)
def test_a_wrong_call_is_told_what_was_meant(args, message, help, capsys):
    status, _, err = call(capsys, *args)
    assert status == 2
    assert message in err
    assert help in err
