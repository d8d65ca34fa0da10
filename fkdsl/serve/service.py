"""The server without HTTP: from what a request asks to a ticket of its run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fkdsl.base.errors import PopulationDied
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.cli.output import tell
from fkdsl.engine.token_budget import TokenBudget
from fkdsl.inference.result import Result
from fkdsl.serve.metrics import Metrics
from fkdsl.serve.observers import Observe
from fkdsl.serve.orders import Order, answer_json, run_order
from fkdsl.serve.registry import Registry, ServedProgram
from fkdsl.serve.runs import Runs, Ticket
from fkdsl.serve.settings import Settings

if TYPE_CHECKING:  # a system may have no limits for processes
    from fkdsl.serve.strangers import Source, Strangers

STRANGER = "(in the request)"
"""The name under which programs that came in a request are counted."""


@dataclass(frozen=True)
class Answer:
    """What a run has come to. json: as `fkdsl run --json` prints it. prompt_tokens: of the
    forwarded ones, how many began a text."""

    result: Result
    json: dict[str, Any]
    prompt_tokens: int


class Service:
    """Programs, runs and counters of a server."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.settings, self.registry = settings, registry
        self.runs = Runs(settings.runs, settings.queue, tell)
        self.metrics = Metrics(self.runs, registry.models)
        self.strangers: Strangers | None = None
        if settings.allow_programs:
            from fkdsl.serve.strangers import Strangers

            self.strangers = Strangers(
                registry.models,
                registry.allowed,
                settings.limits,
                lambda how: self.metrics.workers.labels(how).inc(),
            )

    def run(
        self, served: ServedProgram, order: Order, observe: Observe | None = None
    ) -> Ticket[Answer]:
        """A ticket of a run of a program. Raises RequestError where it cannot be taken."""
        limits = self.settings.limits
        deadline = order.deadline(limits)
        tokens = TokenBudget(order.most_tokens(limits), limits.memory)

        def work() -> Answer:
            died = [0]

            def see(event: dict[str, Any]) -> None:
                died[0] += event.get("particles", 0) - event.get("alive", 0)
                if observe is not None and order.steps:
                    observe(event)

            try:
                with self.registry.models.engines(served.engines, tokens, limits.memory) as engines:
                    result = run_order(served.program, order, engines, limits, deadline, see)
                answer = answer_json(result, order)
            except PopulationDied:
                self.metrics.deaths.labels(served.name).inc()
                raise
            finally:
                self.metrics.died.labels(served.name).inc(died[0])
            self.metrics.ran(served.name, answer)
            return Answer(result, answer, tokens.prompt)

        return self.runs.start(work, deadline)

    def do(
        self, action: str, source: Source, order: Order, observe: Observe | None = None
    ) -> Ticket[dict[str, Any]]:
        """A ticket of what is done with a program that came in a request. Raises RequestError
        where it cannot be taken."""
        strangers = self.strangers
        assert strangers is not None
        deadline = order.deadline(self.settings.limits)
        order.most_tokens(self.settings.limits)

        def work() -> dict[str, Any]:
            see = observe if order.steps else None
            answer, _ = strangers.do(action, source, order, deadline, see)
            if action == "run":
                self.metrics.ran(STRANGER, answer)
            return answer

        return self.runs.start(work, deadline)

    def work(self, work: Callable[[], Any], order: Order) -> Ticket[Any]:
        """A ticket of other work that takes a place among the runs."""
        return self.runs.start(work, order.deadline(self.settings.limits))

    def close(self) -> None:
        """Ends all runs and the models' threads."""
        self.runs.close()
        self.registry.models.close()
