"""What else a draw might have given, as JSON-able data and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fkdsl.machine.places import Places
from fkdsl.machine.state import Alternatives, Refusal
from fkdsl.machine.value_json import read_value, write_value
from fkdsl.values.values import Token


def write_alternatives(a: Alternatives | None, places: Places) -> dict[str, Any] | None:
    """{"values", "p", "drawn"}, and "refused": [[which, place, tried]] where some were. A token is
    [id, text], and true after them where it is an end, since there are many."""
    if a is None:
        return None
    data: dict[str, Any] = {
        "values": [
            [v.id, v.text, *([True] if v.end else [])] if isinstance(v, Token) else write_value(v)
            for v in a.values
        ],
        "p": [float(f"{p:.3g}") for p in a.probabilities],
        "drawn": a.drawn,
    }
    refused = [
        [i, places.write(r.place), r.tried] for i, r in enumerate(a.refused) if r is not None
    ]
    return {**data, "refused": refused} if refused else data


def read_alternatives(data: Mapping[str, Any] | None, places: Places) -> Alternatives | None:
    if data is None:
        return None
    values = tuple(
        Token(v[0], v[1], len(v) > 2) if isinstance(v, list) else read_value(v)
        for v in data["values"]
    )
    refused: list[Refusal | None] = [None] * len(values)
    for i, place, tried in data.get("refused", ()):
        refused[i] = Refusal(places.read(place), tried)
    return Alternatives(values, tuple(map(float, data["p"])), tuple(refused), data["drawn"])
