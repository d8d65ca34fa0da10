"""FK503: text that ends in a space is warned of where a model over tokens reads it, and nowhere
else."""

from pathlib import Path

import pytest

from fkdsl.base.spans import Source
from fkdsl.language.compile import check_source

NAMED = 'model "smollm2"\n'
TABLE = 'model m = table:\n    "" -> "a": 0.5, EOS: 0.5\n'


def warned(body, models=NAMED):
    """The texts that are warned of."""
    lines = "".join(f"    {line}\n" for line in body)
    add = 'def add(lm: context):\n    lm += "to the "\n'
    text = f'{models}\n{add}\nprogram p(x: str = "a") -> str:\n{lines}    return lm.text\n'
    return [
        d.span.text
        for d in check_source(Source("p.fk", text), Path()).warnings
        if d.code == "FK503"
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


def test_where_there_are_several_models_the_contexts_own_is_meant():
    models = NAMED + 'model v = bytes("smollm2")\n' + TABLE
    body = ['lm = prompt("one ")', 'lm += "two "', 'b = prompt("three ", model=v)', 'b += "four "']
    assert warned([*body, 'c = prompt("five ", model="gpt2")', 'd = prompt("six ", model=m)'], models) == [
        '"one "', '"two "', '"five "',
    ]  # fmt: skip
