"""The site of the docs, without its generator: every page is in the navigation, and every link
between pages leads to a page and an anchor. docs/site/build.py says the same of what it built."""

import importlib.util
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

import fkdsl

ROOT = Path(__file__).parent.parent
SITE = ROOT / "docs/site"


@cache
def build():
    """The module docs/site/build.py."""
    spec = importlib.util.spec_from_file_location("build_site", SITE / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def pages():
    return build().pages()


def settings():
    return tomllib.loads((SITE / "zensical.toml").read_text("utf-8"))["project"]


def navigation(entries):
    """The pages of a navigation, in order."""
    for entry in entries:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else navigation(target)


def test_every_page_is_in_the_navigation_once():
    shown = list(navigation(settings()["nav"]))
    assert len(shown) == len(set(shown))
    assert set(shown) == {p for p in pages() if "/" not in p}, "docs/site/zensical.toml: nav"


def test_every_error_is_listed():
    listed = set(re.findall(r"\]\((errors/FK\d+\.md)\)", pages()["errors.md"]))
    assert listed == {p for p in pages() if p.startswith("errors/")}


def test_every_link_between_pages_leads_to_a_page_and_an_anchor():
    count = 0
    for name, text in pages().items():
        prose = build().FENCE.sub("", text)
        for target, anchor in build().LINK.findall(prose):
            path = Path(name).parent / target if target else Path(name)
            page = Path(*_without_dots(path.parts)).as_posix()
            if target.endswith(".png"):
                assert (ROOT / "docs" / page).is_file(), f"{name}: {target}"
                continue
            assert page in pages(), f"{name}: {target}"
            assert not anchor or f"{{ {anchor} }}" in pages()[page], f"{name}: {target}{anchor}"
            count += 1
    assert count > 100


def _without_dots(parts):
    kept = []
    for part in parts:
        if part == "..":
            kept.pop()
        else:
            kept.append(part)
    return kept


def test_nothing_is_taken_from_elsewhere():
    assert settings()["theme"]["font"] is False
    assert not re.search(r"url\(|@import", (SITE / "fkdsl.css").read_text("utf-8"))
    for name, text in pages().items():
        for shown in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", build().FENCE.sub("", text)):
            assert re.fullmatch(r"(\.\./)*pictures/[\w-]+\.png", shown), f"{name}: {shown}"


def test_pictures_are_small_and_have_words_for_those_who_do_not_see_them():
    shown = {}
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        text = build().FENCE.sub("", path.read_text("utf-8"))
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]*)\)", text):
            shown[(path.parent / target).resolve()] = words
    assert set(shown) == set((ROOT / "docs/pictures").glob("*.png"))
    for path, words in shown.items():
        assert path.stat().st_size < 200_000
        assert len(words.split()) >= 5, path.name


def test_fences_keep_their_language_and_at_most_a_title():
    for name, text in pages().items():
        for line in re.findall(r"^```.*$", text, re.MULTILINE):
            assert re.fullmatch(r'```\w*( title="[\w.-]+")?', line), f"{name}: {line}"
    assert '```fk title="wrong"' in pages()["errors/FK203.md"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n- b\n  c\n- d\n", "a\n\n- b\n    c\n- d\n"),
        ("- a\n\n      code\n\n  more\n- b\n", "- a\n\n        code\n\n    more\n\n- b\n"),
        ("1. a\n\nb\n  c\n", "1. a\n\nb\n  c\n"),
    ],
)
def test_lists_are_as_the_generator_reads_them(text, expected):
    assert build().indented(text) == expected


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ('<a href="b.html#here">', "a.html: no anchor b.html#here"),
        ('<a href="c.html">', "a.html: no page c.html"),
        ('<a href="#there">', "a.html: no anchor #there"),
        ('<script src="https://example.org/x.js"></script>', "a.html loads https://example"),
        ('<img src="pictures/none.png">', "a.html: no file pictures/none.png"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "a.html loads //example"),
        ('<a href="b.html#there"><a href="https://example.org">', ""),
    ],
)
def test_what_is_wrong_with_a_built_site_is_said(tmp_path, html, said):
    (tmp_path / "a.html").write_text(html, "utf-8")
    (tmp_path / "b.html").write_text('<h1 id="there">', "utf-8")
    mistakes = list(build().mistakes(tmp_path))
    assert [line[: len(said)] for line in mistakes] == ([said] if said else [])


def test_the_page_on_python_says_what_the_code_says():
    spec = importlib.util.spec_from_file_location("python_page", SITE / "python_page.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    named = {name for names in made.GROUPS.values() for name in names}
    assert named == set(fkdsl.__all__) - {"__version__"}
    assert made.page() == made.PAGE.read_text("utf-8"), "python docs/site/python_page.py"


@pytest.mark.slow
def test_the_generator_builds_the_site_in_the_colours_of_the_lexer(tmp_path, monkeypatch):
    pytest.importorskip("zensical", reason="zensical comes with the extra `docs`")
    monkeypatch.setattr(build(), "BUILD", tmp_path)
    assert build().main() == 0
    text = (tmp_path / "site/language.html").read_text("utf-8")
    assert '<span class="kd">program</span>' in text
