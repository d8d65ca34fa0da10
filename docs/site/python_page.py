"""The page docs/python.md: what fkdsl offers Python, from its own signatures and docstrings.

    python docs/site/python_page.py      writes the page again

A test holds the page to them.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fkdsl
import fkdsl.testing

PAGE = Path(__file__).parents[1] / "python.md"
INTRODUCTION = """# fkdsl from Python

What `import fkdsl` and `fkdsl.testing` offer, each with its signature and documentation. A first
program is in [the language](language.md#from-python), notebooks are in the
[tutorial](tutorial.ipynb). Log weights and log Z are in nats. The page is made of the code's own
docstrings, by `python docs/site/python_page.py`."""
GROUPS = {
    "Programs and runs": ("load", "parse", "Program", "load_model", "run", "compare"),
    "Answers": ("Result", "plain", "result_json", "Comparison", "Unfinished"),
    "Models in Python, and the steps of a run": ("FeynmanKac", "Step"),
    "Bounds": ("Deadline",),
    "Errors": (
        "FkdslError",
        "ProgramError",
        "CallError",
        "ModelUnavailable",
        "InferenceFailed",
        "PopulationDied",
        "BudgetEnded",
        "Interrupted",
        "InternalError",
    ),
}


def page() -> str:
    """The page's text."""
    parts = [INTRODUCTION]
    for title, names in GROUPS.items():
        parts.append(f"## {title}")
        parts += [part for name in names for part in entry("fkdsl", name, getattr(fkdsl, name))]
    parts.append("## For tests")
    for name in fkdsl.testing.__all__:
        parts += entry("fkdsl.testing", name, getattr(fkdsl.testing, name))
    return "\n\n".join(parts) + "\n"


def entry(module: str, name: str, value: Any) -> Iterator[str]:
    """The heading, signature and documentation of a name, and those of its methods."""
    yield f"### {name}"
    if inspect.isclass(value):
        bases = [
            b.__name__ for b in value.__bases__ if b is not object and b.__module__ != "typing"
        ]
        of = f"({', '.join(bases)})" if bases else ""
        yield f"```py not run: a signature\nclass {module}.{name}{of}\n```"
        yield documentation(value)
        yield from members(value)
    else:
        yield f"```py not run: a signature\n{module}.{signed(name, value)}\n```"
        yield documentation(value)


def members(kind: type[Any]) -> Iterator[str]:
    """The public methods and properties of a class itself, and the fields of a dataclass."""
    if dataclasses.is_dataclass(kind):
        fields = [f for f in dataclasses.fields(kind) if not f.name.startswith("_")]
        yield "Fields: " + ", ".join(f"`{f.name}`" for f in fields) + "."
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("fkdsl"):
            continue
        for name, value in vars(base).items():
            if name.startswith("_") or getattr(kind, name, None) is not getattr(base, name, None):
                continue
            value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if isinstance(value, property) or type(value).__name__ == "cached_property":
                yield f"`.{name}`: {documentation(value)}".removesuffix(": ")
            elif inspect.isfunction(value):
                yield f"```py not run: a signature\n.{signed(name, value)}\n```"
                yield documentation(value)


def signed(name: str, function: Any) -> str:
    """A function's name with its signature, an argument a line where it is long."""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    kinds = [p.kind for p in parameters]
    shown = [parameter(p) for p in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    gives = signature.return_annotation
    end = (
        ""
        if gives is inspect.Signature.empty
        else f" -> {gives if isinstance(gives, str) else gives.__name__}"
    )
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) <= 88:
        return line
    return f"{name}(\n" + "".join(f"    {p},\n" for p in shown) + f"){end}"


def parameter(p: inspect.Parameter) -> str:
    """A parameter with its type and default."""
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    kind = p.annotation if isinstance(p.annotation, str) else getattr(p.annotation, "__name__", "")
    typed = "" if p.annotation is p.empty else f": {kind}"
    if p.default is p.empty:
        return f"{stars}{p.name}{typed}"
    default = getattr(p.default, "__name__", None) or repr(p.default)
    if type(p.default) is object:  # it stands for "not given"
        default = "..."
    return f"{stars}{p.name}{typed} = {default}" if typed else f"{p.name}={default}"


def documentation(value: Any) -> str:
    """A docstring as Markdown: examples as code."""
    text = inspect.getdoc(value) or ""
    lines: list[str] = []
    is_code = False
    for line in text.splitlines():
        begins = line.startswith((">>>", "..."))
        if begins and not is_code:
            lines += ["", "```text not run: the doctest of the name"]
            is_code = True
        elif is_code and not line.strip():
            lines.append("```")
            is_code = False
        lines.append(line)
    if is_code:
        lines.append("```")
    return "\n".join(lines).strip()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
