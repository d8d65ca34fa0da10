"""The tutorial runs cell by cell, and its outputs are those that it shows."""

import pytest

pytest.importorskip("IPython", reason="IPython comes with the extra `notebook`")
pytest.importorskip("pandas", reason="pandas comes with the extra `notebook`")

from tests.notebook.tutorial import cells, run_cell, shell_in


def test_the_tutorial_prints_what_it_shows(tmp_path):
    with shell_in(tmp_path) as shell:
        for cell in cells():
            if cell["cell_type"] == "code":
                assert run_cell(shell, cell) == cell["outputs"], "".join(cell["source"])


def test_a_cell_that_fails_fails_the_test(tmp_path):
    with shell_in(tmp_path) as shell, pytest.raises(AssertionError):
        run_cell(shell, {"source": ["assert 1 == 2"]})


def test_every_code_cell_has_run_and_the_outputs_are_small():
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(len(str(cell["outputs"])) < 10_000 for cell in code)
