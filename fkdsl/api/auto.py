"""`--method auto`: a pilot tries methods on a program, and says which the run is to take, with how
many islands, and why.

    choice = choose_run(base, engines)          # base: the run's request by the file's own method
    run(choice.request)                         # an ordinary run, of fresh seeds

First `exact` searches for a small part of the budget: where that finds the whole answer, nothing is
drawn. Else each candidate runs a few islands, by seeds that are the pilot's alone; the answer has
none of them (fkdsl.inference.samplers.choice). What is chosen depends on the seed alone, unless the
budget is one of time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fkdsl.api.candidates import Candidate, PilotIslands, candidates
from fkdsl.api.engines import Engines
from fkdsl.api.lookahead import AUTO, NONE, LookaheadDecision
from fkdsl.api.request import RunRequest
from fkdsl.api.run import run
from fkdsl.api.steering import guessers_of, steering_model
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, CallError, FkdslError, PopulationDied
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.random import KeyedRng
from fkdsl.inference.result import Result
from fkdsl.inference.run import Observer
from fkdsl.inference.run import run as run_method
from fkdsl.inference.samplers.adaptive import Aim, IslandPilot, IslandPlan, aim_notes, islands_for
from fkdsl.inference.samplers.choice import Chosen, choose

AUTO_METHOD = "auto"
DEFAULT_TOKENS = 20_000
DEFAULT_AIM = Aim(target_se=0.1, tokens=DEFAULT_TOKENS, seconds=30.0)
"""What a run is to reach and may cost where its caller says nothing."""
STATES = 2000
"""States that the search by exact looks at, at most."""
SEARCH, LEAST_SEARCH = 0.1, 64
"""Share of the budget of tokens and seconds that it may take, and the tokens that it may in any
case."""
SHARE = 0.3
"""Share of the budget after which the pilot tries no more."""
ROUNDS = (2, 3)
"""Islands of every candidate in the pilot's first round, and of the best ones in its second."""
KEPT = 3
"""Candidates of the second round."""
DEADLY = 0.5
"""Deaths for each particle of a pilot from which on `alive` is a candidate."""


@dataclass(frozen=True)
class AutoChoice:
    """request: of the run itself. reason: one line. chosen: what the pilot found of each candidate,
    plan: the number of islands, both None where exact was chosen. aim: what the run is to reach.
    seconds, model_calls, tokens: of the pilot."""

    request: RunRequest
    reason: str
    chosen: Chosen | None
    plan: IslandPlan | None
    aim: Aim
    seconds: float
    model_calls: int
    tokens: int

    def counted(self, result: Result) -> Result:
        """The result with what the pilot took, the reason for the choice, and where the aim was
        missed."""
        done = replace(
            result,
            seconds=result.seconds + self.seconds,
            model_calls=result.model_calls + self.model_calls,
            forwarded_tokens=result.forwarded_tokens + self.tokens,
        )
        missed = aim_notes(done, self.plan, self.aim) if self.plan is not None else ()
        return replace(done, notes=(*done.notes, self.reason, *missed))

    def json(self) -> dict[str, Any]:
        """The choice as `--json` has it."""
        call = self.request.call
        return {
            "method": call.method.name,
            "options": dict(call.options),
            "islands": self.request.islands,
            "lookahead": self.request.lookahead.use,
            "reason": self.reason,
            "candidates": {
                name: {"error": tried.error, "cost": tried.cost}
                for name, tried in (self.chosen.tried if self.chosen else {}).items()
            },
            "pilot": {
                "seconds": self.seconds,
                "model_calls": self.model_calls,
                "forwarded_tokens": self.tokens,
            },
        }


def first_method(
    method: str | None,
    options: Mapping[str, Any],
    islands: int,
    resumed: bool,
    on: object = None,
) -> str | None:
    """The method of the request that a run begins with: for `auto` that which the pilot begins
    with, else the given one. Raises CallError for what `auto` itself chooses, and for a run that it
    cannot make."""
    if method != AUTO_METHOD:
        return method
    if options:
        name = next(iter(options))
        raise CallError(
            f"auto chooses the method's options, {name} among them",
            f"leave --{name.replace('_', '-')} out, or name a method",
        )
    if islands > 1:
        raise CallError("auto finds the number of islands", "leave --islands out, or name a method")
    if on is not None:
        raise CallError(
            "auto's pilot runs in this process alone",
            "leave --on out, or name a method: its --target-se works on a cluster",
        )
    if resumed:
        raise CallError(
            "a run whose method a pilot chose is resumed by that method",
            "name the method that it chose; the trace's first line has it",
        )
    return "smc"


class Pilot:
    """A choice in progress. base: a request by any method that draws; its other fields are those of
    the run."""

    def __init__(self, base: RunRequest, watch: Callable[[str], None] = lambda title: None) -> None:
        # It tries texts with look-ahead and without it itself.
        tried = LookaheadDecision("both") if base.lookahead.use == AUTO else None
        self.base, self.watch = base.decided(tried), watch
        self.aim = base.aim if base.aim.asked else DEFAULT_AIM
        self.rng = KeyedRng(base.seed).split("auto")
        self.began = time.monotonic()
        self.calls = self.tokens = 0
        self.tried: dict[str, PilotIslands] = {}

    def choice(self) -> AutoChoice:
        """The choice. Raises ProgramError and CallError as a run does."""
        for name in self.base.program.model_names():
            _ = self.base.engines[name]
        self.began = time.monotonic()
        if (why := self._exact_ends()) is not None:
            request = self._request("exact", {}, islands=1)
            return self._made(request, f"auto chose exact: {why}", None, None)
        chosen, candidate = self._compare()
        pilot = self.tried[chosen.name].piloted().pilot
        plan = islands_for(pilot, self._rest_of_aim(pilot))
        request = self._request(
            candidate.method, candidate.options, islands=plan.islands, looks=candidate.looks_ahead
        )
        if plan.why.startswith("the budget"):  # which is less than the caller's by the pilot
            plan = replace(plan, why="the budget had no room for more")
        return self._made(request, _reason(chosen, plan.islands, self.aim), chosen, plan)

    def _made(
        self, request: RunRequest, reason: str, chosen: Chosen | None, plan: IslandPlan | None
    ) -> AutoChoice:
        seconds = time.monotonic() - self.began
        return AutoChoice(request, reason, chosen, plan, self.aim, seconds, self.calls, self.tokens)

    def _request(
        self, method: str, options: dict[str, Any], islands: int, looks: bool = True
    ) -> RunRequest:
        """The base with another method."""
        base = self.base
        request = RunRequest.of(
            base.program, method, options, engines=base.engines, seed=base.seed, islands=islands,
            timeout=base.deadline, max_steps=base.max_steps, filtering=base.filtering,
            trace=base.trace, blame=base.blame, lookahead=base.lookahead if looks else NONE,
            twist=base.twist,
        )  # fmt: skip

        return replace(request, queries=base.queries)

    def _rest_of_aim(self, pilot: IslandPilot) -> Aim:
        """The aim less what other candidates and the search took."""
        seconds = time.monotonic() - self.began
        tokens = None if self.aim.tokens is None else self.aim.tokens - self.tokens
        left = None if self.aim.seconds is None else self.aim.seconds - seconds
        return Aim(
            self.aim.target_se,
            None if tokens is None else tokens + sum(pilot.tokens),
            None if left is None else left + sum(pilot.seconds),
        )

    # ----------------------------------------------------------------- exact

    def _exact_ends(self) -> str | None:
        """What exact needs for the whole answer, in words; None where the search was ended."""
        self.watch("pilot: exact")
        engines = self.base.engines.fresh()
        request = replace(self._request("exact", {}, islands=1), engines=engines, blame=False)
        tokens = max(LEAST_SEARCH, int(SEARCH * (self.aim.tokens or DEFAULT_TOKENS)))
        seconds = None if self.aim.seconds is None else SEARCH * self.aim.seconds
        model = steering_model(request, engines)
        bounds = {"max_states": STATES, "max_tokens": tokens}
        try:
            with engines.keeping_rows():
                result = run_method(
                    model, "exact", 0, bounds, lazy=True, timeout=seconds, counts=engines.counts,
                    max_steps=self.base.max_steps,
                )  # fmt: skip
        except PopulationDied:
            return "it finds that nothing can live"
        except FkdslError:  # it was ended, or the program draws from what cannot be enumerated
            return None
        finally:
            self._count(engines, (0, 0))
        if result.notes:
            return None
        return f"it ends after {result.states} states and {self.tokens} tokens"

    def _count(self, engines: Engines, before: tuple[int, int]) -> None:
        """Enters the calls and tokens of engines since they were at `before`."""
        calls, tokens = engines.counts()
        self.calls += calls - before[0]
        self.tokens += tokens - before[1]

    # ------------------------------------------------------------ candidates

    def _compare(self) -> tuple[Chosen, Candidate]:
        """Runs the pilot of the candidates in two rounds."""
        first, *others = candidates(self.base)
        known = {first.name: first}
        self._islands(first, ROUNDS[0])
        n = first.options["particles"]
        if self.tried[first.name].moves.died > DEADLY * n * ROUNDS[0]:
            others.insert(1, Candidate(f"alive(particles={n})", "alive", {"particles": n}))
        for candidate in others:
            if self._used() > SHARE:
                break
            known[candidate.name] = candidate
            self._islands(candidate, ROUNDS[0])
        best = self._chosen(first.name)
        order = sorted(best.tried, key=lambda name: best.tried[name].merit)
        for name in dict.fromkeys([best.name, *order[:KEPT]]):
            if self._used() > SHARE and name != best.name:
                break
            self._islands(known[name], ROUNDS[1])
        best = self._chosen(first.name)
        return best, known[best.name]

    def _chosen(self, first: str) -> Chosen:
        return choose({name: islands.piloted() for name, islands in self.tried.items()}, first)

    def _used(self) -> float:
        """The share of the budget that the pilot has taken."""
        seconds = time.monotonic() - self.began
        return max(
            self.tokens / (self.aim.tokens or math.inf), seconds / (self.aim.seconds or math.inf)
        )

    def _islands(self, candidate: Candidate, count: int) -> None:
        """Runs further islands of a candidate; its own caches serve all of them, as in a run. One
        whose first island takes all the time that is left is no candidate."""
        if candidate.name not in self.tried:
            request = self._request(candidate.method, candidate.options, 1, candidate.looks_ahead)
            request = replace(request, blame=False)  # nobody asks what a line did in the pilot
            self.tried[candidate.name] = PilotIslands(request, self.base.engines.fresh())
        islands = self.tried[candidate.name]
        for _ in range(count):
            number = len(islands.log_Z)
            self.watch(f"pilot: {candidate.name}, island {number + 1}")
            key = self.rng.split(candidate.name, number).key
            try:
                self._island(islands, int.from_bytes(key[:8], "little"))
            except BudgetEnded as ended:
                self._out_of_time(ended)
                if not islands.log_Z:
                    del self.tried[candidate.name]
                return

    def _out_of_time(self, ended: BudgetEnded) -> None:
        """Raises what ends the pilot, where not only one candidate has taken too long."""
        if self.base.deadline.passed:
            deadline = self.base.deadline
            why = f"time ran out {deadline.why}, in the pilot"
            raise BudgetEnded(why, deadline.help) from ended
        if self.aim.seconds is None or not any(i.log_Z for i in self.tried.values()):
            if self.aim.seconds is None or self._seconds_left() > 0.0:
                raise ended
            raise BudgetEnded(
                f"one island takes more than the budget of {self.aim.seconds:g} seconds",
                "name a method and fewer particles, or raise --budget",
            ) from ended

    def _seconds_left(self) -> float:
        """Of the budget; inf where it has none."""
        return (self.aim.seconds or math.inf) - (time.monotonic() - self.began)

    def _island(self, islands: PilotIslands, seed: int) -> None:
        request, engines = islands.request, islands.engines
        before, began = engines.counts(), time.monotonic()
        guessers, _ = guessers_of(request)
        model = steering_model(
            request, engines, lookahead=request.completion_lookahead(), guessers=guessers
        )
        limit = None if self.aim.seconds is None else max(0.0, self._seconds_left())
        try:
            result = run_method(
                model, request.call, seed, timeout=limit, max_steps=request.max_steps,
                merge=request.merge, counts=engines.counts, account=islands.moves,
            )  # fmt: skip
            islands.log_Z.append(result.log_z)
        except PopulationDied:
            islands.log_Z.append(-math.inf)
        finally:
            self._count(engines, before)
        islands.tokens.append(engines.counts()[1] - before[1])
        islands.seconds.append(time.monotonic() - began)


def auto_run(
    base: RunRequest,
    observer: Observer | None = None,
    watch: Callable[[str], None] = lambda title: None,
) -> tuple[Result, AutoChoice]:
    """The result of what a pilot chooses, with what both took; and the choice. base: as in Pilot.
    Raises what a run raises."""
    choice = chosen_run(base, watch)
    with until(base.deadline):
        return choice.counted(run(choice.request, observer)), choice


def auto_result(base: RunRequest, observer: Observer | None = None) -> Result:
    """The result of `auto_run` alone."""
    return auto_run(base, observer)[0]


def chosen_run(base: RunRequest, watch: Callable[[str], None] = lambda title: None) -> AutoChoice:
    """What a pilot chooses; the time of the run itself is what the pilot leaves of the base's."""
    for name in base.program.model_names():
        _ = base.engines[name]
    base.deadline.begin()
    try:
        with until(base.deadline):
            choice = Pilot(base, watch).choice()
    except DeadlinePassed as passed:
        why = f"time ran out {passed}, in the pilot"
        raise BudgetEnded(why, base.deadline.help) from None
    left = base.deadline.left
    deadline = Deadline(left if math.isfinite(left) else None)
    return replace(choice, request=replace(choice.request, deadline=deadline))


def _reason(chosen: Chosen, islands: int, aim: Aim) -> str:
    """One line: what was chosen, and why."""
    mine = chosen.tried[chosen.name]
    others = sorted((t.merit, name) for name, t in chosen.tried.items() if name != chosen.name)
    against = ""
    if others:
        merit, name = others[0]
        next_best = chosen.tried[name]
        against = (
            f"; next best {name}, {next_best.error:.2g} nats at a cost of {next_best.cost:.0f}"
        )
        if merit < mine.merit:
            against += ", which is not clearly better"
    target = "" if aim.target_se is None else f" for a standard error of {aim.target_se:g}"
    number = f"{islands} island{'s' if islands > 1 else ''}{target}"
    return (
        f"auto chose {chosen.name}, {number}: an island errs by {mine.error:.2g} nats at a "
        f"cost of {mine.cost:.0f}{against}"
    )
