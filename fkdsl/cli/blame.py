"""Blame as text and as JSON (docs/inference.md, Blame)."""

from __future__ import annotations

from typing import Any

from fkdsl.api.blame import conflict_json, conflict_text, source_text
from fkdsl.base.shown import one_line
from fkdsl.inference.assess.blame import Blame, LineBlame

WIDTH = 100
"""Characters in a line of the table at most."""
HEAD = "   log w      var   deaths     time  "
GUESSES = "(look-ahead: its guesses on the way, taken back later)"
LEAST = 0.0005
"""Share of the variance below which a line that is no condition, factor or observe is left out:
such a share is rounding."""


def blame_text(blame: Blame) -> str:
    """A row for each line, then the time that no line took, then the lines that contradict each
    other."""
    lines = [line for line in blame.lines if is_shown(line)]
    files = {line.place.source.name for line in lines[:1]}
    names = [_name(line, line.place.source.name not in files) for line in lines]
    width = max([len("line"), *map(len, names)])
    rows = [f"{'line':<{width}}{HEAD}source"]
    for name, line in zip(names, lines, strict=True):
        variance, time = _percent(line.variance_share), _percent(line.time_share)
        figures = f"{_nats(line)} {variance} {line.deaths:>8} {time}"
        rows.append(_cut(f"{name:<{width}}{figures}  {_source(line)}"))
    gap = " " * (width + 27)
    if blame.model_share is not None and blame.other_share is not None:
        rows.append(f"{gap}{_percent(blame.model_share)}  (the language models)")
        rows.append(f"{gap}{_percent(blame.other_share)}  (drawing, trying outcomes, resampling)")
    for conflict in blame.conflicts:
        rows += ["", *map(_cut, conflict_text(conflict))]
    return "\n".join(rows) + "\n"


def is_shown(line: LineBlame) -> bool:
    """Whether a line weighs by its kind, or had a part in the run."""
    weighs = line.place.text.split(maxsplit=1)[:1] in (
        ["condition"],
        ["factor"],
        ["twist"],
        ["observe"],
    )
    return weighs or line.deaths > 0 or abs(line.variance_share or 0.0) >= LEAST


def _name(line: LineBlame, elsewhere: bool) -> str:
    return f"{line.place.source.name}:{line.place.line}" if elsewhere else str(line.place.line)


def _source(line: LineBlame) -> str:
    """What the line says. The program's name stands for what look-ahead and a learned twist do:
    their guesses of the weight to come are no line's own (`Particle.guess`)."""
    text = source_text(line.place)
    return GUESSES if text.isidentifier() else text


def _nats(line: LineBlame) -> str:
    return f"{line.log_weight:>8.2f}" if line.log_weight else f"{'0':>8}"


def _percent(share: float | None) -> str:
    return f"{'-':>8}" if share is None else f"{100 * share:>7.1f}%"


def _cut(row: str) -> str:
    row = one_line(row)
    return row if len(row) <= WIDTH else row[: WIDTH - 1] + "…"


def blame_json(blame: Blame) -> dict[str, Any]:
    """The object `blame` of `--json` (docs/language.md)."""
    return {
        "lines": [
            {
                "file": line.place.source.name,
                "line": line.place.line,
                "column": line.place.column,
                "text": line.place.text,
                "deaths": line.deaths,
                "passed": line.passed,
                "log_weight": line.log_weight,
                "variance_share": line.variance_share,
                "time_share": line.time_share,
            }
            for line in blame.lines
        ],
        "deaths": blame.deaths,
        "conflicts": [conflict_json(c) for c in blame.conflicts],
        "seconds": blame.seconds,
        "model_time_share": blame.model_share,
        "other_time_share": blame.other_share,
    }
