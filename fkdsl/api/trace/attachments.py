"""What stands for a source text in a trace: each attachment of a run is told once, in the line of
the step whose states first hold it.

    "attachments": {"-4611686018427387904": {"kind": "source", "text": "translate: ..."}}

An attachment's id is made from its content, so a reader sees whether it is the one that was
written.

>>> cat = Attachment.source("The cat sat.")
>>> known: dict[int, Attachment] = {}
>>> learn_attachments(known, {"attachments": {str(int(cat)): attachment_to_json(cat)}})
>>> known == {cat: cat}
True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fkdsl.models.attachments import Attachment


def attachment_to_json(a: Attachment) -> dict[str, Any]:
    """What an attachment is, as JSON."""
    return {"kind": a.kind, "text": a.text}


def learn_attachments(known: dict[int, Attachment], line: Mapping[str, Any]) -> None:
    """Adds the attachments that a line tells of. Raises ValueError for one whose content is not
    that of its id."""
    for written, data in line.get("attachments", {}).items():
        attachment = Attachment.source(data["text"])
        if attachment != int(written):
            raise ValueError("an attachment that is not what its id says")
        known[attachment] = attachment


def is_attachments(v: Any) -> bool:
    """What a line may tell of attachments."""
    return isinstance(v, dict) and all(
        key[:1] == "-"
        and key[1:].isascii()
        and key[1:].isdigit()
        and len(key) < 21
        and isinstance(data, dict)
        and data.get("kind") == "source"
        and isinstance(data.get("text"), str)
        for key, data in v.items()
    )
