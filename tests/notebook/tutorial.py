"""The notebook docs/tutorial.ipynb, run cell by cell in an IPython shell of this process.

python -m tests.notebook.tutorial      runs it, and writes the outputs into it
"""

import json
import os
import re
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def cells():
    """The cells of the notebook, as JSON has them."""
    return json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


@contextmanager
def shell_in(folder):
    """A new IPython shell, in a folder."""
    here, path = Path.cwd(), os.environ.get("PYTHONPATH")
    os.chdir(folder)
    os.environ.setdefault("JPY_PARENT_PID", str(os.getpid()))  # as Jupyter tells its kernels
    os.environ["PYTHONPATH"] = str(ROOT)  # of the commands that a cell runs
    InteractiveShell.clear_instance()
    try:
        yield InteractiveShell.instance()
    finally:
        InteractiveShell.clear_instance()
        os.chdir(here)
        os.environ.pop("PYTHONPATH")
        if path is not None:
            os.environ["PYTHONPATH"] = path


def run_cell(shell, cell):
    """The outputs of a code cell, as a notebook stores them. Raises what the cell raises."""
    source = "".join(cell["source"]).replace("!fkdsl ", f"!{sys.executable} -m fkdsl ")
    values = []
    shell.display_trap.hook = values.append  # in the place of the one that prints a value
    with capture_output() as captured:  # which drops the lines of progress, shown by `display`
        done = shell.run_cell(source)
    done.raise_error()
    outputs = []
    if captured.stdout:
        outputs.append({"name": "stdout", "output_type": "stream", "text": lines(captured.stdout)})
    for value in values:
        if value is not None:
            kinds = shell.display_formatter.format(value)[0]
            data = {kind: lines(text) for kind, text in kinds.items()}
            outputs.append({"data": data, "metadata": {}, "output_type": "display_data"})
    return outputs


def lines(text):
    """A text as notebooks store it: its lines, with their ends."""
    return masked(text.replace("\r\n", "\n")).splitlines(keepends=True)


def masked(text):
    """Without what differs from run to run: seconds, and the length of the line that has them."""
    text = re.sub(r"\b\d+\.\d s\b", "0.1 s", text)
    return re.sub(r"^=+ (.* in 0\.1 s) =+$", r"========== \1 ==========", text, flags=re.MULTILINE)


def write():
    """Runs the notebook and stores its outputs in it."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder, shell_in(folder) as shell:
        count = 0
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                count += 1
                cell["execution_count"] = count
                cell["outputs"] = run_cell(shell, cell)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    write()
