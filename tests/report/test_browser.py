"""The page of a run in a real browser: charts, mouse, keyboard, screen readers, hostile texts, and
large runs. `pytest -m browser`; FKDSL_PICTURES=FOLDER keeps pictures to look at."""

import os
import time
from pathlib import Path

import pytest

import fkdsl
from fkdsl.api.trace.file import read_trace
from fkdsl.api.trace.replay import Replay
from fkdsl.report.data import report_data
from fkdsl.report.page import page
from tests.report.browser import INSTALL, chromium, missing, open_page, picture, settle, view

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror=window.owned=1>"
PROGRAM = f"""\
model m = table:
    "" -> "{HOSTILE}": 0.4, "b": 0.3, "a": 0.2, "\\n": 0.1

program p(n: int = 6) -> str:
    \"\"\"<!--<script>window.owned=1</script>\"\"\"
    lm = prompt("")
    for i in range(n):
        t ~ lm
        condition t != "b"
        factor 0.7 if t == "a" else 0.0
        condition lm.text != "aaa"
    return lm.text
"""
BIG = """\
model m = table:
    "" -> "the ": 0.3, "sea ": 0.2, "a": 0.2, "b": 0.1, "c": 0.1, "d": 0.05, "e": 0.05

program big(n: int = 200) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
        condition t != "b"
        factor 0.2 if t == "a" else 0.0
        condition t != "e" or not contains(lm.text, "aca")
    return lm.text
"""


@pytest.fixture(scope="module")
def driver():
    if what := missing():
        pytest.fail(f"there is no {what}: {INSTALL}")
    with chromium() as browser:
        yield browser


def made(folder, text, name="run", notes=(), **options):
    """(the page's file, its data) of a run."""
    trace = folder / f"{name}.jsonl"
    fkdsl.parse(text).run(seed=3, trace=trace, **options)
    data = report_data(Replay(read_trace(trace)))
    data["result"]["notes"] = list(notes)
    out = folder / f"{name}.html"
    out.write_text(page(data, f"fkdsl run '{HOSTILE}'"), "utf-8")
    return out, data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = {"particles": 12, "ess": 0.95, "islands": 2, "notes": [HOSTILE]}
    return made(folder, PROGRAM, **options)


@pytest.fixture
def opened(driver, run):
    view(driver, 1280)
    open_page(driver, run[0])
    return driver


def keep(driver, name, selector="body"):
    """Keeps a picture to look at, where somebody asks for it."""
    if folder := os.environ.get("FKDSL_PICTURES"):
        picture(driver, Path(folder) / f"{name}.png", selector, margin=0)


def one(driver, selector):
    return driver.find_element("css selector", selector)


def press(driver, *keys):
    from selenium.webdriver import ActionChains, Keys

    for key in keys:
        ActionChains(driver).send_keys(getattr(Keys, key, key)).perform()


def focused(driver):
    """The id, target or text of what has the focus."""
    return driver.execute_script(
        "const e = document.activeElement; return e.id || e.getAttribute('href') || e.textContent"
    )


def chosen(driver):
    """(step, particle) of the path that is shown."""
    words = one(driver, "#path h3").text.split()
    return int(words[4]), int(words[1])


def test_no_error_and_no_script_of_a_token_in_light_and_dark(driver, run):
    papers = []
    for dark in (False, True):
        view(driver, 1280, dark=dark)
        open_page(driver, run[0])
        papers.append(
            driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        )
        for node in driver.find_elements("css selector", "#tokens [role=option]")[:3]:
            node.click()
        assert driver.execute_script("return window.owned") is None
        assert driver.find_elements("css selector", "img") == []
        for where in (
            "#notes",
            "#answers",
            "#tokens",
            "#alternatives",
            "#path",
            "#sources",
            "#command",
        ):
            assert HOSTILE in one(driver, where).get_attribute("textContent"), where
        keep(driver, "dark" if dark else "light")
        assert [e for e in driver.get_log("browser") if e["level"] != "INFO"] == []
    assert papers == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


def test_a_click_on_a_point_of_the_tree_shows_its_path(opened, run):
    from selenium.webdriver import ActionChains

    tree = one(opened, "#tree")
    opened.execute_script("arguments[0].scrollIntoView()", tree)
    canvas = one(opened, "#tree canvas")
    wide, high = canvas.size["width"], canvas.size["height"]
    hits = set()
    for y in range(-high // 2 + 60, high // 2 - 60, 17):
        for x in (-wide // 4, 0, wide // 4, wide // 2 - 20):
            ActionChains(opened).move_to_element_with_offset(canvas, x, y).perform()
            lines = [
                e.text for e in opened.find_elements("css selector", "#tooltip:not([hidden]) div")
            ]
            if not lines:
                continue
            ActionChains(opened).click().perform()
            step, particle = chosen(opened)
            assert lines[0].startswith(f"step {step}, particle {particle}, ")
            hits.add((step, particle))
        if len(hits) > 4:
            break
    assert len(hits) > 4
    keep(opened, "hover", "#genealogy")


def test_the_tree_is_walked_by_the_keyboard_alone(opened, run):
    nodes = run[1]["islands"][0]["nodes"]
    press(opened, "TAB")
    assert focused(opened) == "#posterior"
    order = []
    while focused(opened) != "tree":
        press(opened, "TAB")
        order.append(focused(opened))
        assert len(order) < 60
    sections = ["#posterior", "#steps", "#genealogy", "#program", "#texts", "#repeat"]
    assert [x for x in order if x.startswith("#")] == sections
    assert order[-8:-1] == ["step", "particle", "heaviest", "earlier", "closer", "wider", "whole"]
    press(opened, "END")
    end = chosen(opened)
    weights = dict(zip(zip(nodes["t"], nodes["i"], strict=True), nodes["log_weight"], strict=True))
    last = [w for (t, _), w in weights.items() if t == max(nodes["t"]) and w is not None]
    assert weights[end] == max(last)
    parent = {}
    for t, i, p in zip(nodes["t"], nodes["i"], nodes["parent"], strict=True):
        parent[t, i] = None if p is None else (nodes["t"][p], nodes["i"][p])
    press(opened, "ARROW_LEFT", "ARROW_LEFT")
    assert chosen(opened) == parent[parent[end]]
    said = one(opened, "#said").get_attribute("textContent")
    assert said.startswith("step {}, particle {}, ".format(*chosen(opened)))
    press(opened, "ARROW_RIGHT", "ARROW_RIGHT")
    assert chosen(opened) == end  # along the way that it came
    press(opened, "ARROW_UP", "ARROW_DOWN", "ARROW_DOWN", "ARROW_UP", "HOME")
    assert chosen(opened)[0] == 0
    before = opened.execute_script("return document.querySelector('#tree canvas').toDataURL()")
    press(opened, "+")
    settle(opened)
    assert before != opened.execute_script(
        "return document.querySelector('#tree canvas').toDataURL()"
    )
    press(opened, "0")
    settle(opened)
    for _ in range(40):
        press(opened, "TAB")
        if focused(opened) == "facts-json":
            return
    raise AssertionError("the focus does not come to the end of the page")


def test_a_text_is_read_token_by_token(opened):
    box = one(opened, "#tokens [role=listbox]")
    opened.execute_script("arguments[0].focus()", box)
    press(opened, "HOME")
    texts = []
    for _ in range(6):
        texts.append(one(opened, "#alternatives h3").text)
        press(opened, "ARROW_RIGHT")
    assert [t.split(" step ")[1].split(",")[0] for t in texts] == ["1", "2", "3", "4", "5", "6"]
    refused = [e.text for e in opened.find_elements("css selector", "#alternatives s")]
    assert refused == ['"b"']
    assert "refused by a mask of line 9" in one(opened, "#alternatives").text
    press(opened, "HOME", "ENTER")
    assert chosen(opened)[0] == 1
    assert one(opened, "#path s").text == '"b"'
    active = [e.text for e in opened.find_elements("css selector", "tr.active .row-number")]
    assert "8" in active
    keep(opened, "texts", "#texts")


def test_nothing_is_cut_off_in_a_narrow_window(driver, run):
    view(driver, 380)
    open_page(driver, run[0])
    keep(driver, "narrow")
    wide = driver.execute_script(
        "const inside = '.unseen, .skip, pre, .scroll, .tall, #path, #sources';"
        "return [...document.body.querySelectorAll('*')].filter("
        "  e => e.getBoundingClientRect().right > 380 && !e.parentElement.closest(inside)"
        ").map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_screen_reader_finds_its_way(driver, run, dark):
    axe_core = pytest.importorskip("axe_core_python", reason=INSTALL)
    view(driver, 1280, dark=dark)
    open_page(driver, run[0])
    driver.execute_script((Path(axe_core.__file__).parent / "axe.min.js").read_text("utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[0])")["violations"]
    assert {v["id"]: [n["html"] for n in v["nodes"]] for v in found} == {}


def test_other_runs_have_pages_without_an_error(driver, tmp_path):
    view(driver, 1280)
    old, _ = made(tmp_path, PROGRAM, "old", particles=4, alternatives=0)
    open_page(driver, old)
    assert "no probabilities" in one(driver, "#texts-hint").text
    exact, data = made(tmp_path, PROGRAM, "exact", method="exact")
    assert data["islands"] == []
    open_page(driver, exact, charts=0)
    assert not one(driver, "#genealogy").is_displayed()
    moved, _ = made(tmp_path, PROGRAM, "moves", particles=4, moves=1, ess=1.0)
    open_page(driver, moved)
    trace = tmp_path / "dead.jsonl"
    with pytest.raises(fkdsl.PopulationDied):
        fkdsl.parse(PROGRAM.replace('lm.text != "aaa"', "false")).run(particles=4, trace=trace)
    dead = tmp_path / "dead.html"
    dead.write_text(page(report_data(Replay(read_trace(trace)))), "utf-8")
    open_page(driver, dead)
    assert "every particle died" in one(driver, "#answers").text
    keep(driver, "dead")
    assert [e for e in driver.get_log("browser") if e["level"] != "INFO"] == []


def test_256_particles_of_200_tokens_stay_fluid(driver, tmp_path_factory, capsys):
    out, data = made(tmp_path_factory.mktemp("big"), BIG, particles=256)
    assert len(data["islands"][0]["nodes"]["t"]) > 40_000
    view(driver, 1280)
    opening = open_page(driver, out)
    one(driver, "#tree").click()
    begun = time.monotonic()
    moves = 10
    for _ in range(moves):
        press(driver, "ARROW_LEFT")
        settle(driver)
    each = (time.monotonic() - begun) / moves
    keep(driver, "big")
    keep(driver, "big-tree", "#genealogy")
    with capsys.disabled():
        size = out.stat().st_size / 1e6
        print(f"\n{size:.1f} MB, {opening:.1f} s to open, {each:.2f} s a key")
    assert opening < 20.0
    assert each < 2.0
