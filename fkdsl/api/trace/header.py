"""The first line of a trace: what a run is, enough to build it again and to tell it from another
run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.cluster.engines import RemoteEngines
from fkdsl.api.engines import Engines
from fkdsl.api.lookahead import AUTO, NONE, LookaheadDecision, digest
from fkdsl.api.request import RunRequest
from fkdsl.api.trace.file import FORMAT, KEY, Trace
from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file
from fkdsl.base.spans import Source
from fkdsl.base.version import VERSION
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.method import MethodCall
from fkdsl.inference.methods import check_method
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.machine.value_json import read_value, write_value
from fkdsl.models.interface import LanguageModel
from fkdsl.values.values import show

MOST_TWIST = 16_000_000
"""Bytes of a learned twist's file at most."""
MOST_BYTES = 8_000_000
"""Bytes that a header holds at most of a file beside the program."""
FIELD_NAMES = {
    "fkdsl": "version of fkdsl",
    "program": "program",
    "arguments": "arguments",
    "model": "model",
    "dtype": "dtype",
    "device": "device",
    "engine": "engine",
    "method": "method",
    "options": "options",
    "seed": "seed",
    "islands": "islands",
    "off": "passes that are off",
    "lookahead": "look-ahead",
    "surrogates": "surrogate",
    "twist": "learned twist",
    "models": "model",
}
"""The fields, besides the files, that must be equal for a run to be resumed, with their names in
messages."""
BEFORE: Mapping[str, Any] = {"lookahead": AUTO, "surrogates": {}, "engine": None}
"""What a header has not where its run was made before there were surrogates, or engines."""


def run_header(request: RunRequest, sources: tuple[Source, ...]) -> dict[str, Any]:
    """The header of a run without its models' marks, which need loaded models. sources: the files
    of the program, the main one first."""
    program, engines = request.program, request.engines
    return {
        KEY: FORMAT,
        "fkdsl": VERSION,
        "program": program.name,
        "sources": [{"name": s.name, "text": s.text} for s in sources],
        "files": named_files(program),
        "arguments": {
            name: write_value(value) for name, value in program.parameter_values().items()
        },
        "model": _reference(engines),
        "dtype": engines.dtype,
        "device": engines.device,
        "engine": engines.runtime,
        "method": request.call.method.name,
        "options": dict(request.call.options),
        "seed": request.seed,
        "islands": request.known_islands,
        "off": sorted(program.off),
        "lookahead": request.lookahead.mark,
        "twist": _twist_digest(request.twist),
    }


def _twist_digest(path: Path | None) -> str | None:
    """What tells the file of a learned twist from others; None for none, or one that cannot be
    read, of which the run itself says so."""
    if path is None:
        return None
    try:
        return blake2b(read_file(path, MOST_TWIST), digest_size=16).hexdigest()
    except OSError:
        return None


def _reference(engines: Engines) -> str | None:
    """The model that the caller chose: a reference, or the name of a model object; None where the
    program's own is used."""
    override = engines.override
    if override is None or isinstance(override, str):
        return override
    return override.model.name if isinstance(override, CachedTransformer) else override.name


def recorded_decision(trace: Trace, request: RunRequest) -> LookaheadDecision | None:
    """What `--lookahead auto` came to in the run of a trace; None where there was nothing to
    decide. request: the run again."""
    if request.lookahead.use != AUTO:
        return None
    data = trace.header.get("auto", BEFORE)
    if data is BEFORE:  # of a run that looked ahead wherever there was a surrogate
        return LookaheadDecision("both" if trace.header.get("surrogates") else NONE)
    return LookaheadDecision(**data) if data is not None else None


def surrogate_marks(request: RunRequest) -> dict[str, str]:
    """The marks of the surrogates by which the run's draws may look ahead, by the program's names
    of their models. Loads them."""
    if request.completion_lookahead() is None:
        return {}
    if isinstance(request.engines, RemoteEngines):
        request.engines.begin()
        return dict(request.engines.surrogates)
    found = {name: request.surrogates.get(name) for name in request.program.model_names()}
    return {name: digest(surrogate) for name, surrogate in found.items() if surrogate is not None}


def model_marks(engines: Engines, names: list[str]) -> dict[str, Any]:
    """The marks of these models, by the program's names of them. Loads them."""
    return {name: model_mark(engines[name].model) for name in names}


def model_mark(model: LanguageModel) -> dict[str, Any]:
    """What tells a model from others: its name, its vocabulary, and what it says of its weights."""
    facts = model.describe()
    kept = {k: facts[k] for k in ("family", "parameters", "dtype", "digest") if k in facts}
    return {
        "name": model.name,
        "vocabulary": model.vocabulary.fingerprint,
        **{k: str(v) for k, v in kept.items()},
    }


def method_call(trace: Trace) -> MethodCall:
    """The method of a trace's run with its options. Raises CallError for options that this version
    does not have."""
    try:
        return check_method(trace.header["method"]).call(trace.header["options"])
    except CallError as error:
        raise CallError(
            f"{trace.path} is of a run that this version of fkdsl cannot make: {error.message}",
            "read it by the version that wrote it",
        ) from None


def named_files(program: CalledProgram) -> dict[str, str]:
    """The text of each schema, grammar and Python file that the program's files name, by that
    name; and what tells the content of each index from others, as "index NAME"."""
    texts = {}
    for module in (program.checked.module, *program.checked.imported):
        folder = program.checked.folders[module.source]
        for node in walk(*module.declarations):
            with suppress(OSError):  # the run itself reports a file that it cannot read
                match node:
                    case tree.IndexDecl(name=name):
                        texts[f"index {name}"] = program.index_digest(name)
                    case tree.ExternDef(path=name):
                        texts[name] = _text(folder.path / name)
                    case tree.Literal(value=str() as name) if name.endswith(
                        (".json", ".lark")
                    ) and _is_beside(name):
                        texts[name] = _text(folder.find(name))
    return texts


def _text(path: Path) -> str:
    return read_file(path, MOST_BYTES).decode("utf-8", "replace")


def _is_beside(name: str) -> bool:
    """Whether a name cannot lead out of its folder; those of schemas and grammars must not."""
    return (
        "\0" not in name
        and len(name) < 256
        and not Path(name).is_absolute()
        and ".." not in Path(name).parts
    )


def verify_same_run(trace: Trace, header: Mapping[str, Any]) -> None:
    """Raises CallError if the run of a trace differs from this one in a field of `header`, and says
    how."""
    other = trace.header
    for key, what in FIELD_NAMES.items():
        before = other.get(key, BEFORE.get(key))
        if key in header and header[key] != before:
            was, now = _shown(key, before), _shown(key, header[key])
            if was == now:
                _refuse(trace, f"{what}: another of the same name ({now})")
            _refuse(trace, f"{what}: {was} there, {now} here")
    _verify_sources(trace, other["sources"], header["sources"])
    for name in sorted({*other["files"], *header["files"]}):
        if other["files"].get(name) != header["files"].get(name):
            what = name if name.startswith("index ") else f"the file {name}"
            _refuse(trace, f"{what} has changed")


def _verify_sources(trace: Trace, was: list[dict[str, str]], now: list[dict[str, str]]) -> None:
    for old, new in zip(was, now, strict=False):
        if old["text"] != new["text"]:
            pairs = enumerate(
                zip(old["text"].split("\n"), new["text"].split("\n"), strict=False), 1
            )
            line = next(
                (n for n, (a, b) in pairs if a != b),
                min(old["text"].count("\n"), new["text"].count("\n")) + 1,
            )
            _refuse(trace, f"the text of {new['name']} has changed, first in line {line}")
    if len(was) != len(now):
        _refuse(trace, f"the program has {len(now)} files and had {len(was)}")


def _refuse(trace: Trace, difference: str) -> None:
    raise CallError(
        f"{trace.path} is of another run: {difference}",
        "call it as it was called, or begin anew with --trace",
    )


def _shown(key: str, value: Any) -> str:
    match value:
        case None:
            return {
                "model": "the program's own",
                "islands": "found by a pilot",
                "twist": "none",
            }.get(key, "the default")
        case dict() if key == "surrogates":
            return "one" if value else "none"
        case dict() if key == "models":
            return ", ".join(sorted({m["name"] for m in value.values()})) or "none"
        case dict():
            return ", ".join(f"{k}={_plain(v)}" for k, v in value.items()) or "none"
        case list():
            return ", ".join(value) or "none"
    return str(value)


def _plain(value: Any) -> str:
    return show(read_value(value))
