"""Adapters: how an index uses one, and which files are refused."""

import numpy as np
import pytest

import fkdsl
from fkdsl.base.errors import ProgramError
from fkdsl.base.folders import Folder
from fkdsl.base.spans import Source
from fkdsl.language.compile import check_source
from fkdsl.retrieval import index
from fkdsl.retrieval.adapter import Adapter, read_adapter, write_adapter
from fkdsl.retrieval.errors import OutsideFolder, RetrievalError
from fkdsl.retrieval.spec import IndexSpec
from tests.retrieval.test_dense import NOTES, Letters, letters  # noqa: F401  a fixture

MATRIX = (np.eye(26) + 0.5 * np.random.default_rng(0).standard_normal((26, 26))).astype(np.float32)


def written(folder, matrix=MATRIX, embedding="letters", name="a.adapter"):
    write_adapter(folder / name, Adapter(matrix, embedding, {"command": "by hand"}))
    return name


def opened(folder, before=None, **options):
    spec = IndexSpec("*.md", ranking="dense", **options)
    return index.open_index(spec, Folder.main(folder), before=before)


def test_scores_are_products_with_the_adapted_query(letters):  # noqa: F811
    name = written(letters.folder)
    plain = opened(letters.folder)
    letters.seen.clear()
    adapted = opened(letters.folder, adapter=name)
    assert not set(letters.seen) & set(NOTES)  # the documents' vectors are those that were kept
    query = Letters().embed(["high tide"])[0]
    products = Letters().embed(NOTES) @ (MATRIX @ query)
    order = sorted(range(9), key=lambda i: (-products[i], i))
    hits = adapted.search("high tide", 9)
    assert [int(h.passage.source[0]) for h in hits][:3] == order[:3]
    assert [h.score for h in hits] == pytest.approx([products[i] for i in order], abs=5e-3)
    assert plain.digest != adapted.digest
    assert opened(letters.folder, before=adapted, adapter=name) is adapted
    written(letters.folder, 2.0 * MATRIX)
    doubled = opened(letters.folder, before=adapted, adapter=name)
    assert doubled.digest != adapted.digest
    assert doubled.search("high tide", 1)[0].score == pytest.approx(2.0 * hits[0].score)


def test_the_identity_changes_nothing(letters):  # noqa: F811
    name = written(letters.folder, np.eye(26, dtype=np.float32))
    for ranking in ("dense", "hybrid"):
        spec = IndexSpec("*.md", ranking=ranking)
        a, b = (
            index.open_index(s, Folder.main(letters.folder))
            for s in (spec, IndexSpec("*.md", ranking=ranking, adapter=name))
        )
        assert a.search("moon sand", 5) == b.search("moon sand", 5)


def test_qdrant_scores_as_the_embedded_engine_does(letters):  # noqa: F811
    pytest.importorskip("qdrant_client", reason="it comes with the extra `qdrant`")
    name = written(letters.folder)
    a, b = (
        [(h.passage, h.score) for h in opened(letters.folder, **options).search("low sand", 3)]
        for options in ({"adapter": name}, {"adapter": name, "engine": "qdrant"})
    )
    assert [p for p, _ in a] == [p for p, _ in b]
    assert [s for _, s in a] == pytest.approx([s for _, s in b], abs=5e-3)


def test_an_adapter_of_another_embedding_is_refused(letters):  # noqa: F811
    other = written(letters.folder, embedding="wordllama")
    smaller = written(letters.folder, np.eye(5, dtype=np.float32), name="small.adapter")
    for name in (other, smaller):
        with pytest.raises(RetrievalError, match="another embedding"):
            opened(letters.folder, adapter=name)


def damaged(data):
    """Files that are no adapter, each with what is said of it."""
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    yield "empty", b"", "damaged"
    yield "text", b"high tide", "damaged"
    yield "cut", data[:-9], "damaged"
    yield "flipped", flipped, "changed since it was made"
    yield "huge header", b"\xff" * 8 + data[8:], "damaged"
    yield "other", data.replace(b"fkdsl adapter 1", b"fkdsl adapter 9"), "no adapter that this"


def test_damaged_files_are_refused(tmp_path):
    written(tmp_path)
    data = (tmp_path / "a.adapter").read_bytes()
    for _, content, message in damaged(data):
        (tmp_path / "a.adapter").write_bytes(content)
        with pytest.raises(RetrievalError, match=message) as error:
            read_adapter("a.adapter", Folder.main(tmp_path))
        assert "train-retriever" in error.value.help


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.full((3, 3), np.nan, np.float32), "not finite"),
        (np.full((3, 3), 1e9, np.float32), "too large"),
        (np.ones((3, 4), np.float32), "3 x 4"),
        (np.ones((3, 3), np.float64), "no matrix"),
        (np.ones((0, 0), np.float32), "0 x 0"),
    ],
)
def test_matrices_that_no_training_makes_are_refused(tmp_path, matrix, message):
    written(tmp_path, matrix)
    with pytest.raises(RetrievalError, match=message):
        read_adapter("a.adapter", Folder.main(tmp_path))


def test_files_lie_below_the_programs_folder(tmp_path):
    (tmp_path / "inside").mkdir()
    name = f"../{written(tmp_path)}"
    with pytest.raises(OutsideFolder):
        read_adapter(name, Folder.main(tmp_path / "inside"))
    assert read_adapter(name, Folder.main(tmp_path / "inside", allow_outside=True))
    with pytest.raises(RetrievalError, match="no such file") as error:
        read_adapter("b.adapter", Folder.main(tmp_path))
    assert "train-retriever" in error.value.help


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ('ranking="dense", adapter="absent.adapter"', "FK326"),
        ('ranking="dense", adapter="../a.adapter"', "FK360"),
        ('ranking="dense", adapter="0.md"', "FK326"),
        ('adapter="../a.adapter"', "FK342"),
        ('ranking="dense", adapter=3', "FK342"),
        ('ranking="dense", embedding="./../../x"', "FK360"),
        ('ranking="dense", embedding="/x"', "FK360"),
    ],
)
def test_the_checker_refuses_files_that_no_run_could_read(letters, options, code):  # noqa: F811
    written(letters.folder.parent)
    text = f'index n = "*.md" with {options}\n\nprogram p() -> int:\n    return 1\n'
    with pytest.raises(ProgramError) as error:
        check_source(Source("p.fk", text), letters.folder)
    assert code in {d.code for d in error.value.diagnostics}


def test_an_encoders_folder_lies_below_the_programs(letters):  # noqa: F811
    spec = IndexSpec("*.md", ranking="dense", embedding="./../encoder")
    with pytest.raises(OutsideFolder):
        index.open_index(spec, Folder.main(letters.folder))
    allowed = Folder.main(letters.folder, allow_outside=True)
    assert index.open_index(spec, allowed).search("tide", 1)


def test_an_adapter_travels_with_its_index_and_a_trace_tells_one_from_another(letters):  # noqa: F811
    from fkdsl.api.cluster.job import named_files

    text = (
        'index n = "*.md" with ranking="dense", adapter="a.adapter"\n\nprogram p() -> str:\n'
        '    d ~ retrieve(n, "high tide")\n    return d.text\n'
    )
    digests = set()
    for factor in (1.0, 2.0):
        written(letters.folder, factor * MATRIX)
        program = fkdsl.parse(text, folder=letters.folder)
        travels = dict(named_files(program))
        assert travels["a.adapter"] == (letters.folder / "a.adapter").read_bytes()
        digests.add(program.index_digest("n"))
    assert len(digests) == 2
    assert len(program.exact().posterior) == 5
    written(letters.folder, embedding="another")
    with pytest.raises(ProgramError, match="another embedding") as error:
        fkdsl.parse(text, folder=letters.folder).exact()
    assert {d.code for d in error.value.diagnostics} == {"FK326"}
