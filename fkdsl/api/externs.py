"""The Python functions that a program declares by `extern def`. They are refused unless the caller
allows them: a .fk file may come from a stranger, and they are its one way to make Python run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.files import real_path
from fkdsl.base.surrogates import without_surrogates
from fkdsl.language.check.checker import ExternInfo
from fkdsl.values.signatures import BuiltinError
from fkdsl.values.types import BOOL, FLOAT, INT, RECORD, STR, List, Type
from fkdsl.values.values import Record, plain, show


def load_externs(
    declared: Mapping[str, ExternInfo], allowed: bool
) -> dict[str, Callable[..., Any]]:
    """The declared functions, on the language's values. Raises CallError if they are not allowed,
    or cannot be loaded."""
    if declared and not allowed:
        first = next(iter(declared.values())).definition
        paths = dict.fromkeys(d.definition.path for d in declared.values())
        raise CallError(
            f"{first.span}: this program runs Python code: {', '.join(paths)}",
            "read that code, and if you trust it, run with --allow-extern",
        )
    modules: dict[Path, ModuleType] = {}
    return {name: _wrapped(info, _function(info, modules)) for name, info in declared.items()}


def _function(info: ExternInfo, modules: dict[Path, ModuleType]) -> Callable[..., Any]:
    definition = info.definition
    path = real_path((info.folder or Path()) / definition.path)
    if path not in modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise CallError(
                f"{definition.span}: there is no Python file {path}", "check the path after `from`"
            )
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise CallError(
                f"{path} failed as it was loaded: {type(error).__name__}: {error}",
                "run it by itself",
            ) from None
        modules[path] = module
    function = getattr(modules[path], definition.name, None)
    if not callable(function):
        raise CallError(f"{path} has no function `{definition.name}`", "name it as Python does")
    return function  # type: ignore[no-any-return]


def _wrapped(info: ExternInfo, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        try:
            result = function(*map(plain, args))
        except Exception as error:
            raise BuiltinError(
                f"`{info.definition.name}` failed: {type(error).__name__}: {error}", "mend it"
            ) from None
        value = _from_python(result)
        if not _fits(value, info.returns):
            message = f"`{info.definition.name}` gave {show(value)!r}, which is no {info.returns}"
            raise BuiltinError(message, f"return a {info.returns}")
        return float(value) if info.returns == FLOAT else value

    return call


def _from_python(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_from_python, value))
    if isinstance(value, dict):
        return Record({without_surrogates(str(k)): _from_python(v) for k, v in value.items()})
    return without_surrogates(value) if isinstance(value, str) else value


def _fits(value: Any, wanted: Type) -> bool:
    match wanted:
        case List(item):
            return isinstance(value, tuple) and all(_fits(v, item) for v in value)
        case _ if wanted == FLOAT:
            return isinstance(value, int | float)
    kinds: dict[Type, type] = {BOOL: bool, INT: int, STR: str, RECORD: Record}
    return type(value) is kinds.get(wanted, object)
