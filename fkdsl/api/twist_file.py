"""Files of learned twists: safetensors of bounded size with facts in the header, bound to the
program and the models that they were tuned for.

    write_twist(path, twist, identity(program, engines), made)
    twist, note = twist_for(path, program, engines)       # refuses another program's or model's

What a file may do to a run is bounded by what a twist is: its guesses are finite, within
LearnedTwist.LARGEST, and taken back. A wrong file makes a run poor, and never wrong.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.api.trace.header import MOST_TWIST, model_marks, named_files
from fkdsl.base.errors import CallError
from fkdsl.base.files import check_target, read_file
from fkdsl.base.logspace import Floats
from fkdsl.base.shown import one_line
from fkdsl.machine.value_json import write_value
from fkdsl.steering.learned_twist import LARGEST, LearnedTwist, feature_count

FORMAT = "fkdsl twist 1"
MOST_HEADER = 1_000_000
"""Bytes of the header that are read at most."""
MOST_FEATURES, MOST_HIDDEN, MOST_NAME = 4096, 512, 300
MOST_WEIGHT = 1e7
"""The largest number among the weights, of either sign."""
AGAIN = "make it again: fkdsl tune PROGRAM.fk --out {path}"


def identity(program: CalledProgram, engines: Engines) -> dict[str, Any]:
    """What a twist is bound to: the text of the program and of all files that it names, what it is
    compiled to, and its models with their precision; and the parameters that it was tuned with.
    Loads the models."""
    checked = program.checked
    texts = [
        source.text for source in (checked.module.source, *(m.source for m in checked.imported))
    ]
    texts += [text for _, text in sorted(named_files(program).items())]
    return {
        "program": program.name,
        "text": _digest(*texts),
        "code": _digest(*_positions(program)),
        "arguments": {n: write_value(v) for n, v in program.parameter_values().items()},
        "models": model_marks(engines, program.model_names()),
    }


def _positions(program: CalledProgram) -> list[str]:
    """What the numbers of instructions and variables in a twist's features mean."""
    return [
        f"{name} {function.slots} {[type(instruction).__name__ for instruction in function.body]}"
        for name, function in sorted(program.ir().functions.items())
    ]


def _digest(*texts: str) -> str:
    digest = blake2b(digest_size=16)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()


def write_twist(
    path: Path, twist: LearnedTwist, identity: Mapping[str, Any], made: Mapping[str, Any]
) -> None:
    """Writes the file under a temporary name and renames it, so that one that is cut off leaves the
    old one. made: how it was tuned, for people. Raises CallError if it cannot be written."""
    from safetensors.numpy import save

    facts = {
        **identity,
        "names": list(twist.names),
        "tokens": {model: list(ids) for model, ids in twist.tokens.items()},
        "bias": twist.bias,
        "low": twist.low,
        "high": twist.high,
        "made": dict(made),
    }
    arrays = {name: _narrow(getattr(twist, name)) for name in shapes_of(1, 1)}
    metadata = {"format": FORMAT, "facts": json.dumps(facts)}
    metadata["checksum"] = _checksum(metadata["facts"], arrays)
    check_target(path)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        scratch.write_bytes(save(arrays, metadata))
        os.replace(scratch, path)
    except OSError as error:
        raise CallError(
            f"cannot write {path}: {error.strerror or error}",
            "name a file in a folder that is there",
        ) from None
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def _narrow(values: Floats) -> Any:
    return np.ascontiguousarray(values, dtype=np.float32)


def shapes_of(features: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a twist."""
    return {
        "mean": (features,),
        "scale": (features,),
        "hidden": (features, hidden),
        "offset": (hidden,),
        "linear": (features,),
        "output": (hidden,),
    }


def _checksum(facts: str, arrays: Mapping[str, Any]) -> str:
    digest = blake2b(facts.encode(), digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape};".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def read_twist(path: Path) -> tuple[LearnedTwist, dict[str, Any]]:
    """(the twist, the facts of the header). Raises CallError for a file of another kind, a damaged
    one, and one whose numbers are no twist's."""
    if path.suffix == ".fk":
        raise CallError(
            f"{path} is a program, and --twist takes what `fkdsl tune` learned of one",
            f"tune it first: fkdsl tune {path}",
        )
    try:
        data = read_file(path, MOST_TWIST)
    except FileNotFoundError:
        raise CallError(f"there is no file {path}", AGAIN.format(path=path)) from None
    except OSError as error:
        raise CallError(
            f"cannot read {path}: {error.strerror}", "name a file of `fkdsl tune`"
        ) from None
    metadata = _metadata(data)
    if metadata.get("format") != FORMAT:
        raise CallError(
            f"{path} is no twist that this version of fkdsl reads", AGAIN.format(path=path)
        )
    try:
        arrays = _arrays(data)
        if metadata.get("checksum") != _checksum(metadata["facts"], arrays):
            raise ValueError("it was changed or cut off since it was made")
        facts = json.loads(metadata["facts"])
        return _twist(facts, arrays), facts
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise CallError(f"{path} is damaged: {error}", AGAIN.format(path=path)) from None


def _metadata(data: bytes) -> dict[str, str]:
    """The strings of a safetensors header; none where it has none."""
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(MOST_HEADER, len(data) - 8):
        return {}
    try:
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        return {k: v for k, v in metadata.items() if isinstance(v, str)}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _arrays(data: bytes) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(data))
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _twist(facts: Any, arrays: Mapping[str, Any]) -> LearnedTwist:
    """The twist that facts and arrays say. Raises ValueError, LookupError or TypeError where they
    say none. The checksum does not exclude that: anybody can compute it."""
    names, tokens = tuple(facts["names"]), {m: tuple(i) for m, i in facts["tokens"].items()}
    if not all(isinstance(n, str) and len(n) <= MOST_NAME for n in (*names, *tokens)):
        raise ValueError("a feature without a name")
    if not all(type(i) is int and 0 <= i < 1 << 31 for ids in tokens.values() for i in ids):
        raise ValueError("a token without a number")
    features, hidden = feature_count(names, tokens), len(arrays["offset"])
    if not (0 < features <= MOST_FEATURES and hidden <= MOST_HIDDEN):
        raise ValueError(f"{features} features and {hidden} units")
    for name, shape in shapes_of(features, hidden).items():
        a = arrays[name]
        if a.shape != shape or a.dtype != np.float32:
            raise ValueError(f"`{name}` is {a.dtype} {a.shape}, not float32 {shape}")
        if not (np.isfinite(a).all() and np.abs(a).max(initial=0.0) <= MOST_WEIGHT):
            raise ValueError(f"`{name}` has numbers that are not finite, or too large")
    if not (arrays["scale"] > 0.0).all():
        raise ValueError("`scale` has numbers that are not above 0")
    bias, low, high = (float(facts[name]) for name in ("bias", "low", "high"))
    if not (math.isfinite(bias) and -LARGEST <= low <= high <= LARGEST):
        raise ValueError(f"guesses between {low} and {high}")
    wide = {name: arrays[name].astype(np.float64) for name in shapes_of(1, 1)}
    return LearnedTwist(names, tokens, **wide, bias=bias, low=low, high=high)


def twist_for(path: Path, program: CalledProgram, engines: Engines) -> tuple[LearnedTwist, str]:
    """The twist of a file for a run of the program, and what a reader must know of it, "" for
    nothing. Loads the models. Raises CallError where the program, its files or its models are not
    those that it was tuned for."""
    twist, facts = read_twist(path)
    here = identity(program, engines)
    if difference := _difference(facts, here):
        raise CallError(f"{path} was tuned for another run: {difference}", AGAIN.format(path=path))
    for model, ids in twist.tokens.items():
        size = engines[model].model.vocabulary.size
        if ids and max(ids) >= size:
            raise CallError(f"{path} has a token that its model has not", AGAIN.format(path=path))
    was, now = facts.get("arguments"), here["arguments"]
    if was == now:
        return twist, ""
    names = [n for n in now if not isinstance(was, dict) or was.get(n) != now[n]]
    return twist, (
        f"{path} was tuned with another value of {', '.join(names)}: it guesses less well here, "
        "and changes no answer"
    )


def _difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What a file was tuned for and is not, in words; "" if nothing."""
    if was.get("program") != now["program"]:
        return f"the program is `{now['program']}`, and was `{_brief(was.get('program'))}`"
    if was.get("text") != now["text"]:
        return "the text of the program, or of a file that it names, has changed"
    models = was.get("models")
    if not isinstance(models, dict) or models.keys() != now["models"].keys():
        return "its models are others"
    for name, mark in now["models"].items():
        other = models[name] if isinstance(models[name], dict) else {}
        for key in ("name", "family", "vocabulary", "parameters", "dtype", "digest"):
            if other.get(key) != mark.get(key):
                what = {"dtype": "the precision of", "digest": "the weights of"}.get(
                    key, f"the {key} of"
                )
                if key in ("dtype", "name"):
                    return f"{what} its model is {mark.get(key)}, and was {_brief(other.get(key))}"
                return f"{what} its model {mark['name']} are not those that it was tuned with"
    if was.get("code") != now["code"]:
        return "it is compiled otherwise (another version of fkdsl, or other --no-opt)"
    return ""


def _brief(value: Any) -> str:
    """A fact of a stranger's file, for a message."""
    text = one_line(str(value))
    return text if len(text) <= 60 else text[:57] + "..."
