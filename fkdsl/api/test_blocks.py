"""Runs test blocks: each `expect` line on exact figures, and every inference method against the
same figures.

Figures are exact where the program can be enumerated: on a small table always, and on a real model
where few texts are possible. Elsewhere they are estimated with a confidence sequence
(fkdsl.api.sampled), and a line may stay undecided.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fkdsl.api.called_program import CalledProgram
from fkdsl.api.engines import Engines
from fkdsl.api.outcomes import ExpectLine, Outcome, TestRun, TestSettings, shown_figures
from fkdsl.api.queries import number_of
from fkdsl.api.request import MAX_STEPS
from fkdsl.api.sampled import sampled_lines
from fkdsl.api.unbiasedness import Disagreement, Law, MethodCheck, check_variant, level_of_each
from fkdsl.base.errors import BudgetEnded, CallError, ProgramError
from fkdsl.base.logspace import Floats, linear
from fkdsl.base.value_keys import value_key
from fkdsl.inference.assess.lookahead import LookAhead, look_ahead
from fkdsl.inference.assess.sequential import RoundPlan
from fkdsl.inference.assess.variants import variants
from fkdsl.inference.result import Answer, merged_answers
from fkdsl.inference.search.exact import exact
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import subexpressions
from fkdsl.ir.pure import PureFunctions
from fkdsl.language.check.constants import constant
from fkdsl.language.expectations import Expectation, Expectations, expectations
from fkdsl.language.syntax import tree
from fkdsl.machine.state import ProgramState
from fkdsl.models.table import TableModel
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.values.values import show

FAR = 300.0
"""|log Z| beyond which Z and its estimates are compared relative to exp(log Z)."""
TABLE_STATES, MODEL_STATES = 20_000, 2_000
"""States that exact enumerates at most, on tables and on other models."""
ROUNDING = 1e-9
"""Relative rounding error that an enumeration's sums may have."""
Watch = Callable[[int, int, str], None]
"""Told how many methods of a test are checked, of how many, and which one comes now."""
DENSITIES = ("normal", "uniform", "beta")
"""Distributions whose potential may be above 1."""


def run_test(
    program: CalledProgram,
    test: tree.Test,
    settings: TestSettings | None = None,
    watch: Watch | None = None,
) -> TestRun:
    """The outcome of a test of the program's file. A mistake that shows only when the program runs
    is the outcome `error`. watch: told before each method is checked."""
    settings, began = settings or TestSettings(), time.monotonic()
    try:
        by, lines, methods = _run(program, test, settings, watch)
    except (ProgramError, CallError, BudgetEnded) as error:
        return TestRun(test, "error", "", (), (), time.monotonic() - began, str(error))
    outcomes = [line.outcome for line in lines]
    failed = "failed" in outcomes or not all(m.passed for m in methods)
    outcome: Outcome = "failed" if failed else "undecided" if "undecided" in outcomes else "passed"
    return TestRun(test, outcome, by, lines, methods, time.monotonic() - began)


def prepared(program: CalledProgram, test: tree.Test) -> tuple[CalledProgram, Engines]:
    """The program with the test's settings, and its models, loaded."""
    parameters = {k.name: k.value for k in test.settings}
    selected, table = parameters.pop("program", None), parameters.pop("model", None)
    if isinstance(selected, tree.Name):
        program = program.select(selected.name)
    program = program(**{name: constant(value) for name, value in parameters.items()})
    engines = program.engines(table.name if isinstance(table, tree.Name) else None)
    for name in program.model_names():
        _ = engines[name]
    return program, engines


def _run(
    program: CalledProgram, test: tree.Test, settings: TestSettings, watch: Watch | None
) -> tuple[Literal["exact", "sampling"], tuple[ExpectLine, ...], tuple[MethodCheck, ...]]:
    program, engines = prepared(program, test)
    expected = expectations(program.checked, test)
    functions = PureFunctions(expected.functions, program.environment())
    tables = all(isinstance(engines[name].model, TableModel) for name in program.model_names())
    max_states = TABLE_STATES if tables else MODEL_STATES
    # Methods run the optimised program, so the figures that they are held to come without it.
    exactly = exact_answers(program.without(), engines, max_states) if tables else None
    exactly = exactly if exactly is not None else exact_answers(program, engines, max_states)
    if exactly is None:
        bound = 1.0 if potentials_are_probabilities(program) else None
        lines = sampled_lines(program, engines, expected, functions, bound, settings)
        return "sampling", lines, ()
    log_Z, answers = exactly
    values = figure_values(expected, functions, answers)
    lines = tuple(_exact_line(line, functions, log_Z, answers, values) for line in expected.lines)
    # On a real model each of the methods' many runs would cost its forwards.
    tested = variants(settings.only) if settings.methods and tables else ()
    if not tested:
        return "exact", lines, ()
    law = law_of(expected, functions, log_Z, answers, potentials_are_probabilities(program))
    k, by_value = len(law.names), law.functions
    lookahead = program_lookahead(
        program, engines, lambda v: by_value.get(value_key(v), np.zeros(k)), k, max_states
    )
    optimised = () if lookahead is None else disagreeing(law, lookahead)
    law = law if optimised else replace(law, lookahead=lookahead)
    model = program.feynman_kac(
        engines=engines, proposals=ProposalSettings(force="force" not in program.off)
    )
    alpha, merge = level_of_each(len(tested)), "merge" not in program.off
    methods = []
    for done, v in enumerate(tested):
        if watch is not None:
            watch(done, len(tested), v.name)
        methods.append(
            check_variant(
                model,
                v,
                law,
                plan=RoundPlan(settings.runs),
                seed=settings.seed,
                alpha=alpha,
                max_steps=MAX_STEPS,
                merge=merge,
            )
        )
    return "exact", lines, (*optimised, *methods)


def disagreeing(law: Law, lookahead: LookAhead[ProgramState]) -> tuple[MethodCheck, ...]:
    """A failed check, where the optimised program does not have the figures of the program as it is
    written."""
    totals = lookahead.total_of_start
    for name, exact_figure, figure in zip(law.names, law.means, totals, strict=True):
        if not abs(exact_figure - figure) <= ROUNDING * max(1.0, exact_figure):
            wrong = Disagreement(name, float(exact_figure), float(figure), math.inf)
            shown = "Z" if name == "Z" else f"Z * {name}"
            reason = (
                f"{shown} is {exact_figure:.6g} as the program is written, "
                f"{figure:.6g} as it is optimised: a bug in fkdsl"
            )
            return (MethodCheck("the optimiser", 1, wrong, reason, {}, False, False),)
    return ()


# --------------------------------------------------------------------- exactly


def exact_answers(
    program: CalledProgram, engines: Engines, max_states: int
) -> tuple[float, tuple[Answer, ...]] | None:
    """(log Z, the posterior, empty where Z is 0); None if there is too much to enumerate."""
    model = program.feynman_kac(engines=engines, proposals=ProposalSettings(rejection=False))
    try:
        *_, last = exact(model, max_states, MAX_STEPS)
    except (BudgetEnded, CallError):
        return None
    weighted = zip(last.states, last.log_weights, strict=True)
    return last.log_Z, merged_answers(
        (model.value(x), math.exp(w - last.log_Z)) for x, w in weighted
    )


def program_lookahead(
    program: CalledProgram,
    engines: Engines,
    functions: Callable[[Any], Floats],
    k: int,
    max_states: int,
) -> LookAhead[ProgramState] | None:
    """The expected future of each state of the program, for k functions of its value; None if there
    is too much to enumerate."""
    weighing = {
        i.span
        for f in program.ir().functions.values()
        for i in f.body
        if isinstance(i, ir.Factor | ir.Observe)
    }

    def ceiling(x: ProgramState) -> float:
        # The other charges are masses that a draw leaves out: at most 0, and different for each
        # kernel.
        return math.fsum(c.log_weight for c in x.charges if c.place in weighing)

    model = program.feynman_kac(engines=engines, proposals=ProposalSettings(rejection=False))
    return look_ahead(model, functions, k, ceiling, max_states, MAX_STEPS)


def potentials_are_probabilities(program: CalledProgram) -> bool:
    """Whether no line can weigh more than 1: there is no `factor`, and no observation where there
    are densities."""
    instrs = [i for function in program.ir().functions.values() for i in function.body]
    if any(isinstance(i, ir.Factor) for i in instrs):
        return False
    densities = any(
        isinstance(e, ir.Builtin) and e.name in DENSITIES for i in instrs for e in subexpressions(i)
    )
    return not densities or not any(isinstance(i, ir.Observe) for i in instrs)


def figure_values(
    expected: Expectations, functions: PureFunctions, answers: tuple[Answer, ...]
) -> dict[str, Floats]:
    """Each figure's function at each value of the posterior, (answers,), by its name."""
    by_name = {}
    for figure in expected.figures:
        event, values = figure.kind == "P", []
        for a in answers:
            y = functions.call(figure.function, a.value, note=f"where it is {show(a.value)!r}")
            values.append(number_of(figure.expression, y, a.value, event=event))
        by_name[figure.function] = np.array(values, dtype=np.float64)
    return by_name


def _exact_line(
    line: Expectation,
    functions: PureFunctions,
    log_Z: float,
    answers: tuple[Answer, ...],
    values: Mapping[str, Floats],
) -> ExpectLine:
    known: dict[str, Any] = {
        "Z": linear(log_Z),
        "log_Z": log_Z,
        "support": tuple(a.value for a in answers),
    }
    if line.figures and not answers:
        return ExpectLine(
            line.written,
            "failed",
            (("Z", "0"),),
            "Z is 0: nothing is returned, so P and E have no value",
        )
    for figure in line.figures:
        known[figure.function] = math.fsum(
            a.probability * y for a, y in zip(answers, values[figure.function], strict=True)
        )
    holds = functions.call(line.function, *(known[p] for p in line.parameters))
    return ExpectLine(line.written, "passed" if holds else "failed", shown_figures(line, known))


def law_of(
    expected: Expectations,
    functions: PureFunctions,
    log_Z: float,
    answers: tuple[Answer, ...],
    probabilities: bool,
) -> Law:
    """What the methods are tested against at their end: Z, and each figure that is not constant,
    scaled to [0, 1]. probabilities: whether every potential is at most 1."""
    log_scale = log_Z if FAR < abs(log_Z) < math.inf else 0.0
    Z = math.exp(log_Z - log_scale)
    values = figure_values(expected, functions, answers)
    names, columns = ["Z"], [np.ones(len(answers))]
    for figure in expected.figures:
        y = values[figure.function]
        low, high = (
            (0.0, 1.0)
            if figure.kind == "P"
            else (float(y.min(initial=math.inf)), float(y.max(initial=-math.inf)))
        )
        if high > low:
            names.append(figure.text)
            columns.append((y - low) / (high - low))
    f = np.array(columns).T  # (answers, k)
    p = np.array([a.probability for a in answers])
    means = Z * (p @ f) if len(answers) else np.zeros(len(names))
    table: dict[Hashable, Floats] = {
        value_key(a.value): row for a, row in zip(answers, f, strict=True)
    }
    return Law(
        table, np.asarray(means, dtype=np.float64), tuple(names), probabilities, None, log_scale
    )
