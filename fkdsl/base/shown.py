"""Text as a terminal may show it: characters that control the terminal become escapes.

Values, titles, names and lines come from models and from strangers' files. An escape sequence in
one could colour or overwrite the screen, and a direction mark could reorder a line.

>>> print(shown("a\\x1b[31mred\\x1b[0m\\r" + chr(0x202E) + "!"))
a\\x1b[31mred\\x1b[0m\\r\\u202e!
>>> shown("two lines\\nand a\\ttab") == "two lines\\nand a\\ttab"
True
>>> print(escaped_json('{"value": "a' + chr(0x9B) + '2J"}'))
{"value": "a\\u009b2J"}
>>> print(one_line("two\\nlines"))
two\\nlines
"""

from __future__ import annotations

import re

LONGEST_QUOTE = 120
LEAST_SHOWN = 0.00005
"""The least probability that four decimals show."""
_CONTROLS = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # the C0 and C1 controls, but for tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks
    "\u2028\u2029"  # separators, at which some terminals begin a line
    "\ufeff\U000e0000-\U000e007f"  # invisible marks
    "]"
)


def shown(text: str) -> str:
    """The text with an escape, as Python writes it, for each character that controls a terminal.
    Newlines and tabs stay. Idempotent."""
    return _CONTROLS.sub(_escape, text)


def shortened(text: str) -> str:
    """At most LONGEST_QUOTE characters of a line of a program: a condition with a schema in it may
    have thousands."""
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 3] + "..."


def probability_text(p: float | None) -> str:
    """A probability in seven characters that say neither 0 nor 1 of what is neither; `unknown` for
    None.

    >>> [probability_text(p) for p in (0.25, 1.0, 0.99997, 0.00003, 0.0, None)]
    [' 0.2500', ' 1.0000', '>0.9999', '<0.0001', ' 0.0000', 'unknown']
    """
    if p is None:
        return "unknown"
    if 0.0 < p < LEAST_SHOWN:
        return "<0.0001"
    return ">0.9999" if LEAST_SHOWN > 1.0 - p > 1e-9 else f"{p:7.4f}"


def escaped_json(text: str) -> str:
    """JSON text, on one line, in which such characters are JSON's escapes: the same data, harmless
    when it is shown."""
    return _CONTROLS.sub(_json_escape, text)


def one_line(text: str) -> str:
    """The same with newlines escaped too, for text that stands within a line."""
    return shown(text).replace("\n", "\\n")


def _escape(match: re.Match[str]) -> str:
    return "\\r" if match[0] == "\r" else match[0].encode("unicode_escape").decode("ascii")


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")  # JSON writes a character beyond U+FFFF as two
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
