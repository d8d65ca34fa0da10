"""Damaged files of rows and of answers: `--each`, what it goes on with, and `read_rows`."""

import io
import random
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from fkdsl.cli.main import main
from tests.fuzzing.traces import damaged

PROGRAM = """
model m = table:
    "" -> "a": 0.5, "b": 0.3, "c": 0.2

program p(n: int, word: str = "a", share: float = 0.5, names: list[str] = ["x"]) -> record:
    lm = prompt("")
    s ~ text(lm, max_tokens=n)
    condition contains(s, word)
    more ~ bernoulli(share)
    return {"s": s, "more": more, "name": names[0]}

query twice = count(value.s, "a") > 1
infer smc(particles=4)
"""
READER = """
program p() -> str:
    rows = read_rows("NAME")
    r ~ categorical(rows, [1.0 for x in rows])
    return f"{r} {len(rows)}"

infer exact()
"""
ROWS = {
    "rows.csv": 'n,word,share,id\n1,a,0.5,x\n2,"b",0.1,"two\nlines"\n1,zz,1,"a ""b"""\n',
    "rows.tsv": "n\tword\n1\ta\n2\tb\n",
    "rows.jsonl": '{"n": 1, "word": "a"}\n{"n": 2, "names": ["u", "v"], "id": null}\n',
}
HOSTILE = (
    "\x00",
    '"',
    "\r",
    "\ufeff",
    "\u202e",
    "9" * 5000,
    "1e999",
    "NaN",
    ",,,",
    "\n\n",
    "\\ud800",
)


def case(rng: random.Random, folder: Path) -> list[str]:
    """A run for each row of a damaged file, one that goes on with damaged answers, or a program
    that reads a damaged file."""
    name = rng.choice(list(ROWS))
    for file, text in ROWS.items():
        (folder / file).write_bytes(text.encode())
    (folder / name).write_bytes(_damaged(rng, ROWS[name]))
    if rng.random() < 0.3:
        (folder / "case.fk").write_text(READER.replace("NAME", name), "utf-8")
        return ["exact", "case.fk", "--timeout", "2"]
    (folder / "case.fk").write_text(PROGRAM, "utf-8")
    call = ["run", "case.fk", "--each", name, "--timeout", "2"]
    if rng.random() < 0.5:
        return [*call, *rng.choice(([], ["--format", "csv"], ["--samples", "2"]))]
    (folder / name).write_bytes(ROWS[name].encode())
    call += ["--out", rng.choice(("answers.jsonl", "answers.csv"))]
    with chdir(folder), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        main(call)
    answers = folder / call[-1]
    answers.write_bytes(_damaged(rng, answers.read_text("utf-8")))
    return call


def _damaged(rng: random.Random, text: str) -> bytes:
    if rng.random() < 0.5:
        return damaged(rng, text)
    for _ in range(rng.randint(1, 3)):
        i = rng.randrange(len(text) + 1)
        text = text[:i] + rng.choice(HOSTILE) + text[i + rng.randrange(4) :]
    return text.encode("utf-8", "surrogatepass")
