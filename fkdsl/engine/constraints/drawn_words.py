"""What draws of words look ahead by, `for i in range(5): w ~ word(lm)`: how likely the words that
come are such that what is asked of all of them holds.

The words are those of one text, that of the context since the loop began. It is over once these are
words that are asked for and the last of them is whole, which the character behind it says. So the
automaton is that of what is asked, from whose accepting states every character that is of no word
leads to one that accepts all. How many tokens may follow is not known, nor is it all that a word
may be: what is made of this is a guess, and no mask goes by it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from fkdsl.base.kept import kept
from fkdsl.engine.constraints.automaton import Automaton, automaton
from fkdsl.engine.constraints.backward import Way
from fkdsl.engine.constraints.charsets import Partition, charset
from fkdsl.engine.constraints.constraint import KEPT_MASKS, KEPT_TOKENS, Future
from fkdsl.engine.constraints.expressions import TooComplex
from fkdsl.engine.constraints.futures import Read, of_all_tables, over_classes
from fkdsl.engine.constraints.language_parts import conjunct_languages, is_regular
from fkdsl.engine.constraints.languages import JOINT, Either, Language, Syllables
from fkdsl.engine.constraints.pattern_trees import Unsupported
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.engine.constraints.syllable_counts import syllable_table
from fkdsl.engine.constraints.tables import reached_from
from fkdsl.models.vocabulary import Vocabulary

GOES_ON = rf"[\w{JOINT[1:]}"
"""A character that may go on with a word."""
TIMES, MORE = 3, 16
"""Of words that take n tokens at least, so many times n and so many more are looked ahead."""


class DrawnWords:
    """Words that are drawn one by one, and what is asked of them. tokens_left: how many tokens are
    looked ahead behind the next one, wherever in the words a draw is."""

    def __init__(self, language: Language, vocabulary: Vocabulary) -> None:
        self.lock, self.vocabulary = threading.RLock(), vocabulary
        self.futures: tuple[Future, ...] | None = None
        self.masks = _masks(language, vocabulary)
        self.tokens_left = 0
        if self.masks is not None:
            distances = self.masks.distances()
            start, _ = self.masks.position(())
            fewest = np.inf if distances is None else float(distances[start])
            if np.isfinite(fewest):
                self.tokens_left = TIMES * int(fewest) + MORE
            else:
                self.masks = None

    def found(self) -> Iterator[Future]:
        """That of one automaton for all that is asked; none where that is too large, or no words
        are such."""
        if self.masks is not None:
            yield (Way(self.masks),)


def _masks(language: Language, vocabulary: Vocabulary) -> RegularMasks | None:
    read = of_all_tables([_of_part(part) for part in conjunct_languages(language)])
    if read is None:
        return None
    partition = Partition([*read[1].sets, charset(GOES_ON)])
    table = over_classes(read, partition)
    going_on = partition.members[charset(GOES_ON)]
    behind = [c for c in range(partition.size) if c not in going_on]
    over = table.size
    after = np.concatenate([table.after, np.full((1, partition.size), over, np.int32)])
    after[np.ix_(np.flatnonzero(table.accepting), np.array(behind, dtype=np.intp))] = over
    closed = reached_from(0, after, np.append(table.accepting, True)).smaller()
    return RegularMasks(Automaton.of_table(closed, partition), vocabulary)


def _of_part(part: Language) -> Read | None:
    """The table of a part of what is asked; None where nothing follows it."""
    match part:
        case Syllables(least, most):
            return syllable_table(least, most)
        case Either(parts) if any(isinstance(p, Syllables) for p in parts):
            read = [_of_part(p) for p in parts]
            return None if None in read else of_all_tables(read, either=True)
    if not is_regular(part):
        return None
    try:
        whole = automaton(part)
    except (TooComplex, Unsupported):
        return None
    if not whole.explored:
        return None
    accepting = np.array(whole.accepting, dtype=np.bool_)
    return reached_from(whole.start, whole.table[: whole.size], accepting), whole.partition


@kept(KEPT_TOKENS, lambda made: made.vocabulary.size, KEPT_MASKS)
def drawn_words(language: Language, vocabulary: Vocabulary) -> DrawnWords:
    """Those of a language, made once for each vocabulary."""
    return DrawnWords(language, vocabulary)
