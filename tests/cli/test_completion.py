"""`fkdsl completion`: bash is asked as it would be at a terminal; zsh and fish, where they are
installed, read their scripts."""

import os
import shutil
import subprocess
import sys

import pytest

from fkdsl.api.lookahead import AUTO, NONE, USES
from fkdsl.cli.completion import LOOKAHEAD, parameters, script
from fkdsl.cli.flags import SHELLS
from fkdsl.inference.methods import METHODS
from fkdsl.templates import TEMPLATES
from tests.cli.test_cli import call

PROGRAM = 'program p(topic: str = "sea", n: int = 2) -> int:\n    return n\n'
ASK = """
compopt() { :; }  # bash has it only while it completes
source ./script
ask() {
  COMP_WORDS=(fkdsl "$@"); COMP_CWORD=$#; COMPREPLY=()
  _fkdsl fkdsl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
  (IFS=,; echo "${COMPREPLY[*]}")
}
"""
LINES = {
    "ru": "run",
    "run --meth": "--method",
    "run my.fk --method ": ",".join((*METHODS, "auto")),
    "new x --template ": ",".join(TEMPLATES),
    "run my.fk --resampling s": "stratified,systematic,ssp",
    "run m": "my.fk",
    "check my.fk m": "my.fk",
    "replay ": "folder,run.jsonl",
    "models pull t": "tiny,tiny-vision",
    "run my.fk -p ": "topic=,n=",
    "run my.fk -p t": "topic=",
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_values_files_and_parameters(tmp_path):
    (tmp_path / "my.fk").write_text(PROGRAM)
    (tmp_path / "run.jsonl").write_text("")
    (tmp_path / "other.txt").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "script").write_text(script("bash"))
    command = f'fkdsl() {{ "{sys.executable}" -m fkdsl "$@"; }}\n'
    asked = [f"ask {line}" if not line.endswith(" ") else f"ask {line}''" for line in LINES]
    done = subprocess.run(
        ["bash", "-c", command + ASK + "\n".join(asked)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert done.stderr == ""
    assert dict(zip(LINES, done.stdout.splitlines(), strict=True)) == LINES


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_reads_its_script(shell, tmp_path, capsys):
    status, out, _ = call(capsys, "completion", shell)
    assert status == 0
    assert "--particles" in out
    assert "tempered" in out
    assert {AUTO, NONE, *USES} == set(LOOKAHEAD)
    if shutil.which(shell):
        (tmp_path / "script").write_text(out)
        subprocess.run([shell, "-n", tmp_path / "script"], check=True, timeout=60)


def test_the_parameters_of_a_file_are_those_of_its_programs(tmp_path):
    path = tmp_path / "my.fk"
    path.write_text(PROGRAM + "def f(no: int) -> int:\n    return no\n")
    assert parameters(str(path)) == ["topic", "n"]
    path.write_text("program p(")
    assert parameters(str(path)) == []
    assert parameters(str(tmp_path / "none.fk")) == []
