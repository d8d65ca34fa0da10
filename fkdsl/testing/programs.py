"""Hypothesis strategies for table models and for whole programs over them, small enough to enumerate."""

from __future__ import annotations

from hypothesis import strategies as st

ALPHABET = ("a", "b")
SHARES = (0, 1, 1, 2, 3)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, dict[str | None, float]]:
    """Rows of a table model over the tokens a, b and EOS; some probabilities are zero."""
    rows: dict[str, dict[str | None, float]] = {}
    for context in ("", *draw(st.sets(st.sampled_from(("a", "b", "ab")), max_size=2))):
        shares = [draw(st.sampled_from(SHARES)) for _ in range(3)]
        if not any(shares):
            shares[0] = 1
        rows[context] = {token: s / sum(shares) for token, s in zip((*ALPHABET, None), shares, strict=True) if s}
    return rows


def table_text(rows: dict[str, dict[str | None, float]], name: str = "m") -> str:
    """The rows as a program declares them."""
    lines = [f"model {name} = table:"]
    for context, row in rows.items():
        entries = ", ".join(f"{'EOS' if t is None else _quoted(t)}: {p!r}" for t, p in row.items())
        lines.append(f'    "{context}" -> {entries}')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return f'"{text}"'


CONDITIONS = (
    'condition t != "b"',
    'condition t == EOS or t != "a"',
    'condition not contains(lm.text, "bb")',
    'condition count(lm.text, "a") <= 1',
    "factor -0.7 * len(lm.text)",
    'factor 0.3 if t == "a" else -0.2',
    "observe t ~ other",
    'condition lm.done or logprob(lm, "a") < -0.1',
    "x ~ bernoulli(0.25)\n        factor 0.5 if x else 0.0",
    'if lm.tokens == 1 and t == "b":\n            return "early"',
    "checkpoint",
    "pass",
)
DRAWS = ("t ~ lm", "t ~ lm ** 0.5", "t ~ lm * twin", "t ~ mixture([lm, twin], weights=[0.3, 0.7])")
ENDS = ("return lm.text", 'condition lm.text != ""\n    return lm.text', "return len(lm.text)", 'return [lm.text, "!"]')


@st.composite
def program_texts(draw: st.DrawFn) -> str:
    """Programs over a table model: a loop of up to three draws with conditions, factors and branches in it."""
    rows = draw(tables())
    second = draw(st.booleans())
    statement = draw(st.sampled_from(DRAWS))
    body = draw(st.lists(st.sampled_from(CONDITIONS), max_size=2, unique=True))
    steps = draw(st.integers(1, 2 if second else 3))
    setup = ['    lm = prompt("")']
    uses_twin = "twin" in statement
    if uses_twin:
        setup.append('    twin = prompt("a")')
    if any("other" in s for s in body):
        setup.append('    other = prompt("b")')
    finished = " or ".join(["lm.done", *(["other.done"] if any("other" in s for s in body) else [])])
    if uses_twin:
        finished += " or twin.done"
    end = draw(st.sampled_from(ENDS))
    returns, early = TYPES[_kind(end)]
    lines = [
        table_text(rows),
        f"program main() -> {returns}:",
        *setup,
        *(["    z ~ uniform_int(0, 1)"] if second else []),
        f"    for i in range({steps}{' - z' if second and steps > 1 else ''}):",
        f"        if {finished}:",
        "            break",
        f"        {statement}",
        *(f"        {s}" for s in body),
        f"    {end}",
    ]
    # An early return has the program's own type.
    return ("\n".join(lines) + "\n").replace('return "early"', f"return {early}")


TYPES = {"int": ("int", "7"), "list": ("list[str]", '["early"]'), "str": ("str", '"early"')}


def _kind(end: str) -> str:
    return "int" if end.startswith("return len") else "list" if end.startswith("return [") else "str"
