"""What a page tells of a run, as JSON: numbers and texts, nothing that is run.

Columns are lists of equal length, one entry a node, since a population of 256 particles of 200
tokens has 50,000 of them. What is not finite is null.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fkdsl.api.trace.replay import Replay, outcome
from fkdsl.base.shown import LEAST_SHOWN, shown
from fkdsl.base.spans import Source
from fkdsl.inference.assess.blame import Account
from fkdsl.inference.interface import Charge, Step
from fkdsl.machine.state import ProgramState
from fkdsl.report.draws import MOST_VALUE, Draws, NumberedPlaces, text_of
from fkdsl.report.genealogy import Genealogy, genealogy, segments
from fkdsl.report.highlight import highlighted
from fkdsl.values.values import from_plain, show

MOST_ANSWERS = 200
PRELUDE = "<prelude"


class _Charges:
    """A model that knows of states what they carry: as much of one as an Account asks for."""

    def charges(self, x: ProgramState) -> Sequence[Charge]:
        return x.charges


def report_data(
    replay: Replay,
    answer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that the page shows. answer: what `--json` prints of the run, where it is at hand;
    otherwise the trace's result stands for it."""
    header = replay.trace.header
    places = NumberedPlaces()
    draws = Draws(places)
    trees = {
        island: genealogy(steps, moves_paths=replay.moves_paths)
        for island, steps in replay.steps_by_island.items()
    }
    islands = [
        {
            "island": island,
            "steps": _steps(replay.steps_by_island[island]),
            "nodes": _columns(tree, places, draws),
            "segments": [[s.t0, s.row0, s.t1, s.row1, int(s.survives)] for s in segments(tree)],
            "last": tree.last,
            "weights": [finite(w) for w in replay.steps_by_island[island][-1].log_weights],
            "outcomes": [
                _outcome(replay, p.state) for p in replay.steps_by_island[island][-1].particles
            ],
        }
        for island, tree in trees.items()
    ]
    result = dict(answer or replay.result)
    return {
        "title": header["program"],
        "finished": replay.finished,
        "log_z": finite(replay.log_z),
        "result": _result(result),
        "method": header["method"],
        "options": {k: _plain(v) for k, v in header["options"].items()},
        "seed": header["seed"],
        "repeat": _repeat(header),
        "islands": islands,
        "lines": _blame(replay, result),
        "sources": [
            {"name": s["name"], "lines": highlighted(Source(s["name"], s["text"]))}
            for s in header["sources"]
            if not s["name"].startswith(PRELUDE)
        ],
        "places": places.to_json(),
        "strings": draws.strings(),
        "alternatives": draws.alternatives(),
        "moves_paths": replay.moves_paths,
    }


def finite(x: float | None) -> float | None:
    return float(x) if x is not None and math.isfinite(x) else None


def _plain(value: Any) -> Any:
    return finite(value) if isinstance(value, float) else value


def _result(result: Mapping[str, Any]) -> dict[str, Any]:
    kept = (
        "log_z", "log_z_se", "log_z_se_by", "log_z_bounds", "log_z_interval", "ess",
        "steps", "seconds", "model_calls", "forwarded_tokens", "islands", "notes", "queries",
    )  # fmt: skip
    posterior = result.get("posterior") or []
    return {
        **{key: result[key] for key in kept if key in result},
        "posterior": [
            {
                **a,
                "value": _value_text(a["value"]),
                "probability": _known(a["probability"], result.get("sole", "")),
            }
            for a in posterior[:MOST_ANSWERS]
        ],
        "sole": result.get("sole", ""),
        "answers": len(posterior),
        "documents": [
            {
                "probability": finite(d["probability"]),
                "se": finite(d["se"]),
                "place": shown(f"{d['source']}:{d['line']}"),
                "text": _value_text(d["text"]),
            }
            for d in (result.get("documents") or [])[:MOST_ANSWERS]
        ],
    }


def _known(probability: float | None, sole: str) -> float | None:
    """None for a probability that only says that all particles come from one."""
    unknown = probability is None or (sole and probability >= 1.0 - LEAST_SHOWN)
    return None if unknown else probability


def _value_text(value: Any) -> str:
    """A value of a result's JSON: a text is itself, all else is written as a program would."""
    text = shown(value if isinstance(value, str) else show(from_plain(value)))
    return text if len(text) <= MOST_VALUE else text[:MOST_VALUE] + "..."


def _steps(steps: Sequence[Step[ProgramState]]) -> list[dict[str, Any]]:
    return [
        {
            "t": step.t,
            "ess": finite(step.ess),
            "entropy": _entropy(step.log_weights),
            "log_z": finite(step.log_Z),
            "alive": int(step.alive),
            "unfinished": int(step.unfinished),
            "resampled": bool(step.resampled),
        }
        for step in steps
    ]


def _entropy(log_weights: Any) -> float | None:
    """Of the normalised weights, in nats: log N where all are equal."""
    lw = np.asarray(log_weights, dtype=np.float64)
    lw = lw[lw > -np.inf]
    if not lw.size:
        return None
    shifted = lw - lw.max()
    w = np.exp(shifted)
    total = float(w.sum())
    return max(0.0, float(math.log(total) - (w * shifted).sum() / total))


def _columns(tree: Genealogy, places: NumberedPlaces, draws: Draws) -> dict[str, list[Any]]:
    nodes = tree.nodes
    return {
        "t": [n.t for n in nodes],
        "i": [n.index for n in nodes],
        "row": [n.row for n in nodes],
        "parent": [n.parent for n in nodes],
        "copied": [int(n.copied) for n in nodes],
        "status": [n.status.value for n in nodes],
        "log_weight": [finite(n.log_weight) for n in nodes],
        "weight": [round(n.weight, 6) for n in nodes],
        "survives": [int(n.survives) for n in nodes],
        "drawn": [
            [[places.number(d.place), draws.string(d.value)] for d in n.drawn] for n in nodes
        ],
        "alternatives": [[draws.number(a) for a in n.alternatives] for n in nodes],
        "charges": [
            [
                [places.number(c.place), finite(c.log_weight)]
                for c in n.charges
                if c.log_weight != 0.0  # 0 marks a line that a run with --blame has passed
            ]
            for n in nodes
        ],
    }


def _outcome(replay: Replay, x: ProgramState) -> dict[str, Any]:
    found = outcome(x, replay.text(x))
    if "value" in found:
        return {"value": text_of(x.value)}
    if "died" in found:
        died = found["died"] or {}
        return {"died": f"line {died.get('line')}: {died.get('source', '')}"}
    return {"text": shown(found["text"])[-MOST_VALUE:]}


def _blame(replay: Replay, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each line did, from the trace's charges; the shares of time are the result's, where the
    run measured them."""
    account: Account[ProgramState] = Account(_Charges())
    for steps in replay.steps_by_island.values():
        account.begin([particle.state for particle in steps[0].particles])
        for step, before in zip(steps[1:], steps[:-1], strict=True):
            moved = [
                (before.particles[a].state, particle.state, float(before.log_weights[a]))
                for particle, a in zip(step.particles, step.ancestors, strict=True)
                if particle.state is not before.particles[a].state
            ]
            if moved and not replay.moves_paths:
                weights = [0.0 if step.resampled else w for _, _, w in moved]
                account.moved(step.t, [m[0] for m in moved], [m[1] for m in moved], weights)
    measured = {
        (line["file"], line["line"]): line.get("time_share")
        for line in (result.get("blame") or {}).get("lines", ())
    }
    return [
        {
            "file": line.place.source.name,
            "line": line.place.line,
            "deaths": line.deaths,
            "log_weight": finite(line.log_weight),
            "variance_share": finite(line.variance_share),
            "time_share": measured.get((line.place.source.name, line.place.line)),
        }
        for line in _by_line(account.lines())
    ]


def _by_line(lines: Iterable[Any]) -> list[Any]:
    return [line for line in lines if not line.place.source.name.startswith(PRELUDE)]


def _repeat(header: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader needs to run it again."""
    return {
        "fkdsl": header["fkdsl"],
        "file": Path(header["sources"][0]["name"]).name if header["sources"] else "",
        "program": header["program"],
        "arguments": dict(header["arguments"]),
        "method": header["method"],
        "options": {k: _plain(v) for k, v in header["options"].items()},
        "seed": header["seed"],
        "islands": header.get("islands"),
        "off": header.get("off"),
        "model": header.get("model"),
        "models": header["models"],
        "dtype": header.get("dtype"),
        "device": header.get("device"),
    }
