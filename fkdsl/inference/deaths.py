"""Where particles died, what text they had, and the report of a population that died out."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from fkdsl.base.errors import PopulationDied
from fkdsl.base.shown import shortened, shown
from fkdsl.inference.interface import FeynmanKac, Level, Step, TellsDeaths
from fkdsl.inference.method import Method

S = TypeVar("S")
Deaths = list[tuple[int, Counter[str]]]
"""By step, how many died at each place."""
KEPT_TEXTS, SHOWN_TEXTS, TEXT_LENGTH = 32, 3, 60
"""How many texts at death are kept of an island, how many a report shows, and how many characters
of each."""


class Death(NamedTuple):
    """A particle's text when it died, its log weight (nats) before, the place and the step."""

    log_weight: float
    text: str
    place: str
    t: int


def merged_deaths(islands: Iterable[Deaths]) -> Deaths:
    """Deaths of all islands, by step."""
    by_step: dict[int, Counter[str]] = {}
    for deaths in islands:
        for t, places in deaths:
            by_step.setdefault(t, Counter()).update(places)
    return sorted(by_step.items())


def deaths_of(
    model: FeynmanKac[S], step: Step[S] | Level[S], before: Step[S] | Level[S] | None
) -> Counter[str]:
    """How many particles died in this step at each place."""
    if isinstance(step, Level):
        return Counter(model.describe(x) for x in step.dead)
    if step.alive == len(step.particles):
        return Counter()
    dead = {i for i, w in enumerate(step.log_weights) if w == -float("inf")}
    if isinstance(before, Step):
        # Without resampling the dead stay in the population; those of earlier steps were counted
        # then.
        dead = {i for i in dead if before.log_weights[step.ancestors[i]] > -float("inf")}
    return Counter(model.describe(step.particles[i].state) for i in dead)


def last_texts(
    model: FeynmanKac[S], step: Step[S] | Level[S], before: Step[S] | Level[S] | None
) -> Iterator[Death]:
    """The texts of the particles that died in this step, heaviest first, where the model knows
    them."""
    if (
        not isinstance(step, Step)
        or step.alive == len(step.particles)
        or not isinstance(before, Step)
        or not isinstance(model, TellsDeaths)
    ):
        return
    weight_before = {
        i: float(before.log_weights[step.ancestors[i]])
        for i, w in enumerate(step.log_weights)
        if w == -math.inf
    }
    alive = (i for i in weight_before if weight_before[i] > -math.inf)
    # A text takes work, and of thousands of deaths few are shown.
    for i in sorted(alive, key=lambda i: -weight_before[i])[:KEPT_TEXTS]:
        x, dead = before.particles[step.ancestors[i]].state, step.particles[i].state
        if text := model.text_at_death(x, dead):
            yield Death(weight_before[i], text, model.describe(dead), step.t)


def likeliest(texts: Iterable[Death], most: int) -> list[Death]:
    """The heaviest of the texts, each once."""
    distinct: dict[tuple[str, str], Death] = {}
    for death in sorted(texts, key=lambda d: -d.log_weight):
        distinct.setdefault((death.text, death.place), death)
    return list(distinct.values())[:most]


def ending(text: str) -> str:
    """The end of a text, in quotes, with escapes for control characters."""
    return ("..." if len(text) > TEXT_LENGTH else "") + shown(
        json.dumps(text[-TEXT_LENGTH:], ensure_ascii=False)
    )


def population_died(
    method: Method,
    lasts: Sequence[Step[S] | Level[S]],
    deaths: Deaths,
    texts: Iterable[Death] = (),
) -> PopulationDied:
    """The error of a run all of whose particles died: which step and which line killed how many.
    lasts: the last population of each island."""
    when = max((t for t, places in deaths if places), default=lasts[0].t)
    n = sum(len(last.states) for last in lasts)
    message, advice = method.all_died(n, when, lasts[0])
    facts = []
    counts = [(t, place, n) for t, places in deaths for place, n in places.most_common()]
    for t, place, n in counts[-8:]:
        facts.append(f"step {t}: {n} died at {shortened(place)}")
    texts = likeliest(texts, SHOWN_TEXTS)
    for death in texts:
        facts.append(f"at step {death.t} died {ending(death.text)}")
    details = {
        "step": when,
        "deaths": [{"step": t, "place": place, "count": n} for t, place, n in counts],
    }
    if texts:
        details["texts"] = [{"step": d.t, "place": d.place, "text": d.text} for d in texts]
    return PopulationDied(message, advice, facts, details)
