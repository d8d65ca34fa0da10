"""The parts of a text that are in a language, one by one: the values that a text may give to a JSON
string.

>>> from fkdsl.engine.constraints.languages import Matches
>>> listed_parts("by Ada, to Al", Matches("[A-Z][a-z]+"))
['Ad', 'Ada', 'Al']
>>> listed_parts("by Ada", Matches(".*"), most=9) is None
True
"""

from __future__ import annotations

from functools import lru_cache

from fkdsl.engine.constraints.automaton import DEAD, automaton
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.language_parts import is_regular
from fkdsl.engine.constraints.languages import Both, Language, PartOf
from fkdsl.engine.constraints.pattern_trees import Unsupported

MOST_PARTS, MOST_STEPS = 1_000, 200_000
"""Most parts of a list, and most characters that are read to find them."""


def text_of_parts(language: Language) -> str | None:
    """The text in which each text of a language stands; None if none is known."""
    match language:
        case PartOf(whole):
            return whole
        case Both(parts):
            known = (text_of_parts(part) for part in parts)
            return next((whole for whole in known if whole is not None), None)
    return None


@lru_cache(maxsize=256)
def listed_parts(whole: str, language: Language, most: int = MOST_PARTS) -> list[str] | None:
    """What stands in a text and is in a language, or may be; None where that is too much."""
    if not is_regular(language):
        return None
    try:
        found = automaton(language)
        parts: dict[str, None] = {"": None} if found.accepting[found.start] else {}
        steps = 0
        for begin in range(len(whole)):
            state = found.start
            for end, character in enumerate(whole[begin:], begin + 1):
                for symbol in found.partition.classes_of(character):
                    state = found.step(state, symbol)
                steps += 1
                if state == DEAD or (found.explored and not found.live[state]):
                    break
                if found.accepting[state]:
                    parts[whole[begin:end]] = None
                if len(parts) > most or steps > MOST_STEPS:
                    return None
    except (TooComplex, Unsupported):
        return None
    return list(parts)
