"""The pages of the error codes: of docs/errors, which ship with the package."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from fkdsl.language.codes import CODES

FOLDERS = (
    Path(__file__).parent / "errors",  # in a wheel
    Path(__file__).parents[2] / "docs" / "errors",  # in the repository
)
_BLOCK = re.compile(r"^```fk (?:bad|good)[^\n]*$", re.MULTILINE)


@cache
def page_path(code: str) -> Path | None:
    """Where the page of a code lies, None where it did not come along."""
    if code not in CODES:
        return None
    return next((p for folder in FOLDERS if (p := folder / f"{code}.md").is_file()), None)


@cache
def page(code: str) -> str:
    """The whole page of a code, "" for none."""
    path = page_path(code)
    return _BLOCK.sub("```fk", path.read_text("utf-8")) if path is not None else ""


@cache
def summary(code: str) -> str:
    """A code with its title, and the first paragraph of its page."""
    paragraphs = [p for p in page(code).split("\n\n") if p and not p.startswith(("#", "```"))]
    title = f"**{code}**: {CODES.get(code, '')}"
    return "\n\n".join([title, *(p.strip() for p in paragraphs[:1])])
