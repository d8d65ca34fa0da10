"""FK503: text that ends in a space is warned of where a model over tokens reads it, and nowhere
else. FK504: so are options without a space behind a text without one."""

from pathlib import Path

import pytest

from fkdsl.base.spans import Source
from fkdsl.language.compile import check_source

NAMED = 'model "smollm2"\n'
TABLE = 'model m = table:\n    "" -> "a": 0.5, EOS: 0.5\n'


def warned(body, models=NAMED, code="FK503"):
    """The texts that are warned of."""
    lines = "".join(f"    {line}\n" for line in body)
    add = 'def add(lm: context):\n    lm += "to the "\n'
    text = f'{models}\n{add}\nprogram p(x: str = "a") -> str:\n{lines}    return lm.text\n'
    return [
        d.span.text for d in check_source(Source("p.fk", text), Path()).warnings if d.code == code
    ]


@pytest.mark.parametrize(
    "text", ['"It is "', '"It is\\t"', 'f"It is {x} "', '"It" + " is "', 'x + "is "', "'Answer:  '"]
)
def test_a_prompt_or_an_appended_text_that_ends_in_a_space_is_warned_of(text):
    end = text.split(" + ")[-1]
    assert warned([f"lm = prompt({text})"])[1:] == [end]
    assert warned([f"lm = prompt(text={text})"])[1:] == [end]
    assert warned(['lm = prompt("")', f"lm += {text}"])[1:] == [end]


@pytest.mark.parametrize(
    "text", ['"It is"', '"It is\\n"', '""', '" is"', 'f"It is {x}"', 'f"{x}" + x', '"is " + x']
)
def test_other_texts_are_not(text):
    assert warned([f"lm = prompt({text})", f"lm += {text}"])[1:] == []


@pytest.mark.parametrize(
    "models",
    [
        "",
        TABLE,
        'model "tiny"\n',
        'model "./mine.safetensors"\n',
        'model "EvaByte/EvaByte"\n',
        'model "google/byt5-small"\n',
        'model v = bytes("smollm2")\n',
    ],
)
def test_models_over_bytes_views_and_tables_are_not_warned_of(models):
    assert warned(['lm = prompt("It is ")', 'lm += "a "'], models) == []


NUMBER = 'condition matches(s, r"[12][0-9]{3}|0")'


@pytest.mark.parametrize(
    "body",
    [
        ["s ~ text(lm)", NUMBER],
        ["start = len(lm.text)", "s ~ text(lm=lm, max_tokens=5)", "n = len(s)", NUMBER],
        ["s ~ text(lm)", r'condition len(s) > 2 and matches(s, pattern="\\d+(\\.\\d*)?")'],
        ['s ~ choice(lm, ["1", "23"])'],
        ['lm += "1989"'],
        ['observe "1989" ~ lm'],
    ],
)
def test_a_space_before_a_number_is_right(body):
    assert warned(['lm = prompt("Date: ")', *body])[1:] == []
    assert (
        warned(
            ['lm = prompt("Date")', 'if x == "a":', '    lm += ": "', *(f"    {b}" for b in body)]
        )[1:]
        == []
    )
    between = ["if lm.tokens < 9:", '    x = "b"', *body]
    assert warned(['lm = prompt("Date: ")', *between])[1:] == []


@pytest.mark.parametrize(
    "body",
    [
        [],
        ["s ~ text(lm)"],
        ["s ~ text(lm)", 'condition matches(s, r"-?[0-9]+")'],
        ["s ~ text(lm)", 'condition matches(s, r" ?[0-9]+")'],
        ["s ~ text(lm)", 'condition not matches(s, r"[0-9]+")'],
        ["s ~ text(lm)", "s ~ text(lm)", NUMBER],
        ["t ~ lm", "s ~ text(lm)", NUMBER],
        ["add(lm)", "s ~ text(lm)", NUMBER],
        ["s ~ text(fork(lm))", NUMBER],
        ['s ~ choice(lm, ["1", "two"])'],
        ['s ~ choice(lm, ["1", "2"], other="x")'],
        ['lm += "two"'],
        ["if x == x:", "    s ~ text(lm)", "    " + NUMBER],
    ],
)
def test_a_space_before_what_may_be_no_number_is_not(body):
    assert warned(['lm = prompt("Date: ")', *body])[1:] == ['"Date: "']


def test_the_programs_that_ship_have_no_warning():
    for path in Path("programs").glob("*.fk"):
        assert check_source(Source(path.name, path.read_text("utf-8")), path.parent).warnings == ()


def test_a_space_that_is_meant_can_be_said_to_be():
    assert warned(["lm = prompt(f\"Date:{' '}\")", "lm += f\"or{' '}\""])[1:] == []


def test_where_there_are_several_models_the_contexts_own_is_meant():
    models = NAMED + 'model v = bytes("smollm2")\n' + TABLE
    body = ['lm = prompt("one ")', 'lm += "two "', 'b = prompt("three ", model=v)', 'b += "four "']
    body += ['c = prompt("five ", model="gpt2")', 'd = prompt("six ", model=m)']
    assert warned(body, models) == [
        '"one "', '"two "', '"five "',
    ]  # fmt: skip


CHOICE = 'c ~ choice(lm, ["yes", " no"], other="?")'


@pytest.mark.parametrize("text", ['"Is it?"', '"Answer:"', 'f"{x}:"', '"a" + "b:"', '"1"'])
def test_options_without_a_space_behind_a_word_or_a_sign_are_warned_of(text):
    assert warned([f"lm = prompt({text})", "n = lm.text", CHOICE], code="FK504") == ['"yes"']
    assert warned(['lm = prompt("")', f"lm += {text}", CHOICE], code="FK504") == ['"yes"']


@pytest.mark.parametrize(
    "body",
    [
        ['lm = prompt("Answer:\\n")', CHOICE],
        ['lm = prompt("Answer: \'")', CHOICE],
        ['lm = prompt("Answer: ")', CHOICE],
        ['lm = prompt("")', CHOICE],
        ["lm = prompt(x)", CHOICE],
        ['lm = prompt(f"Answer:{x}")', CHOICE],
        ['lm = prompt("Answer:")', 'lm += " "', CHOICE],
        ['lm = prompt("Answer:")', "t ~ lm", CHOICE],
        ['lm = prompt("Answer:")', 'c ~ choice(lm, [" yes", "1", x])'],
        ['lm = chat("Yes?")', CHOICE],
    ],
)
def test_other_options_are_not(body):
    assert warned(body, code="FK504") == []


@pytest.mark.parametrize("models", ["", TABLE, 'model "tiny"\n', 'model v = bytes("smollm2")\n'])
def test_options_for_bytes_and_tables_are_not(models):
    assert warned(['lm = prompt("Answer:")', CHOICE], models, "FK504") == []


@pytest.mark.parametrize(
    ("test", "n"),
    [
        ("valid_json(s)", 1),
        ('len(s) < 9 and starts_with(s, "The")', 1),
        ('matches(s, "[A-Z][a-z]+")', 1),
        ("valid_json(strip(s))", 0),
        ("not valid_json(s)", 0),
        ('matches(s, " ?[A-Z][a-z]+")', 0),
        ('matches(s, "[0-9]+")', 0),
        ('starts_with(s, " The")', 0),
        ('contains(s, "The")', 0),
    ],
)
def test_a_text_that_must_begin_without_the_space_is_warned_of(test, n):
    body = ["s ~ text(lm, max_tokens=9)", f"condition {test}"]
    assert warned(['lm = prompt("Data:")', *body], code="FK504") == ["s"] * n
    assert warned(['lm = prompt("")', 'lm += f"{x}:"', *body], code="FK504") == ["s"] * n
    assert warned(['lm = prompt("Data:\\n")', *body], code="FK504") == []
    assert warned(['lm = prompt("Data:")', "t ~ lm", *body], code="FK504") == []
    assert warned(['lm = prompt("Data:")', *body], 'model "tiny"\n', "FK504") == []
