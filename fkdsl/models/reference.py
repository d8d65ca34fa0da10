"""What a model's name means, decided by its form alone, and whether a folder or file is one that
may be loaded.

    smollm2                    an alias
    org/name, org/name@rev     a model on the hub, unless a folder of that name exists
    ./folder, ~/folder, ...    a folder with config.json and safetensors weights
    model.gguf                 a file
    model.safetensors          a file that `fkdsl train` wrote

Nothing here imports torch or reaches the network. Weights are safetensors or gguf only: a pickle
runs code when read.

>>> parse_reference("HuggingFaceTB/SmolLM2-135M-Instruct@main")
HubReference(repo='HuggingFaceTB/SmolLM2-135M-Instruct', revision='main')
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.files import read_text, verify_regular
from fkdsl.models.sizes import verify_sizes

FORMS = "an alias (smollm2, tiny), a hub id (org/name), a folder (./folder), or a .gguf or .safetensors file"

_HUB_ID = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(@(?P<revision>[\w./-]+))?", re.ASCII
)
MOST_FILE_BYTES = 1 << 28
"""Bytes of a model's files other than its weights."""
_TEXTS = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")
_SHARD = re.compile(r"[\w.-]+\.safetensors", re.ASCII)


@dataclass(frozen=True)
class AliasReference:
    name: str


@dataclass(frozen=True)
class HubReference:
    """`revision` is a branch, tag or commit; "" is the hub's default."""

    repo: str
    revision: str = ""


@dataclass(frozen=True)
class FolderReference:
    folder: Path


@dataclass(frozen=True)
class GgufReference:
    file: Path


@dataclass(frozen=True)
class BytesReference:
    """A byte-level model that `fkdsl train` wrote."""

    file: Path


Reference = AliasReference | HubReference | FolderReference | GgufReference | BytesReference


def parse_reference(
    text: str, *, folder: Path | None = None, aliases: Sequence[str] = ("smollm2", "tiny")
) -> Reference:
    """The reference that `text` writes; paths are relative to `folder` (default: the working
    directory).

    Raises CallError if it has none of the forms, or names a path that is not there.
    """
    if not text.strip() or "\0" in text or "\n" in text:
        raise CallError(f"a model's name cannot be {text!r}", f"write {FORMS}")
    if text in aliases:
        return AliasReference(text)
    if text.startswith("bytes("):
        raise CallError(
            f"`{text}` is a view of a model, not one that is kept", "name the model itself"
        )
    path, is_folder, is_file = _look(text, folder or Path())
    if text.lower().endswith(".gguf"):
        check_gguf(path, text)
        return GgufReference(path)
    if is_folder:
        return FolderReference(path)
    if is_file and text.lower().endswith(".safetensors"):
        return BytesReference(path)
    if is_file:
        raise CallError(
            f"the model `{text}` is a file, but not a .gguf or .safetensors one",
            "name the folder that holds config.json",
        )
    if "://" in text:
        raise CallError(
            f"a model is not named by an address: `{text}`", "write the hub id alone, as org/name"
        )
    if text.startswith((".", "~", "/", os.sep)) or "\\" in text or Path(text).is_absolute():
        raise CallError(
            f"there is no model folder `{text}` (in {path.parent})",
            _nearby(path) or f"write {FORMS}",
        )
    if match := _HUB_ID.fullmatch(text):
        if ".." in text or "--" in match["repo"] or match["repo"].endswith((".git", ".", "-")):
            raise CallError(
                f"`{text}` is not a well-formed hub id", "copy org/name from the model's page"
            )
        return HubReference(match["repo"], match["revision"] or "")
    near = near_name(text.lower(), aliases) or (text.lower() if text.lower() in aliases else None)
    if near:
        raise CallError(f"there is no model called `{text}`", f"did you mean `{near}`?")
    if "/" in text:
        raise CallError(
            f"`{text}` is neither a folder here nor a hub id", "a hub id has the form org/name"
        )
    raise CallError(f"there is no model called `{text}`", f"write {FORMS}")


def _look(text: str, folder: Path) -> tuple[Path, bool, bool]:
    """The path that `text` would be, and whether it is a folder or a file."""
    try:
        path = folder / Path(text).expanduser()
        return path, path.is_dir(), path.is_file()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ):  # too long, no such user's home, not encodable: no path
        return folder / "-", False, False


def _nearby(path: Path) -> str:
    """A hint naming a neighbour whose name is near, or ""."""
    if not path.parent.is_dir():
        return ""
    near = near_name(path.name, [p.name for p in sorted(path.parent.iterdir())[:1000]])
    return f"did you mean `{near}`, which is beside it?" if near else ""


def check_gguf(path: Path, shown: str) -> None:
    """Raises CallError unless `path` is a file that begins as a gguf file does."""
    if not path.is_file():
        raise CallError(
            f"there is no file `{shown}` (in {path.parent})", _nearby(path) or "check the path"
        )
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise CallError(
                f"`{shown}` is not a gguf file: it does not begin with the letters GGUF",
                "fetch it again",
            )


def check_folder(folder: Path, shown: str) -> None:
    """Raises CallError unless `folder` holds a model that can be loaded safely: a readable
    config.json, whole safetensors weights and a tokenizer."""
    try:
        names = {p.name for p in folder.iterdir()}
    except OSError as error:
        raise CallError(f"the folder `{shown}` cannot be read: {error.strerror}") from error
    if "config.json" not in names:
        ggufs = sorted(n for n in names if n.lower().endswith(".gguf"))
        hint = (
            f"name the file: {shown}/{ggufs[0]}"
            if ggufs
            else "a model folder holds config.json, weights, tokenizer"
        )
        raise CallError(f"the folder `{shown}` has no config.json", hint)
    _verify_files(folder, shown)
    config = _read_json(folder / "config.json", shown)
    if "model.safetensors.index.json" in names:
        weights = _shards(folder / "model.safetensors.index.json", shown)
    else:
        weights = ["model.safetensors"] if "model.safetensors" in names else []
    if not weights:
        pickles = sorted(n for n in names if n.lower().endswith(_PICKLES))
        if pickles:
            raise CallError(
                f"`{shown}` has no safetensors weights, only {pickles[0]}: refused, since reading a pickle runs code",
                "convert it where you trust it: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)",
            )
        raise CallError(
            f"the folder `{shown}` has no weights (model.safetensors)", "fetch the model again"
        )
    for name in weights:
        if name not in names:
            raise CallError(
                f"`{shown}` lacks {name}, which its index lists", "fetch the model again"
            )
    verify_sizes(config, stored_tensors(folder, shown), shown)
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"}:
        raise CallError(
            f"the folder `{shown}` has no tokenizer (tokenizer.json)",
            "save the tokenizer beside the model",
        )


def _verify_files(folder: Path, shown: str) -> None:
    """Raises CallError for an entry that would hold up whoever reads it, as a library does: a pipe,
    a device, a configuration or tokenizer without end."""
    for path in folder.iterdir():
        if path.is_dir() or not path.exists():
            continue
        try:
            verify_regular(path, MOST_FILE_BYTES if path.suffix.lower() in _TEXTS else None)
        except OSError as error:
            raise CallError(
                f"`{shown}` has an unreadable {path.name}: {error.strerror}", "take it away"
            ) from None


def _read_json(path: Path, shown: str) -> dict[str, object]:
    try:
        value = json.loads(read_text(path, MOST_FILE_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CallError(
            f"`{shown}` has an unreadable {path.name}: {reason}", "fetch the model again"
        ) from error
    if not isinstance(value, dict):
        raise CallError(
            f"`{shown}` has a {path.name} that is not an object", "fetch the model again"
        )
    return value


def _shards(index: Path, shown: str) -> list[str]:
    """The weight files that an index names; only safetensors files of the same folder are let
    through, since the index could otherwise lead the loader to a pickle or out of the folder."""
    weight_map = _read_json(index, shown).get("weight_map")
    names = sorted({str(v) for v in weight_map.values()}) if isinstance(weight_map, dict) else []
    for name in names:
        if not _SHARD.fullmatch(name):
            raise CallError(
                f"`{shown}` has an index that names {name!r}, not a safetensors file beside it: refused"
            )
    return names


def check_safetensors(path: Path, shown: str) -> dict[str, int]:
    """By the name of a tensor, how many numbers the file holds of it, without reading them.

    Raises CallError unless the file's header can be read and its tensors end where the file does.
    """
    try:
        verify_regular(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(size, 100_000_000):
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        tensors = {n: t for n, t in header.items() if n != "__metadata__"}
        ends = [int(t["data_offsets"][1]) for t in tensors.values()]
        held = {
            n: (int(t["data_offsets"][1]) - int(t["data_offsets"][0])) * 8 // _bits(t)
            for n, t in tensors.items()
        }
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        IndexError,
        RecursionError,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CallError(
            f"`{shown}` is not a safetensors file: {reason}", "fetch the model again"
        ) from error
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        raise CallError(
            f"`{shown}` is damaged: {size} bytes, where its header says {whole}",
            "fetch the model again",
        )
    return held


def _bits(tensor: dict[str, Any]) -> int:
    """Bits of a number, by the last digits of its type's name, such as BF16 or F8_E4M3; a byte
    where there are none."""
    found = re.match(r"[A-Z]+(\d+)", str(tensor["dtype"]))
    return max(int(found[1]) if found else 8, 1)


def stored_tensors(folder: Path, shown: str) -> dict[str, int]:
    """By the name of a tensor of a folder's weights, how many numbers they hold of it. CallError as
    `check_folder`."""
    index = folder / "model.safetensors.index.json"
    names = _shards(index, shown) if index.exists() else ["model.safetensors"]
    return {
        n: k
        for name in names
        for n, k in check_safetensors(folder / name, f"{shown}/{name}").items()
    }
