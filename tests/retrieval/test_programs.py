"""Programs that retrieve: the formulas of RAG-Sequence and RAG-Token (Lewis et al. 2020, sections
2.1 and 2.2), by enumeration and against transformers' own losses; what answers rest on."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

import fkdsl
from fkdsl.cli.main import main
from fkdsl.testing import assert_same_measure, assert_unbiased
from tests.programs.table_texts import END, check, row_of, table, texts_of

NOTES = {
    "a.md": "# Tides\n\nHigh tide is at dawn.\n\nThe moon is high at dusk.\n",
    "b.md": "Noon is high summer: high sun, high heat.\n",
}
ROWS = {
    "": {"x": 0.5, "y": 0.3, END: 0.2},
    "dawn.": {"x": 0.2, "y": 0.8},
    "heat.": {"x": 0.7, "y": 0.2, END: 0.1},
    "dusk.": {"y": 0.6, END: 0.4},
    "xy": {"x": 0.75, END: 0.25},
    "dusk.y": {"x": 0.1, "y": 0.9},
}
N, TEMPERATURE = 3, 0.5
HEADER = f'index notes = "*.md"\n{table(ROWS)}\n'
DOCUMENTS = 'docs = documents(notes, "high tide", k=3)'
CONTEXTS = f"""
    {DOCUMENTS}
    contexts = [prompt(d.text[len(d.text) - 5:]) for d in docs]"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, which has the notes."""
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name, text in NOTES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def priors():
    """{the end of a document: p(d | query)}, from the scores that a program sees."""
    program = fkdsl.parse(f"""{HEADER}
program p() -> list[record]:
    {DOCUMENTS}
    t ~ bernoulli(1.0)
    return docs
""")
    (answer,) = program.exact().posterior
    assert len(answer.value) == 3
    weights = {d["text"][-5:]: math.exp(d["score"] / TEMPERATURE) for d in answer.value}
    return {end: w / math.fsum(weights.values()) for end, w in weights.items()}


def rag_sequence():
    """p(s) = sum over d of p(d) p(s | d)."""
    law = Counter()
    for end, p in priors().items():
        for text, q in texts_of(ROWS, N, end).items():
            law[text] += p * q
    return law


def rag_token():
    """p(s) = product over i of sum over d of p(d) p(s_i | d, s_<i)."""
    weights = priors()
    law, live = Counter(), {"": 1.0}
    for _ in range(N):
        grown = Counter()
        for text, p in live.items():
            for end, w in weights.items():
                for token, q in row_of(ROWS, end + text).items():
                    (law if token is END else grown)[text if token is END else text + token] += (
                        p * w * q
                    )
        live = grown
    law.update(live)
    return law


def program(body, returns="str"):
    return f"{HEADER}\nprogram p() -> {returns}:{body}\n"


SEQUENCE = program(f"""
    d ~ retrieve(notes, "high tide", k=3, temperature={TEMPERATURE})
    lm = prompt(d.text[len(d.text) - 5:])
    s ~ text(lm, max_tokens={N})
    return s""")


def by_library(name):
    return program(f"""{CONTEXTS}
    s ~ {name}(contexts, docs, temperature={TEMPERATURE}, max_tokens={N})
    return s""")


BY_HAND = program(f"""{CONTEXTS}
    lm = contexts[0]
    while not lm.done and lm.tokens < {N}:
        t ~ mixture(contexts, weights=relevance(docs, {TEMPERATURE}))
    return lm.text""")


@pytest.mark.parametrize("source", [SEQUENCE, by_library("rag_sequence")])
def test_rag_sequence_is_the_papers_formula(source):
    check(source, rag_sequence())


@pytest.mark.parametrize("source", [BY_HAND, by_library("rag_token")])
def test_rag_token_is_the_papers_formula(source):
    assert rag_token() != pytest.approx(rag_sequence())
    check(source, rag_token())


def conditioned(source, condition='matches(s, "x?y+x*")'):
    return source.replace("    return s", f"    condition {condition}\n    return s")


@pytest.mark.parametrize("name", ["rag_sequence", "rag_token"])
def test_a_condition_guides_the_texts_and_changes_no_measure(name):
    guided = fkdsl.parse(conditioned(by_library(name)))
    assert_same_measure(guided, guided.without())
    assert guided.exact().log_z < 0
    plan = [i.plan for f in guided.ir().functions.values() for i in f.body if hasattr(i, "plan")]
    assert any(p is not None and p.completion is not None for p in plan)


@pytest.mark.parametrize("method", ["smc", "rejection", "steer"])
def test_every_method_draws_documents_by_the_same_law(method):
    options = {"particles": 2} if method != "rejection" else {"samples": 1}
    source = conditioned(SEQUENCE).replace(f"max_tokens={N}", "max_tokens=1")
    if method == "rejection":
        program = fkdsl.parse(source)
        exact = program.exact()
        drawn = program.run("rejection", samples=400, seed=3)
        assert drawn.probability("y") == pytest.approx(exact.probability("y"), abs=0.13)
        return
    assert_unbiased(source, method, **options)


def test_observing_gives_the_marginal_likelihood_of_a_known_answer():
    sequence = program("""
    d ~ retrieve(notes, "high tide", k=3, temperature=0.5)
    lm = prompt(d.text[len(d.text) - 5:])
    observe "yx" ~ lm
    return d.source""")
    token = program(f"""{CONTEXTS}
    observe "yx" ~ mixture(contexts, weights=relevance(docs, 0.5))
    t ~ bernoulli(1.0)
    return "-" """)
    weights = priors()

    def p(end, text, i):
        return row_of(ROWS, end + text[:i]).get(text[i], 0.0)

    by_sequence = sum(w * p(end, "yx", 0) * p(end, "yx", 1) for end, w in weights.items())
    by_token = math.prod(sum(w * p(end, "yx", i) for end, w in weights.items()) for i in (0, 1))
    assert math.exp(fkdsl.parse(sequence).exact().log_z) == pytest.approx(by_sequence, abs=1e-12)
    assert math.exp(fkdsl.parse(token).exact().log_z) == pytest.approx(by_token, abs=1e-12)


@pytest.mark.slow
def test_the_losses_are_those_of_transformers():
    """The losses that transformers' RagSequence and RagToken make of a generator's rows, here those
    of a tiny decoder; labels begin with a BOS that is not scored."""
    import torch
    from transformers.models.rag.modeling_rag import (
        RagSequenceForGeneration,
        RagTokenForGeneration,
    )

    from tests.engine.tiny import tiny

    model, answer = tiny("llama"), "bead"
    retrieved = program(
        """
    return [[d.score, 0.0] for d in documents(notes, "high tide", k=3)]""",
        "list[list[float]]",
    )
    scores = [row[0] for row in fkdsl.parse(retrieved).exact().posterior[0].value]
    ends = ["dawn", "heat", "dusk"]
    found = fkdsl.parse(
        program(
            """
    return [d.text[len(d.text) - 5:len(d.text) - 1] for d in documents(notes, "high tide", k=3)]""",
            "list[str]",
        )
    )
    (order,) = found.exact().posterior
    assert sorted(order.value) == sorted(ends)

    body = """
    d ~ retrieve(notes, "high tide", k=3)
    lm = prompt(d.text[len(d.text) - 5:len(d.text) - 1])
    observe "bead" ~ lm
    return d.source"""
    token = """
    docs = documents(notes, "high tide", k=3)
    contexts = [prompt(d.text[len(d.text) - 5:len(d.text) - 1]) for d in docs]
    observe "bead" ~ mixture(contexts, weights=relevance(docs))
    return "-" """
    ours = {
        kind: fkdsl.parse(program(text)).exact(model=model).log_z
        for kind, text in ((RagSequenceForGeneration, body), (RagTokenForGeneration, token))
    }
    ids = model.encode(answer)
    rows = []
    for end in order.value:
        start = model.start(end)
        with torch.inference_mode():
            logits = model.module(torch.tensor([[*start, *ids]])).logits[0]
        rows.append(logits[len(start) - 1 :])
    bos, pad = 30, 31
    config = SimpleNamespace(
        n_docs=3, bos_token_id=bos, generator=SimpleNamespace(pad_token_id=pad, bos_token_id=bos)
    )
    target = torch.tensor([[bos, *ids]])
    assert pad not in ids
    for kind, log_z in ours.items():
        rag = SimpleNamespace(config=config)
        rag.marginalize = lambda *given, rag=rag, kind=kind: kind.marginalize(rag, *given)
        loss = kind.get_nll(rag, torch.stack(rows), torch.tensor([scores]), target)
        assert -log_z == pytest.approx(float(loss), abs=1e-4)


def test_what_the_answers_rest_on():
    source = conditioned(SEQUENCE)
    exact = fkdsl.parse(source).exact()
    weights = priors()
    joint = {
        (end, t): weights[end] * p
        for end in weights
        for t, p in texts_of(ROWS, N, end).items()
        if re.fullmatch("x?y+x*", t)
    }
    mass = math.fsum(joint.values())
    for e in exact.evidence():
        by_hand = sum(p for (end, _), p in joint.items() if end == e.value["text"][-5:]) / mass
        assert e.probability == pytest.approx(by_hand, abs=1e-12)
        assert e.se == 0
    of_one = {e.value["text"][-5:]: e.probability for e in exact.evidence("y")}
    of_y = {end: joint.get((end, "y"), 0.0) for end in weights}
    for end, p in of_y.items():
        assert of_one.get(end, 0.0) == pytest.approx(p / sum(of_y.values()), abs=1e-12)
    drawn = fkdsl.parse(source).run("smc", particles=300, seed=1)
    for e in drawn.evidence():
        (true,) = [x.probability for x in exact.evidence() if x.value == e.value]
        assert abs(e.probability - true) <= 5 * e.se
    assert drawn.evidence("never") == ()
    cut = replace(exact, log_z_bounds=(-1.0, -0.5))
    assert all(e.se is None for e in cut.evidence())


def test_every_form_of_an_answer_tells_the_documents(folder, capsys):
    (folder / "p.fk").write_text(SEQUENCE)
    assert main(["exact", "p.fk"]) == 0
    out = capsys.readouterr().out
    assert "\ndocuments\n" in out
    assert "  a.md:1  # Tides High tide is at dawn.\n" in out
    assert main(["run", "p.fk", "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)["documents"]
    fields = {"text", "source", "line", "score", "probability", "se"}
    assert all(set(d) == fields for d in documents)
    assert sum(d["probability"] for d in documents) == pytest.approx(1)
    assert main(["run", "p.fk", "--format", "csv"]) == 0
    assert "documents\n" in capsys.readouterr().err


def test_a_run_that_is_traced_resumes_with_its_evidence(folder):
    program = fkdsl.parse(conditioned(SEQUENCE))
    first = program.run("smc", particles=20, seed=2, trace=folder / "run.jsonl")
    lines = (folder / "run.jsonl").read_text().splitlines(keepends=True)
    (folder / "run.jsonl").write_text("".join(lines[:3]))
    again = program.run("smc", particles=20, seed=2, resume=folder / "run.jsonl")
    assert again.evidence() == first.evidence()
    assert again.log_z == first.log_z
    (folder / "a.md").write_text("Other tides.")
    with pytest.raises(fkdsl.CallError, match="index notes has changed"):
        program.run("smc", particles=20, seed=2, resume=folder / "run.jsonl")


def test_states_that_differ_by_nothing_that_is_retrieved_are_one(folder):
    """The same text in two files is one document, so exact visits it once."""
    one = fkdsl.parse(SEQUENCE).exact()
    (folder / "z.md").write_text(NOTES["b.md"])
    two = fkdsl.parse(SEQUENCE).exact()
    assert [a.value for a in two.posterior] == [a.value for a in one.posterior]
    assert len(two.evidence()) == len(one.evidence())


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ('retrieve(notes, "")', "FK402"),
        ('retrieve(notes, "zebra")', "FK402"),
        ('retrieve(notes, "high", k=0)', "FK402"),
        ('retrieve(notes, "high", k=1001)', "FK402"),
        ('retrieve(notes, "high", temperature=0.0)', "FK402"),
        ('retrieve(notes, "high", temperature=-1.0)', "FK402"),
        ('retrieve(notes, "high", temperature=1e309)', "FK110"),
        ('categorical(documents(notes, "zebra"), [])', "FK402"),
    ],
)
def test_what_cannot_be_retrieved_is_a_mistake_with_its_line(call, code):
    with pytest.raises(fkdsl.ProgramError) as error:
        fkdsl.parse(f"{HEADER}\nprogram p() -> str:\n    d ~ {call}\n    return d.text\n").exact()
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == code
    assert diagnostic.span.line == len(HEADER.splitlines()) + 3
    assert diagnostic.help


def test_a_file_that_goes_while_the_program_is_loaded_is_a_mistake_with_its_line(folder):
    program = fkdsl.parse(SEQUENCE)
    for name in NOTES:
        (folder / name).unlink()
    with pytest.raises(fkdsl.ProgramError) as error:
        program.exact()
    assert error.value.diagnostics[0].code == "FK326"


def test_contexts_and_documents_must_be_as_many():
    source = by_library("rag_token").replace("for d in docs]", "for d in docs[1:]]")
    with pytest.raises(fkdsl.ProgramError, match="2 contexts for 3 documents"):
        fkdsl.parse(source).exact()


def test_a_document_is_a_record_whose_fields_are_checked():
    bad = SEQUENCE.replace("lm = prompt(d.text[", "lm = prompt(d.txet[")
    with pytest.raises(fkdsl.ProgramError, match="did you mean `text`"):
        fkdsl.parse(bad)
    with pytest.raises(fkdsl.ProgramError, match="FK306"):
        fkdsl.parse(f"{HEADER}\nprogram p() -> index:\n    t ~ bernoulli(0.5)\n    return notes\n")


def test_an_index_is_passed_to_functions_and_comes_with_imports(folder):
    (folder / "lib.fk").write_text(
        'index notes = "*.md"\ndef best(of: index) -> str:\n'
        '    return documents(of, "tide", k=1)[0].source\n'
    )
    program = fkdsl.parse(
        'import "lib.fk"\nprogram p() -> str:\n    t ~ bernoulli(1.0)\n    return best(notes)\n'
    )
    assert program.exact().posterior[0].value == "a.md"


def test_the_same_passage_is_equal_whatever_its_score():
    source = program(
        """
    a = documents(notes, "tide", k=1)[0]
    b = documents(notes, "high tide at dawn", k=1)[0]
    observe b ~ retrieve(notes, "tide")
    return [float(a == b), b.score - a.score]""",
        "list[float]",
    )
    (answer,) = fkdsl.parse(source).exact().posterior
    assert answer.value[0] == 1.0
    assert answer.value[1] > 0


def test_the_files_of_an_index_travel_with_a_run():
    from fkdsl.api.cluster.job import named_files

    program = fkdsl.parse(SEQUENCE)
    assert dict(named_files(program)) == {n: t.encode() for n, t in NOTES.items()}
