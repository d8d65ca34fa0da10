"""What to write here for what Python, and other languages, say otherwise."""

from __future__ import annotations

import re

WORDS = {
    "lambda": "write a `def`", "class": "use a record: {\"name\": value}",
    "import": 'write import "file.fk"',
    "from": 'write import "file.fk"', "with": "there is no `with`", "print": "return the value",
    "try": "nothing is caught here: test the value first, such as `if valid_json(s):`",
    "except": "nothing is caught here: test the value first", "finally": "nothing is caught here",
    "global": "pass it as an argument", "nonlocal": "pass it as an argument",
    "yield": "a program has one value: `return` it",
    "async": "draw with `~`", "await": "draw with `~`",
    "assert": "write `condition`", "raise": "write `condition false`",
    "del": "there is no `del`", "sample": "write `x ~ distribution`",
    "is": "write `==`, or `!=` for `is not`",
    "match": "write `if` and `elif`",
    "switch": "write `if` and `elif`", "case": "write `elif`", "let": "write `x = ...`",
    "var": "write `x = ...`",
    "const": "write `x = ...`", "function": "write `def`", "func": "write `def`",
    "fn": "write `def`",
    "require": "write `condition`", "constrain": "write `condition`", "score": "write `factor`",
    "weight": "write `factor log(x)`: the weight is multiplied by x",
    "unless": "write `if not`", "until": "write `while not`", "do": "write `while`",
    "then": "write `:`",
}  # fmt: skip
"""Words that begin a statement elsewhere, and have no meaning here."""
TYPES = {
    "dict": "record", "object": "record", "map": "record", "json": "record", "struct": "record",
    "string": "str", "text": "str", "char": "str", "integer": "int", "long": "int",
    "number": "float", "double": "float", "real": "float", "boolean": "bool",
    "array": "list[str]", "tuple": "list[str]", "set": "list[str]", "list": "list[str]",
    "prompt": "context", "picture": "image", "doc": "document",
}  # fmt: skip
"""Types of other languages, in small letters, and the type here."""
ARGUMENTS = {
    "stop": "until", "stop_sequences": "until", "stop_strings": "until", "stop_at": "until",
    "max_new_tokens": "max_tokens", "max_length": "max_tokens", "limit": "max_tokens",
    "system_prompt": "system", "instructions": "system", "message": "user",
    "json_schema": "schema", "regex": "pattern", "choices": "options", "default": "other",
}  # fmt: skip
"""Arguments by the names that other libraries give them, and the name here."""
MODULES = {
    "re": 'matching is built in: `matches(s, r"...")`, `find`, `replace`, `split`',
    "math": "`log`, `exp`, `sqrt`, `floor` and `ceil` are built in",
    "json": "`parse_json` and `valid_json` are built in",
    "random": "draw by `~`: `x ~ uniform(0, 1)`, `x ~ uniform_int(1, 6)`, `x ~ bernoulli(0.5)`",
    "string": "`lower`, `upper`, `strip`, `split` and the like are built in",
}
"""What a module of Python is wanted for."""
EXTERN = 'a function of Python is declared: `extern def f(s: str) -> float from "file.py"`'
METHODS = {
    "append": "write `{0} += [{1}]` of a list, `{0} += {1}` of a context",
    "extend": "write `{0} += {1}`: a list is built anew",
    "insert": "write `{0}[:i] + [x] + {0}[i:]`: a list is built anew",
    "add": "write `{0} += [{1}]`: a list is built anew",
    "pop": "take the item by its index, `{0}[len({0}) - 1]`, and the rest by a slice",
    "remove": "write `[x for x in {0} if x != ...]`",
    "sort": "write `sorted({0})`",
    "reverse": "write `reversed({0})`",
    "join": "write `join({1}, {0})`: the list comes first",
    "startswith": "write `starts_with({0}, {1})`",
    "endswith": "write `ends_with({0}, {1})`",
    "index": "write `find({0}, {1})`",
    "rstrip": "write `strip({0})`",
    "lstrip": "write `strip({0})`",
    "isdigit": 'write `matches({0}, r"[0-9]+")`',
    "isalpha": 'write `matches({0}, r"[A-Za-z]+")`',
    "isupper": "write `{0} == upper({0})`",
    "islower": "write `{0} == lower({0})`",
    "splitlines": "write `lines({0})`",
    "format": 'write an f-string: `f"... {{x}} ..."`',
    "get": 'write `{0}["name"]`',
    "keys": "write `for key in {0}`",
    "items": "write `for key in {0}`, and `{0}[key]`",
    "values": "write `[{0}[key] for key in {0}]`",
    "match": "write `matches(s, {1})`, which takes the whole text",
    "fullmatch": "write `matches(s, {1})`",
    "search": 'write `matches(s, r".*(...).*")`, or `contains(s, x)`',
    "findall": "write `words(s)`, or `split(s, x)`",
    "sub": "write `replace(s, old, new)`",
    "loads": "write `parse_json({1})`",
    "sample": "write `x ~ {0}`",
    "generate": "write `s ~ text({0})`",
    "copy": "write `fork({0})` of a context; lists and records never change",
    "encode": "a text is a text: leave it out",
    "decode": "a text is a text: leave it out",
}
"""Methods of Python: {0} is what stands before the dot, {1} the first argument."""
_CODE = re.compile(r"write `([^`]+)`(?:, without brackets)?")
ATTRIBUTES = ("done", "text", "tokens")
"""Of a context; they are no methods."""


def module_advice(name: str) -> str:
    """What to write for `import name`."""
    return MODULES.get(name.partition(".")[0], EXTERN)


def method_advice(receiver: str, name: str, arguments: list[str], built_in: bool) -> str:
    """What to write for `receiver.name(arguments)`. built_in: whether a function of that name
    is."""
    first = arguments[0] if arguments else "x"
    if name in ATTRIBUTES and not arguments:
        return f"write `{receiver}.{name}`, without brackets"
    if receiver in MODULES and not built_in and name not in METHODS:
        return module_advice(receiver)
    if name in METHODS:
        return METHODS[name].format(receiver, first)
    if receiver in MODULES:
        return f"write `{name}({', '.join(arguments)})`"
    if built_in:
        return f"write `{name}({', '.join([receiver, *arguments])})`"
    return f"functions are called by name: `{name}({', '.join([receiver, *arguments])})`"


def method_call(receiver: str, name: str, arguments: list[str], built_in: bool) -> str:
    """What `method_advice` says to write, "" where it is more than one call."""
    takes = METHODS.get(name, "").count("{1}")
    if name in METHODS and (len(arguments) != takes or "+=" in METHODS[name]):
        return ""
    advice = method_advice(receiver, name, arguments, built_in)
    code = _CODE.fullmatch(advice)
    return code[1] if code is not None and "..." not in code[1] else ""
