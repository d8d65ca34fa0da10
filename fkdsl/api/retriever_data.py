"""The questions that a retriever is trained on: a file of lines of JSON, each an object with values
for the program's parameters.

    {"question": "When does the ferry leave?", "answer": " nine", "evidence": "at nine"}

`evidence`, a text or a list of texts, is no parameter: a document that has one of them is a right
one. Recall counts these, and training does not know them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.files import read_text
from fkdsl.base.random import KeyedRng
from fkdsl.base.surrogates import without_surrogates

MOST_BYTES = 256 << 20
MOST_QUESTIONS = 100_000
LEAST_QUESTIONS = 10
"""Fewer cannot be divided into three."""
EVIDENCE = "evidence"
EXAMPLE = 'write a line as {"question": "...", "answer": "..."}, with the program\'s parameters'


@dataclass(frozen=True)
class Question:
    """A line of the file. arguments: the program's parameters. evidence: texts of which a right
    document has one; none where nothing is known."""

    line: int
    arguments: Mapping[str, Any]
    evidence: tuple[str, ...]

    def is_answered_by(self, text: str) -> bool:
        """Whether a document's text has the evidence, whatever its case and its white space."""
        return any(_plain(e) in _plain(text) for e in self.evidence)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def read_questions(path: Path, program: CalledProgram) -> list[Question]:
    """The questions of a file. Raises CallError with the line of a mistake."""
    try:
        text = read_text(path, MOST_BYTES)
    except UnicodeDecodeError:
        raise CallError(f"{path} is no text in UTF-8", "save it as UTF-8") from None
    except FileNotFoundError:
        raise CallError(f"there is no file {path}", EXAMPLE) from None
    except OSError as error:
        raise CallError(f"cannot read {path}: {error.strerror}", EXAMPLE) from None
    found: list[Question] = []
    for line, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if raw.strip():
            found.append(_question(f"{path}:{line}", line, raw, program))
        if len(found) > MOST_QUESTIONS:
            raise CallError(f"{path} has more than {MOST_QUESTIONS:,} questions", "take fewer")
    if not found:
        raise CallError(f"{path} has no question", EXAMPLE)
    return found


def _question(place: str, line: int, raw: str, program: CalledProgram) -> Question:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise CallError(f"{place}: the line is no JSON", EXAMPLE) from None
    if not isinstance(value, dict):
        raise CallError(f"{place}: the line is no object", EXAMPLE)
    value = {k: _readable(v) for k, v in value.items()}
    evidence = _evidence(place, value.pop(EVIDENCE, None))
    known = [p.name for p in program.info.definition.params]
    for name in value:
        if name not in known:
            near = near_name(name, [*known, EVIDENCE])
            help = f"did you mean `{near}`?" if near else f"it has {', '.join(known) or 'none'}"
            raise CallError(f"{place}: `{program.name}` has no parameter `{name[:60]}`", help)
    if not value:
        raise CallError(f"{place}: the line has no parameter of `{program.name}`", EXAMPLE)
    try:
        arguments = program(**value).parameter_values()
    except CallError as error:
        raise CallError(f"{place}: {error.message}", error.help or EXAMPLE) from None
    answer = arguments.get("answer")
    if not evidence and isinstance(answer, str) and answer.strip():
        evidence = (answer,)
    return Question(line, arguments, evidence)


def _readable(value: Any) -> Any:
    return without_surrogates(value) if isinstance(value, str) else value


def _evidence(place: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not (isinstance(texts, list) and all(isinstance(t, str) and t.strip() for t in texts)):
        raise CallError(
            f"{place}: `{EVIDENCE}` is no text, and no list of texts",
            "write what a right document has in it, or leave it out",
        )
    return tuple(texts)


def divided(
    questions: Sequence[Question], share: float, seed: int, *, apart: bool
) -> tuple[list[int], list[int], list[int]]:
    """(numbers of the questions to learn from, to stop by, held out), at random by the seed; of the
    last two each is `share` of all. apart: whether those held out are in another file: then none
    are."""
    n, rng = len(questions), KeyedRng(seed).split("questions")
    if n < LEAST_QUESTIONS:
        raise CallError(
            f"{n} questions are too few to learn from", f"give {LEAST_QUESTIONS} or more"
        )
    order = sorted(range(n), key=lambda i: rng.split(i).uniform())
    part = max(1, round(share * n))
    held = [] if apart else order[:part]
    rest = order[len(held) :]
    return sorted(rest[part:]), sorted(rest[:part]), sorted(held)
