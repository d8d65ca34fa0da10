"""Special tokens by their names: `special("<|im_end|>")`.

A tokenizer has tokens that mark structure, such as the beginning of a turn. They stand for no text,
and no text becomes one. A program names one; the vocabulary of the context to which it is appended
gives its id.

>>> from fkdsl.models.vocabulary import Vocabulary
>>> mark_id(Vocabulary((b"a", b""), frozenset({1}), {"<|im_end|>": 1}), "<|im_end|>")
1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fkdsl.base.diagnostics import near_name
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.values.faults import Fault

if TYPE_CHECKING:
    from fkdsl.models.vocabulary import Vocabulary

LISTED = 8
"""Most names that a message lists."""


@dataclass(frozen=True)
class Mark:
    """A special token by the name that a tokenizer gives it."""

    name: str

    def __str__(self) -> str:
        return self.name


def mark_id(vocabulary: Vocabulary, name: str) -> int:
    """The id of a special token. Raises Fault (FK402) if the vocabulary has none of that name."""
    number = vocabulary.marks.get(name)
    if number is not None:
        return number
    names = sorted(vocabulary.marks)
    near = near_name(name, names)
    if near is not None:
        help = f'did you mean "{near}"?'
    elif names:
        help = "it has " + ", ".join(f'"{n}"' for n in names[:LISTED])
        help += ", ..." if len(names) > LISTED else ""
    else:
        help = "it has none with a name; text is given as text: lm += ..."
    raise Fault("FK402", f"this model has no special token {name!r}", help)
