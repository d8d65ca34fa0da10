"""A run's page: its figures are the run's, and hostile texts stay texts. test_browser.py opens it
in a browser."""

import base64
import hashlib
import json
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest

import fkdsl
from fkdsl.api.trace.file import read_trace
from fkdsl.api.trace.replay import Replay
from fkdsl.base.spans import Source
from fkdsl.report.comparison import comparison_figure, read_comparison
from fkdsl.report.data import report_data
from fkdsl.report.genealogy import genealogy, segments
from fkdsl.report.highlight import highlighted
from fkdsl.report.page import page, vega_bundle
from tests.cli.test_cli import call

HOSTILE = "</script><img src=x onerror=document.title='owned'>"
PROGRAM = f"""\
model m = table:
    "" -> "{HOSTILE}": 0.4, "b": 0.3, "a": 0.3

program p(n: int = 4) -> str:
    \"\"\"<!--<script>document.title='owned'</script>\"\"\"
    lm = prompt("")
    for i in range(n):
        t ~ lm
        factor 0.7 if t == "a" else 0.0
        condition lm.text != "aaa"
    return lm.text
"""


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.jsonl"
    fkdsl.parse(PROGRAM).run(particles=12, ess=0.95, seed=3, islands=2, trace=path)
    return Replay(read_trace(path))


def test_the_tree_is_the_one_of_the_ancestors(replay):
    for steps in replay.steps_by_island.values():
        tree = genealogy(steps)
        node_of = {(n.t, n.index): k for k, n in enumerate(tree.nodes)}
        for before, step in pairwise(steps):
            for i, a in enumerate(step.ancestors):
                if (step.t, i) in node_of:
                    parent = tree.nodes[tree.nodes[node_of[step.t, i]].parent]
                    assert (parent.t, parent.index) == (before.t, a)
        for n in tree.nodes:
            w = float(steps[n.t].log_weights[n.index])
            assert n.log_weight == w
            assert n.weight == pytest.approx(np.exp(w - steps[n.t].log_Z))


def test_no_two_lines_of_the_tree_cross(replay):
    for steps in replay.steps_by_island.values():
        nodes = genealogy(steps).nodes
        for t in range(1, len(steps)):
            pairs = sorted((n.row, nodes[n.parent].row) for n in nodes if n.t == t)
            assert [parent for _, parent in pairs] == sorted(parent for _, parent in pairs)
            assert len({row for row, _ in pairs}) == len(pairs)


def test_weights_of_particles_that_wait_are_those_of_the_last_step(tmp_path):
    text = PROGRAM.replace("    return", '        if t == "b":\n            break\n    return')
    path = tmp_path / "run.jsonl"
    fkdsl.parse(text).run(particles=12, ess=0.95, seed=3, trace=path)
    replay = Replay(read_trace(path))
    (one,) = report_data(replay)["islands"]
    assert one["weights"] == replay.steps_by_island[0][-1].log_weights.tolist()
    assert one["weights"] != [one["nodes"]["log_weight"][k] for k in one["last"]]


def test_survivors_are_the_ancestors_of_the_last_step(replay):
    steps = replay.steps_by_island[0]
    tree = genealogy(steps)
    alive = {
        (event.t, event.index)
        for i, w in enumerate(steps[-1].log_weights)
        if w > -np.inf
        for event in replay.path(0, i)
    }
    assert {(n.t, n.index) for n in tree.nodes if n.survives} == alive


def test_the_lines_have_the_runs_own_blame(replay):
    told = {line["line"]: line for line in report_data(replay)["lines"]}
    blame = fkdsl.parse(PROGRAM).run(particles=12, ess=0.95, seed=3, islands=2, blame=True).blame
    for line in blame.lines:
        mine = told[line.place.line]
        assert mine["deaths"] == line.deaths
        assert mine["log_weight"] == pytest.approx(line.log_weight)
        assert mine["variance_share"] == pytest.approx(line.variance_share)


def test_pieces_of_a_text_are_the_text():
    lines = highlighted(Source("p.fk", PROGRAM))
    assert "\n".join("".join(text for _, text in line) for line in lines) == PROGRAM
    words = {text: name for line in lines for name, text in line}
    assert words["program"] == words["condition"] == "keyword"
    assert (words["~"], words["0.7"]) == ("draw", "number")


class Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.names, self.scripts, self.inside, self.policy = [], [], False, ""

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")
        if tag == "meta" and ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"]

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def test_hostile_texts_end_no_element_and_run_no_script(replay):
    data = report_data(replay, {"notes": [HOSTILE], "posterior": []})
    found = Elements()
    found.feed(page({**data, "title": HOSTILE}, HOSTILE))
    assert "img" not in found.names
    assert len(found.scripts) == 3
    assert json.loads(found.scripts[0])["title"] == HOSTILE
    for script in found.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in found.policy
    assert "unsafe" not in found.policy.split("style-src")[0]
    assert "innerHTML" not in found.scripts[2]


def draws(data):
    """What the page says of every draw: (the text drawn, {text: (probability, line, tried)})."""
    for island in data["islands"]:
        nodes = island["nodes"]
        for drawn, numbers in zip(nodes["drawn"], nodes["alternatives"], strict=True):
            for (_, string), number in zip(drawn, numbers, strict=True):
                row = data["alternatives"][number]
                options = {}
                for text, p, by in zip(row[1::3], row[2::3], row[3::3], strict=True):
                    line = None if by < 0 else data["places"][by >> 1]["line"]
                    options[data["strings"][text]] = (p, line, by >= 0 and by % 2 == 1)
                assert data["strings"][row[1 + 3 * row[0]]] == data["strings"][string]
                yield data["strings"][string], options


def test_run_writes_a_page_with_each_draws_alternatives(tmp_path, capsys):
    file, out = tmp_path / "p.fk", tmp_path / "out.html"
    file.write_text(PROGRAM.replace('lm.text != "aaa"', 't != "b"'))
    status, _, _ = call(capsys, "run", str(file), "--particles", "4", "--report", str(out))
    assert status == 0
    found = Elements()
    found.feed(out.read_text("utf-8"))
    data = json.loads(found.scripts[0])
    expected = {HOSTILE: (0.4, None, False), "a": (0.3, None, False), "b": (0.3, 10, False)}
    told = list(draws(data))
    assert len(told) >= 4
    assert all(options == expected and text != "b" for text, options in told)
    assert data["command"].startswith("fkdsl run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.html", "p.fk"]
    arguments = ("run", str(file), "--report", str(out), "--alternatives", "0")
    assert call(capsys, *arguments)[0] == 0
    assert '"alternatives":[]}' not in out.read_text("utf-8")
    status, _, err = call(capsys, "run", str(file), "--alternatives", "3")
    assert (status, "--report" in err) == (2, True)
    status, _, err = call(capsys, *arguments[:-1], "51")
    assert (status, "0 to 50" in err) == (2, True)


RETRIEVES = """\
model m = table:
    "" -> "yes": 1.0

index notes = "notes/*.md"

program p() -> str:
    d ~ retrieve(notes, "lamp", k=2)
    lm = prompt("")
    t ~ lm
    factor 1.0 if contains(d.text, "old") else 0.0
    return lm.text
"""


def test_the_page_lists_the_documents_that_answers_rest_on(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.md").write_text("The old lamp.\n\nThe new <lamp>.\n")
    (tmp_path / "p.fk").write_text(RETRIEVES)
    out = tmp_path / "out.html"
    trace = str(tmp_path / "run.jsonl")
    call(capsys, "run", str(tmp_path / "p.fk"), "--method", "smc", "--trace", trace)
    call(capsys, "report", trace, "-o", str(out))
    found = Elements()
    found.feed(out.read_text("utf-8"))
    data = json.loads(found.scripts[0])
    assert {"[notes/a.md:1]", "[notes/a.md:3]"} <= set(data["strings"])
    rows = data["result"]["documents"]
    assert [(d["place"], d["text"]) for d in rows] == [
        ("notes/a.md:1", "The old lamp."),
        ("notes/a.md:3", "The new <lamp>."),
    ]
    assert rows[0]["probability"] > rows[1]["probability"] > 0.0


def test_segments_are_the_edges_of_the_tree(replay):
    for steps in replay.steps_by_island.values():
        tree = genealogy(steps)
        edges = {
            ((p.t, p.row), (n.t, n.row))
            for n in tree.nodes
            if n.parent is not None
            for p in [tree.nodes[n.parent]]
        }
        drawn = segments(tree)
        assert len(drawn) < len(edges)
        parts = set()
        for s in drawn:
            assert s.row0 == s.row1 or any(((s.t0, s.row0), (s.t1, s.row1)) == e for e in edges)
            ts = range(s.t0, s.t1) if s.row0 == s.row1 else []
            parts |= {((t, s.row0), (t + 1, s.row0)) for t in ts}
            parts |= set() if s.row0 == s.row1 else {((s.t0, s.row0), (s.t1, s.row1))}
        # Edges of particles that wait are longer than a step.
        whole = {
            ((t, a[1]), (t + 1, a[1])) if a[1] == b[1] else (a, b)
            for a, b in edges
            for t in range(a[0], b[0])
        }
        assert parts == whole


def test_a_run_that_dies_and_one_that_enumerates_have_pages_too(tmp_path, capsys):
    file, out = tmp_path / "p.fk", tmp_path / "out.html"
    dying = PROGRAM.replace('lm.text != "aaa"', "len(lm.text) > 1000 or i < 2")
    file.write_text(dying)
    status, _, _ = call(capsys, "run", str(file), "--report", str(out), "--no-opt")
    assert status == 3
    assert '"died":"line 10' in out.read_text("utf-8").replace("\\u0020", " ")
    trace = tmp_path / "run.jsonl"
    call(capsys, "run", str(file), "--trace", str(trace), "--no-opt")
    figure = ("plot", str(trace), "-o", str(tmp_path / "p.svg"), "--figure", "posterior")
    status, _, err = call(capsys, *figure)
    assert status == 2
    assert "every particle died" in err
    file.write_text(PROGRAM)
    out.unlink()
    status, _, _ = call(capsys, "exact", str(file), "--report", str(out))
    assert status == 0
    found = Elements()
    found.feed(out.read_text("utf-8"))
    data = json.loads(found.scripts[0])
    assert data["islands"] == []
    assert sum(a["probability"] for a in data["result"]["posterior"]) == pytest.approx(1.0)


def test_a_page_does_not_replace_its_trace(tmp_path, capsys):
    path = tmp_path / "run.jsonl"
    fkdsl.parse(PROGRAM).run(particles=2, trace=path)
    before = path.read_bytes()
    status, _, err = call(capsys, "report", str(path), "-o", str(path))
    assert (status, path.read_bytes()) == (2, before)
    assert "is the trace itself" in err


@pytest.mark.parametrize("command", ["run", "exact"])
def test_a_page_does_not_replace_a_file_of_its_run(tmp_path, capsys, command):
    file = tmp_path / "p.fk"
    file.write_text(PROGRAM)
    status, _, err = call(capsys, command, str(file), "--report", str(file))
    assert (status, file.read_text()) == (2, PROGRAM)
    assert "is a file of this run" in err
    out = str(tmp_path / "z")
    assert call(capsys, "run", str(file), "--trace", out, "--report", out)[0] == 2
    other = tmp_path / "other.fk"
    other.write_text("mine")
    status, _, err = call(capsys, command, str(file), "--report", str(other))
    assert (status, other.read_text()) == (2, "mine")
    assert "ends in .html" in err


@pytest.mark.parametrize(
    ("suffix", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
@pytest.mark.parametrize("figure", ["steps", "genealogy", "posterior"])
def test_plot_writes_figures(replay, tmp_path, capsys, figure, suffix, begins):
    out = tmp_path / f"a.{suffix}"
    arguments = ["--figure", figure, "-o", str(out)]
    assert call(capsys, "plot", str(replay.trace.path), *arguments)[0] == 0
    assert out.read_bytes().startswith(begins)


def test_what_cannot_be_drawn_is_said_before_anything_is_written(
    replay, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "a.bmp"
    status, _, err = call(capsys, "plot", str(replay.trace.path), "-o", str(out))
    assert status == 2
    assert ".svg, .png, .pdf" in err
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    vega_bundle.cache_clear()
    file = tmp_path / "p.fk"
    file.write_text(PROGRAM)
    page_file = tmp_path / "out.html"
    status, _, err = call(capsys, "run", str(file), "--report", str(page_file))
    assert status == 2
    assert "fkdsl[report]" in err
    assert not page_file.exists()


def test_plot_draws_the_table_of_a_comparison(tmp_path, capsys):
    file, table, out = tmp_path / "p.fk", tmp_path / "table.json", tmp_path / "table.svg"
    file.write_text(PROGRAM)
    arguments = ["--methods", "local,smc,exact", "--budget", "40", "--runs", "3", "--json"]
    status, printed, _ = call(capsys, "compare", str(file), *arguments)
    table.write_text(printed)
    assert (status, call(capsys, "plot", str(table), "-o", str(out))[0]) == (0, 0)
    drawn = out.read_text("utf-8")
    for text in ("local", "smc", "exact", "log Z", "effective sample size", "tokens a run"):
        assert f">{text}" in drawn
    rows = {row["method"]: row for row in json.loads(printed)["rows"]}
    chart = comparison_figure(read_comparison(table))["datasets"]
    (smc,) = [row for row in chart["rows"] if row["method"] == "smc"]
    assert smc["high"] - smc["low"] == pytest.approx(2 * rows["smc"]["log_z_sd"])
    assert [row["log_z"] for row in chart["exact"]] == [
        pytest.approx(rows["exact"]["log_z"], abs=1e-8)
    ]
    assert rows["smc"]["ess"] > 1.0
    assert rows["exact"]["ess"] is None
    for wrong in ('{"rows": []}', '{"rows": [{"method": "smc", "log_z": "1"}]}', '{"rows": 1}'):
        table.write_text(wrong)
        status, _, err = call(capsys, "plot", str(table), "-o", str(out))
        assert (status, "no table of methods" in err) == (2, True)
    table.write_text("{}")
    status, _, err = call(capsys, "plot", str(table), "-o", str(out))
    assert (status, "is no trace" in err) == (2, True)
