"""`fkdsl tune`: fits a learned twist to a program, writes it, and says what it is worth."""

from __future__ import annotations

import argparse
import math
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fkdsl.api.tune import Tuner, TuneSettings
from fkdsl.api.tuned import Round, Spread, Tuned
from fkdsl.api.twist_file import identity, write_twist
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import BudgetEnded, Interrupted
from fkdsl.cli.call import called_engines, called_program
from fkdsl.cli.check import warn
from fkdsl.cli.output import check_file_target, print_json, say, tell
from fkdsl.cli.progress import RunProgress
from fkdsl.steering.learned_twist import LearnedTwist


def main(args: argparse.Namespace) -> int:
    check_file_target(args.out, "--out")
    program = called_program(args)
    warn(program.warnings)
    given = {n: v for n in ("rounds", "runs") if (v := getattr(args, n)) is not None}
    settings = TuneSettings(
        **given,
        particles=args.particles,
        tokens=args.tokens,
        seed=args.seed,
        max_steps=args.max_steps,
        lookahead=args.lookahead,
    )
    settings.check()
    deadline, path = Deadline.of(args.timeout), Path(args.out)
    with RunProgress(program.name) as progress:
        engines = called_engines(program, args, progress)
        bound: dict[str, Any] = {}

        def save(twist: LearnedTwist, tuned: Tuned) -> None:
            if not bound:
                bound.update(identity(program, engines))
            write_twist(path, twist, bound, made(args, tuned))

        def watch(title: str, step: Any, tokens: int) -> None:
            progress.stage(title)
            progress.step(step, tokens)

        def report(done: Round) -> None:
            if not args.json:
                progress.print(round_line(done))

        tuner = Tuner(program, engines, settings, save, watch, report)
        try:
            tuned = tuner.run(deadline)
        except KeyboardInterrupt:
            error = Interrupted()
            error.reported = True
            tell(f"interrupted: {saved(path, tuner.tuned)}")
            raise error from None
    if tuned.twist is None:
        raise BudgetEnded(f"{tuned.ended}, before the first round's fit", "raise --timeout")
    save(tuned.twist, tuned)
    if args.json:
        print_json(tuned_json(tuned, path))
    else:
        say(tuned_text(tuned, path, args.file))
    return 0


def saved(path: Path, tuned: Tuned) -> str:
    """What is in the file when tuning ends early."""
    if not tuned.rounds:
        return "nothing was learned yet"
    return f"{path} has the twist of round {tuned.rounds[-1].number}"


def made(args: argparse.Namespace, tuned: Tuned) -> dict[str, Any]:
    """How a twist was tuned, and what it was worth, for people."""
    return {"command": shlex.join(["fkdsl", *args.given]), **_figures(tuned)}


def round_line(done: Round) -> str:
    """One line of progress."""
    runs = done.runs
    died = f", {runs.died} died" if runs.died else ""
    with_what = "without a twist" if done.number == 1 else f"with that of round {done.number - 1}"
    share = "unknown" if math.isnan(done.explained) else f"{done.explained:.2f}"
    return (
        f"round {done.number}: sd of log Z {_number(runs.sd)} {with_what} "
        f"({len(runs.log_z) + runs.died} runs{died}); R2 of the fit {share} on runs left out"
    )


def _number(x: float) -> str:
    return "unknown" if math.isnan(x) else f"{x:.3g}"


def tuned_text(tuned: Tuned, path: Path, file: str) -> str:
    """What the twist is worth, and what to do with it."""
    lines = [f"note: {note}" for note in tuned.notes]
    if tuned.ended:
        lines.append(f"{tuned.ended}: {saved(path, tuned)}")
    call = f"fkdsl run {shlex.quote(file)} --twist {shlex.quote(str(path))}"
    if tuned.without is None or tuned.with_twist is None:
        lines.append(f"it was not compared with runs without it; try it: {call}")
        return "\n".join(lines)
    for name, spread in (("without it", tuned.without), ("with it", tuned.with_twist)):
        lines.append(_spread_line(name, spread))
    before, after = tuned.errors
    if tuned.helps:
        less = f"{before / after:.1f} times" if after > 0.0 else "far"
        runs = len(tuned.without.log_z) + tuned.without.died
        lines.append(
            f"the error of log Z is {less} smaller at equal tokens, by {runs} runs of each: {call}"
        )
    elif before < 1e-9:
        lines.append(
            "log Z does not vary without the twist: there is nothing to gain; leave it out"
        )
    else:
        lines.append(
            f"the twist does not help here (error of log Z {before:.3g} without it, {after:.3g} "
            "with it): leave it out, or tune with more --rounds, --runs or --particles"
        )
    return "\n".join(lines)


def _spread_line(name: str, spread: Spread) -> str:
    runs = len(spread.log_z) + spread.died
    return (
        f"{name:<10}  sd of log Z {_number(spread.sd)}   died {spread.died} of {runs}   "
        f"{spread.particles} particles   {spread.tokens:.0f} tokens"
    )


def _figures(tuned: Tuned) -> dict[str, Any]:
    def spread(s: Spread | None) -> dict[str, Any] | None:
        if s is None:
            return None
        facts = {**asdict(s), "log_z": list(s.log_z), "sd": s.sd}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in facts.items()}

    return {
        "rounds": [
            {
                "round": r.number,
                "runs": spread(r.runs),
                "explained": None if math.isnan(r.explained) else r.explained,
                "penalty": r.penalty,
                "power": r.power,
            }
            for r in tuned.rounds
        ],
        "without": spread(tuned.without),
        "with_twist": spread(tuned.with_twist),
        "helps": tuned.helps,
    }


def tuned_json(tuned: Tuned, path: Path) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {"file": str(path), "ended": tuned.ended, **_figures(tuned)}
