"""A program's parameters as Python gives them: their values as the language has them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError
from fkdsl.base.files import read_file
from fkdsl.base.surrogates import first_surrogate
from fkdsl.language.check.checker import FunctionInfo
from fkdsl.language.check.report import a
from fkdsl.models.vision.images import MOST_BYTES, png_bytes
from fkdsl.values.images import Image
from fkdsl.values.library.images import image_of
from fkdsl.values.signatures import BuiltinError
from fkdsl.values.types import BOOL, FLOAT, IMAGE, INT, STR, List, Type


def check_argument(info: FunctionInfo, name: str, value: Any) -> Any:
    """A parameter's value as the language has it. Raises CallError for a parameter that the program
    does not have, and for a value of another type."""
    names = [p.name for p in info.definition.params]
    if name not in names:
        near = near_name(name, names)
        help = (
            f"did you mean `{near}`?"
            if near
            else f"its parameters are: {', '.join(names) or 'none'}"
        )
        raise CallError(f"`{info.definition.name}` has no parameter `{name}`", help)
    return _of_type(name, value, info.params[names.index(name)])


def _of_type(name: str, value: Any, wanted: Type) -> Any:
    if wanted != IMAGE and callable(plain := getattr(value, "tolist", None)):
        value = plain()  # a number or an array of numpy, a column of pandas
    match wanted:
        case List(item) if isinstance(value, list | tuple):
            return tuple(_of_type(name, v, item) for v in value)
        case _ if wanted == BOOL and isinstance(value, bool):
            return value
        case _ if wanted == INT and isinstance(value, int) and not isinstance(value, bool):
            return value
        case _ if (
            wanted == FLOAT and isinstance(value, int | float) and not isinstance(value, bool)
        ):
            return float(value)
        case _ if wanted == STR and isinstance(value, str):
            if first_surrogate(value) is not None:
                raise CallError(
                    f"the parameter `{name}` is no text in UTF-8: {value!r}", "give it as UTF-8"
                )
            return str.__str__(value)  # also of a member of an Enum of texts
        case _ if wanted == IMAGE:
            return image_argument(name, value)
    message = f"the parameter `{name}` takes {a(wanted)}, not {value!r}"
    if wanted == STR and isinstance(value, dict | list):
        raise CallError(message, "give it as a text, by json.dumps")
    raise CallError(message, f"such as {example_of(wanted)}")


def example_of(wanted: Type) -> str:
    """A value of a parameter's type, as JSON."""
    if isinstance(wanted, List):
        return f"[{example_of(wanted.item)}, {example_of(wanted.item)}]"
    examples: dict[Type, str] = {BOOL: "true", INT: "5", FLOAT: "0.5"}
    return examples.get(wanted, '"a"')


def image_argument(name: str, value: Any) -> Image:
    """An image that the caller gives for a parameter: a file's path, relative to the working
    directory, its bytes, or a PIL image. Raises CallError for one that cannot be read."""
    origin, content = "", value
    if isinstance(value, Image):
        return value
    if isinstance(value, str | PathLike):
        origin = str(value)
        try:
            content = read_file(Path(value).expanduser(), MOST_BYTES)
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CallError(
                f"the parameter `{name}` cannot be read: {origin!r}: {reason}",
                "give the path of an image",
            ) from None
    elif hasattr(value, "save") and hasattr(value, "mode"):
        content = png_bytes(value)
    if not isinstance(content, bytes):
        raise CallError(
            f"the parameter `{name}` is an image, not {value!r}",
            "give a path, the bytes of a file, or a PIL image",
        )
    try:
        return image_of(content, origin)
    except BuiltinError as error:
        raise CallError(f"the parameter `{name}`: {error.message}", error.help) from None
