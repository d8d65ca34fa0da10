"""`%%fk` in an IPython shell: a cell is a program, and its result a variable."""

import pytest

pytest.importorskip("IPython", reason="IPython comes with the extra `notebook`")

from IPython.core.interactiveshell import InteractiveShell

from fkdsl.inference.result import Result

CELL = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2

program p(n: int = 2) -> str:
    lm = prompt("", model=m)
    for i in range(n):
        if not lm.done:
            t ~ lm
    condition lm.text != "bb"
    return lm.text

infer smc(particles=8)
"""
ON_TINY = """
program p() -> str:
    lm = prompt("The ")
    s ~ text(lm, max_tokens=6)
    return s

infer smc(particles=4)
"""


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "fkdsl")
    yield shell
    InteractiveShell.clear_instance()


def test_a_cell_is_run_and_its_result_is_a_variable(shell):
    result = shell.run_cell_magic("fk", "--seed 3 -p n=1", CELL)
    assert isinstance(result, Result)
    assert shell.user_ns["fk"] is result
    assert (result.steps, result.seed, len(result.particles)) == (1, 3, 8)
    assert "<table>" in result._repr_html_()
    other = shell.run_cell_magic("fk", "--method exact --to sure", CELL)
    assert shell.user_ns["sure"] is other
    assert other.log_z == pytest.approx(__import__("math").log(0.91), abs=1e-12)


def test_top_says_how_many_values_are_shown(shell):
    result = shell.run_cell_magic("fk", "--method exact --top=1", CELL)
    assert len(result.posterior) > 1
    assert str(result).splitlines()[1].endswith(f"({len(result.posterior) - 1} more values)")
    assert result._repr_html_().count("<tr>") == 2


@pytest.mark.parametrize(
    ("line", "cell", "said"),
    [
        ("", CELL.replace("lm.done", "lm.dun"), "cell.fk:8"),
        ("--nope", CELL, "no option --nope"),
        ("--to 1x", CELL, "names no variable"),
        ("--watch", CELL, "for the command line"),
        ('a "', CELL, "close the quotes"),
        ("", CELL.replace('!= "bb"', '== "c"'), "died"),
    ],
)
def test_mistakes_are_printed_as_on_the_command_line(shell, capsys, line, cell, said):
    assert shell.run_cell_magic("fk", line, cell) is None
    assert said in capsys.readouterr().err
    assert "fk" not in shell.user_ns


def test_an_interrupt_leaves_the_models_usable(shell, monkeypatch):
    from fkdsl.notebook import magic

    whole = shell.run_cell_magic("fk", "--model tiny --to whole", ON_TINY)
    real = magic._progress

    def interrupting(name):
        @magic.contextmanager
        def shown():
            def stop(step):
                if step.t == 3:
                    raise KeyboardInterrupt

            yield stop

        return shown()

    monkeypatch.setattr(magic, "_progress", interrupting)
    with pytest.raises(KeyboardInterrupt):
        magic_of(shell).cell("--model tiny", ON_TINY)
    monkeypatch.setattr(magic, "_progress", real)
    again = shell.run_cell_magic("fk", "--model tiny", ON_TINY)
    assert again.posterior == whole.posterior
    assert len(magic_of(shell).loaded) == 1


def magic_of(shell):
    return shell.find_cell_magic("fk").__self__


@pytest.mark.parametrize("flags", ["--json", "--format csv", "--stats", "--samples 3"])
def test_flags_that_print_are_refused_in_a_cell(shell, capsys, flags):
    assert shell.run_cell_magic("fk", flags, CELL) is None
    assert f"{flags.split()[0]} " in capsys.readouterr().err


def test_a_cell_lets_a_pilot_choose_the_method(shell):
    result = shell.run_cell_magic("fk", "--method auto", CELL)
    assert any("auto" in note for note in result.notes)
