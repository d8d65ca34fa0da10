"""`fkdsl completion`: what completes fkdsl's commands in bash, zsh and fish.

shtab writes the script from the command line's own parser. What argparse does not know is added
here: the values of options that fkdsl itself checks, which files a command reads, and after `-p`
the parameters of the program that stands in the line, for which the shell asks fkdsl.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

from fkdsl.base.errors import FkdslError
from fkdsl.cli.flags import command_parser
from fkdsl.cli.output import say
from fkdsl.inference.methods import METHODS
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.parser import parse, read_source
from fkdsl.models.dtypes import DTYPE_NAMES
from fkdsl.models.runtimes import RUNTIMES

DEVICES = ("auto", "cpu", "cuda")
LOOKAHEAD = ("auto", "none", "twist", "proposal", "both")
KINDS = {
    "FILE.fk": "programs",
    "FILE.jsonl": "traces",
    "MODEL": "models",
    "NAME=VALUE": "parameters",
}
"""What completes an argument, by its metavar: a function of each shell's script. shtab has bash
treat as files what a function completes whose name has `_file`."""
FUNCTIONS = {
    "bash": """\
_fkdsl_files_of() { compgen -d -- "$2"; compgen -f -X "!*$1" -- "$2"; }
_fkdsl_file_programs() { _fkdsl_files_of .fk "$1"; }
_fkdsl_file_traces() { _fkdsl_files_of .jsonl "$1"; }
_fkdsl_file_models() { compgen -W "tiny tiny-vision smollm2" -- "$1"; compgen -f -- "$1"; }
_fkdsl_parameters() {
  local word
  for word in "${COMP_WORDS[@]}"; do
    if [[ $word == *.fk ]]; then
      compgen -W "$(fkdsl completion bash "$word" 2>/dev/null)" -- "$1"
    fi
  done
}
""",
    "zsh": """\
_fkdsl_file_programs() { _files -g '*.fk' }
_fkdsl_file_traces() { _files -g '*.jsonl' }
_fkdsl_file_models() { compadd -- tiny tiny-vision smollm2; _files }
_fkdsl_parameters() {
  local word
  for word in $words; do
    if [[ $word == *.fk ]]; then
      compadd -S '' -- ${(f)"$(fkdsl completion zsh $word 2>/dev/null)"}
    fi
  done
}
""",
    "fish": """\
function _fkdsl_file_programs
  __fish_complete_suffix .fk
end
function _fkdsl_file_traces
  __fish_complete_suffix .jsonl
end
function _fkdsl_file_models
  printf '%s\\n' tiny tiny-vision smollm2
  __fish_complete_path (commandline -ct)
end
function _fkdsl_parameters
  for word in (commandline -opc)
    if string match -q '*.fk' -- $word
      fkdsl completion fish $word 2>/dev/null
    end
  end
end
""",
}
ENDS = {
    "bash": """
_fkdsl() {
  _shtab_fkdsl "$@"
  if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace; fi
}
complete -o bashdefault -o default -F _fkdsl fkdsl
""",
}
"""What follows shtab's script: in bash, a value follows `name=` without a space, and an argument of
which nothing is known may be a file."""


def main(args: argparse.Namespace) -> int:
    if args.file is not None:
        for name in parameters(args.file):
            say(f"{name}=")
        return 0
    say(script(args.shell), end="")
    return 0


def script(shell: str) -> str:
    """The script for a shell, one of those that FUNCTIONS has."""
    parser = command_parser()
    for action in _actions(parser):
        _add_values(action)
    text: str = shtab.complete(parser, shell, preamble=FUNCTIONS[shell])
    return text + ENDS.get(shell, "")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of those of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)


def _add_values(action: argparse.Action) -> None:
    """Tells shtab what an argument may be."""
    flag = action.option_strings[-1] if action.option_strings else ""
    values = {
        "--method": (*METHODS, "auto"),
        "--device": DEVICES,
        "--dtype": DTYPE_NAMES,
        "--engine": tuple(RUNTIMES),
        "--lookahead": LOOKAHEAD,
    } | {
        f"--{name}": option.one_of
        for method in METHODS.values()
        for name, option in method.all_options.items()
        if option.one_of
    }
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if flag in values:
        action.choices = values[flag]
    elif metavar in KINDS:
        kind = KINDS[metavar]
        function = f"_fkdsl_{'' if kind == 'parameters' else 'file_'}{kind}"
        shells = {"bash": function, "zsh": function, "fish": f"({function})"}
        action.complete = shells  # type: ignore[attr-defined]
    elif metavar.startswith("FILE"):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif metavar == "FOLDER":
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]


def parameters(file: str) -> list[str]:
    """The names of the parameters of a file's programs; none where it cannot be read."""
    try:
        module = parse(read_source(Path(file)))
    except (FkdslError, OSError):
        return []
    programs = [d for d in module.declarations if isinstance(d, tree.FunctionDef) and d.is_program]
    return list(dict.fromkeys(p.name for program in programs for p in program.params))
