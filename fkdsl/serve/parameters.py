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

from collections.abc import Mapping, Sequence
from typing import Any

from fkdsl.api.called_program import CalledProgram
from fkdsl.language.check.constants import constant
from fkdsl.serve.failures import RequestError
from fkdsl.values.types import BOOL, FLOAT, INT, STR, List, Type
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
    `system`. Raises RequestError where something that was said would be lost.
    """
    types = types_of(program)
    texts = [message_text(m, i) for i, m in enumerate(messages)]
    if types.get(MESSAGES) in MESSAGE_LISTS:
        return {MESSAGES: texts}
    said = [(str(m.get("role")), t) for m, t in zip(messages, texts, strict=True) if t]
    system = [t for role, t in said if role in ("system", "developer")]
    users = [t for role, t in said if role not in ("system", "developer")]
    if len(users) > 1:
        raise RequestError(
            f"`{program.name}` takes one text, and these are {len(users)} messages",
            "give the program a parameter `messages: list[str]`, or send one message",
            param="messages",
        )
    parameters: dict[str, Any] = {}
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


def message_text(message: Mapping[str, Any], at: int) -> str:
    """The text of a message. Raises RequestError for one that has anything else."""
    content = message.get("content")
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in content
    ):
        content = "".join(str(part.get("text", "")) for part in content)
    if content is not None and not isinstance(content, str):
        raise RequestError(
            "a message is a text: images, sounds and files are not read",
            "send its text alone",
            param=f"messages[{at}].content",
        )
    return content or ""


def _takes_no(program: CalledProgram, param: str, what: str) -> RequestError:
    names = ", ".join(f"{n}: {t}" for n, t in types_of(program).items()) or "none"
    return RequestError(
        f"`{program.name}` has no parameter for a {what}; its parameters are {names}",
        f'send "" and set parameters by the field `parameters`, '
        f"or POST them to /v1/programs/{program.name}/run",
        param=param,
    )
