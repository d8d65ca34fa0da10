"""What a request asks of a program, as a RunRequest within the bounds of the server; and its run.

A worker process makes its run by the same functions, so that a program that came in a request runs
as one of the folder does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from fkdsl.api.auto import AUTO_METHOD
from fkdsl.api.engines import Engines
from fkdsl.api.program import Program
from fkdsl.api.request import RunRequest
from fkdsl.api.run import run
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.cli.output import json_text
from fkdsl.cli.report import result_json
from fkdsl.inference.method import MethodCall
from fkdsl.inference.methods import check_method
from fkdsl.inference.result import Result
from fkdsl.inference.run import Observer
from fkdsl.serve.failures import RequestError
from fkdsl.serve.observers import Observe, Population, step_observer
from fkdsl.serve.parameters import sent_values
from fkdsl.serve.settings import RequestLimits
from fkdsl.values.faults import LIMITS
from fkdsl.values.values import plain

LOOKAHEADS = ("auto", "none", "proposal", "twist", "both")
COUNTS = ("particles", "samples", "width")
"""Options that say how many particles there are; `sweeps` says how many populations."""
DRAFTS = ("none", "ngram", "heads")
"""Drafts that need no further model."""
MOST_SEED = 2**63 - 1
LARGE = 1e15
"""Whole numbers of requests may have more digits than a float."""
LEAST_MEMORY = 1 << 20
"""Bytes that a particle may have, however many there are."""


@dataclass(frozen=True)
class Order:
    """parameters: as JSON has them. method, options: None and {} for the file's own. seconds,
    tokens: less than the server's bounds, None for these. samples: values to draw from the
    posterior, which the answer then has too. steps: whether the observer is told of every step."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    islands: int = 1
    seconds: float | None = None
    tokens: int | None = None
    samples: int = 0
    lookahead: str = "auto"
    blame: bool = False
    steps: bool = False

    def deadline(self, limits: RequestLimits) -> Deadline:
        """From now on; of a request that asks for no time, the server's own."""
        return Deadline(bounded("timeout", self.seconds, limits.seconds))

    def most_tokens(self, limits: RequestLimits) -> int:
        return int(bounded("tokens", self.tokens, limits.tokens))


def bounded(name: str, value: float | None, most: float) -> float:
    """What a request asks for, where it is not more than the bound."""
    if value is None:
        return most
    if not 0 < value <= most:
        raise RequestError(
            f"`{name}` is at most {most:g} on this server, and more than 0; not {_shown(value)}",
            "ask for less",
            param=name,
            code="limit_exceeded",
        )
    return value


def _shown(value: float) -> str:
    return f"{value:g}" if abs(value) < LARGE else "that"


def check_size(call: MethodCall, islands: int, limits: RequestLimits) -> None:
    """Raises RequestError for a method whose options ask for more than the server's bounds."""
    total = particles_of(call) * islands
    if total > limits.particles or islands > limits.particles:
        raise RequestError(
            f"{call.method.name} would have {total:,} particles; "
            f"this server allows {limits.particles:,}",
            "ask for fewer, or start the server with --max-particles",
            param="options",
            code="limit_exceeded",
        )
    states = call.options.get("max_states", 0)
    if "max_states" in call.given and states > limits.states:
        raise RequestError(
            f"max_states={states:,} is more than the {limits.states:,} of this server",
            "leave it out",
            param="options",
            code="limit_exceeded",
        )


def particles_of(call: MethodCall) -> int:
    """The particles of one population."""
    return max([1, *(int(call.options[name]) for name in COUNTS if name in call.options)])


def is_large(request: RunRequest, limits: RequestLimits) -> bool:
    """Whether all particles together may pass the bound although none passes its own."""
    return particles_of(request.call) * request.program.limits.memory > limits.memory


def run_request(
    program: Program, order: Order, engines: Engines, limits: RequestLimits, deadline: Deadline
) -> RunRequest:
    """The run that is asked for. Raises RequestError and CallError for what cannot be."""
    if order.method == AUTO_METHOD:
        raise RequestError(
            "the server runs no pilots: name a method", "leave `method` out", param="method"
        )
    if not 0 <= order.seed <= MOST_SEED:
        raise RequestError("a seed is from 0 to 2^63 - 1", "leave `seed` out", param="seed")
    if order.lookahead not in LOOKAHEADS:
        raise RequestError(
            f"`lookahead` is one of {', '.join(LOOKAHEADS)}", "leave it out", param="lookahead"
        )
    if not 0 <= order.samples <= limits.answers:
        raise RequestError(
            f"this server draws at most {limits.answers} answers",
            "ask for fewer",
            param="samples",
            code="limit_exceeded",
        )
    if order.options.get("draft", "none") not in DRAFTS:
        raise RequestError(
            "a request may draft by ngram or heads", "leave `draft` out", param="options"
        )
    for name, value in order.parameters.items():
        check_items(name, value, limits.items)
    own, own_options = program.method
    method = check_method(order.method or own)
    call = method.call({**(own_options if method.name == own else {}), **order.options})
    check_size(call, order.islands, limits)
    most = {"max_states": limits.states, "max_tokens": order.most_tokens(limits)}
    capped = {
        name: min(int(call.options[name]), bound)
        for name, bound in most.items()
        if method.anytime and name in call.options and call.options[name] > bound
    }
    memory = max(LEAST_MEMORY, min(LIMITS.memory, limits.memory // particles_of(call)))
    given = sent_values(program, order.parameters)
    called = replace(program(**given), limits=replace(LIMITS, memory=memory))
    return RunRequest.of(
        called, order.method, {**order.options, **capped}, engines=engines, seed=order.seed,
        islands=order.islands, timeout=deadline, blame=order.blame, lookahead=order.lookahead,
    )  # fmt: skip


def check_items(name: str, value: Any, most: int) -> None:
    """Raises RequestError for a list that is longer than `most`, also within another."""
    if isinstance(value, list):
        if len(value) > most:
            raise RequestError(
                f"the parameter `{name}` has {len(value):,} items; this server allows {most:,}",
                "send fewer",
                param=name,
                code="limit_exceeded",
            )
        for item in value:
            check_items(name, item, most)


def run_order(
    program: Program,
    order: Order,
    engines: Engines,
    limits: RequestLimits,
    deadline: Deadline,
    observe: Observe | None = None,
) -> Result:
    """The result. deadline: of the request; its seconds go on from where they are. Raises what
    Program.run raises."""
    try:
        with until(deadline):
            request = run_request(program, order, engines, limits, Deadline(deadline.seconds))
            watchers: list[Observer] = []
            if is_large(request, limits):
                watchers.append(Population(limits.memory))
            if observe is not None:
                model = request.program.feynman_kac(engines=engines) if order.steps else None
                watchers.append(step_observer(model, engines, observe))

            def watch(step: Any) -> None:
                for watcher in watchers:
                    watcher(step)

            return run(request, watch)
    except DeadlinePassed as passed:
        raise BudgetEnded(f"time ran out {passed}, before the run began", "ask again") from None


def answer_json(result: Result, order: Order) -> dict[str, Any]:
    """What `fkdsl run --json` prints, and the samples that were asked for. Infinite numbers are
    null, and the notes say so."""
    answer = result_json(result)
    if order.samples:
        answer["samples"] = [plain(v) for v in result.samples(order.samples)]
    clean: dict[str, Any] = json.loads(json_text(answer))
    return clean
