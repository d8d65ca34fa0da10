"""What every peer is given: the prompt and the condition of programs/short_words.fk, and the
arguments of a run.

A peer is a script that an environment of its own runs; its last line is one JSON object, {"rate",
"version", ...}, the rate in particle-tokens a second. It knows nothing of fkdsl: only this file,
which needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import re
from importlib.metadata import version
from typing import Any

PROMPT = 'A short, plain sentence about the sea: "'
MAX_LETTERS = 5
WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


def short(text: str) -> bool:
    """Whether every word has at most five letters.

    >>> short("The sea, it's wide."), short("The ocean's"), short("Oceanic")
    (True, False, False)
    """
    return all(sum(map(str.isalpha, word)) <= MAX_LETTERS for word in WORD.findall(text))


def arguments(description: str) -> argparse.Namespace:
    """--model FOLDER --particles N --dtype D --tokens T --threads K --seed S."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", required=True)
    parser.add_argument("--particles", type=int, required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def report(package: str, rate: float, **more: Any) -> None:
    """Prints the last line."""
    print(json.dumps({"rate": rate, "version": f"{package} {version(package)}", **more}))
