"""`fkdsl models list | pull | info`: the language models that can be named, and which of them are
on this machine."""

from __future__ import annotations

import argparse

from fkdsl.cli.output import say
from fkdsl.cli.progress import RunProgress
from fkdsl.models.registry import ModelEntry, list_models, model_info, pull


def main(args: argparse.Namespace) -> int:
    if args.action in ("list", None):
        entries = list_models()
        wide = max(len(e.name) for e in entries)
        for e in entries:
            where = f"{e.bytes / 1e6:.0f} MB here" if e.here else "not here yet"
            problem = f"  ({e.problem})" if e.problem else ""
            say(f"{e.name:<{wide}}  {where:<14}  {e.licence:<12}  {e.source}{problem}")
        return 0
    with RunProgress(args.model) as progress:
        if args.action == "pull":
            entry = pull(args.model, progress.loading, source=args.source)
        else:
            entry = model_info(args.model, progress=progress.loading)
    say(describe(entry), end="")
    return 0


def describe(entry: ModelEntry) -> str:
    """A model's facts, one on a line."""
    facts = {
        "name": entry.name,
        "kind": entry.kind,
        "here": f"yes, {entry.bytes / 1e6:.0f} MB" if entry.here else "no",
        "folder": entry.folder or "",
        "licence": entry.licence,
        "source": entry.source,
        "problem": entry.problem,
        **entry.details,
    }
    return "".join(f"{name:<12} {value}\n" for name, value in facts.items() if value != "")
