"""The process that one stranger's program is checked, explained or run in.

Before it reads a byte of the program it bounds itself: memory, CPU time, no file written, no core
dumped; and it forgets the server's environment, which may have keys. The server ends it when its
time is over, whatever it is at. It has no weights, no key and no socket, and it loads no model: it
asks the server for those that are allowed (remote_model.py).
"""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

from fkdsl.api import Program, indexes, load
from fkdsl.base.deadline import Deadline
from fkdsl.base.errors import ProgramError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.cli.check import warnings_of
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.token_budget import TokenBudget
from fkdsl.ir.printed import explain
from fkdsl.models.interface import LanguageModel
from fkdsl.retrieval.spec import WORDLLAMA
from fkdsl.serve.failures import RequestError, diagnostic, failure
from fkdsl.serve.orders import Order, answer_json, run_order
from fkdsl.serve.remote_model import Server
from fkdsl.serve.settings import RequestLimits

MAIN = "program.fk"
"""The name of the program in its folder."""
PAGE = resource.getpagesize()
OPEN_FILES = 64


@dataclass(frozen=True)
class Job:
    """What a worker is to do. action: check, explain or run. folder: has the program and its files.
    program: which of its programs. left: seconds until the deadline. seconds: that it was when the
    request came."""

    action: str
    folder: Path
    program: str | None
    order: Order
    limits: RequestLimits
    left: float
    seconds: float


def work(pipe: Any, job: Job) -> None:
    """The process: sends one message `done` or `failed`, after those that it asks by."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this one
    bound(job)
    server = Server(pipe)
    try:
        server.tell({"op": "done", "answer": answer(job, server)})
    except EOFError:
        return  # the server is gone
    except MemoryError:
        refusal = RequestError(
            f"the program takes more than {job.limits.memory >> 20:,} MiB",
            "keep what is still needed, or ask for fewer particles",
            status=422,
            code="memory_ended",
        )
        server.tell({"op": "failed", "failure": failure(refusal)})
    except BaseException as error:
        server.tell({"op": "failed", "failure": failure(error)})


def bound(job: Job) -> None:
    """Bounds this process. Memory counts from what the process has already: libraries."""
    limits = [
        (resource.RLIMIT_CPU, 2 * int(job.left) + 5),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_AS, taken() + job.limits.memory),
    ]
    for which, most in limits:
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(which, (most, most))
    os.environ.clear()
    indexes.KEEP = False
    os.chdir(job.folder)


def taken() -> int:
    """Bytes of address space that this process has; 1 GB where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * PAGE
    except OSError:
        return 1 << 30


def answer(job: Job, server: Server) -> dict[str, Any]:
    """What the job gives. Raises what the library raises."""
    if job.action == "check":
        return checked()
    program = chosen(load(MAIN), job.program)
    refuse_models_of_indexes(program)
    if job.action == "explain":
        return {"text": explain(program.ir())}
    budget = TokenBudget(job.order.most_tokens(job.limits), job.limits.memory)

    def make(model: LanguageModel, memory: int | None, batch: int | None) -> CachedTransformer:
        engine = CachedTransformer(model, memory, batch)
        engine.token_budget = budget
        return engine

    engines = program.engines(load=server.load, make=make, cache_memory=job.limits.memory)
    deadline = Deadline(job.left)
    deadline.seconds = job.seconds

    def observe(event: dict[str, Any]) -> None:
        server.tell({"op": "step", "event": event})

    result = run_order(program, job.order, engines, job.limits, deadline, observe)
    return answer_json(result, job.order)


def refuse_models_of_indexes(program: Program) -> None:
    """Raises RequestError for an index that would load an encoder, from the network or from any
    folder, or write to the vector database of whoever runs the server."""
    for name, index in program.checked.indexes.items():
        if index.spec.engine != "embedded":
            refused = f"the engine {index.spec.engine}"
        elif index.spec.embeds and index.spec.embedding != WORDLLAMA:
            refused = f"the embedding `{index.spec.embedding[:100]}`"
        else:
            continue
        raise RequestError(
            f"the index `{name}` of a program in a request may not have {refused}",
            'use `ranking="bm25"`, or the embedding wordllama',
        )


def chosen(program: Program, name: str | None) -> Program:
    return program if name is None else program.select(name)


def checked() -> dict[str, Any]:
    """The mistakes and warnings of the program."""
    try:
        found, ok = warnings_of(load(MAIN).checked), True
    except ProgramError as error:
        found, ok = error.diagnostics, False
    return {"ok": ok, "diagnostics": [diagnostic(d) for d in found]}
