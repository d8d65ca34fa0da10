"""Programs that come in a request: files, models, limits, and how their processes end."""

import json
import pickle
import time

import numpy as np
import pytest

import fkdsl
from fkdsl.base.deadline import Deadline, DeadlinePassed, until
from fkdsl.base.errors import BudgetEnded, CallError
from fkdsl.engine.token_budget import TokenBudget
from fkdsl.models.attachments import Attachment
from fkdsl.models.cache import cache_root
from fkdsl.models.registry import load_model
from fkdsl.serve import worker
from fkdsl.serve.failures import RequestError
from fkdsl.serve.models import ServedModels
from fkdsl.serve.orders import Order
from fkdsl.serve.remote_model import Server
from fkdsl.serve.remote_rows import Desk
from fkdsl.serve.settings import RequestLimits
from fkdsl.serve.strangers import Source, Strangers, told_once
from tests.models.source_table import SourceTable
from tests.serve import stuck
from tests.serve.asking import FILES, TABLE, error_of, events_of, post, serving, settings_for

LIMITS = RequestLimits(seconds=20.0, memory=256 << 20)


# ------------------------------------------------------- what a worker may ask


@pytest.fixture
def desk():
    models = ServedModels(0)
    with models.maker(budget := TokenBudget(100, 10_000)) as make:
        tiny = load_model("tiny")
        yield Desk({"tiny": tiny}, models, make, budget, RequestLimits(memory=100_000))
    models.close()


def forward(*rows, freed=()):
    return {"op": "forward", "model": 0, "rows": list(rows), "freed": list(freed)}


def test_a_worker_forwards_rows_of_segments_that_it_holds(desk):
    facts = desk.answer({"op": "model", "name": "tiny"})
    ids = desk.answer({"op": "text", "model": 0, "kind": "start", "text": "The sea"})
    assert list(ids) == list(load_model("tiny").start("The sea"))
    (first,) = desk.answer(forward([None, 0, list(ids[:4]), []]))
    (rest,) = desk.answer(forward([first.segment, 4, list(ids[4:]), [len(ids) - 5]]))
    (whole,) = desk.answer(forward([None, 0, list(ids), [len(ids) - 1]]))
    assert whole.log_probs.shape == (1, facts.vocabulary.size)
    np.testing.assert_allclose(rest.log_probs, whole.log_probs, atol=1e-4)
    held = desk._bytes
    desk.answer(forward([None, 0, list(ids[:1]), []], freed=[rest.segment, whole.segment, 99, "a"]))
    assert desk._bytes < held


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        {"op": "open", "path": "/etc/passwd"},
        {"op": "model", "name": "/etc"},
        {"op": "text", "model": 1, "kind": "encode", "text": "a"},
        {"op": "text", "model": 0, "kind": "__class__", "text": "a"},
        {"op": "text", "model": 0, "kind": "encode", "text": "a" * 200_001},
        forward([None, 0, [10**9], [0]]),
        forward([None, 0, [-1], [0]]),
        forward([None, 0, [True], [0]]),
        forward([None, 0, [1], [1]]),
        forward([None, 0, [1, 2], [1, 0]]),
        forward([None, 0, [1, 2], [0, 0]]),
        forward([None, 0, [1] * 2000, []]),
        forward([None, 0, [], []]),
        forward([0, 5, [1], [0]]),
        forward([0, 0, [1], [0]]),
        forward([1, 1, [1], [0]]),
        forward("row"),
        forward(*[[None, 0, [1], [0]]] * 9000),
    ],
)
def test_what_no_worker_says_is_refused(desk, message):
    desk.answer({"op": "model", "name": "tiny"})
    desk.answer(forward([None, 0, [1, 2], [1]]))
    with pytest.raises(CallError):
        desk.answer(message)


class DirectPipe:
    """A worker's end of a pipe, of which this process is the other end."""

    def __init__(self, desk):
        self.desk = desk

    def send_bytes(self, raw):
        self.message = json.loads(raw)

    def recv(self):
        return pickle.loads(pickle.dumps(self.desk.answer(self.message)))


def test_a_worker_has_a_model_that_reads_sources():
    rows = {"cold": {"": {"no": 0.7, "ice": 0.3}}, "hot": {"": {"no": 0.1, "ice": 0.9}}}
    models = ServedModels(0)
    with models.maker(budget := TokenBudget(1000, 10_000)) as make:
        allowed = {"weather": SourceTable("weather", rows)}
        desk = Desk(allowed, models, make, budget, RequestLimits(memory=100_000))
        model = Server(DirectPipe(desk)).load("weather")
        text = (
            'program p() -> str:\n    s ~ categorical(["cold", "hot"], [0.5, 0.5])\n'
            '    lm = prompt("", source=s)\n    observe "ice" ~ lm\n    return s\n'
        )
        answers = fkdsl.parse(text).exact(model=model).posterior
        assert {a.value: a.probability for a in answers} == pytest.approx(
            {"hot": 0.75, "cold": 0.25}
        )
        strange = int(Attachment.source("warm"))
        for message in (
            forward([None, 0, [strange], [0]]),
            {"op": "source", "model": 0, "source": "a" * 200_001, "text": ""},
            {"op": "source", "model": 0, "source": 7, "text": ""},
        ):
            with pytest.raises(CallError):
                desk.answer(message)
        many = [
            {"op": "source", "model": 0, "source": f"{n:02}" * 2000, "text": ""} for n in range(99)
        ]
        with pytest.raises(BudgetEnded, match="MiB"):
            list(map(desk.answer, many))
    models.close()


def test_what_a_worker_takes_is_bounded(desk):
    desk.answer({"op": "model", "name": "tiny"})
    with pytest.raises(BudgetEnded, match="100 tokens"):
        desk.answer(forward([None, 0, [1] * 101, []]))
    with pytest.raises(BudgetEnded, match="rows of"):
        desk.answer(forward([None, 0, [1] * 20, list(range(20))]))
    rows = [[None, 0, [1] * 10, []]] * 9
    with pytest.raises(BudgetEnded, match="contexts take"):
        desk.answer(forward(*rows))


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "a/../../x",
        "",
        ".",
        "a//b",
        "program.fk",
        "a\0b",
        "a\\..\\b",
        "a/b/c/d/e",
        "x" * 101,
    ],
)
def test_files_lie_below_the_programs_folder(name):
    with pytest.raises(RequestError, match="no name of a file"):
        Source("", {name: ""}, None).check()
    with pytest.raises(RequestError, match="at most"):
        Source("", {f"{i}.fk": "" for i in range(65)}, None).check()


def test_a_run_that_is_begun_again_tells_each_step_once():
    told = []
    begin = told_once(told.append)
    for count in (2, 1, 4):
        see = begin()
        for t in range(count):
            see(t)
    assert told == [0, 1, 2, 3]


# ------------------------------------------------------- whole processes


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    settings = settings_for(
        tmp_path_factory.mktemp("programs"), allow_programs=True, models=("tiny",), limits=LIMITS
    )
    with serving(settings) as client:
        yield client


TINY = """model "tiny"

program hello(prompt: str) -> str:
    lm = prompt(prompt)
    s ~ text(lm, max_tokens=6)
    condition not contains(s, "e")
    return s
"""


@pytest.mark.slow
def test_a_program_in_a_request_gives_what_it_gives_elsewhere(client):
    body = {"source": TINY, "parameters": {"prompt": "Once upon"}, "seed": 4}
    by_server = post(client, "/v1/run", **body).json()
    by_python = fkdsl.parse(TINY)(prompt="Once upon").run(seed=4)
    for a, p in zip(by_server["particles"], by_python.particles, strict=True):
        assert a["value"] == p.value
        assert a["weight"] == pytest.approx(p.weight, abs=1e-4)
    streamed = events_of(post(client, "/v1/run", **body, stream=True).text)
    assert [name for name, _ in streamed].count("step") == by_python.steps + 1
    assert streamed[-1][1]["posterior"] == by_server["posterior"]


@pytest.mark.slow
def test_its_files_are_those_of_the_request_alone(client, tmp_path):
    library = "def twice(s: str) -> str:\n    return s + s\n"
    source = f'import "lib/twice.fk"\n{TABLE}\nprogram p() -> str:\n    return twice("ab")\n'
    answer = post(client, "/v1/run", source=source, files={"lib/twice.fk": library})
    assert answer.json()["posterior"] == [{"value": "abab", "probability": 1.0}], answer.text
    secret = tmp_path / "secret.fk"
    secret.write_text(library)
    for name in (str(secret), "../two_bits.fk", "../../../../etc/passwd.fk"):
        answer = post(client, "/v1/run", source=source.replace("lib/twice.fk", name))
        assert answer.status_code == 422, answer.text
        assert "twice(s" not in answer.text
    extern = 'extern def f(x: int) -> int from "f.py"\n' + FILES["say"]
    answer = post(client, "/v1/run", source=extern, files={"f.py": "def f(x): return x"})
    assert "runs Python code" in error_of(answer, 400, "invalid_request")["message"]
    answer = post(client, "/v1/run", source=TINY.replace("tiny", "smollm2"))
    assert answer.status_code == 400
    answer = post(client, "/v1/check", source=FILES["wrong"]).json()
    assert (answer["ok"], answer["diagnostics"][0]["code"]) == (False, "FK203")
    assert "M_t" in post(client, "/v1/explain", source=FILES["say"]).json()["text"]


HARMFUL = {
    "pattern": 'condition matches(s, "((a{1,400}){1,400}){1,400}b")',
    "lookaround": 'condition matches(s, "(?=(a|b)*c)(?!(a*)*b)(x+x+)+y")',
    "list": "condition len([i * j for i in range(100000) for j in range(100000)]) > 3",
    "text": 'condition len("ab" * 10000000 + "ba" * 10000000) > 3',
    "grammar": 'condition parses(s, "grammar.lark")',
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HARMFUL)
def test_what_compiles_or_runs_without_end_ends_in_time(client, name):
    source = TINY.replace('condition not contains(s, "e")', HARMFUL[name])
    rules = "\n".join(f"r{i}: r{i + 1} r{i + 1} | r{i + 1}" for i in range(300))
    files = {"grammar.lark": f'start: r0\n{rules}\nr300: "a"\n'}
    body = {"source": source, "files": files, "parameters": {"prompt": "a"}, "timeout": 4.0}
    began = time.monotonic()
    answer = post(client, "/v1/run", **body, options={"particles": 4})
    assert time.monotonic() - began < 10.0
    assert answer.status_code in (200, 400, 422, 504), answer.text
    assert post(client, "/v1/programs/two_bits/run").status_code == 200


def strangers(work, ended):
    return Strangers(ServedModels(0), {}, LIMITS, ended.append, work)


@pytest.mark.slow
def test_a_worker_that_hangs_in_native_code_is_killed_at_the_deadline():
    ended, began = [], time.monotonic()
    workers = strangers(stuck.hang_in_native_code, ended)
    with pytest.raises(DeadlinePassed):
        workers.do("run", Source("", {}, None), Order(), Deadline(1.0))
    assert time.monotonic() - began < 10.0
    assert ended == ["time over"]
    assert not workers.processes


@pytest.mark.slow
def test_a_worker_that_somebody_kills_is_begun_again_and_gives_the_same():
    told, ended = [], []
    order = Order(parameters={"prompt": "x"}, seed=5, steps=True)
    source = Source(FILES["say"], {}, None)
    with until(Deadline(60.0)) as deadline:
        expected, _ = strangers(stuck.worker.work, []).do("run", source, order, deadline)
        workers = strangers(stuck.die_twice, ended)
        got, _ = workers.do("run", source, order, deadline, told.append)
    assert ended == ["killed by others"] * 2 + ["done"]
    assert [event["t"] for event in told] == [0, 1, 2]
    expected.pop("seconds"), got.pop("seconds")
    assert got == expected


@pytest.mark.slow
def test_a_worker_that_is_killed_as_it_is_answered_is_begun_again():
    ended = []
    workers = strangers(stuck.ask_and_die, ended)
    order = Order(parameters={"prompt": "x"})
    workers.do("run", Source(FILES["say"], {}, None), order, Deadline(30.0))
    assert ended == ["killed by others"] * 2 + ["done"]


@pytest.mark.slow
def test_a_worker_that_is_killed_within_a_message_is_begun_again():
    ended = []
    workers = strangers(stuck.die_within_a_message, ended)
    order = Order(parameters={"prompt": "x"})
    workers.do("run", Source(FILES["say"], {}, None), order, Deadline(30.0))
    assert ended == ["killed by others", "done"]


@pytest.mark.slow
@pytest.mark.parametrize("work", [stuck.take_memory, stuck.lie])
def test_a_worker_that_goes_wrong_is_an_error_and_no_more(work):
    with pytest.raises(RequestError):
        strangers(work, []).do("run", Source("", {}, None), Order(), Deadline(20.0))


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ('ranking="dense", embedding="someone/encoder"', "embedding"),
        ('ranking="hybrid", embedding="other/encoder"', "embedding"),
        ('ranking="dense", engine="qdrant"', "qdrant"),
        ('ranking="dense"', ""),
        ('embedding="someone/encoder"', ""),
    ],
)
def test_an_index_of_a_request_loads_no_encoder_and_reaches_no_database(options, refused):
    text = f'index notes = "*.md" with {options}\n\nprogram p() -> str:\n    return "a"\n'
    program = fkdsl.parse(text)
    if not refused:
        return worker.refuse_models_of_indexes(program)
    with pytest.raises(RequestError, match=refused):
        worker.refuse_models_of_indexes(program)


@pytest.mark.slow
def test_an_index_of_a_request_is_searched_and_leaves_nothing(client, tmp_path):
    source = (
        f'{TABLE}\nindex notes = "*.md"\n\nprogram p() -> str:\n    lm = prompt("")\n    t ~ lm\n'
        '    return documents(notes, "tide")[0].text\n'
    )
    before = sorted((cache_root() / "indexes").glob("*"))
    answer = post(client, "/v1/run", source=source, files={"a.md": "The tide."})
    assert answer.json()["posterior"][0]["value"] == "The tide.", answer.text
    assert sorted((cache_root() / "indexes").glob("*")) == before
