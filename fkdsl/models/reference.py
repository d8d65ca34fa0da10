"""Decides what a model's name means, by its form, and whether a folder or file may be loaded.

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
from pathlib import Path
from typing import Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.files import read_text, verify_regular
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.models.sizes import verify_sizes

FORMS = (
    "an alias (smollm2, tiny), a hub id (org/name), a folder (./folder), or a .gguf or "
    ".safetensors file"
)

_HUB_ID = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(@(?P<revision>[\w./-]+))?", re.ASCII
)
MOST_FILE_BYTES = 1 << 28
"""Most bytes of a model's file that holds no weights."""
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
    """The reference that a name stands for. Paths are relative to `folder`, by default the working
    directory.

    Raises CallError for a name of another form, or a path that does not exist.
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
    """(the path that a text names, whether it is a folder, whether it is a file)."""
    try:
        path = folder / Path(text).expanduser()
        return path, path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError):
        # The text is no path: too long, with the home of an unknown user, or not encodable.
        return folder / "-", False, False


def _nearby(path: Path) -> str:
    """A hint at a file or folder beside `path` with a similar name; "" if there is none."""
    if not path.parent.is_dir():
        return ""
    near = near_name(path.name, [p.name for p in sorted(path.parent.iterdir())[:1000]])
    return f"did you mean `{near}`, which is beside it?" if near else ""


def check_gguf(path: Path, shown: str) -> None:
    """Raises CallError unless `path` is a file that begins like a gguf file. `read_header` of
    gguf_header.py checks the rest when the file is loaded."""
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
    """Raises CallError unless `folder` has what can be loaded safely: a readable config.json,
    complete safetensors weights of the sizes that it names, and a tokenizer."""
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
                f"`{shown}` has no safetensors weights, only {pickles[0]}: refused, since reading "
                "a pickle runs code",
                "convert it where you trust it: "
                "AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)",
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
    """Raises CallError for an entry that would block a library that reads it, or fill the memory: a
    pipe, a device, a configuration or tokenizer that is too large."""
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
    """The weight files that an index names. Raises CallError for names other than safetensors files
    of the same folder, since those could lead the loader to a pickle or out of the folder."""
    weight_map = _read_json(index, shown).get("weight_map")
    names = sorted({str(v) for v in weight_map.values()}) if isinstance(weight_map, dict) else []
    for name in names:
        if not _SHARD.fullmatch(name):
            raise CallError(
                f"`{shown}` has an index that names {name!r}, not a safetensors file beside it: "
                "refused"
            )
    return names


def check_safetensors(path: Path, shown: str) -> dict[str, int]:
    """For each tensor of a file, by name, how many numbers it has, from the file's header.

    Raises CallError unless the header can be read and the last tensor ends where the file does.
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
        numbers = {
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
    return numbers


def _bits(tensor: dict[str, Any]) -> int:
    """The bits of a tensor's numbers, by the first digits of its type's name, such as BF16 or
    F8_E4M3; 8 if the name has none."""
    digits = re.match(r"[A-Z]+(\d+)", str(tensor["dtype"]))
    return max(int(digits[1]) if digits else 8, 1)


def stored_tensors(folder: Path, shown: str) -> dict[str, int]:
    """For each tensor of a folder's weights, by name, how many numbers it has. Raises CallError as
    `check_safetensors` does."""
    index = folder / "model.safetensors.index.json"
    names = _shards(index, shown) if index.exists() else ["model.safetensors"]
    return {
        n: k
        for name in names
        for n, k in check_safetensors(folder / name, f"{shown}/{name}").items()
    }
