"""Runs in eight threads give what one thread gives: what is remembered between them is never read
half written."""

import sys
import threading
from functools import cache
from pathlib import Path

import pytest

import fkdsl.values.library  # noqa: F401 - the table is filled by its modules
from fkdsl.api import parse
from fkdsl.base.folders import Folder
from fkdsl.base.remembered import Remembered
from fkdsl.base.value_keys import value_key
from fkdsl.engine.constraints.constraint import Constraint
from fkdsl.engine.constraints.languages import Both, Complement, Contains, JsonText, Matches
from fkdsl.models.vocabulary import Vocabulary
from fkdsl.retrieval.index import open_index
from fkdsl.retrieval.spec import IndexSpec
from fkdsl.values.documents import Document, IndexRef
from fkdsl.values.library.text import Begun, all_words
from fkdsl.values.signatures import TABLE

THREADS = 8


@pytest.fixture(autouse=True)
def _threads_that_alternate():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work):
    """What work(k) gave in each of the threads, which begin together; what one of them raises is
    raised."""
    found, begin = [None] * THREADS, threading.Barrier(THREADS)

    def run(k):
        begin.wait()
        try:
            found[k] = work(k)
        except BaseException as error:
            found[k] = error

    threads = [threading.Thread(target=run, args=(k,)) for k in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return found


def texts(k):
    """Texts that begin alike and go on differently: a token more each time, as a run's texts do."""
    words = [f"alpha{i} beta-{i + k % 3} it's." for i in range(5)]
    return [" ".join(words[:n]) for n in range(len(words))]


LIST, SCHEMA = ("b", "a", "c", "a"), '{"type": "object", "properties": {"a": {"type": "integer"}}}'
GRAMMAR = 'start: "a" start | "b"'
CALLS = {
    **{
        name: lambda s: (s,)
        for name in ["words", "last_word", "lines", "sentences", "letters", "syllables"]
    },
    **{name: lambda s: (s,) for name in ["lower", "upper", "len", "str", "special"]},
    **{
        name: lambda s: (s, "beta")
        for name in ["starts_with", "ends_with", "contains", "count", "find", "split"]
    },
    "strip": lambda s: (s, "a."),
    "replace": lambda s: (s, "a", "o"),
    "join": lambda s: (tuple(s.split()), "-"),
    "matches": lambda s: (s, r"(alpha\d+ beta-\d+ it's\. ?)*"),
    "edit_distance": lambda s: (s[:20], "alpha0 it's"),
    "parse_json": lambda s: (f'{{"a": [{len(s)}, true]}}',),
    "valid_json": lambda s: (f'{{"a": {len(s)}}}', SCHEMA),
    "parses": lambda s: ("a" * (len(s) % 7) + "b", GRAMMAR),
    **{
        name: lambda s: (len(s) + 0.5,)
        for name in ["log", "exp", "sqrt", "abs", "floor", "ceil", "float"]
    },
    "exp": lambda s: (len(s) / 100,),
    "round": lambda s: (len(s) / 7, 2),
    "int": lambda s: (str(len(s)),),
    "range": lambda s: (0, len(s), 2),
    **{name: lambda s: ((len(s), 2, 3),) for name in ["min", "max", "sum"]},
    **{name: lambda s: ((len(s) > 5, True),) for name in ["all", "any"]},
    "sorted": lambda s: (tuple(s.split()), False),
    **{name: lambda s: (tuple(s.split()),) for name in ["reversed", "distinct"]},
    "zip": lambda s: (LIST, tuple(s.split())),
    "enumerate": lambda s: (LIST, len(s)),
    "bernoulli": lambda s: (1 / (1 + len(s)),),
    "categorical": lambda s: (LIST, (1.0, 2.0, 3.0, 1.0 + len(s))),
    "uniform_int": lambda s: (0, len(s)),
    **{name: lambda s: (1 / (2 + len(s) % 9),) for name in ["geometric", "poisson"]},
    "uniform": lambda s: (0.0, 1.0 + len(s)),
    "normal": lambda s: (0.0, 1.0 + len(s)),
    "beta": lambda s: (1.0, 1.0 + len(s)),
    "image": lambda s: ("docs/pictures/texts.png",),
    "read_rows": lambda s: ("tests/benchmarks/answers/dates.jsonl",),
    "valid_pattern": lambda s: (f"(a{s[:9]})*",),
    "documents": lambda s: (IndexRef("notes"), f"the harbour {s}", 3),
    "retrieve": lambda s: (IndexRef("notes"), f"the lighthouse {s}", 2, 1.0 + len(s)),
    "relevance": lambda s: ((Document(s, "a.md", 1, float(len(s))),) * 3, 2.0),
}


@cache
def notes():
    """An index that all threads share."""
    return open_index(IndexSpec("programs/notes/*.md"), Folder.main(None), keep=False)


def called(name, s):
    signature = TABLE[name]
    folder = {"folder": Path()} if signature.needs_folder else {}
    indexes = {"indexes": {"notes": notes()}} if signature.needs_indexes else {}
    return value_key(signature.call(*CALLS[name](s), **folder, **indexes))


def test_every_library_function_is_called():
    assert {name for name in TABLE if not name.startswith(".")} == set(CALLS)


def test_every_library_function_gives_in_eight_threads_what_it_gives_in_one():
    def work(k):
        return [called(name, s) for s in texts(k) for name in CALLS]

    assert in_threads(work) == [work(k) for k in range(THREADS)]


def test_words_that_another_thread_asks_for_in_between_change_nothing():
    """The beginning that is known and its words are read together: a thread that replaced them
    after the first was read gave this one another text's words, 77 times in 216,645."""
    begun, other = Begun(), "gamma delta epsilon zeta eta theta iota kappa lambda"

    class Interrupted(str):
        def startswith(self, *args):
            result = super().startswith(*args)
            begun.words(other)
            return result

    for s in texts(0) * 2:
        assert begun.words(s) == all_words(s)
        assert begun.words(Interrupted(s + " and more of it, which goes on")) == all_words(
            s + " and more of it, which goes on"
        )


VOCABULARY = Vocabulary(
    (*(bytes([b]) for b in range(32, 127)), b"ab", b'{"', b"true", b""), frozenset({98})
)


@pytest.mark.parametrize(
    "language",
    [
        Both((Matches("[a-d]{0,9}(x|yz)*"), Complement(Contains("cab")))),
        JsonText('{"type": "array"}'),
    ],
    ids=["automaton", "grammar"],
)
def test_masks_of_one_constraint_are_the_same_in_eight_threads(language):
    drawn = ["", "a", "ab", "abx", "abxyz", "[", "[1", "[1,", "[true", "dab", "cab", "abcdx"]
    ids = [tuple(VOCABULARY.tokens.index(c.encode()) for c in text) for text in drawn]
    shared = Constraint(language, "", VOCABULARY)

    def masks(constraint, k):
        return [
            constraint.mask(ids[(i + k) % len(ids)], None).tobytes() for i in range(2 * len(ids))
        ]

    alone = [masks(Constraint(language, "", VOCABULARY), k) for k in range(THREADS)]
    assert in_threads(lambda k: masks(shared, k)) == alone


def test_remembered_arrays_are_forgotten_and_made_again_without_a_race():
    import numpy as np

    both = Remembered(np.logical_and, most=2)
    arrays = [np.arange(4) % n == 0 for n in range(1, 6)]

    def work(k):
        return [both(arrays[i % 5], arrays[(i + k) % 5]).tolist() for i in range(200)]

    assert in_threads(work) == [work(k) for k in range(THREADS)]


PROGRAM = parse("""
model m = table:
    "" -> "a": 0.5, "bb ": 0.3, "c ": 0.1, EOS: 0.1

program p(k: int = 1) -> str:
    lm = prompt("")
    while not lm.done and lm.tokens < 3:
        t ~ lm
        condition all(letters(w) <= k + 1 for w in words(lm.text))
        condition t != "c " or k > 1
    again = prompt("")
    s ~ text(again, max_tokens=2)
    condition not contains(s, "bb") and matches(s, "[abc ]*")
    return lm.text
""")


def test_runs_of_one_program_in_eight_threads_are_the_runs_of_one():
    def work(k):
        result = PROGRAM(k=k % 3 + 1).run(method="smc", particles=4, seed=k)
        return [(a.value, a.probability) for a in result.posterior], result.log_z

    assert in_threads(work) == [work(k) for k in range(THREADS)]
