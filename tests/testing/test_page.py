"""docs/testing.md: its tests pass, but for those that a ```text block follows, which fail with that
text. Releases of Hypothesis before SHOWN_BY shrink to other programs, and fail all the same."""

import re
from pathlib import Path

import hypothesis
import pytest
from hypothesis import Phase, settings

PAGE = (Path(__file__).parent.parent.parent / "docs/testing.md").read_text("utf-8")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN_BY = (6, 170)
SETTINGS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
)


def blocks():
    """(code, the text that its test fails with or '') of every python block."""
    found = []
    for kind, content in FENCED.findall(PAGE):
        if kind == "python":
            found.append([content, ""])
        elif kind == "text":
            found[-1][1] = content
    return found


def failures(code):
    """What the tests of a block print when they fail."""
    names = {}
    exec(compile(code, "docs/testing.md", "exec"), names)
    for name, test in list(names.items()):
        if name.startswith("test_"):
            try:
                (SETTINGS(test) if hasattr(test, "hypothesis") else test)()
            except AssertionError as error:
                yield "\n".join([str(error), *getattr(error, "__notes__", [])])


@pytest.mark.parametrize(("code", "output"), blocks())
def test_the_tests_on_the_page_do_what_it_says(code, output):
    found = [text.strip() for text in failures(code)]
    if hypothesis.__version_info__ < SHOWN_BY:
        assert [text.split()[0] for text in found] == output.split()[:1]
    else:
        assert found == ([output.strip()] if output else [])


def test_the_page_has_three_failures():
    assert sum(bool(output) for _, output in blocks()) == 3
