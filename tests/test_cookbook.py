"""The pages that users begin with: the start page is the template with one change, and the programs
of the cookbook give what they promise. Their commands, and the programs that commands run, are
tested with all pages (test_docs.py)."""

import re

import pytest

import fkdsl
from fkdsl.base.spans import Source
from fkdsl.language.formatting.formatter import format_text
from fkdsl.models.registry import load_model
from tests.test_docs import ROOT, blocks, commands, write_files


def test_the_program_of_the_start_page_is_the_template_with_one_condition_changed():
    (shown,) = blocks(ROOT / "docs/start.md", "fk")
    template = (ROOT / "fkdsl/templates/constraint.fk").read_text("utf-8")
    written = template.replace("NAME", "my_program")
    changed = written.replace("condition contains(s, keyword)", "condition ends_with(s, keyword)")
    assert changed != written
    assert shown.text == changed
    assert shown.text.splitlines()[12].strip() == "condition ends_with(s, keyword)"  # line 13


@pytest.mark.parametrize("page", ["start.md", "cookbook.md", "card.md"])
def test_programs_to_copy_are_in_canonical_form(page):
    programs = blocks(ROOT / "docs" / page, "fk")
    assert programs
    for block in programs:
        assert format_text(Source(block.info, block.text)) == block.text, block.info


@pytest.mark.parametrize(
    "line",
    [
        "s = upper(lm.text).strip()",
        "f = lambda x: x",
        "x = None",
        's = "abc"[::2]',
        "if lm.text:\n        x = 1",
        "r = {a: 1}",
        's = f"{join(["a"], "-")}"',
        's = text(lm, until=".", max_tokens=3)',
        's ~ upper("a")',
    ],
)
def test_what_the_card_calls_a_mistake_is_one(line):
    start = 'program p() -> int:\n    lm = prompt("a")\n    '
    fkdsl.parse(start + "x = 1\n    return 1\n")
    with pytest.raises(fkdsl.ProgramError):
        fkdsl.parse(start + line + "\n    return 1\n")


def words_of(text):
    return re.findall(r"[\w'-]+", text.lower())


MAIL = "Dear customer, please pay 120 euros to Meyer & Sons by 3 May 2025."
KEEPS = {
    "banned.fk": lambda v: not {"very", "really", "nice", "beautiful"} & set(words_of(v)),
    "ending.fk": lambda v: v.endswith(".") and v.count(".") == 1 and "\n" not in v,
    "no_repeats.fk": lambda v: len(set(words_of(v))) == len(words_of(v)) and v.endswith("."),
    "shares.fk": lambda v: sum(v) == 100 and min(v) >= 5 and len(v) == 3,
    "judge.fk": lambda v: v != "",
    "both.fk": lambda v: v != "",
    "either.fk": lambda v: v != "",
    "extract.fk": lambda v: v["supplier"] in MAIL and v["amount"] in (3, 120),
}
"""What the answers of a program of the cookbook have, said in Python."""


@pytest.mark.smollm2
def test_the_programs_of_the_cookbook_give_what_they_promise(tmp_path):
    page = ROOT / "docs/cookbook.md"
    write_files(page, tmp_path)
    named = {block.info: block.text for block in blocks(page, "fk")}
    run = {command.split()[2] for command, _ in commands(page)}
    assert set(named) - run == {*KEEPS, "own_model.fk", "my_notes.fk"}
    model = load_model("smollm2")
    for name, keeps in KEEPS.items():
        program = fkdsl.parse(named[name], folder=tmp_path)
        answers = program.run(model=model, particles=8).posterior
        assert answers, name
        assert all(keeps(answer.value) for answer in answers if answer.probability > 0), name
