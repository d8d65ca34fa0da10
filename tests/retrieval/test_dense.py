"""Passages as vectors: cosines, their fusion with words, and the embeddings themselves."""

import numpy as np
import pytest

from fkdsl.base.deadline import DeadlinePassed
from fkdsl.base.folders import Folder
from fkdsl.retrieval import dense, index
from fkdsl.retrieval.bm25 import words_of
from fkdsl.retrieval.dense import Vectors, normalised
from fkdsl.retrieval.errors import RetrievalError
from fkdsl.retrieval.spec import IndexSpec

NOTES = [f"{a} {b} note" for a in ("tide", "moon", "sand") for b in ("high", "low", "dry")]


class Letters:
    """Counts of letters: enough of an embedding to tell these notes apart. seen: what it was
    asked."""

    name = digest = "letters"

    def __init__(self):
        self.seen = []

    def embed(self, texts):
        self.seen += texts
        counts = [[text.count(chr(97 + i)) for i in range(26)] for text in texts]
        return normalised(np.array(counts, np.float32))


@pytest.fixture
def letters(tmp_path, monkeypatch):
    """The embedding that every index gets, and a folder with the notes."""
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "n").mkdir()
    for i, text in enumerate(NOTES):
        (tmp_path / "n" / f"{i}.md").write_text(text)
    letters = Letters()
    monkeypatch.setattr(index, "embedding_of", lambda name: letters)
    letters.folder = tmp_path / "n"
    return letters


def opened(letters, **options):
    return index.open_index(IndexSpec("*.md", **options), Folder.main(letters.folder))


def found(index, query, k=9):
    return [(int(h.passage.source[0]), h.score) for h in index.search(query, k)]


def test_dense_scores_are_cosines(letters):
    query = "high tide"
    cosines = Letters().embed(NOTES) @ Letters().embed([query])[0]
    order = sorted(range(9), key=lambda i: (-cosines[i], i))
    hits = found(opened(letters, ranking="dense"), query)
    assert [s for _, s in hits] == pytest.approx([float(cosines[i]) for i in order], abs=2e-3)
    assert [i for i, _ in hits][:3] == order[:3]
    assert found(opened(letters, ranking="dense"), "  ") == []


def test_only_new_passages_are_embedded(letters):
    opened(letters, ranking="dense")
    assert sorted(letters.seen) == sorted(NOTES)
    letters.seen.clear()
    (letters.folder / "3.md").write_text("another tide")
    hits = found(opened(letters, ranking="dense"), "another", k=1)
    assert letters.seen == ["another tide", "another"]
    assert hits[0][0] == 3


def test_hybrid_is_reciprocal_rank_fusion(letters):
    query = "high tide moon"
    ranks = [
        [i for i, _ in found(opened(letters, ranking=ranking), query)]
        for ranking in ("bm25", "dense")
    ]
    by_hand = {i: sum(1 / (61 + r.index(i)) for r in ranks if i in r) for i in range(9)}
    hits = found(opened(letters, ranking="hybrid"), query)
    assert [i for i, _ in hits] == sorted(range(9), key=lambda i: (-by_hand[i], i))
    assert [s for _, s in hits] == pytest.approx(sorted(by_hand.values(), reverse=True))


def test_vectors_that_are_no_numbers_are_never_the_best(letters, monkeypatch):
    rows = np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, 0.0], [np.inf, 0.0]], np.float32)
    assert np.isfinite(normalised(rows)).all()
    real = letters.embed
    monkeypatch.setattr(
        letters, "embed", lambda texts: real(texts) * (np.nan if texts == ["nan"] else 1)
    )
    assert found(opened(letters, ranking="dense"), "nan") == []


def test_products_in_half_precision_are_those_in_single(monkeypatch):
    rng = np.random.default_rng(0)
    rows = normalised(rng.standard_normal((50, 8)).astype(np.float32)).astype(np.float16)
    query = normalised(rng.standard_normal((1, 8)).astype(np.float32))[0]
    single = Vectors(rows).products(query)
    monkeypatch.setattr(dense, "SINGLE", 0)
    monkeypatch.setattr(dense, "PRODUCT_ROWS", 7)
    assert Vectors(rows).products(query) == pytest.approx(single, abs=1e-6)


def test_an_embedding_that_is_not_there_says_what_to_install(monkeypatch):
    monkeypatch.setattr(dense.importlib.util, "find_spec", lambda name: None)
    dense.embedding_of.cache_clear()
    with pytest.raises(RetrievalError, match="not installed") as error:
        dense.embedding_of("wordllama")
    assert 'fkdsl[wordllama]"' in error.value.help
    dense.embedding_of.cache_clear()


def test_wordllama_knows_words_that_are_not_the_same(tmp_path):
    pytest.importorskip("wordllama", reason="it comes with the extra `wordllama`")
    for name, text in (("a.md", "The vessel departs at dawn."), ("b.md", "Bread is baked here.")):
        (tmp_path / name).write_text(text)
    for ranking in ("dense", "hybrid"):
        found = index.open_index(
            IndexSpec("*.md", ranking=ranking), Folder.main(tmp_path), keep=False
        )
        assert not set(words_of("ship leaves")) & set(words_of("The vessel departs at dawn."))
        assert found.search("ship leaves", 1)[0].passage.source == "a.md"


def test_wordllama_is_the_mean_of_its_tokens_vectors():
    pytest.importorskip("wordllama", reason="it comes with the extra `wordllama`")
    embedding = dense.embedding_of("wordllama")
    texts = ["The vessel departs at dawn.", "", "tide " * 900, "\u6f6e\u6c50 \U0001f30a"]

    def by_hand(text):
        ids = embedding._tokenizer.encode(text, add_special_tokens=False).ids
        assert len(ids) <= dense.MOST_TOKENS
        mean = np.mean([embedding._vectors[i].astype(np.float64) for i in ids] or [0.0], axis=0)
        return mean / (np.linalg.norm(mean) or 1.0) + np.zeros(256)

    assert embedding.embed(texts) == pytest.approx(np.array([by_hand(t) for t in texts]), abs=1e-6)


@pytest.mark.slow
def test_an_encoder_of_transformers_is_the_mean_of_its_last_states(tmp_path):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    known = dict.fromkeys(["[PAD]", "[UNK]", *words_of(" ".join(NOTES))])
    words = {w: i for i, w in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=len(words) + 10, hidden_size=16, num_hidden_layers=2,
            num_attention_heads=2, intermediate_size=32,
        )
    ).eval()  # fmt: skip
    model.save_pretrained(tmp_path / "encoder")
    fast.save_pretrained(tmp_path / "encoder")
    (tmp_path / "n").mkdir()
    for i, text in enumerate(NOTES):
        (tmp_path / "n" / f"{i}.md").write_text(text)
    spec = IndexSpec("n/*.md", ranking="dense", embedding="./encoder")
    found = index.open_index(spec, Folder.main(tmp_path), keep=False)
    query = "low sand"

    def by_hand(text):
        with torch.inference_mode():
            ids = torch.tensor([fast(text)["input_ids"]])
            mean = model(input_ids=ids).last_hidden_state[0].mean(0).numpy()
        return mean / np.linalg.norm(mean)

    cosines = {text: float(by_hand(text) @ by_hand(query)) for text in NOTES}
    for hit in found.search(query, 9):
        assert hit.score == pytest.approx(cosines[hit.passage.text], abs=2e-3)
    spec = IndexSpec("n/*.md", ranking="dense", embedding="./no-encoder")
    with pytest.raises(RetrievalError, match="cannot be loaded"):
        index.open_index(spec, Folder.main(tmp_path), keep=False)


def test_an_index_whose_embedding_was_cut_short_is_embedded_by_the_next(letters, monkeypatch):
    def cut(texts):
        raise DeadlinePassed

    with monkeypatch.context() as patched:
        patched.setattr(letters, "embed", cut)
        with pytest.raises(DeadlinePassed):
            opened(letters, ranking="dense")
    assert len(found(opened(letters, ranking="dense"), "tide")) == 9
