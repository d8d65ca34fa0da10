"""A result as people read it, and as programs do."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fkdsl.base.errors import PopulationDied
from fkdsl.base.shown import shown
from fkdsl.cli.blame import blame_json
from fkdsl.inference.methods import check_method
from fkdsl.inference.result import Answer, Estimate, Result
from fkdsl.values.values import plain, show

BAR = 10
"""Characters of the longest bar."""
ROUNDING = 1e-12
"""An error below this is rounding."""


def result_text(
    result: Result, options: Mapping[str, Any], *, top: int = 10, filtering: bool = False
) -> str:
    """The posterior as a table, then log Z and what it took."""
    lines: list[str] = []
    if filtering:
        for t, answers in enumerate(result.filtering):
            lines += [f"P_{t}", *table(answers, top), ""]
    lines += [*table(result.posterior, top, _rests_on(result)), ""]
    if result.queries:
        lines += [*query_lines(result.queries), ""]
    method = check_method(result.method)
    exact = not method.draws
    settings = "" if method.log_z == "exact" else settings_text(options)  # they bound the search
    sign = "=" if exact else "~"
    if method.forgets_mass:
        lines.append(
            f"no log Z: {method.name} masks and renormalises, and forgets the mass; its posterior "
            "is biased"
        )
    elif result.log_z_bounds is not None:
        lines.append(_bounds(result, *result.log_z_bounds))
    else:
        se = (
            ""
            if exact or result.log_z_se is None
            else f" ± {_error(result.log_z_se)} ({_by(result)})"
        )
        lines.append(f"log Z {sign} {_nats(result.log_z)}{se}   Z {sign} {_small(result.log_z)}")
    of = (
        options.get("particles", len(result.particles) // result.islands)
        * result.islands
        * options.get("sweeps", 1)
    )
    facts = [] if exact else [f"ESS {result.ess:.1f} of {of}"]
    facts += [f"{result.states} states"] if result.states else []
    facts += [f"{result.islands} islands"] if result.islands > 1 else []
    facts += [
        f"{result.steps} steps",
        f"{result.forwarded_tokens} tokens in {result.model_calls} model calls",
    ]
    facts += [f"{result.seconds:.1f} s"] + ([] if exact else [f"seed {result.seed}"])
    lines.append(f"{result.method}({settings})   " + "   ".join(facts))
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _by(result: Result) -> str:
    """By what the error was found, and where log Z lies 19 times in 20 if few islands say it."""
    by = result.uncertainty.by
    if result.log_z_interval is None or not result.log_z_se:
        return by
    low, high = result.log_z_interval
    return f"{by}; 95% in {_nats(low)} to {_nats(high)}"


def _rests_on(result: Result) -> str:
    """What is said beside a value that has the whole posterior because a single ancestor has."""
    if not result.sole or not result.posterior or result.posterior[0].probability < 0.99995:
        return ""
    return f"(this rests on one surviving {result.sole})"


def _bounds(result: Result, low: float, high: float) -> str:
    """Between what log Z is, and how much of Z a beam has found."""
    if high == math.inf:
        return f"log Z >= {low:.4f}   Z >= {_small(low)}"
    covers = f"   {result.method} covers at least {math.exp(low - high):.4f} of Z"
    if check_method(result.method).log_z == "bound":
        return f"log Z >= {low:.4f}   Z >= {_small(low)}{covers}"
    if high - low <= 1e-4:
        return f"log Z = {_nats(low)}   Z = {_small(low)}   (certain to {high - low:.1g})"
    return f"log Z between {low:.4f} and {high:.4f}   Z between {_small(low)} and {_small(high)}{covers}"


def _nats(x: float) -> str:
    """A number to four places, a huge one to six figures, without the sign of a zero that rounding
    made."""
    text = f"{x:.4f}" if abs(x) < 1e9 else f"{x:.6g}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def _error(se: float) -> str:
    """A standard error to two figures; one that is rounding is 0."""
    return f"{se:.2g}" if se > ROUNDING else "0"


def settings_text(options: Mapping[str, Any]) -> str:
    """A method's options as a program writes them, but for moves where there are none."""
    return ", ".join(f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in options.items()
                     if k != "moves" or v)  # fmt: skip


def table(answers: tuple[Answer, ...], top: int, rests_on: str = "") -> list[str]:
    """A line for each value: its probability, a bar, and the value, further lines of it indented.
    rests_on: a remark on the first value."""
    if not answers:
        return ["(nothing)"]
    highest = answers[0].probability
    lines: list[str] = []
    bounded = any(
        a.low is not None and a.high is not None and a.high - a.low > 1e-4 for a in answers[:top]
    )
    for a in answers[:top]:
        first, *more = (shown(show(a.value)).splitlines() or [""]) if a.value != "" else ['""']
        bar = "█" * max(1, round(BAR * a.probability / highest))
        between = f"  {a.low:.4f} to {a.high:.4f}" if bounded else ""
        remark = f"   {rests_on}" if rests_on and not lines else ""
        lines.append(f"{a.probability:7.4f}{between}  {bar:<{BAR}}  {first}{remark}")
        lines += [" " * (BAR + 11 + len(between)) + line for line in more]
    if len(answers) > top:
        rest = math.fsum(a.probability for a in answers[top:])
        gap = " " * (18 if bounded else 0)
        lines.append(f"{rest:7.4f}{gap}  {'':<{BAR}}  ({len(answers) - top} more values)")
    return lines


def sample_lines(result: Result, n: int) -> list[str]:
    """n draws from the posterior, each on one line: a text with line breaks in it is written as in
    a program."""
    texts = [(v, show(v)) for v in result.samples(n)]
    return [
        shown(t if len(t.splitlines()) == 1 else json.dumps(plain(v), ensure_ascii=False))
        for v, t in texts
    ]


def query_lines(queries: Mapping[str, Estimate]) -> list[str]:
    """A line for each query, `=` signs below each other: its mean, and its standard error where
    there is one."""
    width = max(map(len, queries))
    return [f"{name:<{width}} = {_estimate(q)}" for name, q in queries.items()]


def _estimate(q: Estimate) -> str:
    """An error that is none but rounding is left out, and with it the interval."""
    if q.se is None or q.se <= 1e-9 * abs(q.mean):
        return f"{q.mean:.4g}"
    interval = ""
    if q.interval is not None:
        low, high = q.interval
        interval = f" (95% in {low:.4g} to {high:.4g})"
        if high - low == math.inf:
            interval = " (95%: the islands differ too much to say)"
    return f"{q.mean:.4g} ± {q.se:.2g}{interval}"


def _small(log_z: float) -> str:
    return (
        f"{math.exp(log_z):.4g}"
        if -700 < log_z < 700
        else f"e^{log_z:.1f}"
        if abs(log_z) < 1e9
        else f"e^({log_z:.6g})"
    )


def result_json(result: Result, *, filtering: bool = False) -> dict[str, Any]:
    """The object that `--json` prints (docs/language.md)."""
    found: dict[str, Any] = {
        "program": result.program,
        "method": result.method,
        "finished": True,
        "log_z": result.log_z,
        "log_z_se": result.log_z_se,
        "log_z_se_by": result.uncertainty.by,
        "log_z_bounds": _json_bounds(result.log_z_bounds),
        "log_z_interval": _json_bounds(result.log_z_interval),
        "posterior": [_json_answer(a) for a in result.posterior],
        "particles": [
            {"value": plain(p.value), "log_weight": p.log_weight, "weight": p.weight}
            for p in result.particles
        ],
        "queries": {
            name: {"mean": q.mean, "se": q.se, "interval": _json_bounds(q.interval)}
            for name, q in result.queries.items()
        },
        "ess": result.ess,
        "steps": result.steps,
        "seconds": result.seconds,
        "model_calls": result.model_calls,
        "forwarded_tokens": result.forwarded_tokens,
        "seed": result.seed,
        "islands": result.islands,
        "states": result.states,
        "notes": list(result.notes),
    }
    if result.drafts is not None:
        found["drafts"] = result.drafts
    if result.blame is not None:
        found["blame"] = blame_json(result.blame)
    if filtering:
        found["filtering"] = [
            [{"state": a.value, "probability": a.probability} for a in answers]
            for answers in result.filtering
        ]
    return found


def _json_bounds(bounds: tuple[float, float] | None) -> list[float | None] | None:
    """JSON has no inf: a bound that is not known is null."""
    return None if bounds is None else [b if math.isfinite(b) else None for b in bounds]


def _json_answer(a: Answer) -> dict[str, Any]:
    between = {} if a.low is None else {"low": a.low, "high": a.high}
    return {"value": plain(a.value), "probability": a.probability, **between}


def died_json(program: str, died: PopulationDied) -> dict[str, Any]:
    """What `--json` prints of a run that died: no answer, and where it died (docs/language.md)."""
    found: dict[str, Any] = {
        "program": program,
        "log_z": None,
        "posterior": [],
        "died": {"report": died.report, **died.details},
    }
    if died.blame is not None:
        found["blame"] = blame_json(died.blame)
    return found
