"""A chat by a tokenizer's own template, in which only the template can write special tokens, its
marks.

The texts of a chat are data. Where a text spells a mark (`<|im_end|>`), a stand-in replaces one
character of the spelling while the template is rendered, so every mark in the rendering is the
template's own. The rendering is then split at the marks, the characters are put back, and each part
between two marks is encoded as plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.chat_template import CHAT_HELP, render_chat
from fkdsl.models.plain_text import PlainText

PRIVATE = range(0xE000, 0xF900)
"""Unicode's private use area: the stand-ins."""


@dataclass(frozen=True)
class TemplateMark:
    """A token that only a template may write. pattern: matches what the tokenizer reads as the
    token, including white space around it that the token takes in."""

    id: int
    spelling: str
    pattern: str


def templated(tokenizer: Any, name: str, user: str, system: str, encode: PlainText) -> list[int]:
    """The ids of a chat up to where the answer begins, by a tokenizer's own template. Raises
    CallError if it has none, or the template fails or writes nothing."""
    if not tokenizer.chat_template:
        raise CallError(
            f"{name} has no chat template", "use prompt(...) with the model's own format"
        )
    marks = marks_of(tokenizer)
    stand_ins = Hidden(marks, f"{tokenizer.chat_template}{user}{system}")
    turns = [{"role": "system", "content": stand_ins.hide(system)}] if system else []
    turns.append({"role": "user", "content": stand_ins.hide(user)})
    given = {**tokenizer.special_tokens_map, "messages": turns, "tools": None, "documents": None}
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise CallError(
            f"{name} has no chat template by default: {error}", "use prompt(...)"
        ) from None
    rendered = render_chat(template, {**given, "add_generation_prompt": True}, name)
    known = [mark.id for mark in marks]
    ids: list[int] = []
    for text, mark in split_at(rendered, marks):
        if text:
            ids += (encode.after_mark if ids else encode.start)(stand_ins.restore(text), known)
        ids += [] if mark is None else [mark.id]
    if not ids:
        raise CallError(f"the chat template of {name} writes nothing", CHAT_HELP)
    return ids


def marks_of(tokenizer: Any) -> list[TemplateMark]:
    """The special tokens and those added tokens that the template writes, longer ones first."""
    template = str(tokenizer.chat_template)
    special = set(tokenizer.all_special_ids)
    marks = []
    for i, token in tokenizer.added_tokens_decoder.items():
        if (token.special or i in special or token.content in template) and token.content:
            before, after = r"\s*" if token.lstrip else "", r"\s*" if token.rstrip else ""
            marks.append(TemplateMark(i, token.content, before + re.escape(token.content) + after))
    return sorted(marks, key=lambda mark: -len(mark.spelling))


def split_at(
    rendered: str, marks: Iterable[TemplateMark]
) -> Iterator[tuple[str, TemplateMark | None]]:
    """The parts of a rendering, each with the mark that follows it; the last part has none."""
    by_group = list(marks)
    at = 0
    if by_group:
        for match in re.finditer("|".join(f"({mark.pattern})" for mark in by_group), rendered):
            yield rendered[at : match.start()], by_group[(match.lastindex or 1) - 1]
            at = match.end()
    yield rendered[at:], None


class Hidden:
    """Stand-ins in texts that spell marks, or could do so together with the template's own text.

    >>> hidden = Hidden([TemplateMark(1, "<s>", "<s>")], "")
    >>> hidden.hide("a <s> b") == "a \ue000s> b", hidden.restore(hidden.hide("a <s> b"))
    (True, 'a <s> b')
    """

    def __init__(self, marks: Iterable[TemplateMark], used: str) -> None:
        self._spellings = [mark.spelling for mark in marks]
        self._free = (chr(c) for c in PRIVATE if chr(c) not in used)
        self._stand_ins: dict[str, str] = {}

    def hide(self, text: str) -> str:
        """The text with a stand-in in every spelling of a mark, and at an end where the template's
        text could complete one."""
        characters = list(text)
        hidden = {
            m.start() for s in self._spellings for m in re.finditer(f"(?={re.escape(s)})", text)
        }
        first, last = len(text) - len(text.lstrip()), len(text.rstrip())
        for spelling in self._spellings:
            for n in range(1, len(spelling)):
                hidden |= {last - 1} if text.endswith(spelling[:n], first, last) else set()
                hidden |= {first} if text.startswith(spelling[n:], first, last) else set()
        for i in hidden:
            characters[i] = self._stand_in(text[i])
        return "".join(characters)

    def restore(self, text: str) -> str:
        """The text with its own characters in place of the stand-ins."""
        return text.translate({ord(stand_in): c for c, stand_in in self._stand_ins.items()})

    def _stand_in(self, character: str) -> str:
        if character not in self._stand_ins:
            self._stand_ins[character] = next(self._free)
        return self._stand_ins[character]
