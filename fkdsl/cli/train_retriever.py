"""`fkdsl train-retriever`: learns an adapter of an index's queries, writes it, and says what it is
worth."""

from __future__ import annotations

import argparse
import math
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fkdsl.api.retriever import (
    Measured,
    Observer,
    RetrieverSettings,
    RetrieverTraining,
    TrainedRetriever,
    verify_dense,
)
from fkdsl.api.retriever_data import read_questions
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import BudgetEnded, Interrupted
from fkdsl.cli.call import called_engines, called_program
from fkdsl.cli.check import warn
from fkdsl.cli.output import check_file_target, print_json, say, tell
from fkdsl.cli.progress import RunProgress
from fkdsl.retrieval.adapter import write_adapter
from fkdsl.retrieval.adapter_training import Look


def main(args: argparse.Namespace) -> int:
    check_file_target(args.out, "--out")
    program = called_program(args)
    warn(program.warnings)
    verify_dense(program)
    settings = RetrieverSettings(
        documents=args.documents, share=args.share, steps=args.steps, penalty=args.penalty,
        seed=args.seed,
    )  # fmt: skip
    settings.check()
    questions = read_questions(Path(args.data), program)
    held_out = read_questions(Path(args.held_out), program) if args.held_out else ()
    out = Path(args.out)
    with RunProgress(program.name) as progress:
        engines = called_engines(program, args, progress)

        def scored(done: int, total: int) -> None:
            progress.advance(done, total, f"{done} of about {total} answers weighed")

        best = -math.inf

        def looked(look: Look) -> None:
            nonlocal best
            progress.stage("training")
            if look.validation > best or not look.step:
                best = max(best, look.validation)
                if not args.json:
                    progress.print(look_line(look))

        training = RetrieverTraining(
            program, engines, questions, settings, held_out,
            work=out.with_name(f"{out.name}.work"), resume=args.resume,
            observer=Observer(scored, looked),
        )  # fmt: skip
        try:
            trained = training.run(Deadline.of(args.timeout))
        except KeyboardInterrupt:
            error = Interrupted()
            error.reported = True
            tell(f"interrupted: go on with --resume ({training.result.pairs} answers are weighed)")
            raise error from None
    if trained.adapter is None:
        raise BudgetEnded(
            f"{trained.ended}, before anything was learned",
            "raise --timeout, and go on with --resume",
        )
    _write(out, trained, args)
    if not trained.ended:
        training.forget()
    if args.json:
        print_json(trained_json(trained, out))
    else:
        say(trained_text(trained, out, program.folder))
    return 0


def _write(out: Path, trained: TrainedRetriever, args: argparse.Namespace) -> None:
    assert trained.adapter is not None
    made = {"command": shlex.join(["fkdsl", *args.given]), **figures(trained)}
    write_adapter(out, replace(trained.adapter, made=made))


def look_line(look: Look) -> str:
    """One line of progress: of a look that is better than those before."""
    return (
        f"penalty {look.penalty:<5g} step {look.step:<4} "
        f"mean log p(answer): {look.training:.3f} learned from, "
        f"{look.validation:.3f} to stop by"
    )


def trained_text(trained: TrainedRetriever, out: Path, folder: Path) -> str:
    """What the adapter is worth, and what to do with it."""
    learn, stop, held = trained.sizes
    lines = [
        f"{learn} questions learned from, {stop} to stop by, {held} held out; "
        f"{trained.passages:,} passages, k={trained.k}, temperature {trained.temperature:g}"
    ]
    if trained.ended:
        lines.append(f"{trained.ended}: this is the best so far; --resume goes on")
    assert trained.before is not None
    if trained.after is None:
        lines.append("what it is worth on the questions held out is not known yet")
    else:
        lines += ["", *_table(trained, trained.before, trained.after), ""]
    return "\n".join([*lines, _verdict(trained, out, folder)])


def _table(trained: TrainedRetriever, before: Measured, after: Measured) -> list[str]:
    """The figures of the questions held out, a line each."""
    gain, se = trained.gain
    told = "" if math.isnan(gain) else f"   gain {gain:.3f} ± {se:.2g}"
    lines = [
        f"{'held out':<20}{'before':>9}{'after':>9}",
        f"{'mean log p(answer)':<20}{_mean(before):>9.3f}{_mean(after):>9.3f}{told}",
    ]
    for n, share in before.recall.items():
        lines.append(f"{f'recall@{n}':<20}{share:>9.3f}{after.recall[n]:>9.3f}")
    if before.impossible or after.impossible:
        lines.append(f"{'answers impossible':<20}{before.impossible:>9}{after.impossible:>9}")
    if not before.recall:
        lines.append("recall is not known: no question says its `evidence`")
    return lines


def _mean(measured: Measured) -> float:
    finite = measured.log_marginals[np.isfinite(measured.log_marginals)]
    return float(finite.mean()) if len(finite) else -math.inf


def _verdict(trained: TrainedRetriever, out: Path, folder: Path) -> str:
    gain, se = trained.gain
    if not trained.learned:
        return (
            f"nothing was learned that held on the questions to stop by: {out} changes nothing; "
            "give more questions, or more --documents"
        )
    name = os.path.relpath(out, folder).replace(os.sep, "/")
    use = f'use it: index {trained.index} = ... with ranking="dense", adapter="{name}"'
    if name.startswith(".."):
        use += " (move it below the program's folder first)"
    if trained.after is None:
        return use
    if gain <= 0.0:
        return "it is no better on the questions held out: leave it out, or give more questions"
    if not gain > 2.0 * se:
        return f"the gain could be chance: give more questions; to use it all the same:\n{use}"
    return use


def figures(trained: TrainedRetriever) -> dict[str, Any]:
    """The figures of a training, for JSON."""

    def measured(m: Measured | None) -> dict[str, Any] | None:
        if m is None:
            return None
        mean = _mean(m)
        return {
            "log_marginal": mean if math.isfinite(mean) else None,
            "impossible": m.impossible,
            "recall": {str(n): share for n, share in m.recall.items()},
        }

    gain, se = trained.gain
    looks = trained.trained.looks if trained.trained is not None else ()
    return {
        "index": trained.index,
        "passages": trained.passages,
        "k": trained.k,
        "temperature": trained.temperature,
        "questions": dict(
            zip(("learned_from", "to_stop_by", "held_out"), trained.sizes, strict=True)
        ),
        "before": measured(trained.before),
        "after": measured(trained.after),
        "gain": None if math.isnan(gain) else gain,
        "gain_se": None if math.isnan(se) else se,
        "step": trained.trained.step if trained.trained is not None else 0,
        "penalty": trained.trained.penalty if trained.trained is not None else 0.0,
        "looks": [[x.penalty, x.step, *map(_number, (x.training, x.validation))] for x in looks],
    }


def _number(x: float) -> float | None:
    return x if math.isfinite(x) else None


def trained_json(trained: TrainedRetriever, out: Path) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {"file": str(out), "ended": trained.ended, **figures(trained)}
