"""The process that computes islands: it holds the models, takes a job, then tasks, and gives the
steps of each.

It knows nothing of what carries its messages, so a test runs it in its own process.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fkdsl.api.cluster.job import digest_of_job, request_of_job
from fkdsl.api.cluster.messages import error_to_json, step_from_json, step_to_json, written
from fkdsl.api.drafts import DraftFacts, drafting_of
from fkdsl.api.engines import LoadedModels, token_engine
from fkdsl.api.late_conditions import late_notes
from fkdsl.api.lookahead import LookaheadDecision, LookaheadFacts, verify_surrogates
from fkdsl.api.lookahead_pilot import decide
from fkdsl.api.prefill_store import fetch_for
from fkdsl.api.request import RunRequest
from fkdsl.api.steering import guessers_of, steering_model
from fkdsl.api.trace.header import model_marks, surrogate_marks
from fkdsl.api.trace.lines import StepWriter
from fkdsl.api.trace.record import sources_of
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.engine.meter import ForwardMeter
from fkdsl.inference.interface import Step
from fkdsl.inference.island_runner import IslandTask, LocalIslands
from fkdsl.inference.method import LoopSettings
from fkdsl.machine.places import Places
from fkdsl.machine.state import ProgramState
from fkdsl.proposals.drafting import DraftCounts

BETWEEN = 0.2
"""Seconds between two messages of a task at least, but for the last."""


class IslandWorker:
    """A worker. What it has loaded stays loaded from job to job."""

    def __init__(self) -> None:
        self._loaded: LoadedModels = {}
        self._job: _Ready | None = None
        self._digest = ""
        self._deadline = Deadline()
        self._lock = threading.Lock()

    def make_ready(self, job: bytes) -> bytes:
        """Reads the job and loads its models; the message that says so, or why it cannot be."""
        try:
            if self._digest != digest_of_job(job):
                self._job, self._digest = None, ""
                self._job = _Ready(json.loads(job), self._loaded)
                self._digest = digest_of_job(job)
            assert self._job is not None
            return written(self._job.ready())
        except Exception as error:
            return written({"error": error_to_json(error, None)})

    def run(self, task: bytes) -> Iterator[bytes]:
        """The messages of a task."""
        data = json.loads(task)
        number = {"task": data["task"]}
        assert self._job is not None
        with self._lock:
            self._deadline = Deadline(data["seconds"])
        try:
            with until(self._deadline):
                for message in self._job.run(data):
                    yield written(number | message)
        except DeadlinePassed:
            yield written(number | {"ended": True})
        except Exception as error:
            yield written(number | {"error": error_to_json(error, self._job.places)})

    def stop(self) -> None:
        """Ends the task that is being computed, at its next look at the deadline; from another
        thread."""
        with self._lock:
            self._deadline.cancel()


class _Ready:
    """A job whose models are loaded."""

    def __init__(self, job: Mapping[str, Any], loaded: LoadedModels) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fkdsl-job-")
        self.request = request = request_of_job(job, Path(self._folder.name), loaded)
        self.engines, self.program = request.engines, request.program
        self.drafting = drafting_of(request)
        self.guessers, self.told = guessers_of(request)
        self._build(request)
        for name in self.program.model_names():
            _ = self.engines[name]
        if self.lookahead is not None:
            verify_surrogates(request.lookahead, self.program, self.lookahead)
        self.told += fetch_for(self.program, request.prefill_store, self.engines)
        self.places = Places.of(self.model.code, sources_of(self.program))

    def _build(self, request: RunRequest) -> None:
        """Makes the model of the run, whose request says how it looks ahead."""
        self.request, self.lookahead = request, request.completion_lookahead()
        self.model = steering_model(
            request, self.engines, self.drafting, self.lookahead, self.guessers
        )

    def _decide(self, pilot: Mapping[str, int]) -> dict[str, Any]:
        """The message that says how a run looks ahead."""
        before = self._reset()
        request = replace(self.request.decided(None), seed=pilot["seed"])
        decision, self._prompts = decide(request, pilot["particles"])
        return {"decision": decision.json(), **self._cost(before)}

    def ready(self) -> dict[str, Any]:
        """What the run's own process has to know of this machine's models."""
        self.engines.reset_lost_mass()
        return {
            "ready": model_marks(self.engines, self.program.model_names()),
            "surrogates": surrogate_marks(self.request.decided(None)),
            "notes": list(self.engines.notes()),
            "told": self.told,
            "defaulted": self.engines.defaulted,
        }

    def run(self, task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The messages of a task, without its number."""
        if "pilot" in task:
            yield self._decide(task["pilot"])
            return
        data = task["lookahead"]
        decision = LookaheadDecision(**data) if data is not None else None
        if decision != self.request.lookahead.decided:
            self._build(self.request.decided(decision))
        request = self.request
        writer = StepWriter(self.engines, self.places)
        start: Step[ProgramState] | None = None
        if task["start"] is not None:
            start = step_from_json(task["start"], None, self.engines, self.places, {})
            writer.last[start.island] = start
        loop = LoopSettings[ProgramState](request.max_steps, request.merge)
        islands = LocalIslands(self.model, request.call, task["seed"], task["islands"], loop)
        before, sent = self._reset(), time.monotonic()
        steps: list[dict[str, Any]] = []
        try:
            for _, step in islands.run([IslandTask(task["island"], start, task["until"])]):
                if step is None:
                    continue
                assert isinstance(step, Step)
                steps.append(step_to_json(step, writer))
                if time.monotonic() - sent > BETWEEN:
                    yield {"steps": steps, **self._cost(before)}
                    steps, sent = [], time.monotonic()
        except (Exception, DeadlinePassed):
            yield {"steps": steps, **self._cost(before)}  # what it came to
            raise
        yield {"steps": steps, **self._cost(before), "over": self._facts()}

    def _reset(self) -> tuple[int, int]:
        """Sets what is counted for each task to 0; the engines' counts so far."""
        self.engines.reset_lost_mass()
        if self.drafting is not None:
            self.drafting.counts = DraftCounts()
        if self.lookahead is not None:
            self.lookahead.draws = self.lookahead.tilted = 0
            self.lookahead.drifts.clear()
            self.lookahead.left_out.clear()
        for name in self.program.model_names():
            engine = token_engine(self.engines[name])
            if engine.meter is not None:
                engine.meter = ForwardMeter(decode_length=engine.meter.decode_length)
        return self.engines.counts()

    def _cost(self, before: tuple[int, int]) -> dict[str, int]:
        calls, tokens = self.engines.counts()
        return {"calls": calls - before[0], "tokens": tokens - before[1]}

    def _facts(self) -> dict[str, Any]:
        """What the notes of a run and `--stats` are made of, of this task alone."""
        drafts, lookahead = DraftFacts.of(self.drafting), LookaheadFacts.of(self.lookahead)
        meters: dict[str, Any] = {}
        seen: set[int] = set()
        for name in self.program.model_names():
            engine = token_engine(self.engines[name])
            if engine.meter is not None and id(engine) not in seen:
                seen.add(id(engine))
                meters[name] = asdict(engine.meter)
        return {
            "drafts": asdict(drafts) if drafts is not None else None,
            "lookahead": asdict(lookahead) if lookahead is not None else None,
            "lost": {name: asdict(lost) for name, lost in self.engines.lost_mass()},
            "meters": meters,
            "late": list(late_notes(self.model.proposals.late, self.program.ir())),
        }
