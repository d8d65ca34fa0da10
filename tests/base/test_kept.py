"""Results that are kept as long as they are not too large together."""

from fkdsl.base.kept import kept


def test_the_oldest_are_dropped_first_and_the_newest_is_kept_whatever_it_weighs():
    calls = []

    @kept(capacity=10, weight=len, most=3)
    def made(n, of="x"):
        """n letters."""
        calls.append(n)
        return of * n

    assert [made(4), made(3), made(4), made(5)] == ["xxxx", "xxx", "xxxx", "xxxxx"]
    assert calls == [4, 3, 5]
    assert made(4) == "xxxx"  # asked for after 3, so 3 went
    assert calls == [4, 3, 5]
    assert made(3) == "xxx"
    assert calls == [4, 3, 5, 3]
    assert len(made(99)) == 99
    assert len(made.results) == 1
    assert made.weighs == 99
    made.cache_clear()
    assert made(1, of="y") == "y"
    assert made(1) == "x"
    assert made.weighs == 2


def test_no_more_than_so_many_are_kept():
    @kept(capacity=100, weight=lambda value: 0, most=2)
    def same(n):
        return n

    for n in range(5):
        same(n)
    assert len(same.results) == 2
