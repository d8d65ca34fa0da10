"""Prefill apart from decoding: a program's prompts are computed once and written to a file, from
which other runs and processes decode.

>>> from fkdsl.api import parse
>>> table = 'model m = table:\\n    "" -> "a": 0.5, EOS: 0.5\\n\\n'
>>> body = '    lm = prompt("a")\\n    t ~ lm\\n    return lm.text\\n'
>>> program = parse(f"{table}program p() -> str:\\n{body}")
>>> [(name, context.length) for name, context in prompts(program, program.engines())]
[('', 1)]
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.base.errors import CallError
from fkdsl.base.random import KeyedRng
from fkdsl.engine.cached_transformer import Context

if TYPE_CHECKING:
    from fkdsl.models.prefill.file import Stored


def begun_with(program: CalledProgram, engines: Engines) -> list[tuple[str, Context]]:
    """The contexts of s0, each with the name of its model: what the program has read before its
    first draw."""
    states, _ = program.feynman_kac(engines=engines).initial([KeyedRng(0)])
    return list(dict.fromkeys((c.model, c.node) for c in states[0].contexts if c.node.length))


def prompts(program: CalledProgram, engines: Engines) -> list[tuple[str, Context]]:
    """As `begun_with`. Raises CallError if the program has read nothing."""
    contexts = begun_with(program, engines)
    if not contexts:
        raise CallError(
            f"`{program.name}` has no prompt before its first draw, "
            "so there is nothing to compute ahead",
            "make its contexts, by prompt(...), before it draws",
        )
    return contexts


def prefill(program: CalledProgram, path: str | Path, engines: Engines | None = None) -> Stored:
    """Computes the keys and values of each prompt, and the row after it, and writes them to a
    file."""
    from fkdsl.models.prefill import contents, file

    engines = engines if engines is not None else program.engines()
    named = prompts(program, engines)
    identities = {name: contents.identity(engines[name].model) for name, _ in named}
    found = []
    for name, context in named:
        engine = engines[name]
        contents.check_tokens(engine.model, context.tokens)
        (row,) = engine.log_probs([context])
        planes = contents.planes_of(engine.model, engine.past(context))
        sums = engine.sums(context, row)
        found.append(contents.StoredContext(name, context.tokens, planes, row, sums))
    stored = file.Stored(identities, tuple(found))
    file.save_prefill(Path(path), stored)
    return stored


def adopt(program: CalledProgram, path: str | Path, engines: Engines) -> None:
    """Puts the keys, values and rows of a file into the engines' caches, where a run finds them.

    Raises CallError where the models, their precision or the program's prompts are not the file's.
    """
    from fkdsl.models.prefill import contents, file

    stored = file.read_prefill(Path(path))
    _check_models(path, stored, engines, prompts(program, engines))
    for context in stored.contexts:
        engine = engines[context.model]
        segment = contents.segment_of(engine.model, context.planes, context.tokens[0])
        engine.adopt(context.tokens, segment, context.row, context.sums)


def _check_models(
    path: str | Path, stored: Stored, engines: Engines, named: list[tuple[str, Context]]
) -> None:
    """Raises CallError where a file was not made by these models for these prompts."""
    from fkdsl.models.prefill import contents, file

    begins = {(name, context.tokens) for name, context in named}
    strange = stored.identities.keys() - {name for name, _ in begins}
    if strange:
        raise CallError(
            f"{path} is of a model that this program does not prompt",
            "make it again for this program",
        )
    for name, identity in stored.identities.items():
        if different := contents.differences(identity, contents.identity(engines[name].model)):
            message = f"{path} was made by another model, {identity['model']}: {different}"
            raise CallError(message, "make it again with this model and precision")
    for context in stored.contexts:
        if max(context.tokens) >= engines[context.model].model.vocabulary.size:
            raise CallError(
                f"{path} has a token that its model has not", "make it again by fkdsl prefill"
            )
    other = file.strange_context(stored.contexts, begins)
    if other is not None:
        text = engines[other.model].model.vocabulary.text(other.tokens)
        raise CallError(
            f"{path} was made for another prompt, of {len(other.tokens)} tokens: ...{text[-40:]!r}",
            "make it again for this program and these parameters",
        )
    for context in stored.contexts:
        size = engines[context.model].model.vocabulary.size
        if context.row.shape != (size,) or context.row.dtype.kind != "f":
            raise CallError(
                f"{path} has a row that is not of this model's vocabulary",
                "make it again by fkdsl prefill",
            )
