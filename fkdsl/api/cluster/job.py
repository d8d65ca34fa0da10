"""A run as data that another machine can make again: the text of the program, the files that it
names, its parameters, the call, and the names of its models.

What travels is everything that an island is a function of (fkdsl.inference.island_runner), but two
things: the models' weights, which each machine has under the same name and whose marks are compared
(islands.py), and the seed and the island's index, which are in each task. A job's digest names its
content, so a worker makes ready for it once.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines, LoadedModels
from fkdsl.api.lookahead import LookaheadChoice, LookaheadReference
from fkdsl.api.request import RunRequest
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file, shown_size
from fkdsl.base.spans import Source
from fkdsl.base.version import VERSION
from fkdsl.language.check.indexes import IndexInfo
from fkdsl.language.compile import check_source
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import walk
from fkdsl.machine.value_json import read_value, write_value
from fkdsl.models.surrogate import files as surrogate_files
from fkdsl.retrieval.errors import RetrievalError

MOST_FILE = 8 << 20
"""Bytes of one file that a program names, at most."""
MOST_FILES = 64 << 20
"""Bytes of all of them."""
MODEL_FILES = (".gguf", ".safetensors")
"""Files of models, which do not travel."""
CALLER_TABLES = ".caller.fk"
"""The name of the file of tables that the caller gave as the model."""
TWIST, SURROGATE = ".twist", ".surrogate"


def job_of(request: RunRequest) -> bytes:
    """The run as JSON. Raises CallError for what cannot travel: a model that is a Python object, a
    file outside of the program's folder, too many bytes."""
    program, engines = request.program, request.engines
    files = dict(named_files(program))
    if request.twist is not None:
        files[TWIST] = _read(request.twist, str(request.twist))
    lookahead = request.lookahead.use
    if request.lookahead.surrogate is not None:
        lookahead, files[SURROGATE] = SURROGATE, _surrogate_bytes(request.lookahead)
    model = _model(engines, files)
    size = sum(map(len, files.values()))
    if size > MOST_FILES:
        raise CallError(
            f"the files of this program have {shown_size(size)}, and {shown_size(MOST_FILES)} "
            "travel at most",
            "run it in one process",
        )
    call = request.call
    job = {
        "fkdsl": VERSION,
        "name": program.checked.module.source.name,
        "text": program.checked.module.source.text,
        "files": {name: base64.b64encode(raw).decode() for name, raw in sorted(files.items())},
        "model_folder": os.path.abspath(program.folder),
        "selected": program.selected,
        "arguments": {k: write_value(v) for k, v in program.arguments.items()},
        "off": sorted(program.off),
        "allow_extern": program.allow_extern,
        "model": model,
        "dtype": engines.dtype,
        "device": engines.device,
        "engine": engines.runtime,
        "cache_memory": engines.cache_memory,
        "max_batch": engines.max_batch,
        "metered": engines.metered,
        "method": call.method.name,
        "options": dict(call.given),
        "max_steps": request.max_steps,
        "lookahead": lookahead,
        "alternatives": request.alternatives,
        "prefill_store": _store(request.prefill_store),
    }
    return json.dumps(job, sort_keys=True).encode()


def _store(url: str | None) -> str | None:
    """A store of prompts by a name that other machines can read."""
    return url if url is None or "://" in url else os.path.abspath(url)


def digest_of_job(job: bytes) -> str:
    """The name of a job's content."""
    return blake2b(job, digest_size=16).hexdigest()


def named_files(program: CalledProgram) -> Iterator[tuple[str, bytes]]:
    """(path from the program's folder, bytes) of each file that the program's files name: imports,
    schemas, grammars, tables, Python files; and those that its parameters name."""
    checked, main = program.checked, os.path.realpath(program.folder)
    given = [v for v in program.parameter_values().values() if isinstance(v, str)]
    names = [(checked.folders[checked.module.source], name) for name in given]
    for module in (checked.module, *checked.imported):
        folder = checked.folders[module.source]
        names += [(folder, name) for node in walk(*module.declarations) for name in _names(node)]
    names += [(i.folder, name) for i in checked.indexes.values() for name in _files_of(i)]
    seen = set()
    for folder, name in names:
        path = None
        with suppress(OSError, ValueError):  # the run itself says what it cannot read
            path = folder.find(name)
        if path is None or not _is_file(path):
            continue
        at = os.path.normpath(os.path.join(os.path.relpath(folder.path, program.folder), name))
        if at.split(os.sep)[0] == ".." or os.path.isabs(name):
            if not program.allow_outside:
                continue
            raise CallError(
                f"`{name}` lies outside of {main}, and does not travel to other machines",
                "put it below the program's folder",
            )
        if at not in seen:
            seen.add(at)
            yield at, _read(path, name)


def _files_of(index: IndexInfo) -> list[str]:
    """The files of an index, which is made anew where they travel to, and its adapter."""
    from fkdsl.retrieval.files import find_files

    with suppress(RetrievalError):  # the run itself says what it cannot read
        found = [file.name for file in find_files(index.spec.pattern, index.folder)]
        return found + [index.spec.adapter] * bool(index.spec.adapter)
    return []


def _names(node: Any) -> Iterator[str]:
    """What may be the name of a file in a node of a program."""
    match node:
        case tree.Import(path=str() as name) | tree.ExternDef(path=str() as name):
            yield name
        case tree.ModelDecl(reference=str() as name) if name.endswith(".fk"):
            yield name
        case tree.Literal(value=str() as name) if not name.endswith(MODEL_FILES):
            yield name


def _is_file(path: Path) -> bool:
    """Whether it is a file with an ending, as files that programs name are."""
    try:
        return bool(path.suffix) and path.is_file()
    except (OSError, ValueError):
        return False


def _read(path: Path, name: str) -> bytes:
    try:
        return read_file(path, MOST_FILE)
    except OSError as error:
        raise CallError(f"cannot read {name}: {error.strerror}", "check the file") from None


def _surrogate_bytes(choice: LookaheadChoice) -> bytes:
    assert choice.surrogate is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "surrogate")
        surrogate_files.write(path, choice.surrogate)
        return path.read_bytes()


def _model(engines: Engines, files: dict[str, bytes]) -> str | None:
    """The caller's model by a name that other machines can read; a file of tables goes with the
    files."""
    override = engines.override
    if override is None:
        return None
    if not isinstance(override, str):
        raise CallError(
            "a model that is a Python object does not travel to other machines",
            "give its name, its folder or its file",
        )
    if override.endswith(".fk") and override not in engines.declared:
        files[CALLER_TABLES] = _read(Path(override), override)
        return CALLER_TABLES
    is_path = os.sep in override or override.endswith(MODEL_FILES)
    return os.path.abspath(override) if is_path and os.path.exists(override) else override


# ------------------------------------------------------------------ on the other machine


def _inside(folder: Path, name: str) -> Path:
    """The path of a job's file. Raises CallError for a name that leads out of the folder."""
    path = os.path.normpath(name)
    out = os.path.isabs(path) or path.split(os.sep)[0] in ("..", ".")
    if out or not name or "\0" in name:
        raise CallError(
            f"{name[:100]!r} is no file of a program that travels", "run the same fkdsl everywhere"
        )
    return folder / path


def request_of_job(job: Mapping[str, Any], folder: Path, loaded: LoadedModels) -> RunRequest:
    """The run again, its files in `folder`, which is empty. loaded: models that are loaded already.
    Raises CallError where this machine has another version of fkdsl, and what a request raises."""
    if job["fkdsl"] != VERSION:
        raise CallError(
            f"this machine has fkdsl {VERSION}, and the run is of fkdsl {job['fkdsl']}",
            "install the same version on every machine",
        )
    for name, text in job["files"].items():
        path = _inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(text))
    program = CalledProgram(
        check_source(Source(job["name"], job["text"]), folder),
        folder,
        job["allow_extern"],
        job["selected"],
        {name: read_value(value) for name, value in job["arguments"].items()},
        frozenset(job["off"]),
    )
    model, lookahead = job["model"], job["lookahead"]
    engines = program.engines(
        str(folder / CALLER_TABLES) if model == CALLER_TABLES else model,
        cache_memory=job["cache_memory"],
        max_batch=job["max_batch"],
        dtype=job["dtype"],
        device=job["device"],
        runtime=job["engine"],
        metered=job["metered"],
        loaded=loaded,
        model_folder=Path(job["model_folder"]),
    )
    look: LookaheadReference = folder / SURROGATE if lookahead == SURROGATE else lookahead
    return RunRequest.of(
        program,
        job["method"],
        job["options"],
        engines=engines,
        timeout=Deadline(),
        max_steps=job["max_steps"],
        lookahead=look,
        twist=folder / TWIST if TWIST in job["files"] else None,
        alternatives=job["alternatives"],
        prefill_store=job["prefill_store"],
    )
