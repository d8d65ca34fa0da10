"""The parser's tables are kept between processes, and nothing depends on them."""

import pytest

from fkdsl.base.spans import Source
from fkdsl.language import parser

TEXT = 'program p() -> str:\n    lm = prompt("a")\n    t ~ lm\n    return f"{t} {1 + 2}"\n'


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Parses as a new process does, with a cache of its own."""
    monkeypatch.setenv("FKDSL_CACHE", str(tmp_path / "cache"))

    def parse():
        parser._lark.cache_clear()
        return parser.parse(Source("p.fk", TEXT))

    yield parse
    parser._lark.cache_clear()


def test_tables_of_another_process_give_the_same_tree(parsed, tmp_path):
    first = parsed()
    (tables,) = (tmp_path / "cache").iterdir()
    before = tables.stat().st_mtime_ns
    assert parsed() == first
    assert tables.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"", b"no tables", None])
def test_damaged_tables_are_made_again_without_a_word(parsed, tmp_path, content, capfd):
    first = parsed()
    (tables,) = (tmp_path / "cache").iterdir()
    whole = tables.read_bytes()
    tables.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert parsed() == first
    made = tables.stat()
    assert made.st_size > len(whole) // 2
    assert parsed() == first
    assert tables.stat().st_mtime_ns == made.st_mtime_ns
    assert capfd.readouterr() == ("", "")


def test_a_cache_that_cannot_be_written_is_done_without(parsed, tmp_path, capfd):
    (tmp_path / "cache").write_text("a file, not a folder")
    parsed()
    assert capfd.readouterr() == ("", "")
