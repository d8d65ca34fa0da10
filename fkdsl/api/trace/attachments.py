"""What stands for a source text or an image in a trace: each attachment of a run is told once, in
the line of the step whose states first hold it.

    "attachments": {"-4611686018427387904": {"kind": "source", "text": "translate: ..."}}

An image is told with its bytes, in base64, so that no file is read for a trace, whoever it comes
from; the beginning of a prompt with images, with its parts. An attachment's id is made from its
content, so a reader sees whether it is the one that was written.

>>> cat = Attachment.source("The cat sat.")
>>> known: dict[int, Attachment] = {}
>>> learn_attachments(known, {"attachments": {str(int(cat)): attachment_to_json(cat)}})
>>> known == {cat: cat}
True
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from fkdsl.models.attachments import Attachment


def attachment_to_json(a: Attachment) -> dict[str, Any]:
    """What an attachment is, as JSON."""
    match a.kind:
        case "source":
            return {"kind": a.kind, "text": a.text}
        case "image":
            return {"kind": a.kind, "bytes": b64encode(a.content).decode(), "origin": a.origin}
    parts = [p if isinstance(p, str) else attachment_to_json(p) for p in a.parts]
    return {"kind": a.kind, "parts": parts, "system": a.system, "chat": a.is_chat}


def attachment_from_json(data: Mapping[str, Any]) -> Attachment:
    """The attachment again. Raises ValueError for bytes that are not in base64."""
    match data["kind"]:
        case "source":
            return Attachment.source(data["text"])
        case "image":
            return Attachment("image", b64decode(data["bytes"], validate=True), data["origin"])
    parts = [p if isinstance(p, str) else attachment_from_json(p) for p in data["parts"]]
    return Attachment.prompt(parts, data["system"], data["chat"])


def learn_attachments(known: dict[int, Attachment], line: Mapping[str, Any]) -> None:
    """Adds the attachments that a line tells of. Raises ValueError for one whose content is not
    that of its id."""
    for written, data in line.get("attachments", {}).items():
        attachment = attachment_from_json(data)
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
        and _is_attachment(data, {"source", "image", "prompt"})
        for key, data in v.items()
    )


def _is_attachment(data: Any, kinds: set[str]) -> bool:
    if not isinstance(data, dict) or data.get("kind") not in kinds:
        return False
    match data["kind"]:
        case "source":
            return isinstance(data.get("text"), str)
        case "image":
            return isinstance(data.get("bytes"), str) and isinstance(data.get("origin"), str)
    parts = data.get("parts")
    return (
        isinstance(parts, list)
        and all(isinstance(p, str) or _is_attachment(p, {"image"}) for p in parts)
        and isinstance(data.get("system"), str)
        and isinstance(data.get("chat"), bool)
    )
