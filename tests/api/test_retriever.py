"""`fkdsl train-retriever`: p(y | x, d) and the marginal likelihood against `exact`; a table's
retriever learns; what a wrong call is told; a run that is stopped goes on."""

import json
import math

import numpy as np
import pytest

import fkdsl
from fkdsl.api import document_likelihoods
from fkdsl.api.retriever import RetrieverSettings, RetrieverTraining
from fkdsl.api.retriever_data import divided, read_questions
from fkdsl.base.deadline import DeadlinePassed
from fkdsl.base.folders import Folder
from fkdsl.cli.main import main
from fkdsl.retrieval import index
from fkdsl.retrieval.adapter import Adapter, read_adapter, write_adapter
from fkdsl.retrieval.dense import normalised

TOPICS = "abcdefgh"
ANSWERS = "qrstuvwx"


def table():
    """A model that says the letter at the end of the prompt, mostly, and any of them after none."""
    rows = {"": dict.fromkeys(ANSWERS, 0.125)}
    rows |= {last: {c: 0.93 if c == last else 0.01 for c in ANSWERS} for last in ANSWERS}
    lines = [
        f'    "{last}" -> ' + ", ".join(f'"{c}": {p}' for c, p in row.items())
        for last, row in rows.items()
    ]
    return "\n".join(["model m = table:", *lines, "", ""])


MODEL = table()
OBSERVES = """
program p(question: str, answer: str) -> str:
    d ~ retrieve(notes, question, k=3, temperature=0.2)
    lm = prompt(d.text[len(d.text) - 1:])
    observe answer ~ lm
    return d.source
"""
INDEX = 'index notes = "n/*.md" with ranking="dense"'


class Letters:
    """Counts of the letters from a to p; nothing of the answers' letters."""

    name = digest = "letters"

    def embed(self, texts):
        rows = [[1 + 9 * text.count(chr(97 + i)) for i in range(16)] for text in texts]
        return normalised(np.array(rows, np.float32))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a note for each topic, questions that ask by the topic's other letter, and the
    program; the current one."""
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "embedding_of", lambda name: Letters())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "n").mkdir()
    rng = np.random.default_rng(0)
    for i, topic in enumerate(TOPICS):
        (tmp_path / "n" / f"{topic}.md").write_text(f"{topic * 3} {ANSWERS[i]}")
    lines = []
    for _ in range(60):
        i = int(rng.integers(len(TOPICS)))
        noise = chr(97 + int(rng.integers(16)))
        question = chr(105 + i) * 3 + noise  # i for a, j for b, ...
        answer = {"question": question, "answer": ANSWERS[i], "evidence": TOPICS[i] * 3}
        lines.append(json.dumps(answer))
    (tmp_path / "qa.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "p.fk").write_text(f"{MODEL}{INDEX}\n{OBSERVES}")
    return tmp_path


def call(capsys, *args):
    status = main(["train-retriever", "p.fk", "--data", "qa.jsonl", "-o", "a.adapter", *args])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def adapted(text=OBSERVES):
    return fkdsl.parse(f'{MODEL}{INDEX}, adapter="a.adapter"\n{text}', folder=".")


def test_a_table_learns_and_a_run_with_the_adapter_is_better(folder, capsys):
    status, out, _ = call(capsys, "--documents", "8", "--json")
    assert status == 0
    told = json.loads(out)
    assert told["questions"] == {"learned_from": 36, "to_stop_by": 12, "held_out": 12}
    assert told["after"]["log_marginal"] > told["before"]["log_marginal"] + 1.0
    assert told["after"]["recall"]["1"] > 0.9 > 0.5 > told["before"]["recall"]["1"]
    assert not (folder / "a.adapter.work").exists()
    # The figure is that of exact runs of the program with the adapter, and without.
    questions = read_questions(folder / "qa.jsonl", adapted())
    held = [questions[i].arguments for i in divided(questions, 0.2, 0, apart=False)[2]]
    for program, of in ((adapted(), "after"), (fkdsl.load("p.fk"), "before")):
        exact = np.mean([program(**arguments).exact().log_z for arguments in held])
        assert told[of]["log_marginal"] == pytest.approx(exact, abs=1e-6)


def test_the_marginal_likelihood_is_that_of_exact_under_any_adapter(folder):
    matrix = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    matrix = np.eye(16, dtype=np.float32) + 0.2 * matrix
    write_adapter(folder / "a.adapter", Adapter(matrix, "letters", {}))
    program = adapted()
    questions = read_questions(folder / "qa.jsonl", program)[:20]
    training = RetrieverTraining(
        program, program.engines(), questions, RetrieverSettings(steps=1, documents=4), questions
    )
    trained = training.run()
    exact = [program(**q.arguments).exact().log_z for q in questions]
    assert trained.before.log_marginals == pytest.approx(exact, abs=1e-6)
    assert len({round(z, 6) for z in exact}) > 5


def test_p_of_the_answer_is_that_of_the_program_given_the_document(folder):
    program = fkdsl.load("p.fk")
    generator = document_likelihoods.Generator(program, program.engines())
    question = read_questions(folder / "qa.jsonl", program)[0]
    notes = program.environment().indexes["notes"].search(question.arguments["question"], 8)
    found = generator.log_likelihoods(question, [hit.passage for hit in notes])
    answer = question.arguments["answer"]
    by_hand = [math.log(0.93 if hit.passage.text[-1] == answer else 0.01) for hit in notes]
    assert found == pytest.approx(by_hand)


def test_a_run_that_was_stopped_computes_no_answer_twice(folder, capsys, monkeypatch):
    real = document_likelihoods.Generator.log_likelihoods
    computed = []

    def counted(self, question, passages):
        if len(computed) == stop:
            raise DeadlinePassed("after 1 s")
        computed.append((question.line, *(p.text for p in passages)))
        return real(self, question, passages)

    monkeypatch.setattr(document_likelihoods.Generator, "log_likelihoods", counted)
    stop = 30
    status, _, err = call(capsys)
    assert status == 3
    assert "before anything was learned" in err
    assert "--resume" in err
    first, stop = list(computed), -1
    computed.clear()
    # A line that was cut off as the run was killed is computed again.
    work = folder / "a.adapter.work"
    work.write_text(work.read_text()[:-5])
    assert call(capsys, "--resume", "--json")[0] == 0
    again = {(line, text) for line, *texts in computed for text in texts}
    before = {(line, text) for line, *texts in first for text in texts}
    assert len(again & before) == 1
    resumed = read_adapter("a.adapter", Folder.main(folder))
    assert call(capsys, "--json")[0] == 0
    assert read_adapter("a.adapter", Folder.main(folder)).digest == resumed.digest


RETRIEVE = "retrieve(notes, question, k=3, temperature=0.2)"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (RETRIEVE, "categorical(documents(notes, question), [1, 1, 1, 1, 1])", "is no document of"),
        ("    return", "    s ~ lm\n    return", "draws more than the document"),
        ("    return", "    factor d.score\n    return", "the sum over its documents"),
        ("k=3", 'k=3 + (1 if contains(question, "n") else 0)', "another index, k or temperature"),
        ("k=3", "k=3 + len(answer)", ""),
    ],
)
def test_programs_that_are_no_sum_over_documents_are_told_so(folder, capsys, old, new, message):
    (folder / "p.fk").write_text(f"{MODEL}{INDEX}\n{OBSERVES.replace(old, new)}")
    status, _, err = call(capsys)
    assert status == (2 if message else 0)
    assert message in err


def test_an_index_that_is_not_dense_is_told_so(folder, capsys):
    for options in ("", ' with ranking="hybrid"'):
        (folder / "p.fk").write_text(f'{MODEL}index notes = "n/*.md"{options}\n{OBSERVES}')
        status, _, err = call(capsys)
        assert status == 2
        assert 'train with `ranking="dense"`' in err


GOOD = '{"question": "iii", "answer": "w"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + "{", "qa.jsonl:2: the line is no JSON"),
        (GOOD + "\n[1]", "qa.jsonl:3: the line is no object"),
        ('{"query": "i"}', "qa.jsonl:1: `p` has no parameter `query`"),
        ('{"anser": "i"}', "did you mean `answer`?"),
        ('{"question": 3, "answer": "w"}', "qa.jsonl:1: "),
        ('{"evidence": "w"}', "qa.jsonl:1: the line has no parameter"),
        ('{"question": "i", "evidence": [3]}', "qa.jsonl:1: `evidence` is no text"),
        ("\n\n", "has no question"),
        (GOOD * 3, "3 questions are too few"),
        ("[" * 100_000, "qa.jsonl:1: the line is no JSON"),
        (b"\xff\xfe", "no text in UTF-8"),
        (None, "there is no file qa.jsonl"),
    ],
)
def test_bad_lines_are_told_with_their_number(folder, capsys, content, message):
    (folder / "qa.jsonl").unlink()
    if content is not None:
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / "qa.jsonl").write_bytes(raw)
    status, _, err = call(capsys)
    assert status == 2
    assert message in err


@pytest.mark.parametrize(
    "flag", [("--share", "0.5"), ("--documents", "0"), ("--steps", "-1"), ("--penalty", "nan")]
)
def test_numbers_out_of_their_bounds_are_refused(folder, capsys, flag):
    status, _, err = call(capsys, *flag)
    assert status == 2
    assert f"{flag[0]} is between" in err


def test_answers_that_no_document_can_give_are_counted(folder, capsys):
    text = (folder / "qa.jsonl").read_text()
    (folder / "qa.jsonl").write_text(text + GOOD.replace('"w"', '"ww"') * 10)
    impossible = "    condition len(answer) == 1\n    observe"
    (folder / "p.fk").write_text(f"{MODEL}{INDEX}\n{OBSERVES.replace('    observe', impossible)}")
    status, out, _ = call(capsys)
    assert status == 0
    assert "answers impossible" in out
    assert 'adapter="a.adapter"' in out
