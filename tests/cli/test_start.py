"""What commands import, counted: times are noisy, a module is imported or not.

A command that imports one of these again is slow to start for everybody. Import it in the function
that needs it, or by `fkdsl.base.lazy`.
"""

import subprocess
import sys

import pytest

TABLE = "programs/two_bits.fk"
MODELS = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "llguidance")
RUNS = (
    "fkdsl.api",
    "fkdsl.engine.kv_cache",
    "fkdsl.models.registry",
    "fkdsl.steering",
    "fkdsl.proposals",
)
LISTED = (
    "rich", "jinja2", "jsonschema", "hypothesis", "shtab", "fsspec", "filelock", "ray", "IPython",
)  # fmt: skip
CHECKS_NOTHING_WITH = (
    "numpy",
    "fkdsl.engine.constraints.automaton",
    "fkdsl.engine.constraints.constraint",
    "fkdsl.inference.result",
    "fkdsl.inference.search",
    "fkdsl.ir.build",
    "fkdsl.values.library.schemas",
)


def imported(call):
    """The modules that a command has imported when it ends well."""
    code = (
        "import sys; from fkdsl.cli.main import main; status = main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    run = subprocess.run([sys.executable, "-c", code, *call], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stderr.splitlines()[-1].split())


CALLS = {
    "check": (
        ["check", "programs/short_words.fk"],
        (*MODELS, *RUNS, *LISTED, *CHECKS_NOTHING_WITH),
    ),
    "check of a loop over words": (
        ["check", "programs/haiku.fk"],
        (*MODELS, *RUNS, *LISTED, *CHECKS_NOTHING_WITH),
    ),
    "fmt": (
        ["fmt", "--check", TABLE],
        (*MODELS, *RUNS, *LISTED, "numpy", "fkdsl.ir", "fkdsl.values.library"),
    ),
    "run on a table": (["run", TABLE], (*MODELS, *LISTED)),
    "run on tiny": (
        ["run", "programs/last_word.fk", "--model", "tiny", "--no-hint"],
        ("transformers", "tokenizers", "huggingface_hub", *LISTED),
    ),
}


@pytest.mark.parametrize(("call", "absent"), CALLS.values(), ids=CALLS)
def test_commands_import_what_they_use_and_no_more(call, absent):
    modules = imported(call)
    assert not sorted(set(absent) & modules)
    assert len({m for m in modules if m.startswith("fkdsl.")}) < 210 or call[0] == "run"


def test_smollm2s_way_of_loading_imports_no_transformers():
    code = "import sys, fkdsl.models.loading, fkdsl.models.decoder_model; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"transformers", "huggingface_hub", "tokenizers", "llguidance"} & set(
        run.stdout.split()
    )
