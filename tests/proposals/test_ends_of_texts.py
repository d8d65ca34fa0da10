"""What ended a text, by the idiom of docs/language.md: EOS, a stop or max_tokens, held to an
enumeration by hand."""

import math

import pytest

import fkdsl

ROWS = {"a": 0.3, "é": 0.1, "b": 0.2, "b\\n": 0.15, "\\n": 0.05, None: 0.2}
MODEL = 'model m = table:\n    "" -> ' + ", ".join(
    f"{'EOS' if t is None else chr(34) + t + chr(34)}: {p}" for t, p in ROWS.items()
)
IDIOM = """
    start = len(lm.text)
    s ~ text(lm, until={until}, max_tokens={most})
    cut = not lm.done and lm.text[start:] == s
    end = "eos" if lm.done else ("max_tokens" if cut else "stop")
"""
CASES = [
    ('"b"', ["b"]),
    ('"\\n"', ["\n"]),
    ('"b\\n"', ["b\n"]),
    ('["\\n", "bb"]', ["\n", "bb"]),
    ('""', []),
]


def ends(stops, n):
    """{(s, what ended it): probability} of texts of at most n tokens."""
    found, going = {}, {"": 1.0}
    for _ in range(n):
        after = {}
        for text, p in going.items():
            for token, q in ROWS.items():
                whole = text + (token or "").replace("\\n", "\n")
                places = [whole.index(stop) for stop in stops if stop in whole]
                if places:
                    key = whole[: min(places)], "stop"
                elif token is None:
                    key = whole, "eos"
                else:
                    after[whole] = after.get(whole, 0.0) + p * q
                    continue
                found[key] = found.get(key, 0.0) + p * q
        going = after
    for text, p in going.items():
        found[text, "max_tokens"] = found.get((text, "max_tokens"), 0.0) + p
    return found


def program(body, until, most):
    drawn = IDIOM.format(until=until, most=most)
    return f'{MODEL}\n\nprogram p() -> list[str]:\n    lm = prompt("")\n    lm += "xb"{drawn}{body}'


@pytest.mark.parametrize(("until", "stops"), CASES)
@pytest.mark.parametrize("most", [0, 1, 3])
def test_the_idiom_tells_the_three_ends_of_a_text_apart(until, stops, most):
    source = program("    return [s, end]\n", until, most)
    for variant in (fkdsl.parse(source), fkdsl.parse(source).without()):
        found = {tuple(a.value): a.probability for a in variant.exact().posterior}
        assert found == pytest.approx(ends(stops, most), abs=1e-12)


@pytest.mark.parametrize(("until", "stops"), CASES)
def test_texts_that_were_cut_can_be_refused(until, stops):
    source = program(
        '    condition not cut and not contains(s, "a")\n    return [s, end]\n', until, 2
    )
    law = {k: p for k, p in ends(stops, 2).items() if k[1] != "max_tokens" and "a" not in k[0]}
    mass = sum(law.values())
    for variant in (fkdsl.parse(source), fkdsl.parse(source).without()):
        result = variant.exact()
        assert result.log_z == pytest.approx(math.log(mass), abs=1e-12)
        found = {tuple(a.value): a.probability for a in result.posterior}
        assert found == pytest.approx({k: p / mass for k, p in law.items()}, abs=1e-12)


def test_a_finished_context_was_not_cut():
    source = program("    return [s, end]\n", '"b"', 2).replace(
        '    lm += "xb"\n', "    t ~ lm\n    condition t == EOS\n"
    )
    (answer,) = fkdsl.parse(source).exact().posterior
    assert tuple(answer.value) == ("", "eos")
