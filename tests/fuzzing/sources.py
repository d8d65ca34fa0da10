"""Programs, schemas and grammars that were damaged: mutations of every program and example that the
project ships."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = 'model m = table:\n    "" -> "a": 0.5, "b": 0.3, EOS: 0.2\n'
NUMBERS = (
    "0",
    "-1",
    "1e400",
    "-1e400",
    "1e-400",
    "9" * 400,
    "1" + "0" * 30,
    "10**9",
    "0.0",
    "nan",
    ".²",
    "٣",
    "2**63",
    "1_0",
    "0x1f",
)
SNIPPETS = (
    "²",
    "\ud800",
    "\x00",
    "\x1b[31m",
    "\u202e",
    "\ufeff",
    "é",
    "(" * 300,
    "[" * 300,
    "{",
    "}",
    '"',
    "'''",
    "\\",
    "\t",
    "\r",
    "#",
    "~",
    "~ lm",
    "lm.done()",
    "try:",
    "import re",
    "return",
    "condition",
    "factor",
    "observe",
    "checkpoint",
    "EOS",
    "not " * 300,
    "-" * 300,
    "lm",
    "text(lm, max_tokens=10**9)",
    "s.strip()",
    'f"{',
    'f"{{}}"',
    'rf"\\d"',
    "lambda x: x",
    "self",
    "True",
    "None",
    "while true:",
    "for i in range(10**12):",
    '"a" * 10**10',
    "[0] * 10**9",
    "2 ** 10 ** 8",
    'matches("a" * 40 + "b", r"(a+)+$")',
    'valid_json("1", schema="{}")',
    'parses("a", grammar="start: start start | \\"a\\"")',
    "words(s)",
    "beta(1e308, 1.0)",
    "uniform(-1.7e308, 1.7e308)",
    "infer exact()",
    "infer smc(particles=10**9)",
    'import "/dev/zero"',
    'import "../../etc/passwd"',
    "exp(1e6)",
    "log(0.0)",
    "int(1e300)",
    "str(10**5000)",
    "range(10**18)",
)


@cache
def corpus() -> tuple[str, ...]:
    """Programs to begin with; those on a downloaded model are put on a table."""
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "programs").glob("*.fk"))]
    for path in [
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "tests/language/spec").glob("*.md")),
    ]:
        texts += re.findall(r"^```fk\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return tuple(on_table(text) for text in texts if "program" in text)


def on_table(text: str) -> str:
    """The program with a table for its default model, if it has none of its own, and for named
    models."""
    text = re.sub(r'^model "[^"]*" *(#.*)?$', "", text, flags=re.MULTILINE)
    text = re.sub(
        r'^(model \w+ =) "[^"]*" *(#.*)?$',
        r'\1 table:\n    "" -> "c": 0.7, EOS: 0.3',
        text,
        flags=re.MULTILINE,
    )
    return text if "= table:" in text else TABLE + text


def mutated(rng: random.Random, text: str) -> str:
    """The text after one to four changes."""
    for _ in range(rng.randint(1, 4)):
        text = rng.choice(CHANGES)(rng, text)
    return text


def delete(rng: random.Random, text: str) -> str:
    i = rng.randrange(len(text) + 1)
    return text[:i] + text[i + rng.choice((1, 1, 5, 40)) :]


def insert(rng: random.Random, text: str) -> str:
    i = rng.randrange(len(text) + 1)
    return text[:i] + rng.choice(SNIPPETS) + text[i:]


def number(rng: random.Random, text: str) -> str:
    return replaced(rng, text, r"\d+(\.\d+)?", rng.choice(NUMBERS))


def word(rng: random.Random, text: str) -> str:
    return replaced(
        rng, text, r"[A-Za-z_]+", rng.choice((*re.findall(r"[A-Za-z_]+", text), *SNIPPETS))
    )


def operator(rng: random.Random, text: str) -> str:
    return replaced(
        rng,
        text,
        r"==|~|[-+*/<>=,:.]",
        rng.choice(("==", "~", "**", "/", "<", "=", ",", ":", ".", "%", "!=")),
    )


def replaced(rng: random.Random, text: str, pattern: str, by: str) -> str:
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    place = rng.choice(found)
    return text[: place.start()] + by + text[place.end() :]


def lines(rng: random.Random, text: str) -> str:
    rows = text.split("\n")
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
    match rng.randrange(4):
        case 0:
            rows[i], rows[j] = rows[j], rows[i]
        case 1:
            rows.insert(j, rows[i])
        case 2:
            rows[i] = " " * rng.randrange(9) + rows[i].strip()
        case _:
            rows = rows[:i]
    return "\n".join(rows)


def spliced(rng: random.Random, text: str) -> str:
    other = rng.choice(corpus())
    return text[: rng.randrange(len(text) + 1)] + other[rng.randrange(len(other) + 1) :]


CHANGES = (delete, insert, number, word, operator, lines, spliced)
COMMANDS = (
    ["check"],
    ["explain"],
    ["exact", "--json"],
    ["exact"],
    ["run", "--particles", "4"],
    ["run", "--json"],
)


def case(rng: random.Random, folder: Path) -> list[str]:
    """A damaged program, and a command on it."""
    text = mutated(rng, rng.choice(corpus()))
    (folder / "case.fk").write_bytes(text.encode("utf-8", "surrogatepass"))
    command = list(rng.choice(COMMANDS))
    timed = ["--timeout", "2"] if command[0] in ("exact", "run") else []
    return [*command, *timed, "case.fk"]
