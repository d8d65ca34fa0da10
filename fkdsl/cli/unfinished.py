"""The population of a run that was cut short, as text and as JSON.

It stands on stdout, where an answer would, and says first that it is none; stderr says why, and how
to go on.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from fkdsl.base.shown import probability_text, shown
from fkdsl.inference.unfinished import Unfinished
from fkdsl.values.values import plain

NO_ANSWER = "no answer: these are not samples of the posterior, and log Z is not known"
"""The warning beside the figures."""
DROPPED = ("--timeout", "--max-steps", "--trace", "--resume")
"""Flags with a value that the call to go on does not repeat."""


def unfinished_text(unfinished: Unfinished, top: int) -> str:
    """The heaviest particles, a line each; further lines of a text are indented."""
    lines = [f"unfinished: {unfinished.why}", NO_ANSWER, ""]
    for p in unfinished.particles[:top]:
        first, *more = p.text.splitlines() or ['""']
        lines.append(
            f"{probability_text(p.weight)}  {'returned' if p.finished else 'running ':8}  {first}"
        )
        lines += [" " * 19 + line for line in more]
    rest = unfinished.alive - min(top, len(unfinished.particles))
    if rest > 0:
        lines.append(f"{'':19}({rest} more)")
    if unfinished.alive:
        lines.append("")
    of = f"{unfinished.alive} particles live, {unfinished.returned} of them have returned"
    lines.append(
        f"{unfinished.method}   after step {unfinished.step}: {of}; {unfinished.dead} have died"
    )
    if unfinished.left_out:
        lines.append(unfinished.left_out)
    return shown("\n".join(lines)) + "\n"


def unfinished_json(unfinished: Unfinished) -> dict[str, Any]:
    """The object that `--json` prints for a run that was cut short (docs/language.md). It has no
    posterior and no log Z."""
    return {
        "program": unfinished.program,
        "method": unfinished.method,
        "finished": False,
        "why": unfinished.why,
        "log_z": None,
        "log_z_bounds": _bounds(unfinished.log_z_bounds),
        "posterior": [],
        "particles": [
            {
                "finished": p.finished,
                **({"value": plain(p.value)} if p.finished else {"text": p.text}),
                "log_weight": p.log_weight,
                "weight": p.weight,
            }
            for p in unfinished.particles
        ],
        "alive": unfinished.alive,
        "dead": unfinished.dead,
        "steps": unfinished.step,
        "seconds": unfinished.seconds,
        "model_calls": unfinished.model_calls,
        "forwarded_tokens": unfinished.forwarded_tokens,
        "seed": unfinished.seed,
        "islands": unfinished.islands,
        "resume": unfinished.resume,
        "notes": [NO_ANSWER, *([unfinished.left_out] if unfinished.left_out else [])],
    }


def _bounds(bounds: tuple[float, float] | None) -> list[float | None] | None:
    return None if bounds is None else [b if math.isfinite(b) else None for b in bounds]


def going_on(arguments: Sequence[str], trace: str) -> str:
    """The command that goes on from a trace. arguments: those of the call that was cut short."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument in DROPPED:
            next(rest, None)
        elif not argument.startswith(tuple(f"{flag}=" for flag in DROPPED)):
            kept.append(argument)
    return shlex.join(["fkdsl", *kept, "--resume", trace])
