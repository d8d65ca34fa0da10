"""Hostile input, drawn at random, against the whole command line: `python tests/fuzz.py --seconds
60`.

Each case is a call of `fkdsl` with files of its own. It may end with any answer or with a clear
error; it is a failure if it ends in status 70 or an exception, prints a traceback, a control
character or JSON that is none, takes longer than BOUND or more than MEMORY. What fails is kept in a
folder with a line that repeats it, and the exit status is 1.

    python tests/fuzz.py --seconds 3600              all kinds in turn, for an hour
    python tests/fuzz.py --seconds 60 --only traces  one kind
    python tests/fuzz.py --case sources:0:17         one case again: kind, seed, number

Cases run one after another in a worker process a kind, which this process watches, and replaces
when it has to end a case.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.fuzzing import commands, folders, rows, sources, traces, typed  # noqa: E402

KINDS: dict[str, Callable[[random.Random, Path], list[str]]] = {
    "sources": sources.case,
    "typed": typed.case,
    "commands": commands.case,
    "traces": traces.case,
    "folders": folders.case,
    "rows": rows.case,
}
"""A kind's function writes the files of a case into a folder and returns the arguments of
`fkdsl`."""
TIMEOUT, BOUND = 2.0, 20.0
"""Seconds that commands which take --timeout are given, and CPU seconds of its process after which
a case hangs."""
STARTING = 90.0
"""CPU seconds that a worker may take to import the libraries before its first case."""
BUSY = 6.0
"""How many times as long the same may take by the clock on the wall, on a machine that does other
work besides."""
MEMORY = 2 << 30
"""Resident bytes of a worker beyond which a case has taken too much."""
CASES = 300
"""Cases after which a worker is replaced."""
STATUSES = {0, 1, 2, 3, 5}


@dataclass(frozen=True)
class Case:
    """One case: what `--case` takes."""

    kind: str
    seed: int
    number: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.seed}:{self.number}"


def run_case(case: Case, folder: Path) -> str | None:
    """Runs the case here; what is wrong with its outcome, None if nothing is."""
    from fkdsl.cli.main import main
    from fkdsl.cli.output import prepare_streams

    folder.mkdir(parents=True, exist_ok=True)
    argv = KINDS[case.kind](random.Random(str(case)), folder)
    (folder / "call.json").write_text(json.dumps(argv), "utf-8")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    before = Path.cwd()
    try:
        os.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            prepare_streams()  # as the console script does
            status = main(argv)
    except SystemExit as stop:  # argparse's --help and --version
        status = int(stop.code or 0)
    except BaseException:
        return "an exception left the command:\n" + traceback.format_exc()
    finally:
        os.chdir(before)
    return wrong_with(argv, status, *(stream_text(stream) for stream in (out, err)))


def stream_text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode("utf-8", "replace")  # type: ignore[attr-defined]


def wrong_with(argv: list[str], status: int, out: str, err: str) -> str | None:
    """What is wrong with a command's status and output."""
    if status not in STATUSES:
        return f"status {status}: {err[-800:]}"
    if "Traceback (most recent call last)" in err:
        return f"a traceback: {err[-800:]}"
    controls = {c for c in out + err if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160}
    if controls:
        return f"control characters {sorted(controls)!r} in the output"
    if "--json" in argv and out:
        try:
            json.loads(out, parse_constant=not_json)
        except ValueError as error:
            return f"--json printed no JSON: {error}: {out[:300]!r}"
    return None


def not_json(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# ---------------------------------------------------------------- the worker


def work(kind: str, seed: int, first: int, folder: Path) -> None:
    """Runs cases from `first` on and says on standard output when each begins and what it came to,
    a JSON line each."""
    if kind == "folders":
        prepare()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # so that nothing else writes between the lines
    for number in range(first, first + CASES):
        case = Case(kind, seed, number)
        print(json.dumps({"begins": number}), file=answers, flush=True)
        wrong = run_case(case, folder / f"{kind}-{seed}-{number}")
        print(json.dumps({"ends": number, "wrong": wrong}), file=answers, flush=True)


def prepare() -> None:
    """Imports the libraries that load models, so that no case takes the time for it, and makes the
    model."""
    import transformers

    assert transformers.AutoModelForCausalLM  # it is imported where it is first named
    folders.whole()


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Resident bytes of a process; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmRSS:")), 0
    )


class Worker:
    """A process that runs cases of one kind, and what is known of the one that it is at."""

    def __init__(self, kind: str, seed: int, first: int, folder: Path) -> None:
        self.kind, self.next = kind, first
        command = [
            sys.executable,
            __file__,
            "--work",
            f"{kind}:{seed}:{first}",
            "--keep",
            str(folder),
        ]
        # A model hub is never asked: a name that is no file is then an error at once.
        env = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "FKDSL_CACHE": str(folder / "cache"),
        }
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env=env,
        )
        assert self.process.stdout is not None
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.buffer = b""
        self.began = False
        self.restart()

    def restart(self) -> None:
        """The time of the next case runs from now."""
        self.since, self.cpu_since = time.monotonic(), cpu_seconds(self.process.pid)

    def lines(self, seconds: float) -> list[dict[str, object]]:
        """What it has said within some time."""
        self.selector.select(seconds)
        assert self.process.stdout is not None
        self.buffer += self.process.stdout.read() or b""
        *whole, self.buffer = self.buffer.split(b"\n")
        return [json.loads(line) for line in whole]

    def trouble(self) -> str | None:
        """Why the case that it is at has to be ended."""
        bound = BOUND if self.began else STARTING
        if (spent := cpu_seconds(self.process.pid) - self.cpu_since) > bound:
            return f"no end after {spent:.0f} CPU seconds"
        if (passed := time.monotonic() - self.since) > BUSY * bound:
            return f"no end after {passed:.0f} s"
        if (taken := resident(self.process.pid)) > MEMORY:
            return f"{taken / 2**30:.1f} GB of memory"
        return None

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.selector.close()


def fuzz(kinds: list[str], seed: int, seconds: float, folder: Path) -> int:
    """Runs cases of these kinds in turn; the number of those that failed."""
    share, counts, failed = seconds / len(kinds), Counter[str](), 0
    for kind in kinds:
        end, worker = time.monotonic() + share, Worker(kind, seed, 0, folder)
        while time.monotonic() < end:
            wrong: str | None = None
            for line in worker.lines(0.2):
                if "begins" in line:
                    worker.began = True
                    worker.restart()
                else:
                    counts[kind] += 1
                    worker.next = int(str(line["ends"])) + 1
                    failed += say(Case(kind, seed, worker.next - 1), line["wrong"], folder)
            dead = worker.process.poll() is not None
            if dead and (worker.process.returncode or not worker.began):
                wrong = f"the process ended with {worker.process.returncode}"
            if wrong := wrong or worker.trouble():
                failed += say(Case(kind, seed, worker.next), wrong, folder)
                worker.next += 1
            if wrong or dead:
                worker.end()
                worker = Worker(kind, seed, worker.next, folder)
        worker.end()
    print("   ".join(f"{kind} {counts[kind]}" for kind in kinds), f"  {failed} failed")
    return failed


def say(case: Case, wrong: object, folder: Path) -> bool:
    """Prints a failure; whether it is one."""
    if wrong:
        print(f"{case}: {wrong}\n    files: {folder}/{str(case).replace(':', '-')}", flush=True)
    return bool(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", action="append", choices=list(KINDS), help="kinds of cases (default: all)"
    )
    parser.add_argument(
        "--keep", type=Path, help="folder for the files of the cases (default: a new one)"
    )
    parser.add_argument("--case", help="run this one case here, and say what is wrong")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    folder = (args.keep or Path(tempfile.mkdtemp(prefix="fkdsl-fuzz-"))).resolve()
    if args.case or args.work:
        kind, seed, number = (args.case or args.work).split(":")
        case = Case(kind, int(seed), int(number))
        if args.work:
            work(case.kind, case.seed, case.number, folder)
            return 0
        wrong = run_case(case, folder / str(case).replace(":", "-"))
        print(wrong or "nothing is wrong", f"\n    files: {folder}", sep="")
        return bool(wrong)
    return bool(fuzz(args.only or list(KINDS), args.seed, args.seconds, folder))


if __name__ == "__main__":
    sys.exit(main())
