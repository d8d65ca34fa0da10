"""The texts of a small table by plain enumeration, and programs on it held to them.

Nothing of the expected law comes from fkdsl.
"""

import json
import math
from collections import Counter

import pytest

import fkdsl

END = None


def row_of(rows, text):
    """The row of the longest suffix of `text`, as docs/language.md defines a table."""
    return rows[max((suffix for suffix in rows if text.endswith(suffix)), key=len)]


def texts_of(rows, n, start=""):
    """{text: probability} of at most `n` tokens, by plain enumeration."""
    law, live = Counter(), {"": 1.0}
    for _ in range(n):
        grown = Counter()
        for text, p in live.items():
            for token, q in row_of(rows, start + text).items():
                if token is END:
                    law[text] += p * q
                else:
                    grown[text + token] += p * q
        live = grown
    law.update(live)
    return law


def table(rows):
    """The declaration of the default model with these rows."""
    lines = ["model m = table:"]
    for suffix, row in rows.items():
        entries = ", ".join(
            f"{'EOS' if token is END else json.dumps(token)}: {p!r}" for token, p in row.items()
        )
        lines.append(f"    {json.dumps(suffix)} -> {entries}")
    return "\n".join(lines)


def check(source, law, **parameters):
    """`exact` gives the mass and the posterior of `law` ({value: mass}), with the optimiser and
    without."""
    mass = math.fsum(law.values())
    program = fkdsl.parse(source)(**parameters)
    for variant in (program, program.without()):
        result = variant.exact()
        assert math.exp(result.log_z) == pytest.approx(mass, abs=1e-12)
        posterior = {answer.value: answer.probability for answer in result.posterior}
        assert posterior.keys() == {value for value, p in law.items() if p > 0}
        for value, p in posterior.items():
            assert p == pytest.approx(law[value] / mass, abs=1e-12)


def check_texts(rows, condition, holds, n, helpers=""):
    """The texts of at most `n` tokens that satisfy `condition` are those for which `holds`, in
    Python, is true."""
    source = f"""
{table(rows)}
{helpers}
program main() -> str:
    lm = prompt("")
    s ~ text(lm, max_tokens={n})
    condition {condition}
    return s
"""
    law = {text: p for text, p in texts_of(rows, n).items() if holds(text)}
    assert 0 < math.fsum(law.values()) < 1
    check(source, law)


LETTERS = {"": {"x": 0.5, "y": 0.3, "z": 0.2}}
