"""`fkdsl run FILE.fk --each ROWS`: a run for each row of a file, with the models loaded once."""

from __future__ import annotations

import argparse
import json
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fkdsl.api import Program
from fkdsl.api.auto import AUTO_METHOD, chosen_run
from fkdsl.api.request import RunRequest
from fkdsl.api.rows import Row, SharedEngines, arguments_of, columns_of, read_rows, verify_columns
from fkdsl.api.run import run
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import (
    CallError,
    FkdslError,
    InternalError,
    ModelUnavailable,
    ProgramError,
)
from fkdsl.base.files import real_path
from fkdsl.base.rendering import error_text
from fkdsl.cli.answer_file import AnswerFile, RowAnswer
from fkdsl.cli.call import called_engines, called_program, called_request, called_samples, value_of
from fkdsl.cli.call import memory as bytes_of
from fkdsl.cli.check import warn
from fkdsl.cli.output import check_file_target, tell
from fkdsl.cli.progress import RunProgress, is_live
from fkdsl.cli.report import result_json
from fkdsl.inference.result import Result
from fkdsl.values.values import plain

REFUSED = (
    "watch", "trace", "resume", "report", "alternatives", "filtering", "blame", "stats", "prefill",
    "on",
)  # fmt: skip
"""Flags of one run, which say nothing of many."""
KINDS = {".csv": "csv", ".jsonl": "jsonl"}
JSONL = "write --format jsonl"
TOP = 10
"""Values of a row's posterior, if --top does not say it."""
SECONDS = 10.0
"""Between two lines that say how far it is, where no terminal shows it."""


def main(args: argparse.Namespace) -> int:
    """Runs the program for each row that has no answer yet; returns the gravest of their
    statuses."""
    _verify_flags(args)
    rows = read_rows(args.each)
    program = called_program(args)
    columns = columns_of(rows)
    verify_columns(program, args.each, columns)
    session = _Session(args, program, rows)
    answers = AnswerFile(args.out, session.kind, columns, session.call, rows)
    warn(program.warnings)
    with session.progress:
        return session.answer(answers)


def _verify_flags(args: argparse.Namespace) -> None:
    for name in REFUSED:
        if getattr(args, name, None):
            flag = f"--{name}"
            raise CallError(f"{flag} is of one run, and --each makes many", f"leave {flag} out")
    if args.out is not None:
        check_file_target(args.out, "--out")
        if real_path(args.out) in (real_path(args.each), real_path(args.file)):
            raise CallError(f"--out {args.out} is a file of this call", "name another file")


class _Session:
    """The runs of one call. kind: how answers are written. call: tells the call from others."""

    def __init__(self, args: argparse.Namespace, program: Program, rows: list[Row]) -> None:
        self.args, self.program, self.rows = args, program, rows
        self.kind = _kind(args)
        self.call = _call(args, program)
        self.progress = RunProgress(program.name)
        self.shared = SharedEngines(
            lambda loaded: called_engines(program, _with(args, loaded=loaded), self.progress),
            bytes_of(args.cache_memory),
        )
        lines = Path(args.each).suffix.lower() == ".jsonl"
        self.read = None if lines else value_of
        self.statuses: dict[int, int] = {}
        self.told, self.defaulted = time.monotonic(), False
        self.began = self.told
        request = self._request(program, 0)  # a wrong flag is no row's mistake
        self.samples = called_samples(args, request.call.method)

    def answer(self, answers: AnswerFile) -> int:
        """Answers the rows that are open, and says on stderr how it went."""
        missing = [(i, row) for i, row in enumerate(self.rows) if row.key() not in answers.done]
        n = 0
        try:
            for n, (i, row) in enumerate(missing):
                self._tell_of(row, n, len(missing))
                without = answers.add(self._answer(row, i))
                if without:
                    names = ", ".join(f"`{name}`" for name in without)
                    tell(f"line {row.line}: {names} has no column; --format jsonl keeps it")
            n = len(missing)
        except KeyboardInterrupt as error:
            how = (
                "the same call goes on" if answers.out else "with --out FILE the same call goes on"
            )
            done = f"{len(answers.done) + n} of {len(self.rows)} rows are done"
            self.progress.end()
            tell(error_text(f"interrupted: {done}", help=how))
            error.reported = True  # type: ignore[attr-defined]
            return 130
        finally:
            answers.close()
        self.progress.end()
        tell(self._summary(n, len(answers.done)))
        return max(self.statuses.values(), default=0)

    def _tell_of(self, row: Row, n: int, of: int) -> None:
        self.progress.stage(f"{self.program.name}: row {n + 1} of {of}")
        now = time.monotonic()
        if not is_live() and now > self.told + SECONDS:
            self.told = now
            tell(f"{self.args.each}:{row.line}: row {n + 1} of {of}")

    def _summary(self, n: int, before: int) -> str:
        wrong = [str(line) for line in self.statuses]
        facts = [f"{n} rows in {time.monotonic() - self.began:.1f} s"]
        facts += [f"{before} were answered before"] if before else []
        if wrong:
            lines = ", ".join(wrong[:10]) + ("..." if len(wrong) > 10 else "")
            facts += [f"{len(wrong)} have no answer (line{'s' * (len(wrong) > 1)} {lines})"]
        if self.defaulted:
            facts += ["no model is named: `tiny`, which ships with fkdsl, was used"]
        return f"{self.args.each}: {'; '.join(facts)}"

    # ------------------------------------------------------------------- a row

    def _answer(self, row: Row, i: int) -> RowAnswer:
        try:
            program = self.program(**arguments_of(self.program, row, self.read))
            request = self._request(program, i)
            return self._of_result(row, i, self._result(request))
        except (InternalError, ModelUnavailable):
            raise
        except FkdslError as error:
            result = error.result if isinstance(error, ProgramError) else None
            self.statuses[row.line] = error.exit_status
            place = f"{self.args.each}:{row.line}: "
            tell(place + str(error).replace("\n", "\n  "))
            more = {"help": error.help, "facts": list(error.facts), "status": error.exit_status}
            answered = {} if result is None else {"posterior": result_json(result)["posterior"]}
            return RowAnswer(row, more={**more, **answered}, error=error.message)

    def _request(self, program: Program, i: int) -> RunRequest:
        args = _with(self.args, seed=self.args.seed + i)
        deadline = Deadline.of(self.args.timeout)
        return called_request(args, program, self.shared.engines(), deadline)

    def _result(self, request: RunRequest) -> Result:
        def observe(step: Any) -> None:
            self.progress.step(step, request.engines.counts()[1])

        if getattr(self.args, "method", None) == AUTO_METHOD:
            choice = chosen_run(request)
            result = choice.counted(run(choice.request, observe))
        else:
            result = run(request, observe)
        self.defaulted |= request.engines.defaulted
        return result

    def _of_result(self, row: Row, i: int, result: Result) -> RowAnswer:
        best = result.posterior[0]
        told = result_json(result)
        figures = {
            "probability": best.probability if result.is_known(best) else None,
            "log_z": result.estimated_log_z,
            "log_z_se": result.log_z_se,
        }
        means = {name: q.mean for name, q in result.queries.items()}
        kept = ("posterior", "queries", "sole", "ess", "steps", "seconds", "forwarded_tokens")
        more = {name: told[name] for name in (*kept, "notes", "seed")}
        more["posterior"] = more["posterior"][: self.args.top if self.args.top is not None else TOP]
        if self.samples:
            more["samples"] = [plain(v) for v in result.samples(self.samples)]
        return RowAnswer(row, best.value, figures, means, more)


def _with(args: argparse.Namespace, **changed: Any) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(args), **changed})


def _kind(args: argparse.Namespace) -> str:
    """How the answers are written: as --format says, else as --out is named, else as jsonl."""
    named = KINDS.get(Path(args.out).suffix.lower(), "jsonl") if args.out else "jsonl"
    kind = named if args.format == "table" else args.format
    if kind == "json":
        raise CallError("--json is one object, and --each has a line for each row", JSONL)
    if kind == "text" and args.out:
        raise CallError(
            "--format text has the values alone, with which no file can be gone on with", JSONL
        )
    if args.samples is not None and kind != "jsonl":
        raise CallError(f"--samples says several values a row, which {kind} does not", JSONL)
    return kind


def _call(args: argparse.Namespace, program: Program) -> str:
    """What tells a call from others with other answers: the program's text and the flags."""
    flags = iter(args.given)
    kept = []
    for flag in flags:
        name, equals, _ = flag.partition("=")
        if name in ("--each", "--out", "-o", "--timeout", "--cache-memory"):
            if not equals:
                next(flags, None)
        else:
            kept.append(flag)
    texts = [s.text for s in program.checked.folders] or [program.checked.module.source.text]
    said = json.dumps([kept, texts], ensure_ascii=False).encode("utf-8", "surrogatepass")
    return blake2b(said, digest_size=4).hexdigest()
