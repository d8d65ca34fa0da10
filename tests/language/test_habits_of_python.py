"""What a programmer of Python writes by habit has a message of its own, with one thing to try."""

import pytest

import fkdsl

START = 'program p(n: int = 3) -> str:\n    lm = prompt("Hi")\n    s ~ text(lm, max_tokens=5)\n'


@pytest.mark.parametrize(
    ("lines", "help"),
    [
        ("t ~ lm and lm", "write `a * b` for both at once, or `mixture("),
        ("lm.append(s)", "write `lm += [s]` of a list, `lm += s` of a context"),
        ("condition len(s) < 4 and > 2", "name the left side again, `x < 4 and x > 2`, or chain"),
        ("// a comment", "a comment begins with `#`"),
        ("x = n − 1", "write -"),  # noqa: RUF001
        ("x =\u00a01", "write a plain space"),
        ('x = f"{n=}"', 'write the name: `f"n={n}"`'),
        ('x = f"{s!r}"', "leave `!r` out: values are written as `str` writes them"),
        ("x = 1 + (t ~ lm)", "draw on a line of its own before: `t ~ lm`, and use `t` here"),
        ("infer smc(particles=4)", "move the line behind the block, and let `infer` begin it with"),
        ("observe lm ~ s", "the value comes first: `observe s ~ lm`"),
        ("condition s is not s", "write `==`, or `!=` for `is not`"),
        ("while n > 2:\n        break\n    else:\n        pass", "indent it like its `if`; loops"),
        ("x = randint(1, 6)", "write `x ~ uniform_int(1, 6)`"),
        ('u ~ text("Hi")', 'make one: `lm = prompt("Hi")`'),
        ('u ~ text(lm, until="\n    ")', "add \" at its end; a line break in it is written `\\n`"),
        ("return s\n\nquery contains(value, s)", "name it: `query is_so = contains...`"),
        ('return s\n\ninfer "smc"', "write `infer smc(particles=16)`, without quotes"),
        ("return s\n\nmodel smollm2", 'write `model "smollm2"`'),
        ('return s\n\nmodel m = {"": 1}', "write `model m = table:`, and below it lines such as"),
    ],
)  # fmt: skip
def test_a_habit_is_told_what_to_write(lines, help):
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(f"{START}    {lines}\n    return s\n")
    assert any(d.help.startswith(help) for d in error.value.diagnostics), str(error.value)
