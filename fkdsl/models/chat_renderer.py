"""Renders chat templates in a process of its own, with bounds on the time and the memory that a
stranger's template can take.

fkdsl.models.chat_template runs it as a program. Each line on stdin is a request, {"template",
"given", "seconds"}; each line on stdout is a response, {"text"} or {"error"}. It imports nothing of
fkdsl. The environment is that of transformers 5.24 (`utils/chat_template_utils.py`): jinja's
immutable sandbox, `tojson`, `strftime_now`, `raise_exception`, `{% generation %}`, `{% break %}`.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_CHARACTERS = 1_000_000
"""Most characters of a rendered chat."""
MOST_MEMORY = 1 << 30
"""Most bytes of memory that the process may take, the interpreter included."""


class Generation(jinja2.ext.Extension):
    """`{% generation %}`, by which training marks an assistant's texts; here its body is rendered
    like any other text."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class TemplateNamespace(jinja2.utils.Namespace):
    """jinja's namespace without names that begin with an underscore, since such names lead out of
    the sandbox."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            _verify_name(name)
        jinja2.utils.Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _verify_name(name)
        super().__setitem__(name, value)


def _verify_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace takes no name like {name!r}")


class TemplateDict:
    """`dict` in a template: it can be called, but the attributes of the type are hidden."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _raise(message: Any) -> None:
    raise jinja2.exceptions.TemplateError(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    # jinja's own filter escapes what HTML would read as markup.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


@lru_cache(maxsize=8)
def compiled_template(template: str) -> Any:
    """A compiled template."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": TemplateDict(),
        "namespace": TemplateNamespace,
    }
    return environment.from_string(template)


def rendered(template: str, given: dict[str, Any]) -> str:
    """The text of a template. Raises what the template raises, ValueError for a text that is too
    long."""
    parts: list[str] = []
    length = 0
    for part in compiled_template(template).generate(**given):
        parts.append(part)
        length += len(part)
        if length > MOST_CHARACTERS:
            raise ValueError(f"it writes more than {MOST_CHARACTERS:,} characters")
    return "".join(parts)


def limit(seconds: int | None) -> None:
    """Bounds the memory of this process; or, if `seconds` is given, its CPU time from now on."""
    try:
        import resource
    except ImportError:  # Windows has no such bounds; the caller's clock ends a template there
        return
    if seconds is None:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    else:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + seconds, hard))


def answer(line: str) -> dict[str, str]:
    """The response to one request."""
    try:
        request = json.loads(line)
        limit(request["seconds"])
        return {"text": rendered(request["template"], request["given"])}
    except MemoryError:
        return {"error": "it takes too much memory"}
    except RecursionError:
        return {"error": "it is nested too deeply, or calls itself without end"}
    except Exception as error:  # a template raises whatever its expressions raise
        return {"error": (str(error).strip() or type(error).__name__)[:500]}


def serve() -> None:
    """Answers requests until stdin ends."""
    limit(None)
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


if __name__ == "__main__":
    serve()
