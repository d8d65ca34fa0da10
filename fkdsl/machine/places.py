"""Places in a program's files as JSON-able data: [file, line, column, length], which say the same
in every process.

>>> source = Source("a.fk", "x = 1\\ny = 22\\n")
>>> places = Places([source])
>>> places.write(Span(source, 10, 12))
[0, 2, 5, 2]
>>> places.read([0, 2, 5, 2]).text
'22'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fkdsl.base.errors import InternalError
from fkdsl.base.spans import Source, Span
from fkdsl.machine.ops import DrawOp
from fkdsl.machine.particle import Executable


class Places:
    """Files by number. line and column count from 1; length is in characters and may run over
    lines."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(dict.fromkeys(sources))
        self._numbers = {source: i for i, source in enumerate(self.sources)}

    @classmethod
    def of(cls, code: Executable, first: Iterable[Source] = ()) -> Places:
        """All files that built code stands in, the prelude among them; those of `first` come
        first."""
        sources = list(first)
        for function in code.functions.values():
            for op in function.ops:
                sources.append(op.span.source)
                if isinstance(op, DrawOp) and op.plan is not None:
                    sources.append(op.plan.blame.source)
        return cls(sources)

    def write(self, span: Span) -> list[int]:
        if span.source not in self._numbers:
            raise InternalError(f"{span} is in no file of the program")
        return [
            self._numbers[span.source],
            *span.source.position(span.start),
            span.end - span.start,
        ]

    def read(self, data: Sequence[int]) -> Span:
        file, line, column, length = data
        if min(file, line - 1, column - 1, length) < 0:
            raise ValueError("a place before the beginning")
        source = self.sources[file]
        start = source.line_starts[line - 1] + column - 1
        if start + length > len(source.text):
            raise ValueError("a place behind the end")
        return Span(source, start, start + length)
