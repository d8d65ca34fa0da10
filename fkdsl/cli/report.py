"""A result as text and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fkdsl.base.errors import PopulationDied
from fkdsl.base.shown import LEAST_SHOWN, probability_text, shown
from fkdsl.cli.blame import blame_json
from fkdsl.inference.methods import check_method
from fkdsl.inference.result import Answer, Estimate, Evidence, Result
from fkdsl.values.values import plain, show

BAR = 10
"""Characters of the longest bar."""
BEGINNING = 70
"""Characters of a document's text that are shown."""
ROUNDING = 1e-12
"""A standard error below this is shown as 0."""


def result_text(
    result: Result, options: Mapping[str, Any], *, top: int = 10, filtering: bool = False
) -> str:
    """The posterior as a table, then log Z, then what the run took. options: all of its method's.
    top: rows of a table at most."""
    lines: list[str] = []
    if filtering:
        for t, answers in enumerate(result.filtering):
            lines += [f"P_{t}", *table(answers, top), ""]
    lines += [*table(result.posterior, top, result.sole), ""]
    if result.queries:
        lines += [*query_lines(result.queries), ""]
    if documents := document_lines(result.evidence(), top):
        lines += ["documents", *documents, ""]
    lines += [log_z_text(result), _facts(result, options)]
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def log_z_text(result: Result) -> str:
    """The line on log Z."""
    method = check_method(result.method)
    if method.forgets_mass:
        return (
            f"no log Z: {method.name} masks and renormalises, and forgets the mass; "
            "its posterior is biased"
        )
    if result.log_z_bounds is not None:
        return _bounds(result, *result.log_z_bounds)
    sign, error = ("~", "") if method.draws else ("=", "")
    if method.draws and result.log_z_se is not None:
        error = f" ± {_error(result.log_z_se)} ({_by(result)})"
    return f"log Z {sign} {_nats(result.log_z)}{error}   Z {sign} {_small(result.log_z)}"


def _facts(result: Result, options: Mapping[str, Any]) -> str:
    """The line on the method and what it took."""
    method = check_method(result.method)
    particles = options.get("particles", len(result.particles) // result.islands)
    of = particles * result.islands * options.get("sweeps", 1)
    facts = [f"ESS {result.ess:.1f} of {of}"] if method.draws else []
    facts += [f"{result.states} states"] if result.states else []
    facts += [f"{result.islands} islands"] if result.islands > 1 else []
    facts += [
        f"{result.steps} steps",
        f"{result.forwarded_tokens} tokens in {result.model_calls} model calls",
        f"{result.seconds:.1f} s",
    ]
    facts += [f"seed {result.seed}"] if method.draws else []
    settings = "" if method.log_z == "exact" else settings_text(options)  # they bound the search
    return f"{result.method}({settings})   " + "   ".join(facts)


def _by(result: Result) -> str:
    """How the error of log Z was found, and for few islands its 95% interval."""
    by = result.uncertainty.by
    if result.log_z_interval is None or not result.log_z_se:
        return by
    low, high = result.log_z_interval
    return f"{by}; 95% in {_nats(low)} to {_nats(high)}"


def _bounds(result: Result, low: float, high: float) -> str:
    """The bounds on log Z, and how much of Z was found."""
    if high == math.inf:
        return f"log Z >= {low:.4f}   Z >= {_small(low)}"
    covers = f"   {result.method} covers at least {math.exp(low - high):.4f} of Z"
    if check_method(result.method).log_z == "bound":
        return f"log Z >= {low:.4f}   Z >= {_small(low)}{covers}"
    if high - low <= 1e-4:
        return f"log Z = {_nats(low)}   Z = {_small(low)}   (certain to {high - low:.1g})"
    z = f"Z between {_small(low)} and {_small(high)}"
    return f"log Z between {low:.4f} and {high:.4f}   {z}{covers}"


def _nats(x: float) -> str:
    """A number to four decimals, a huge one to six digits; what rounds to zero has no sign."""
    text = f"{x:.4f}" if abs(x) < 1e9 else f"{x:.6g}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def _error(se: float) -> str:
    """A standard error to two digits; mere rounding is 0."""
    return f"{se:.2g}" if se > ROUNDING else "0"


def settings_text(options: Mapping[str, Any]) -> str:
    """A method's options as a program writes them; `moves=0` is left out."""
    shown_options = {k: v for k, v in options.items() if k != "moves" or v}
    return ", ".join(
        f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in shown_options.items()
    )


def table(answers: tuple[Answer, ...], top: int, sole: str = "") -> list[str]:
    """A line for each value: its probability, a bar, and the value, whose further lines are
    indented. top: rows at most. sole: see Result; then a probability of 1 is not known."""
    if not answers:
        return ["(nothing)"]
    highest = answers[0].probability
    lines: list[str] = []
    bounded = any(
        a.low is not None and a.high is not None and a.high - a.low > 1e-4 for a in answers[:top]
    )
    for a in answers[:top]:
        first, *more = (shown(show(a.value)).splitlines() or [""]) if a.value != "" else ['""']
        unknown = bool(sole) and a.probability >= 1.0 - LEAST_SHOWN
        bar = "█" * max(1, round(BAR * a.probability / highest))
        bar = "" if unknown or a.probability < LEAST_SHOWN else bar
        between = f"  {a.low:.4f} to {a.high:.4f}" if bounded else ""
        remark = f"   (this rests on one surviving {sole})" if unknown else ""
        figure = probability_text(None if unknown else a.probability)
        lines.append(f"{figure}{between}  {bar:<{BAR}}  {first}{remark}")
        lines += [" " * (BAR + 11 + len(between)) + line for line in more]
    if len(answers) > top:
        rest = math.fsum(a.probability for a in answers[top:])
        gap = " " * (18 if bounded else 0)
        more_values = f"({len(answers) - top} more values)"
        lines.append(f"{probability_text(rest)}{gap}  {'':<{BAR}}  {more_values}")
    return lines


def line_of(value: Any) -> str:
    """A value on one line; a text with line breaks is quoted, as in a program."""
    text = show(value)
    quoted = len(text.splitlines()) != 1
    return shown(json.dumps(plain(value), ensure_ascii=False) if quoted else text)


def query_lines(queries: Mapping[str, Estimate]) -> list[str]:
    """A line for each query, with aligned `=` signs: its mean, and its standard error where there
    is one."""
    width = max(map(len, queries))
    return [f"{name:<{width}} = {_estimate(q)}" for name, q in queries.items()]


def document_lines(evidence: Sequence[Evidence], top: int) -> list[str]:
    """A line for each document that answers rest on: its probability with the error, where it
    stands, and its beginning. top: lines at most."""
    places = [f"{e.value['source']}:{e.value['line']}" for e in evidence[:top]]
    width = max(map(len, places), default=0)
    errors = [f" ± {e.se:.2g}" if e.se and e.se > ROUNDING else "" for e in evidence[:top]]
    gap = max(map(len, errors), default=0)
    lines = []
    for e, place, error in zip(evidence, places, errors, strict=False):
        text = shown(" ".join(e.value["text"][:1000].split()))
        text = text if len(text) <= BEGINNING else text[:BEGINNING].rstrip() + "..."
        lines.append(
            f"{probability_text(e.probability)}{error:<{gap}}  {shown(place):<{width}}  {text}"
        )
    if len(evidence) > top:
        lines.append(f"{'':7}{'':<{gap}}  ({len(evidence) - top} more documents)")
    return lines


def document_json(e: Evidence) -> dict[str, Any]:
    return {**plain(e.value), "probability": e.probability, "se": e.se}


def _estimate(q: Estimate) -> str:
    """A query's mean, error and interval; what is mere rounding of them is left out."""
    interval = ""
    if q.interval is not None:
        low, high = q.interval
        if high - low > 1e-9 * abs(q.mean):
            interval = f" (95% in {low:.4g} to {high:.4g})"
        if high - low == math.inf:
            interval = " (95%: the islands differ too much to say)"
    known = q.se is None or q.se <= 1e-9 * abs(q.mean)
    return f"{q.mean:.4g}" + ("" if known else f" ± {q.se:.2g}") + interval


def _small(log_z: float) -> str:
    """Z from log Z, as a power of e where it is huge or tiny."""
    return (
        f"{math.exp(log_z):.4g}"
        if -700 < log_z < 700
        else f"e^{log_z:.1f}"
        if abs(log_z) < 1e9
        else f"e^({log_z:.6g})"
    )


def result_json(result: Result, *, filtering: bool = False) -> dict[str, Any]:
    """The object that `--json` prints (docs/language.md)."""
    answer: dict[str, Any] = {
        "program": result.program,
        "method": result.method,
        "finished": True,
        "log_z": result.estimated_log_z,
        "log_z_se": result.log_z_se,
        "log_z_se_by": result.uncertainty.by,
        "log_z_bounds": _json_bounds(result.log_z_bounds),
        "log_z_interval": _json_bounds(result.log_z_interval),
        "posterior": [json_answer(a) for a in result.posterior],
        "sole": result.sole,
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
    if evidence := result.evidence():
        answer["documents"] = [document_json(e) for e in evidence]
    if result.drafts is not None:
        answer["drafts"] = result.drafts
    if result.blame is not None:
        answer["blame"] = blame_json(result.blame)
    if filtering:
        answer["filtering"] = [
            [{"state": a.value, "probability": a.probability} for a in answers]
            for answers in result.filtering
        ]
    return answer


def _json_bounds(bounds: tuple[float, float] | None) -> list[float | None] | None:
    """Bounds as JSON; one that is not known is null, since JSON has no inf."""
    return None if bounds is None else [b if math.isfinite(b) else None for b in bounds]


def json_answer(a: Answer) -> dict[str, Any]:
    """An answer as JSON has it. What is not known of a probability of 1, `sole` says beside."""
    between = {} if a.low is None else {"low": a.low, "high": a.high}
    return {"value": plain(a.value), "probability": a.probability, **between}


def died_json(program: str, died: PopulationDied) -> dict[str, Any]:
    """What `--json` prints for a run that died: where it died, and no answer (docs/language.md)."""
    answer: dict[str, Any] = {
        "program": program,
        "log_z": None,
        "posterior": [],
        "died": {"report": died.report, **died.details},
    }
    if died.blame is not None:
        answer["blame"] = blame_json(died.blame)
    return answer
