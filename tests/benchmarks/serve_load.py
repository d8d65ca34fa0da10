"""`fkdsl serve` under load and faults: a server in a process of its own, clients on loopback.

    python tests/benchmarks/serve_load.py [--requests 200] [--clients 32] [--seconds 60]
        [--leave 0.01] [--kill 10] [--steady 2000] [--markdown]

    alone     each kind of request by one client, one after the other
    together  `requests` requests by `clients` clients, of which a share leaves in the midst, while
              a worker process is killed by SIGKILL every `kill` seconds
    steady    `steady` requests of a table and of `tiny` by 8 clients; memory after each fifth

Kinds: a run on a table, a run on `tiny`, an OpenAI completion on `tiny`, and a program in the
request (--allow-programs) on `tiny`. Every answer carries its seed and is compared with the same
run in this process, to 1e-4 in its weights; some also with `fkdsl run --json`. At the end SIGTERM
comes in the midst of runs, each of which must be answered.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from report import machine, table

import fkdsl
from fkdsl.models.registry import load_model

BITS = """model bits = table:
    "" -> "0": 0.4, "1": 0.6
    "0" -> "0": 0.9, "1": 0.1
    "1" -> "0": 0.5, "1": 0.5

program bits(n: int = 4) -> str:
    lm = prompt("")
    for i in range(n):
        t ~ lm
    return lm.text

infer smc(particles=20)
"""
SEA = """model "tiny"

program sea(prompt: str = "The sea ", max_tokens: int = 12) -> str:
    lm = prompt(prompt)
    while not lm.done and lm.tokens < max_tokens:
        t ~ lm
        condition not contains(lm.text, "e")
    return lm.text

infer smc(particles=8)
"""
RUN, COMPLETION, SOURCE = "/v1/programs/{}/run", "/v1/completions", "/v1/run"
JSON = {"Content-Type": "application/json"}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "table": (BITS, RUN.format("bits"), {}),
    "tiny": (SEA, RUN.format("sea"), {}),
    "completion": (SEA, COMPLETION, {"model": "sea", "prompt": "The sea ", "n": 4}),
    "own program": (SEA, SOURCE, {"source": SEA}),
}
"""(program, path, body) of each kind of request."""
COMMAND_LINE = 2
"""Answers of each kind that are compared with the command line too."""


class Server:
    """`fkdsl serve` in a process, on a free port."""

    def __init__(self, folder: Path, *flags: str) -> None:
        command = [sys.executable, "-m", "fkdsl", "serve", str(folder), "--port", "0", *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            raise SystemExit("the server did not start")
        threading.Thread(target=self._pass_on, daemon=True).start()

    def _pass_on(self) -> None:
        """What the server says of its own mistakes."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            sys.stderr.write(line)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any, float]:
        """(status, answer, seconds)."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        method = "GET" if body is None else "POST"
        connection.request(method, path, None if body is None else json.dumps(body), JSON)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        answer = json.loads(text) if text.startswith(b"{") else text.decode()
        return response.status, answer, time.perf_counter() - began

    def leave(self, path: str, body: dict[str, Any]) -> None:
        """Asks, and closes the connection before the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", path, json.dumps(body), JSON)
        time.sleep(0.05)
        connection.close()

    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def workers(self) -> list[int]:
        """The processes that run programs of requests: grandchildren."""
        return [w for child in children(self.process.pid) for w in children(child)]


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except OSError:
        return []
    return [int(child) for child in text.split()]


def expected(kind: str, seed: int, model: Any) -> Any:
    """What the same run gives in this process, as `essence` has it."""
    program, path, body = KINDS[kind]
    result = fkdsl.parse(program).run(seed=seed, model=None if kind == "table" else model)
    if path == COMPLETION:
        return result.samples(body["n"])
    return [(p.value, p.weight) for p in result.particles]


def essence(kind: str, answer: dict[str, Any]) -> Any:
    """What is compared of an answer."""
    if KINDS[kind][1] == COMPLETION:
        return [choice["text"] for choice in answer["choices"]]
    return [(p["value"], p["weight"]) for p in answer["particles"]]


def equal(a: Any, b: Any) -> bool:
    """Whether two essences are the same; particles in the order of their values, since weights
    that are equal but for rounding may change places."""
    if a and isinstance(a[0], tuple):
        a, b = sorted(a), sorted(b)
        return [v for v, _ in a] == [v for v, _ in b] and all(
            abs(x - y) <= 1e-4 for (_, x), (_, y) in zip(a, b, strict=True)
        )
    return a == b


def seed_of(kind: str, answer: dict[str, Any]) -> int:
    """The seed that an answer carries."""
    return answer["fkdsl"]["seed"] if KINDS[kind][1] == COMPLETION else answer["seed"]


@dataclass
class Tally:
    """answers: (kind, seed, answer) of status 200. others: statuses of the rest. seconds: of each
    answer, by kind."""

    answers: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    others: list[tuple[str, int, Any]] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    left: int = 0
    killed: int = 0
    took: float = 0.0

    def add(self, kind: str, seed: int, status: int, answer: Any, seconds: float) -> None:
        if status == 200:
            self.answers.append((kind, seed, answer))
            self.seconds.setdefault(kind, []).append(seconds)
        else:
            self.others.append((kind, status, answer))


def drive(
    server: Server, requests: list[tuple[str, int]], clients: int, end: float, leaving: set[int]
) -> Tally:
    """Sends (kind, seed) requests by so many clients until the monotonic time `end`. leaving: the
    numbers of those whose client leaves."""
    tally, numbers, began = Tally(), count(), time.monotonic()

    def client() -> None:
        while (i := next(numbers)) < len(requests) and time.monotonic() < end:
            kind, seed = requests[i]
            _, path, body = KINDS[kind]
            if i in leaving:
                server.leave(path, {**body, "seed": seed})
                tally.left += 1
            else:
                tally.add(kind, seed, *server.ask(path, {**body, "seed": seed}))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.took = time.monotonic() - began
    return tally


def killing(server: Server, every: float, over: threading.Event, tally: list[float]) -> None:
    """Kills a worker every so many seconds, or as soon after as there is one."""
    due = time.monotonic() + 0.2 * every
    while not over.wait(0.01):
        if time.monotonic() >= due and (workers := server.workers()):
            try:
                os.kill(workers[0], signal.SIGKILL)
            except ProcessLookupError:
                continue
            tally.append(time.monotonic())
            due = time.monotonic() + every


def check(tally: Tally, model: Any) -> tuple[int, int]:
    """(answers that carry another seed or differ from the same run here, those compared)."""
    wrong = 0
    for kind, seed, answer in tally.answers:
        right = seed_of(kind, answer) == seed
        wrong += not (right and equal(essence(kind, answer), expected(kind, seed, model)))
    return wrong, len(tally.answers)


def check_by_command(tally: Tally, folder: Path) -> tuple[int, int]:
    """As `check`, some against the command line."""
    wrong = compared = 0
    for wanted in ("table", "tiny", "own program"):
        for kind, seed, answer in [a for a in tally.answers if a[0] == wanted][:COMMAND_LINE]:
            name = "bits" if kind == "table" else "sea"
            command = [sys.executable, "-m", "fkdsl", "run", str(folder / f"{name}.fk"), "--json"]
            done = subprocess.run(
                [*command, "--seed", str(seed)], capture_output=True, text=True, check=True
            )
            compared += 1
            wrong += not equal(essence(kind, answer), essence(kind, json.loads(done.stdout)))
    return wrong, compared


def quantiles(seconds: list[float]) -> list[str]:
    """p50 and p95 in milliseconds."""
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return [f"{1000 * statistics.median(ordered):.0f}", f"{1000 * p95:.0f}"]


def requests_of(kinds: list[str], n: int, first: int) -> list[tuple[str, int]]:
    return [(kinds[i % len(kinds)], first + i) for i in range(n)]


def steady(server: Server, n: int) -> list[list[str]]:
    """Rows (requests so far, megabytes)."""
    rows, done = [], 0
    for part in range(6):
        size = n // 20 if not part else n // 5  # the first is to warm up
        requests = requests_of(["table", "tiny"], size, 10_000 + done)
        tally = drive(server, requests, 8, time.monotonic() + 600, set())
        assert not tally.others, tally.others[:1]
        done += size
        rows.append([str(done), f"{server.memory():.0f}"])
    return rows


def ended(server: Server) -> tuple[int, int, float]:
    """(answers, of how many requests in progress, seconds) when SIGTERM comes."""
    statuses: list[int] = []
    body = {**KINDS["tiny"][2], "parameters": {"max_tokens": 200}, "options": {"particles": 32}}
    threads = [
        threading.Thread(
            target=lambda s=seed: statuses.append(  # type: ignore[misc]
                server.ask(KINDS["tiny"][1], {**body, "seed": s})[0]
            )
        )
        for seed in range(6)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    server.process.wait(60)
    return sum(s in (200, 503) for s in statuses), len(threads), time.monotonic() - began


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--leave", type=float, default=0.01)
    parser.add_argument("--kill", type=float, default=10.0)
    parser.add_argument("--steady", type=int, default=2000)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args(argv)
    model = load_model("tiny")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bits.fk").write_text(BITS, "utf-8")
        (folder / "sea.fk").write_text(SEA, "utf-8")
        server = Server(folder, "--allow-programs", "--grace", "20")
        try:
            return measure(server, args, model, folder)
        finally:
            server.process.kill()


def measure(server: Server, args: argparse.Namespace, model: Any, folder: Path) -> dict[str, Any]:
    """Prints the tables; what a test asserts."""
    kinds = list(KINDS)
    say: Callable[[str], None] = print
    drive(server, requests_of(kinds, 2 * len(kinds), 900_000), 1, time.monotonic() + 60, set())
    each = max(len(kinds), args.requests // 5)
    alone = drive(server, requests_of(kinds, each, 0), 1, time.monotonic() + args.seconds, set())
    over, kills = threading.Event(), list[float]()
    killer = threading.Thread(target=killing, args=(server, args.kill, over, kills))
    killer.start()
    leaving = {i for i in range(args.requests) if i % max(1, round(1 / args.leave)) == 7}
    requests = requests_of(kinds, args.requests, 1000)
    end = time.monotonic() + args.seconds
    together = drive(server, requests, args.clients, end, leaving)
    over.set()
    killer.join()
    say(machine(1))
    rows = [
        [kind, str(len(together.seconds.get(kind, []))), *quantiles(alone.seconds[kind]),
         *quantiles(together.seconds.get(kind, [0.0]))]
        for kind in kinds
    ]  # fmt: skip
    heads = ["request", "answers", "alone p50", "p95", f"{args.clients} clients p50", "p95"]
    say(table(heads, rows, args.markdown))
    wrong, compared = check(together, model)
    by_command = check_by_command(together, folder)
    unanswered = len(requests) - len(together.answers) - len(together.others) - together.left
    time.sleep(0.5)
    health = server.ask("/health")[1]
    facts = {
        "answers": len(together.answers),
        "errors": len(together.others),
        "not sent in time": unanswered,
        "clients that left": together.left,
        "workers killed": len(kills),
        "seconds": round(together.took, 1),
        "wrong of compared here": f"{wrong} of {compared}",
        "wrong of compared with the command line": "{} of {}".format(*by_command),
        "runs left at the end": health["runs"] + health["queue"],
    }
    say(table(["load", ""], [[k, str(v)] for k, v in facts.items()], args.markdown))
    for kind, status, answer in together.others[:3]:
        say(f"{kind}: {status} {answer}")
    memory = steady(server, args.steady)
    say(table(["requests", "MB"], memory, args.markdown))
    answered, of, seconds = ended(server)
    say(f"SIGTERM: {answered} of {of} runs in progress answered, ended after {seconds:.1f} s")
    return {**facts, "wrong": wrong + by_command[0], "memory": memory, "ended": (answered, of)}


if __name__ == "__main__":
    main()
