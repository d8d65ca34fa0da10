"""A program's parameters as a JSON schema, and the text of an OpenAI request as parameters.

>>> import fkdsl
>>> program = fkdsl.parse('''
... program greet(name: str, words: int = 5) -> str:
...     return name
... ''')
>>> schema = parameter_schema(program)
>>> schema["properties"]["words"], schema["required"]
({'type': 'integer', 'default': 5}, ['name'])
>>> text_parameter(program)
'name'
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.language.check.constants import constant
from fkdsl.serve.failures import RequestError
from fkdsl.values.images import Image
from fkdsl.values.library.images import image_of
from fkdsl.values.signatures import BuiltinError
from fkdsl.values.types import BOOL, FLOAT, IMAGE, INT, STR, List, Type
from fkdsl.values.values import plain

PROMPT, MESSAGES, MAX_TOKENS = "prompt", "messages", "max_tokens"
"""Parameters that an OpenAI request fills."""
MESSAGE_LISTS: tuple[Type, ...] = (List(STR),)


def type_schema(type: Type, items: int | None = None) -> dict[str, Any]:
    """The JSON schema of a type's values. items: of each list, at most."""
    match type:
        case List(item):
            most = {} if items is None else {"maxItems": items}
            return {"type": "array", "items": type_schema(item, items), **most}
        case _ if type == BOOL:
            return {"type": "boolean"}
        case _ if type == INT:
            return {"type": "integer"}
        case _ if type == FLOAT:
            return {"type": "number"}
        case _ if type == STR:
            return {"type": "string"}
        case _ if type == IMAGE:
            return {"type": "string", "pattern": "^data:image/[a-z]+;base64,"}
    return {}


def parameter_schema(program: CalledProgram, items: int | None = None) -> dict[str, Any]:
    """The JSON schema of the object that `parameters` of a request is."""
    properties: dict[str, Any] = {}
    required = []
    for param, type in zip(program.info.definition.params, program.info.params, strict=True):
        properties[param.name] = type_schema(type, items)
        if param.default is None:
            required.append(param.name)
        else:
            properties[param.name]["default"] = plain(constant(param.default))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**schema, "required": required} if required else schema


def types_of(program: CalledProgram) -> dict[str, Type]:
    """The types of the parameters by name."""
    names = (p.name for p in program.info.definition.params)
    return dict(zip(names, program.info.params, strict=True))


def text_parameter(program: CalledProgram) -> str | None:
    """The parameter that the text of a request goes to: `prompt`, else the only one that is a
    text; None if there is no such one."""
    texts = [name for name, type in types_of(program).items() if type == STR]
    if PROMPT in texts:
        return PROMPT
    return texts[0] if len(texts) == 1 else None


def with_text(program: CalledProgram, text: str) -> dict[str, Any]:
    """The parameters that a prompt sets. Raises RequestError where the program takes none."""
    name = text_parameter(program)
    if name is not None:
        return {name: text}
    if text == "":
        return {}
    raise _takes_no(program, "prompt", "text")


def with_messages(program: CalledProgram, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters that the messages of a chat set.

    A parameter `messages: list[str]` takes the texts, a message each, without their roles. Else
    what the user said last goes where a prompt would go, and what the system said to a parameter
    `system`. Images go to the parameters of the type image, in order, or to the only one that is a
    list of images. Raises RequestError where something that was said would be lost.
    """
    types = types_of(program)
    read = [message_parts(m, i) for i, m in enumerate(messages)]
    texts = [text for text, _ in read]
    shown = with_images(program, [url for _, urls in read for url in urls])
    if types.get(MESSAGES) in MESSAGE_LISTS:
        return {MESSAGES: texts, **shown}
    said = [(str(m.get("role")), t) for m, t in zip(messages, texts, strict=True) if t]
    system = [t for role, t in said if role in ("system", "developer")]
    users = [t for role, t in said if role not in ("system", "developer")]
    if len(users) > 1:
        raise RequestError(
            f"`{program.name}` takes one text, and these are {len(users)} messages",
            "give the program a parameter `messages: list[str]`, or send one message",
            param="messages",
        )
    parameters: dict[str, Any] = shown
    if system:
        if types.get("system") != STR:
            raise RequestError(
                f"`{program.name}` takes no system message",
                "give the program a parameter `system: str`, or leave the message out",
                param="messages",
            )
        parameters["system"] = "\n".join(system)
    rest = {n for n, type in types.items() if type == STR and n != "system"}
    if PROMPT in rest or len(rest) == 1:
        parameters[PROMPT if PROMPT in rest else rest.pop()] = users[0] if users else ""
    elif users:
        raise _takes_no(program, "messages", "message")
    return parameters


def message_parts(message: Mapping[str, Any], at: int) -> tuple[str, list[str]]:
    """(the text of a message, the URLs of its images). Raises RequestError for a message that has
    anything else."""
    content = message.get("content")
    urls: list[str] = []
    if isinstance(content, list) and all(map(_is_part, content)):
        urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
        content = "".join(str(p.get("text", "")) for p in content if p["type"] == "text")
    if content is not None and not isinstance(content, str):
        raise RequestError(
            "a message is a text, or texts and images: sounds and files are not read",
            "send these alone",
            param=f"messages[{at}].content",
        )
    return content or "", urls


def _is_part(part: Any) -> bool:
    match part:
        case {"type": "text"} | {"type": "image_url", "image_url": {"url": str()}}:
            return True
    return False


def with_images(program: CalledProgram, urls: Sequence[str]) -> dict[str, Any]:
    """The parameters that the images of a request set. Raises RequestError where the program takes
    fewer, or other parameters would get none."""
    types = types_of(program)
    names = [name for name, type in types.items() if type == IMAGE]
    lists = [name for name, type in types.items() if type == List(IMAGE)]
    if not urls:
        return {}
    if not names and len(lists) == 1:
        return {lists[0]: list(urls)}
    if len(urls) != len(names):
        takes = "1 image" if len(names) == 1 else f"{len(names)} images"
        raise RequestError(
            f"`{program.name}` takes {takes}, not {len(urls)}",
            "send as many, or give the program parameters of the type `image`",
            param="messages",
        )
    return dict(zip(names, urls, strict=True))


def sent_values(program: CalledProgram, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request as Python gives them to a program: images are read out of data
    URLs, so that a request names no file. Raises RequestError for an image that is none."""
    types = types_of(program)
    return {name: _sent(name, value, types.get(name)) for name, value in parameters.items()}


def _sent(name: str, value: Any, wanted: Type | None) -> Any:
    match wanted:
        case List(item) if isinstance(value, list):
            return [_sent(name, v, item) for v in value]
        case _ if wanted == IMAGE:
            return sent_image(name, value)
    return value


def sent_image(name: str, value: Any) -> Image:
    """The image of a data URL. Raises RequestError for anything else."""
    head, comma, data = value.partition(",") if isinstance(value, str) else ("", "", "")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise RequestError(
            f"the image `{name}` is no data URL, and the server fetches and opens nothing",
            "send data:image/png;base64,...",
            param=name,
        )
    try:
        return image_of(b64decode(data, validate=True), "")
    except binascii.Error:
        raise RequestError(
            f"the image `{name}` is not in base64", "send data:image/png;base64,...", param=name
        ) from None
    except BuiltinError as error:
        raise RequestError(error.message, error.help, param=name) from None


def _takes_no(program: CalledProgram, param: str, what: str) -> RequestError:
    names = ", ".join(f"{n}: {t}" for n, t in types_of(program).items()) or "none"
    return RequestError(
        f"`{program.name}` has no parameter for a {what}; its parameters are {names}",
        f'send "" and set parameters by the field `parameters`, '
        f"or POST them to /v1/programs/{program.name}/run",
        param=param,
    )
