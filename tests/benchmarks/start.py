"""How soon fkdsl starts: `python tests/benchmarks/start.py [--repeats 5] [--parts check,run]
[--before FOLDER]`.

    check   `fkdsl check` of a short program, against `python -c "import lark, numpy"`
    run     a warm `fkdsl run` of smollm2 up to its first token, against `python -c "import torch"`
            and one read of the weights; without look-ahead, whose pilot is work of the run

Each is a process of its own; the commands of a part take turns. The figure is processor time, user
and system, which other work on the machine changes less than seconds on the wall; the ratio is the
median of the ratios of each turn. The first turn is not counted: it compiles Python's files.
--before: another checkout, whose commands take turns with these. One thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from report import machine, table

HERE = Path(__file__).parents[2]
PROGRAM = HERE / "programs" / "short_words.fk"
GOALS = {"check": "1.5", "run": "1.3"}


def parts(chosen: list[str]) -> dict[str, tuple[list[str], list[str]]]:
    """For each part its command, and what it is compared with."""
    fkdsl = [sys.executable, "-m", "fkdsl"]
    found = {}
    if "check" in chosen:
        found["check"] = (
            [*fkdsl, "check", str(PROGRAM)],
            [sys.executable, "-c", "import lark, numpy"],
        )
    if "run" in chosen:
        from fkdsl.models.registry import model_info

        weights = Path(model_info("smollm2").folder or ".") / "model.safetensors"
        read = f"import torch\nwith open({str(weights)!r}, 'rb') as file:\n    file.read()"
        run = ["run", str(PROGRAM), "-p", "max_tokens=1", "--no-hint", "--lookahead", "none"]
        found["run"] = ([*fkdsl, *run], [sys.executable, "-c", read])
    return found


def processor_seconds(command: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    where = environment["PYTHONPATH"]  # `python -m` looks in its folder first
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=where)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", default="check,run")
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for name, (command, base) in parts(args.parts.split(",")).items():
            calls = {"now": (command, HERE), "against": (base, HERE)}
            if args.before is not None:
                calls["before"] = (command, args.before.resolve())
            turns: dict[str, list[float]] = {which: [] for which in calls}
            for _ in range(args.repeats + 1):
                for which, (call, folder) in calls.items():
                    where = {**environment, "PYTHONPATH": str(folder)}
                    turns[which].append(processor_seconds(call, where))
            against = turns["against"][1:]  # the first turn compiles Python's files
            line = [name, GOALS[name], f"{statistics.median(against):.3f}"]
            for which in ("before", "now"):
                ours = turns.get(which, [])[1:]
                ratio = (
                    statistics.median(a / b for a, b in zip(ours, against, strict=True))
                    if ours
                    else 0.0
                )
                line += [f"{statistics.median(ours):.3f}", f"{ratio:.2f}"] if ours else ["-", "-"]
            lines.append(line)
    names = ["part", "goal", "against, s", "before, s", "ratio", "now, s", "ratio"]
    print(table(names, lines))
    print(machine(1))


if __name__ == "__main__":
    main()
