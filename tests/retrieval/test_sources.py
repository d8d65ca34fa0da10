"""A document as the source of an encoder-decoder: retrieval-augmented generation as Lewis et al.
(2020) have it, exact on a table and against transformers' own losses."""

import math

import pytest

import fkdsl
from fkdsl.testing import exact_measure
from fkdsl.testing.laws import assert_same_masses
from tests.models.source_table import SourceTable

NOTES = {"a.md": "tide at dawn\n\ntide at dusk\n", "b.md": "tide at noon\n"}
ROWS = {
    "tide at dawn": {"": {"x": 0.5, "y": 0.5}, "x": {"y": 0.1, None: 0.9}},
    "tide at dusk": {"": {"x": 0.1, "y": 0.9}, "x": {None: 1.0}},
    "tide at noon": {"": {"x": 0.8, "y": 0.2}, "x": {"y": 0.7, None: 0.3}},
}
SEQUENCE = """
index notes = "*.md"

program p() -> str:
    d ~ retrieve(notes, "tide", k=3)
    lm = prompt("", source=d.text)
    observe "x" ~ lm
    observe "y" ~ lm
    return d.text
"""
TOKEN = """
index notes = "*.md"

program p() -> str:
    docs = documents(notes, "tide", k=3)
    contexts = [prompt("", source=d.text) for d in docs]
    observe "x" ~ mixture(contexts, weights=relevance(docs))
    observe "y" ~ mixture(contexts, weights=relevance(docs))
    t ~ bernoulli(1.0)
    return "-"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name, text in NOTES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def p(source, text, token):
    table = ROWS[source]
    return table[max((s for s in table if text.endswith(s)), key=len)].get(token, 0.0)


def test_the_posterior_of_the_source_is_bayes_rule():
    model = SourceTable("notes", ROWS)
    found = exact_measure(fkdsl.parse(SEQUENCE).feynman_kac(model=model))
    values = {k[1] if isinstance(k, tuple) else k: v for k, v in found.items()}
    # One word that every note has: the notes, of one length, are equally relevant.
    by_hand = {s: p(s, "", "x") * p(s, "x", "y") / 3 for s in ROWS if p(s, "x", "y")}
    assert_same_masses(values, by_hand)
    assert model.encoder_work.passes == 3
    evidence = fkdsl.parse(SEQUENCE).exact(model=model).evidence()
    total = sum(by_hand.values())
    assert {e.value["text"]: e.probability for e in evidence} == pytest.approx(
        {s: w / total for s, w in by_hand.items()}
    )


def test_each_token_of_rag_token_is_weighed_by_every_source():
    model = SourceTable("notes", ROWS)
    z = math.exp(fkdsl.parse(TOKEN).exact(model=model).log_z)
    by_hand = math.prod(
        sum(p(s, text, token) / 3 for s in ROWS) for text, token in (("", "x"), ("x", "y"))
    )
    assert z == pytest.approx(by_hand, abs=1e-12)
    assert model.encoder_work.passes == 3


@pytest.mark.slow
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_losses_are_those_of_transformers_rag_models(family):
    """RagSequenceForGeneration and RagTokenForGeneration over the same tiny generator. Labels begin
    with what a decoder begins with, whose BOS is not scored."""
    import torch
    import transformers as tf

    from tests.engine.readers import reader, reader_module
    from tests.engine.tiny import V

    model, answer = reader(family), "beadca"
    questions = tf.DPRConfig(vocab_size=V, hidden_size=8, num_hidden_layers=1,
                             num_attention_heads=1, intermediate_size=8)  # fmt: skip
    encoder = tf.DPRQuestionEncoder(questions)
    scored = fkdsl.parse(
        'index notes = "*.md"\n\nprogram p() -> list[record]:\n'
        '    docs = documents(notes, "tide at", k=3)\n    t ~ bernoulli(1.0)\n    return docs\n'
    ).exact()
    documents = scored.posterior[0].value
    sources = [model.source_texts.source(d["text"]) for d in documents]
    begin = model.source_texts.begin
    ids = [*begin, *model.encode(answer)]
    assert len({len(s) for s in sources}) == 1
    given = {
        "context_input_ids": torch.tensor(sources),
        "context_attention_mask": torch.ones(3, len(sources[0]), dtype=torch.long),
        "doc_scores": torch.tensor([[d["score"] for d in documents]]),
        "labels": torch.tensor([ids]),
        "n_docs": 3,
        "exclude_bos_score": len(begin) > 1,
    }
    config = tf.RagConfig.from_question_encoder_generator_configs(
        questions, reader_module(family).config, n_docs=3,
        bos_token_id=begin[1] if len(begin) > 1 else V - 3,
    )  # fmt: skip
    sequence = SEQUENCE.replace(
        'observe "x" ~ lm\n    observe "y" ~ lm', f'observe "{answer}" ~ lm'
    )
    token = TOKEN.replace('observe "x" ~', f'observe "{answer}" ~').replace(
        '    observe "y" ~ mixture(contexts, weights=relevance(docs))\n', ""
    )
    for kind, text in (
        (tf.RagSequenceForGeneration, sequence),
        (tf.RagTokenForGeneration, token),
    ):
        rag = kind(config=config, question_encoder=encoder, generator=reader_module(family)).eval()
        if kind is tf.RagTokenForGeneration:
            del given["exclude_bos_score"]
        with torch.no_grad():
            loss = float(rag(**given).loss)
        text = text.replace('"tide"', '"tide at"')
        assert -fkdsl.parse(text).exact(model=model).log_z == pytest.approx(loss, abs=1e-4)
