"""The libraries that may compute a model's forwards in the place of fkdsl's own decoder: what
`engine="..."` and `--engine` name.

    model m = "weights.gguf" with engine="llamacpp"

Importing this module imports no library. A loader gets what `load_model` knows of the model; it is
imported, and its library with it, when a model is first loaded by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fkdsl.base.errors import CallError

if TYPE_CHECKING:  # `fkdsl check` imports this module, and needs none of these
    from pathlib import Path

    from fkdsl.models.interface import LanguageModel
    from fkdsl.models.reference import Reference


@dataclass(frozen=True)
class Runtime:
    """An engine. title: the library's name for readers. loader: "module:function", which takes a
    Request. serves: what it reads, in words. options: what a declaration may say beside `engine`,
    whole numbers, each with the least and the most that it may be."""

    title: str
    loader: str
    serves: str
    options: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def load(self, request: Request) -> LanguageModel:
        """The model, loaded by the library. Raises CallError where the library is not installed, or
        cannot serve the model."""
        module, _, function = self.loader.partition(":")
        load: Callable[[Request], LanguageModel] = getattr(import_module(module), function)
        return load(request)


@dataclass(frozen=True)
class Request:
    """A model to be loaded. name: as the user called it. place, file: the folder or file that holds
    it, and the name of the gguf file in the folder, or None. dtype, device: as the user gave them.
    origin: facts for `describe`."""

    name: str
    parsed: Reference
    place: Path
    file: str | None
    dtype: str | None
    device: str | None
    origin: Mapping[str, Any]
    options: Mapping[str, int]


RUNTIMES: Mapping[str, Runtime] = {
    "llamacpp": Runtime(
        "llama.cpp",
        "fkdsl.models.llamacpp.loading:load",
        "gguf files",
        {"sequences": (1, 256)},
    ),
    "vllm": Runtime(
        "vLLM",
        "fkdsl.models.vllm.loading:load",
        "folders and hub models",
        {"tensor_parallel": (1, 64), "memory": (1, 4096), "sessions": (1, 4096), "graphs": (0, 1)},
    ),
}
"""Engines by name."""


def check_engine(name: str, options: Mapping[str, Any]) -> Runtime:
    """The engine of a name. Raises CallError for an unknown one, or options that it has not."""
    runtime = RUNTIMES.get(name)
    if runtime is None:
        raise CallError(f"there is no engine `{name}`", f"use one of {', '.join(RUNTIMES)}")
    for key, value in options.items():
        if wrong := wrong_option(runtime, key, value):
            known = ", ".join(runtime.options) or "none"
            raise CallError(f"`{key}` of {name}: {wrong}", f"its options: {known}")
    return runtime


def wrong_option(runtime: Runtime, key: str, value: Any) -> str:
    """What is wrong with an option, in words; "" if nothing is."""
    if key not in runtime.options:
        return "no such option"
    low, high = runtime.options[key]
    if type(value) is int and low <= value <= high:
        return ""
    return f"a whole number from {low} to {high}"
