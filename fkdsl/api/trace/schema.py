"""What the lines of a trace may hold: types, ranges and sizes, verified before anything is made of
them.

A trace may be damaged, or a stranger's. Data that is verified here is safe to read: no index is
negative, no number makes a reader allocate a list of that length, and nothing is nested too deep to
be shown. Whether a step follows from the one before it is verified in rebuild.py.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from fkdsl.api.lookahead import REASONS
from fkdsl.api.trace.attachments import is_attachments
from fkdsl.inference.methods import METHODS
from fkdsl.machine.value_json import SAFE, TAGGED
from fkdsl.values.faults import LIMITS

DEEPEST = 400
"""Levels of nested lists and objects in a line."""
MOST_TOKENS = 1 << 24
"""A bound on token ids: no model has as many tokens."""
LEAST_ATTACHMENT = -(1 << 63)
"""A bound on ids of attachments (fkdsl.models.attachments)."""
MOST_STEPS = 1 << 31
LARGEST = 1e300
"""A bound on |log weight| in nats, so that sums of a few stay finite."""
HEX = re.compile(r"(?:[0-9a-f]{2})*")
WHOLE = re.compile(rf"-?0x[0-9a-f]{{1,{LIMITS.digits // 4}}}")
"""An integer in hexadecimal digits, as large as a program can hold."""
FLOAT = re.compile(r"-?0x[01]\.[0-9a-f]{1,13}p[+-][0-9]{1,4}")
"""A finite number as `float.hex` writes it."""
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")

Check = Callable[[Any], bool]


def verify_depth(data: Any) -> None:
    """Raises ValueError for JSON that is nested too deep for recursion."""
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deep")
        level = [
            inner
            for outer in level
            for inner in (
                outer.values()
                if isinstance(outer, dict)
                else outer
                if isinstance(outer, list)
                else ()
            )
        ]


def verify_header(data: Mapping[str, Any]) -> None:
    """Raises ValueError for a first line that does not say what a run is."""
    verify_depth(data)
    checks: dict[str, Check] = {
        "fkdsl": is_text,
        "program": is_text,
        "sources": lambda v: (
            is_list(v, lambda s: is_record(s, name=is_text, text=is_text)) and len(v) > 0
        ),
        "files": lambda v: is_map(v, is_text),
        "arguments": lambda v: is_map(v, is_value),
        "model": lambda v: v is None or is_text(v),
        "dtype": lambda v: v is None or is_text(v),
        "device": lambda v: v is None or is_text(v),
        "method": lambda v: is_text(v) and v in METHODS,
        "options": lambda v: is_map(v, is_option_value),
        "seed": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "islands": lambda v: v is None or is_whole(v, 1, MOST_STEPS),
        "off": lambda v: is_list(v, is_text),
        "models": lambda v: is_map(v, lambda m: is_map(m, is_text) and "name" in m),
    }
    later: dict[str, Check] = {
        "lookahead": is_text,
        "surrogates": lambda v: is_map(v, is_text),
        "auto": lambda v: v is None or _is_decision(v),
        "twist": lambda v: v is None or is_text(v),
        "engine": lambda v: v is None or is_text(v),
    }
    for key, check in (checks | later).items():
        fits = check(data[key]) if key in data else key in later
        _require(fits, f"its `{key}` is not one of a run")


def verify_step(data: Mapping[str, Any], models: Mapping[str, Any]) -> None:
    """Raises ValueError for a line that is no step. models: of the header, by name."""
    verify_depth(data)
    _require(is_whole(data.get("t"), 0, MOST_STEPS), "its `t` is no number of a step")
    _require(is_whole(data.get("island"), 0, MOST_STEPS), "its `island` is no number of an island")
    _require(isinstance(data.get("resampled"), bool), "its `resampled` is neither true nor false")
    tokens = data.get("tokens", {})
    _require(
        is_map(tokens, _is_tokens) and all(name in models for name in tokens),
        "its `tokens` are not a model's",
    )
    _require(is_attachments(data.get("attachments", {})), "its `attachments` are none")
    particles = data.get("particles")
    _require(isinstance(particles, list) and len(particles) > 0, "it has no particles")
    for i, particle in enumerate(particles or ()):
        _require(_is_particle(particle, i, models), f"its particle {i} is none")


def verify_end(data: Mapping[str, Any]) -> None:
    """Raises ValueError for a last line that is no result."""
    verify_depth(data)
    if "died" in data:
        return _require(is_text(data["died"]), "its `died` is no text")
    result = data.get("result")
    numbers = ["log_z", "log_z_se", "ess", "steps", "seconds", "model_calls", "forwarded_tokens"]
    if not isinstance(result, dict):
        raise ValueError("it is neither a step nor a result")
    _require(
        all(key in result and (result[key] is None or is_number(result[key])) for key in numbers),
        "its result lacks a number",
    )
    _require(is_whole(result["steps"], 0, MOST_STEPS), "its result has no number of steps")
    _require(result.get("sole", "") in ("", "ancestor", "particle"), "its `sole` is none")
    _require(_is_bounds(result.get("log_z_bounds")), "its bounds are none")
    _require(is_list(result.get("notes"), is_text), "its notes are no texts")
    _require(is_list(result.get("documents", []), _is_evidence), "its documents are none")
    answers = result.get("posterior")
    _require(is_list(answers, _is_answer), "its posterior is none")
    shares = [a["probability"] for a in answers or ()]
    top = shares[0] if shares else 1.0
    _require(
        top > 0 and all(0 <= p <= 1 + 1e-9 and p <= top * (1 + 1e-9) for p in shares),
        "its posterior has no probabilities",
    )
    return None


def _is_evidence(v: Any) -> bool:
    match v:
        case {"text": str(), "source": str(), "line": line, "probability": p, "se": se}:
            return is_whole(line, 0, SAFE) and is_number(p) and (se is None or is_number(se))
    return False


def _is_bounds(v: Any) -> bool:
    return v is None or (is_list(v, lambda b: b is None or is_number(b)) and len(v) == 2)


def _is_answer(v: Any) -> bool:
    return is_record(v, probability=is_number) and "value" in v


def _is_decision(v: Any) -> bool:
    counts = dict.fromkeys(("particles", "tokens"), lambda n: is_whole(n, 0, MOST_STEPS))
    gain, use = (lambda g: g is None or is_number(g)), ("both", "none").__contains__
    why, power = ("", *REASONS).__contains__, (lambda b: is_number(b) and 0.0 < b <= 1.0)
    return is_record(v, use=use, why=why, gain=gain, power=power, **counts) and len(v) == 6


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)


# ------------------------------------------------------------------- what is what


def is_text(v: Any) -> bool:
    return isinstance(v, str)


def is_whole(v: Any, low: int, below: int) -> bool:
    """A whole number with low <= v < below."""
    return isinstance(v, int) and not isinstance(v, bool) and low <= v < below


def is_number(v: Any) -> bool:
    """A finite number, as JSON has it."""
    return (
        isinstance(v, int | float)
        and not isinstance(v, bool)
        and abs(v) <= LARGEST
        and math.isfinite(v)
    )


def is_option_value(v: Any) -> bool:
    """An option's value."""
    return v is None or isinstance(v, str | bool) or is_number(v)


def is_list(v: Any, each: Check) -> bool:
    return isinstance(v, list) and all(map(each, v))


def is_map(v: Any, each: Check) -> bool:
    return isinstance(v, dict) and all(map(each, v.values()))


def is_record(v: Any, **fields: Check) -> bool:
    """An object with at least these fields."""
    return isinstance(v, dict) and all(
        name in v and check(v[name]) for name, check in fields.items()
    )


def is_value(v: Any) -> bool:
    """What `write_value` (fkdsl.machine.value_json) writes."""
    match v:
        case None | bool() | str():
            return True
        case int():
            return -SAFE < v < SAFE
        case {"int": text}:
            return isinstance(text, str) and WHOLE.fullmatch(text) is not None
        case {"float": text}:
            return isinstance(text, str)
        case {"unset": True}:
            return True
        case {"token": [i, text, end]}:
            return is_whole(i, 0, MOST_TOKENS) and isinstance(text, str) and isinstance(end, bool)
        case {"context": i}:
            return is_whole(i, 0, MOST_TOKENS)
        case {"list": items}:
            return is_list(items, is_value)
        case {"record": fields}:
            return is_map(fields, is_value)
        case {"document": _}:
            return is_document(v)
        case {"image": str(), "origin": str()}:
            return True
        case {"type": str() as name, "fields": fields}:
            return name in TAGGED and is_map(fields, is_value) and fields.keys() == _fields(name)
    return False


def is_document(v: Any) -> bool:
    match v:
        case {"document": [str(), str(), line], "score": str() as score}:
            return is_whole(line, 0, SAFE) and FLOAT.fullmatch(score) is not None
    return False


def _fields(name: str) -> set[str]:
    return {f.name for f in dataclasses.fields(TAGGED[name])}


def _is_change(v: Any) -> bool:
    match v:
        case {"more": more}:
            return isinstance(more, str) or is_list(more, is_value)
    return is_value(v)


def _is_tokens(v: Any) -> bool:
    return isinstance(v, dict) and all(
        NUMBER.fullmatch(i) is not None
        and int(i) < MOST_TOKENS
        and (isinstance(text, str) or is_record(text, hex=_is_hex))
        for i, text in v.items()
    )


def _is_hex(v: Any) -> bool:
    return isinstance(v, str) and HEX.fullmatch(v) is not None


def _is_place(v: Any) -> bool:
    return is_list(v, lambda n: is_whole(n, 0, MOST_STEPS)) and len(v) == 4


def _is_weight(v: Any) -> bool:
    return v is None or is_number(v)


def _is_particle(v: Any, i: int, models: Mapping[str, Any]) -> bool:
    if not isinstance(v, dict) or "log_weight" not in v or not _is_weight(v["log_weight"]):
        return False
    state = v.get("state")
    return (
        is_whole(v.get("ancestor", 0), 0, MOST_STEPS)
        and _is_hex(v.get("lineage", ""))
        and (state is None or is_whole(state, 0, i) or _is_state(state, models))
    )


def _is_state(v: Any, models: Mapping[str, Any]) -> bool:
    if not isinstance(v, dict):
        return False
    block = v.get("block", [0, 0])
    return (
        is_list(v.get("charges", []), lambda c: _is_at_place(c, _is_weight))
        and is_list(v.get("drew", []), lambda d: _is_at_place(d, is_value))
        and is_list(v.get("alternatives", []), lambda a: a is None or _is_alternatives(a))
        and is_list(block, lambda n: is_whole(n, 0, MOST_STEPS))
        and len(block) == 2
        and ("twist" not in v or _is_at_place(v["twist"], is_number))
        and is_map(v.get("guesses", {}), is_number)
        and is_list(v.get("evidence", []), is_document)
        and _is_end_or_place(v, models)
    )


def _is_end_or_place(v: Mapping[str, Any], models: Mapping[str, Any]) -> bool:
    """Whether a state has returned, has died, or stands somewhere: the first that it says counts,
    as for who reads it."""
    if "value" in v:
        return is_value(v["value"])
    if "died" in v:
        return _is_place(v["died"])
    return is_list(v.get("frames"), _is_frame) and is_list(
        v.get("contexts"), lambda c: _is_context(c, models)
    )


def _is_alternatives(v: Any) -> bool:
    """What else a draw might have given, as alternatives_json writes it."""
    if not is_record(v, values=lambda x: is_list(x, lambda one: _is_token(one) or is_value(one))):
        return False
    n = len(v["values"])

    def is_refused(r: Any) -> bool:
        return (
            isinstance(r, list)
            and len(r) == 3
            and is_whole(r[0], 0, n)
            and _is_place(r[1])
            and isinstance(r[2], bool)
        )

    return (
        is_list(v.get("p"), lambda p: is_number(p) and p >= 0.0)
        and len(v["p"]) == n
        and is_whole(v.get("drawn"), -1, n)
        and is_list(v.get("refused", []), is_refused)
    )


def _is_token(v: Any) -> bool:
    """A token as alternatives have it: [id, text], and true after them where it is an end."""
    return (
        isinstance(v, list)
        and (len(v) == 2 or v[2:] == [True])
        and is_whole(v[0], 0, MOST_TOKENS)
        and isinstance(v[1], str)
    )


def _is_guess(v: Any) -> bool:
    """The power, nats and draws of a TextGuess."""
    is_three = is_list(v, is_number) and len(v) == 3
    return is_three and 0.0 <= v[0] <= 1.0 and is_whole(v[2], 0, MOST_STEPS)


def _is_at_place(v: Any, each: Check) -> bool:
    """A pair of a place and what was charged or drawn there."""
    return isinstance(v, list) and len(v) == 2 and _is_place(v[0]) and each(v[1])


def _is_frame(v: Any) -> bool:
    if not isinstance(v, dict) or not is_whole(v.get("pc", 0), 0, MOST_STEPS):
        return False
    if "function" in v:
        return (
            "pc" in v
            and is_text(v["function"])
            and is_whole(v.get("target"), -1, MOST_STEPS)
            and is_list(v.get("slots"), is_value)
        )
    changes = v.get("set", {})
    return is_map(changes, _is_change) and all(NUMBER.fullmatch(k) is not None for k in changes)


def _is_context(v: Any, models: Mapping[str, Any]) -> bool:
    def is_ids(ids: Any) -> bool:
        return is_list(
            ids, lambda i: is_whole(i, 0, MOST_TOKENS) or is_whole(i, LEAST_ATTACHMENT, -1)
        )

    if not isinstance(v, dict) or not isinstance(v.get("done", False), bool):
        return False
    if not (v.get("pending") is None or isinstance(v["pending"], bool)):
        return False
    if "guess" in v and not _is_guess(v["guess"]):
        return False
    if "tokens" in v:
        return (
            is_ids(v["tokens"])
            and is_whole(v.get("start"), 0, len(v["tokens"]) + 1)
            and v.get("model") in models
        )
    return (
        is_ids(v.get("add", []))
        and is_whole(v.get("of", 0), 0, MOST_STEPS)
        and is_whole(v.get("keep", 0), 0, MOST_STEPS)
    )
