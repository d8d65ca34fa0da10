"""What the benchmarks print: tables, for a terminal or for the docs, and the line that says what
they ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version


def table(names: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool = False) -> str:
    """A table, its cells to the right but for words.

    >>> print(table(["N", "dtype"], [["8", "float32"], ["16", "bfloat16"]]))
     N  dtype
     8  float32
    16  bfloat16
    """
    words = [
        not any(cell[:1].isdigit() for cell in column) for column in zip(*rows, strict=True)
    ] or [True] * len(names)
    widths = [max(2, *map(len, column)) for column in zip(names, *rows, strict=True)]

    def line(cells: Sequence[str]) -> list[str]:
        return [
            c.ljust(w) if word else c.rjust(w)
            for c, w, word in zip(cells, widths, words, strict=True)
        ]

    if not markdown:
        return "\n".join("  ".join(line(cells)).rstrip() for cells in [names, *rows])
    rule = ["-" * w if word else "-" * (w - 1) + ":" for w, word in zip(widths, words, strict=True)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [line(names), rule, *map(line, rows)])


def machine(threads: int) -> str:
    """Cores, processor, versions and the date."""
    found = []
    for package in ("fkdsl", "torch", "transformers"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    versions = ", ".join([f"Python {platform.python_version()}", *found])
    count = f"{threads} thread" + "s" * (threads != 1)
    return f"{os.cpu_count()} cores, {count}, {processor()}; {versions}; {date.today()}"


def processor() -> str:
    """The processor's name as the system has it, with what sets its speed at narrow formats."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file.read().splitlines() if ":" in line)
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(facts.get("flags", "").split())
    units = [
        name
        for flag, name in (("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2"))
        if flag in flags
    ]
    return " ".join(
        [facts.get("model name", platform.machine()), f"({units[0]})" if units else ""]
    ).strip()
