"""`fkdsl replay`: a run as its trace has it, without the models."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from fkdsl.api.trace.file import read_trace
from fkdsl.api.trace.replay import Event, Member, Replay, excerpt, outcome, place
from fkdsl.base.errors import CallError
from fkdsl.base.shown import one_line, probability_text, shown
from fkdsl.cli.output import print_json, say
from fkdsl.cli.report import settings_text, table
from fkdsl.inference.result import Answer
from fkdsl.machine.state import ProgramState, Status
from fkdsl.machine.state_json import log_weight_to_json
from fkdsl.machine.value_json import read_value
from fkdsl.values.values import Token, from_plain, plain, show

WIDTH = 76
"""Characters of a text or a source line that are shown at most."""


def main(args: argparse.Namespace) -> int:
    replay = Replay(read_trace(args.file))
    members = replay.members(args.island, args.step) if replay.steps_by_island else []
    chosen = _chosen(replay, members, args)
    path = replay.path(chosen.island, chosen.index, args.step) if chosen is not None else []
    if args.json:
        print_json(replay_json(replay, members, chosen, path))
    else:
        say("\n".join(replay_text(replay, members, chosen, path, args.top)))
    return 0


def _chosen(replay: Replay, members: Sequence[Member], args: argparse.Namespace) -> Member | None:
    """The particle whose path is shown: the one of the flags, else the heaviest."""
    if args.particle is None:
        return members[0] if members else None
    if not replay.steps_by_island:
        raise CallError(
            f"{args.file} has no particles: {_why_none(replay)}", "leave --particle out"
        )
    island = args.island if args.island is not None else min(replay.steps_by_island)
    replay.path(island, args.particle, args.step)  # raises for one that is not there
    return next(m for m in members if (m.island, m.index) == (island, args.particle))


def _why_none(replay: Replay) -> str:
    if not replay.call.method.draws:
        return f"{replay.trace.header['method']} enumerates, and only its result is written"
    return "the run was killed before its first step was done"


# ------------------------------------------------------------------------- text


def replay_text(
    replay: Replay,
    members: Sequence[Member],
    chosen: Member | None,
    path: Sequence[Event],
    top: int,
) -> list[str]:
    """The lines that a terminal shows."""
    lines = [*_head(replay), ""]
    if chosen is None:
        posterior = replay.result.get("posterior", ())
        answers = tuple(Answer(from_plain(a["value"]), a["probability"]) for a in posterior)
        return [
            *lines,
            *(
                table(answers, top, replay.result.get("sole", ""))
                if answers
                else [f"no particles: {_why_none(replay)}"]
            ),
        ]
    islands = len(replay.steps_by_island) > 1
    lines.append(f"{'island  ' if islands else ''}particle   weight  log weight  value")
    for m in members[:top]:
        name = f"{m.island:>6}  {m.index:>8}" if islands else f"{m.index:>8}"
        lines.append(
            f"{name}  {probability_text(m.weight)}  {_nats(m.log_weight):>10}  "
            f"{_standing(replay, m.state)}"
        )
    if len(members) > top:
        lines.append(f"({len(members) - top} more: --top {len(members)})")
    if deaths := replay.deaths():
        lines += ["", "died on the way:"]
        lines += [
            f"  step {t}: {n} at {replay.where(span)}  {_cut(excerpt(span))}"
            for t, span, n in deaths
        ]
    of = f" of island {chosen.island}" if islands else ""
    heaviest = ", the heaviest" if chosen is members[0] else ""
    what = "as moves have left it after step" if replay.moves_paths else "its path to step"
    lines += ["", f"particle {chosen.index}{of}{heaviest}: {what} {chosen.t}", ""]
    lines.append(_row("step", "where", "source", "drawn, or nats", "log weight"))
    for idle, events in groupby(path, key=lambda event: not event.moved and not event.reweighted):
        run = list(events)
        if idle:
            lines.append(_waiting_row(run))
        else:
            lines += [row for event in run for row in _event_rows(replay, event)]
    return [*lines, "", *_ending(replay, path[-1])]


def _head(replay: Replay) -> list[str]:
    header = replay.trace.header
    settings = settings_text({k: v for k, v in header["options"].items() if k != "max_states"})
    arguments = ", ".join(f"{k}={_value(read_value(v))}" for k, v in header["arguments"].items())
    models = ", ".join(dict.fromkeys(m["name"] for m in header["models"].values()))
    facts = [
        f"{header['program']}({arguments})",
        f"{header['method']}({settings})",
        f"seed {header['seed']}",
    ]
    facts += [f"{len(replay.steps_by_island)} islands"] if len(replay.steps_by_island) > 1 else []
    facts += [f"model {models}"] if models else []
    steps = max(
        (steps[-1].t for steps in replay.steps_by_island.values()),
        default=replay.result.get("steps", 0),
    )
    state = "finished" if replay.finished else "not finished: go on with --resume"
    log_z, method = replay.log_z, replay.call.method
    known = method.log_z != "none" and log_z is not None and math.isfinite(log_z)
    low, high = replay.result.get("log_z_bounds") or (None, None)
    if known and low is not None and (high is None or high - low > 1e-4):
        lower = high is None or method.log_z == "bound"
        z = f"   log Z >= {low:z.4f}" if lower else f"   log Z between {low:z.4f} and {high:z.4f}"
    else:
        sign = "~" if method.draws else "="
        z = f"   log Z {sign} {log_z:z.4f}" if known else ""
    return ["   ".join(facts), f"{steps} steps, {state}{z}"]


def _row(step: str, where: str, source: str, what: str, log_weight: str) -> str:
    return f"{step:>7}  {where:<10} {_cut(source, 46):<46} {what:<22} {log_weight:>10}".rstrip()


def _waiting_row(events: Sequence[Event]) -> str:
    """One row for a run of steps that the particle did not take."""
    first, last = events[0].t, events[-1].t
    why = "waits: it has returned" if events[-1].state.status is Status.RETURNED else "is dead"
    return _row(
        f"{first}-{last}" if first < last else f"{first}", "", why, "", _nats(events[-1].log_weight)
    )


def _event_rows(replay: Replay, event: Event) -> list[str]:
    """The rows of a step: what was drawn, what was charged, and the weight after it."""
    rows: list[tuple[str, str, str]] = []
    if event.moved:
        rows += [(replay.where(d.place), excerpt(d.place), _value(d.value)) for d in event.drawn]
        rows += [
            (replay.where(c.place), excerpt(c.place), _signed(c.log_weight)) for c in event.charges
        ]
    weights = [""] * len(rows)
    if event.reweighted and event.ancestor is not None:
        origin = (
            f"a copy of particle {event.ancestor}"
            if event.copied
            else f"particle {event.ancestor} goes on"
        )
        rows.insert(0, ("", f"resampled: {origin}", ""))
        charged = math.fsum(c.log_weight for c in event.charges)
        dead = event.log_weight == -math.inf
        weights.insert(0, "" if dead else _nats(event.log_weight - charged))
    elif not rows:
        rows, weights = [("", "begins" if event.ancestor is None else "", "")], [""]
    weights[-1] = _nats(event.log_weight)
    steps = [str(event.t), *[""] * (len(rows) - 1)]
    return [
        _row(step, *row, weight) for step, row, weight in zip(steps, rows, weights, strict=True)
    ]


def _ending(replay: Replay, event: Event) -> list[str]:
    match event.state.status:
        case Status.DEAD:
            assert event.state.died is not None
            return [f"it died at {replay.where(event.state.died)}: {excerpt(event.state.died)}"]
        case Status.RETURNED:
            return [
                "it returned",
                *(f"    {line}" for line in shown(show(event.state.value)).splitlines() or [""]),
            ]
    return [
        "it is running; its text so far",
        *(f"    {line}" for line in shown(event.text).splitlines() or [""]),
    ]


def _standing(replay: Replay, x: ProgramState) -> str:
    match x.status:
        case Status.RETURNED:
            return _cut(show(x.value))
        case Status.DEAD:
            assert x.died is not None
            return f"(died at {replay.where(x.died)})"
    return f"(running) {_cut(replay.text(x))}"


def _value(value: Any) -> str:
    if isinstance(value, Token):
        return "EOS" if value.end else json.dumps(value.text, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else show(value)


def _nats(log_weight: float) -> str:
    return f"{log_weight:.4f}" if log_weight > -math.inf else "-inf"


def _signed(nats: float) -> str:
    return f"{nats:+.4f}" if nats > -math.inf else "-inf"


def _cut(text: str, width: int = WIDTH) -> str:
    text = one_line(text)
    return text if len(text) <= width else text[: width - 3] + "..."


# ------------------------------------------------------------------------- JSON


def replay_json(
    replay: Replay, members: Sequence[Member], chosen: Member | None, path: Sequence[Event]
) -> dict[str, Any]:
    """The object that `--json` prints (docs/trace.md)."""
    header = replay.trace.header
    log_z = replay.log_z
    return {
        **{key: header[key] for key in ("program", "method", "options", "seed", "islands")},
        "finished": replay.finished,
        "steps": max((steps[-1].t for steps in replay.steps_by_island.values()), default=0),
        "log_z": log_z if log_z is not None and math.isfinite(log_z) else None,
        "result": dict(replay.result) or None,
        "particles": [
            {
                "island": m.island,
                "particle": m.index,
                "log_weight": log_weight_to_json(m.log_weight),
                "weight": m.weight,
                **outcome(m.state, replay.text(m.state)),
            }
            for m in members
        ],
        "deaths": [
            {"step": t, "count": n, **(place(span) or {})} for t, span, n in replay.deaths()
        ],
        "path": None
        if chosen is None
        else {
            "island": chosen.island,
            "particle": chosen.index,
            "steps": [_event_json(event) for event in path],
        },
    }


def _event_json(event: Event) -> dict[str, Any]:
    return {
        "step": event.t,
        "particle": event.index,
        "ancestor": event.ancestor,
        "resampled": event.reweighted,
        "copy": event.copied,
        "drawn": [{**(place(d.place) or {}), "value": plain(d.value)} for d in event.drawn],
        "charges": [
            {**(place(c.place) or {}), "nats": log_weight_to_json(c.log_weight)}
            for c in event.charges
        ],
        "log_weight": log_weight_to_json(event.log_weight),
        **outcome(event.state, event.text),
    }
