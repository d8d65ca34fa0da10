"""Command lines that nobody would type: every option of every command, with values of every
kind."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

PROGRAM = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, EOS: 0.2

program main(n: int = 2, xs: list[str] = ["a"], rate: float = 0.5, on: bool = true) -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens=n)
    condition not contains(s, xs[0]) or on
    factor -rate * len(s)
    return s

query short = len(value) < 2

test "all of it":
    expect Z <= 1.0
"""
VALUES = (
    "",
    "0",
    "-1",
    "1",
    "3",
    "0.5",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "9" * 30,
    "9" * 5000,
    "x",
    "case.fk",
    "nosuch.fk",
    ".",
    "..",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/nosuch/x",
    "out.jsonl",
    "smc",
    "exact",
    "steer",
    "local",
    "tokens=50",
    "seconds=1",
    "tokens=-1",
    "n=1",
    "n=x",
    "n=" + "[" * 2000,
    "self=1",
    "xs=[]",
    'xs=["b"]',
    "rate=nan",
    "on=maybe",
    "=1",
    "n",
    "tiny",
    "m",
    "bytes(m)",
    "cpu",
    "cuda",
    "mps",
    "float32",
    "int8",
    "int4",
    "500M",
    "-4G",
    "\ud800",
    "é",
    "\x1b[31m",
    "value",
    "f=value ==",
    "len(value)",
    "multinomial",
    "heads",
    "ngram",
    "fuse",
    "all",
    "%s",
    "a\nb",
    "-",
    "--",
    "~",
    "~nosuchuser",
)
SKIPPED = {"train", "models", "serve"}
"""Commands that take long, fetch, or wait for clients by their purpose."""


def options() -> dict[str, list[argparse.Action]]:
    """The actions of each command, as the command line itself declares them."""
    from fkdsl.cli.flags import command_parser

    [commands] = [a for a in command_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {
        name: parser._actions for name, parser in commands.choices.items() if name not in SKIPPED
    }


def case(rng: random.Random, folder: Path) -> list[str]:
    """A call with up to four options at random."""
    (folder / "case.fk").write_text(PROGRAM, "utf-8")
    found = options()
    command = rng.choice(sorted(found))
    argv = [command]
    flags = [a for a in found[command] if a.option_strings and a.dest not in ("help", "version")]
    for action in rng.sample(flags, min(len(flags), rng.randrange(5))):
        argv.append(rng.choice(action.option_strings))
        if action.nargs != 0 and rng.random() < 0.95:
            argv.append(rng.choice(VALUES))
    if any(a.dest == "timeout" for a in flags) and "--timeout" not in argv:
        argv += ["--timeout", "2"]
    if command == "test":
        argv += ["--runs", "2", "--seconds", "1"]
    if command == "distil":
        argv += ["--tokens", "200", "--passes", "1", "--states", "4"]
    if rng.random() < 0.95:
        argv.append("case.fk" if rng.random() < 0.9 else rng.choice(VALUES))
    return argv
