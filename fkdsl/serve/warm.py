"""What the process that workers are forked from imports once: the worker, and all that a run of a
program imports and builds when it is first needed. It starts no thread and reads no program of a
stranger's."""

import jsonschema  # noqa: F401
import llguidance
import llguidance.numpy  # noqa: F401
import regex  # noqa: F401

import fkdsl.models.surrogate.files
import fkdsl.serve.worker  # noqa: F401
from fkdsl.api import parse

parse(
    """
model bits = table:
    "" -> "0": 0.5, "1": 0.5

program warm() -> str:
    lm = prompt("")
    t ~ lm
    condition str(t) != "2"
    return lm.text
"""
).run(particles=2)
