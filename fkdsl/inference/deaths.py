"""Where particles died and what they had come to, and the report of a population of which nothing
is left."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from fkdsl.base.errors import PopulationDied
from fkdsl.base.shown import shown
from fkdsl.inference.interface import FeynmanKac, Level, Step, TellsDeaths
from fkdsl.inference.method import Method

S = TypeVar("S")
Deaths = list[tuple[int, Counter[str]]]
"""By step, how many died at each place."""
KEPT_TEXTS, SHOWN_TEXTS, TEXT_LENGTH = 32, 3, 60
"""Texts at death that are kept of an island, that a report shows, and the characters of one that it
shows."""


class Death(NamedTuple):
    """What a particle had come to when it died, and its log weight (nats) before that."""

    log_weight: float
    text: str
    place: str
    t: int


def merged_deaths(islands: Iterable[Deaths]) -> Deaths:
    """Deaths of all islands, by step."""
    found: dict[int, Counter[str]] = {}
    for deaths in islands:
        for t, places in deaths:
            found.setdefault(t, Counter()).update(places)
    return sorted(found.items())


def deaths_of(
    model: FeynmanKac[S], step: Step[S] | Level[S], before: Step[S] | Level[S] | None
) -> Counter[str]:
    """Where the particles died that died in this step, counted by their descriptions."""
    if isinstance(step, Level):
        return Counter(model.describe(x) for x in step.dead)
    dead = {i for i, w in enumerate(step.log_weights) if w == -float("inf")}
    if isinstance(before, Step):
        # Without resampling the dead stay in the population: those of earlier steps are counted
        # there.
        dead = {i for i in dead if before.log_weights[step.ancestors[i]] > -float("inf")}
    return Counter(model.describe(step.particles[i].state) for i in dead)


def last_texts(
    model: FeynmanKac[S], step: Step[S] | Level[S], before: Step[S] | Level[S] | None
) -> Iterator[Death]:
    """The texts of the particles that died in this step, where the model can tell."""
    if (
        not isinstance(step, Step)
        or not isinstance(before, Step)
        or not isinstance(model, TellsDeaths)
    ):
        return
    weighed = {
        i: float(before.log_weights[step.ancestors[i]])
        for i, w in enumerate(step.log_weights)
        if w == -math.inf
    }
    # A text takes work, and of thousands of deaths few are shown.
    for i in sorted((i for i in weighed if weighed[i] > -math.inf), key=lambda i: -weighed[i])[
        :KEPT_TEXTS
    ]:
        x, dead = before.particles[step.ancestors[i]].state, step.particles[i].state
        if text := model.text_at_death(x, dead):
            yield Death(weighed[i], text, model.describe(dead), step.t)


def likeliest(texts: Iterable[Death], most: int) -> list[Death]:
    """The heaviest of the texts, each once."""
    found: dict[tuple[str, str], Death] = {}
    for death in sorted(texts, key=lambda d: -d.log_weight):
        found.setdefault((death.text, death.place), death)
    return list(found.values())[:most]


def _tail(text: str) -> str:
    """The end of a text, in quotes, with escapes for what is no plain character."""
    return ("..." if len(text) > TEXT_LENGTH else "") + shown(
        json.dumps(text[-TEXT_LENGTH:], ensure_ascii=False)
    )


def population_died(
    method: Method,
    lasts: Sequence[Step[S] | Level[S]],
    deaths: Deaths,
    texts: Iterable[Death] = (),
) -> PopulationDied:
    """The report of a population of which nothing is left: which step and which line killed how
    many."""
    when = max((t for t, places in deaths if places), default=lasts[0].t)
    n = sum(len(last.states) for last in lasts)
    message, advice = method.all_died(n, when, lasts[0])
    facts = []
    counts = [(t, place, n) for t, places in deaths for place, n in places.most_common()]
    for t, place, n in counts[-8:]:
        facts.append(f"step {t}: {n} died at {place}")
    texts = likeliest(texts, SHOWN_TEXTS)
    for death in texts:
        facts.append(f"at step {death.t} died {_tail(death.text)}")
    details = {
        "step": when,
        "deaths": [{"step": t, "place": place, "count": n} for t, place, n in counts],
    }
    if texts:
        details["texts"] = [{"step": d.t, "place": d.place, "text": d.text} for d in texts]
    return PopulationDied(message, advice, facts, details)
