"""Text as a terminal may show it: characters that would steer the terminal are written as escapes.

Values, titles, names and lines come from models and from files of strangers. An escape sequence in
one could colour or overwrite what stands on the screen, and a mark of direction could show a line
in another order than it has.

>>> print(shown("a\\x1b[31mred\\x1b[0m\\r" + chr(0x202E) + "!"))
a\\x1b[31mred\\x1b[0m\\r\\u202e!
>>> shown("two lines\\nand a\\ttab") == "two lines\\nand a\\ttab"
True
>>> print(one_line("two\\nlines"))
two\\nlines
"""

from __future__ import annotations

import re

_STEERING = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, those of eight bits too, but for tab and newline
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of direction
    "\u2028\u2029"  # separators, at which some terminals begin a line
    "\ufeff\U000e0000-\U000e007f"  # marks that are not seen
    "]"
)


def shown(text: str) -> str:
    """The text with an escape, as Python writes it, for each character that steers a terminal;
    newlines and tabs stay. What is shown already stays as it is."""
    return _STEERING.sub(_escape, text)


def one_line(text: str) -> str:
    """The same with newlines escaped too, for what stands within a line."""
    return shown(text).replace("\n", "\\n")


def _escape(match: re.Match[str]) -> str:
    return "\\r" if match[0] == "\r" else match[0].encode("unicode_escape").decode("ascii")
