"""What stands somewhere in a text, as an automaton: the suffix automaton of the text (Blumer et al.
1985), which has at most two states a character and is made in time in proportion to it.

>>> parts = TextParts("abcb")
>>> [parts.has(s) for s in ("", "b", "cb", "bcb", "ac", "bb")]
[True, True, True, True, False, False]
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property, lru_cache


class TextParts:
    """The parts of a sequence of symbols. A state is a number, `start` where a part begins; it
    stands for the places at which what was read ends. Every state accepts."""

    start = 0

    def __init__(self, symbols: Sequence[Hashable]) -> None:
        self.symbols = symbols

    def step(self, state: int, symbol: Hashable) -> int | None:
        """The state after a symbol; None where no part goes on so."""
        return self._after[state].get(symbol)

    def has(self, part: Iterable[Hashable]) -> bool:
        """Whether some symbols stand in the sequence, one behind the other."""
        state: int | None = self.start
        for symbol in part:
            state = None if state is None else self.step(state, symbol)
        return state is not None

    @cached_property
    def _after(self) -> list[dict[Hashable, int]]:
        """The states behind each state, by symbol."""
        after: list[dict[Hashable, int]] = [{}]
        longest, shorter = (
            [0],
            [-1],
        )  # of each state: its longest part, and the state of shorter ends
        last = 0
        for symbol in self.symbols:
            new = len(after)
            after.append({})
            longest.append(longest[last] + 1)
            shorter.append(0)
            while last != -1 and symbol not in after[last]:
                after[last][symbol] = new
                last = shorter[last]
            if last != -1:
                old = after[last][symbol]
                if longest[old] == longest[last] + 1:
                    shorter[new] = old
                else:  # the state stood for longer parts too, which end elsewhere: it is split
                    split = len(after)
                    after.append(dict(after[old]))
                    longest.append(longest[last] + 1)
                    shorter.append(shorter[old])
                    shorter[old] = shorter[new] = split
                    while last != -1 and after[last].get(symbol) == old:
                        after[last][symbol] = split
                        last = shorter[last]
            last = new
        return after


@lru_cache(maxsize=64)
def text_parts(symbols: tuple[Hashable, ...]) -> TextParts:
    """The parts of a sequence, made once."""
    return TextParts(symbols)
