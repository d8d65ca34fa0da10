"""Draws language models small enough to enumerate: tables of texts, and tables of tokens that split
characters."""

from tests.reference.language_models import Table
from tests.reference.syntax import written

TEXTS = ("a", "b", "ab", " ", "é", "1", "0", "'", "aa", "\n", "😀", "A")
HALVES = (b"\xc3", b"\xa9", b"\xa8", b"a", b"b", b"ab", b"\xc3\xa9", b" ", b"a\xc3")


def shares(rng, n, zeros):
    while True:
        drawn = [rng.choice((0, 1, 1, 2, 3) if zeros else (1, 2, 3, 5)) for _ in range(n)]
        if any(drawn):
            return [d / sum(drawn) for d in drawn]


def table(rng, name, texts):
    """(declaration, Table) over texts, EOS after them."""
    rows = {"": shares(rng, len(texts) + 1, zeros=False)}
    for _ in range(rng.choice((0, 1, 1, 2))):
        rows[rng.choice((*texts, texts[0] + texts[-1]))] = shares(rng, len(texts) + 1, zeros=True)
    lines = [f"model {name} = table:"]
    for suffix, row in rows.items():
        shown = [f"{written(t)}: {p!r}" for t, p in zip(texts, row, strict=False) if p] + [
            f"EOS: {row[-1]!r}"
        ] * (row[-1] > 0)
        lines.append(f"    {written(suffix)} -> {', '.join(shown)}")
    tokens = [t.encode() for t in texts] + [b""] + [bytes([b]) for b in range(256)]
    full = {k.encode(): (*row, *[0.0] * 256) for k, row in rows.items()}
    return "\n".join(lines) + "\n", Table(
        tokens, {len(texts)}, full, {t: i for i, t in enumerate(texts)}
    )


def wide(rng):
    """A Table with tokens that split characters, two that are alike, and two ends."""
    tokens = rng.sample(HALVES, rng.choice((2, 3)))
    tokens = [*tokens, tokens[0]] if rng.random() < 0.3 else tokens
    ends = {len(tokens), len(tokens) + 1}
    rows = {b"": shares(rng, len(tokens) + 2, zeros=False)}
    for _ in range(rng.choice((0, 1, 2))):
        rows[rng.choice(tokens)] = shares(rng, len(tokens) + 2, zeros=True)
    tokens = [*tokens, b"", b"", *(bytes([b]) for b in range(256))]
    return Table(tokens, ends, {k: (*row, *[0.0] * 256) for k, row in rows.items()})
