"""Conditions on the text so far: masks by an automaton, exact for every token, and what they leave
of a row."""

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.blocks import BLOCK, Blocks, masked_sums
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.constraints.automaton import automaton
from fkdsl.engine.constraints.constraint import SMALL, regular_masks
from fkdsl.engine.constraints.languages import (
    Both,
    Complement,
    Contains,
    EachWord,
    Either,
    EndsWith,
    Length,
    Letters,
    Matches,
    StartsWith,
    Texts,
)
from fkdsl.engine.constraints.regular import RegularMasks
from fkdsl.inference.enumeration import enumerate_outcomes
from fkdsl.inference.samplers.smc import importance, smc
from fkdsl.models.table import TableModel
from fkdsl.models.tokenized import narrowed
from fkdsl.models.vocabulary import Vocabulary, decoded
from fkdsl.testing import assert_same_measure
from fkdsl.testing.laws import assert_same_masses, exact_measure, expected_measure
from fkdsl.values.library.text import letters, matches, words

LANGUAGES = [
    (Letters(1, 3), lambda s: 1 <= letters(s) <= 3),
    (EachWord(Letters(0, 2)), lambda s: all(letters(w) <= 2 for w in words(s))),
    (EachWord(Length(2, -1)), lambda s: all(len(w) >= 2 for w in words(s))),
    (Complement(EachWord(Complement(Contains("-")))), lambda s: any("-" in w for w in words(s))),
    (
        EachWord(Either((StartsWith("a"), EndsWith("é")))),
        lambda s: all(w[0] == "a" or w[-1] == "é" for w in words(s)),
    ),
    (EachWord(Matches("[a-z]+")), lambda s: all(matches(w, "[a-z]+") for w in words(s))),
    (Complement(Contains("a-")), lambda s: "a-" not in s),
    (Matches(r"(\w| )*"), lambda s: matches(s, r"(\w| )*")),
    (
        Both((Length(0, 4), Complement(Texts(("ab", "é"))))),
        lambda s: len(s) <= 4 and s not in ("ab", "é"),
    ),
]
ALPHABET = "ab1é漢_-'\u2019 .\ufffd\u0301²٣Ⅷ"
PIECES = (
    b"a",
    b"b1",
    b"-",
    b" ",
    b"'",
    "é".encode(),
    b"\xc3",
    b"\xa9",
    b"\xe6\xbc",
    b"\xa2",
    b"\xff",
    b"a\xe2",
    b"\x80\x99b",
    b"",
)


@pytest.mark.parametrize(("language", "holds"), LANGUAGES)
@given(text=st.text(ALPHABET, max_size=9))
def test_languages_are_what_the_library_says_of_texts(language, holds, text):
    found = automaton(language)
    assert found.explored
    assert found.accepts(text) == holds(text)


def test_letters_are_pythons_in_all_of_unicode():
    found = automaton(Letters(1, 1))
    every = "".join(chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    states = found.steps(
        np.full(len(every), found.start, dtype=np.int32),
        found.partition.classes(
            np.frombuffer(every.encode("utf-32-le"), dtype="<u4").astype(np.int64)
        ),
    )
    assert (
        np.array(found.accepting)[states] == np.fromiter(map(str.isalpha, every), dtype=bool)
    ).all()


@pytest.mark.parametrize(("language", "holds"), LANGUAGES)
@given(st.lists(st.sampled_from(range(len(PIECES) - 1)), max_size=5))
def test_a_mask_holds_the_tokens_after_which_the_text_so_far_is_in_the_language(
    language, holds, ids
):
    """Tokens of whole characters, pieces of them, bytes that are none, and an end, after which
    nothing is held back."""
    vocabulary = Vocabulary((*PIECES, b""), ends=frozenset({len(PIECES)}))
    masks = RegularMasks(automaton(language), vocabulary)
    raw = vocabulary.raw(ids)
    for known in (True, False):  # the text that it goes on from has been asked about before, or not
        if known:
            masks.position_of(vocabulary.raw(ids[:-1]), vocabulary.raw(ids[-2:-1]))
        mask = masks.holding(masks.position_of(raw, vocabulary.raw(ids[-1:])))
        masks = RegularMasks(automaton(language), vocabulary)
        expected = [
            holds(decoded(raw + t, final=i in vocabulary.ends))
            for i, t in enumerate(vocabulary.tokens)
        ]
        assert mask.tolist() == expected


TABLE = """
model m = table:
    "" -> "a": 0.3, "bb": 0.3, " ": 0.2, "-": 0.1, EOS: 0.1
    "a" -> "a": 0.2, "bb": 0.3, " ": 0.2, "-": 0.2, EOS: 0.1
    "-" -> "a": 0.4, "bb": 0.3, " ": 0.2, EOS: 0.1

program main(most: int = 2, part: str = "b-") -> str:
    lm = prompt("")
    limit = 3
    while not lm.done and lm.tokens < 3:
        t ~ lm
        condition {test}
    return lm.text
"""
TAKEN = [
    "all(letters(w) <= most for w in words(lm.text))",
    't != EOS and all(len(w) < limit for w in words(lm.text) if not starts_with(w, "b"))',
    "not any(contains(w, part) for w in words(lm.text))",
    'not (contains(lm.text, part) or lm.text == "a ")',
    'letters(lm.text) <= most and (t == EOS or t != "-")',
]
LEFT = [
    "syllables(lm.text) <= most",  # no language
    "all(letters(w) <= lm.tokens for w in words(lm.text))",  # not the same for all
    "not contains(lm.text, str(t) + part)",
]


def guides_of(text):
    model = fkdsl.parse(text)().feynman_kac()
    return [op.guide for op in model.code.functions[model.code.entry].ops if hasattr(op, "guide")]


def guide_of(text):
    return next(guide for guide in guides_of(text) if guide is not None)


@pytest.mark.parametrize("test", TAKEN)
def test_an_automaton_that_decides_a_condition_keeps_the_measure_and_tries_nothing(test):
    text = TABLE.replace("{test}", test)
    program = fkdsl.parse(text)
    assert guide_of(text).so_far.whole
    assert_same_measure(program().feynman_kac(), program.without()().feynman_kac(), 1e-12)
    with patch("fkdsl.proposals.propose.Trials", side_effect=AssertionError("a trial")):
        fkdsl.run(program().feynman_kac(), "smc", particles=20, seed=1)


@pytest.mark.parametrize("test", LEFT)
def test_what_no_automaton_decides_is_tried(test):
    text = TABLE.replace("{test}", test)
    assert guide_of(text).so_far is None
    assert_same_measure(
        fkdsl.parse(text)().feynman_kac(), fkdsl.parse(text).without()().feynman_kac(), 1e-12
    )


def test_what_it_leaves_is_tried_among_the_tokens_that_it_allows():
    test = "syllables(lm.text) <= most and not contains(lm.text, part)"
    text = TABLE.replace("{test}", test)
    guide = guide_of(text)
    assert (guide.so_far.whole, guide.tried) == (False, True)
    assert_same_measure(
        fkdsl.parse(text)().feynman_kac(), fkdsl.parse(text).without()().feynman_kac(), 1e-12
    )


@pytest.mark.parametrize(
    "text",
    [
        TABLE.replace("{test}", TAKEN[0]).replace(
            "    limit = 3\n", "    limit = 3\n    most = most + 1\n"
        ),
        TABLE.replace("{test}", TAKEN[1]).replace(
            "    limit = 3\n", "    limit ~ uniform_int(1, 3)\n"
        ),
        TABLE.replace("{test}", 'not contains(other.text, "a")').replace(
            "    limit", '    other = prompt("a")\n    limit'
        ),
        TABLE.replace("t ~ lm\n", "t ~ lm ** 0.5\n").replace("{test}", TAKEN[0]),
    ],
)
def test_languages_that_are_not_the_populations_and_texts_of_other_contexts_are_left(text):
    assert all(guide is None or guide.so_far is None for guide in guides_of(text))
    assert_same_measure(
        fkdsl.parse(text)().feynman_kac(), fkdsl.parse(text).without()().feynman_kac(), 1e-12
    )


def test_a_language_with_many_states_is_tried():
    text = TABLE.replace("{test}", "len(lm.text) <= most + 100")
    assert guide_of(text).so_far.whole
    assert regular_masks(Length(0, SMALL + 38), Vocabulary((b"a",), frozenset())) is None
    with (
        patch("fkdsl.proposals.propose.Trials", side_effect=AssertionError("a trial")),
        pytest.raises(AssertionError),
    ):
        fkdsl.parse(text).run("smc", particles=2)
    assert_same_measure(
        fkdsl.parse(text)().feynman_kac(), fkdsl.parse(text).without()().feynman_kac(), 1e-12
    )


def test_a_run_that_is_asked_for_blame_is_the_same_run_and_knows_which_condition_refused():
    test = "all(letters(w) <= most for w in words(lm.text))\n        condition not contains(lm.text, part)"
    program = fkdsl.parse(TABLE.replace("{test}", test))
    plain, blamed = (program.run("smc", particles=40, seed=2, blame=on) for on in (False, True))
    assert plain.log_z == blamed.log_z
    assert [p.value for p in plain.particles] == [p.value for p in blamed.particles]
    charged = {line.place.line: line.log_weight for line in blamed.blame.lines}
    assert len(charged) == 2
    assert all(weight < 0.0 for weight in charged.values())


def conditions_on(s):
    """Conditions on the text s that say which language it is in."""
    parts = st.sampled_from(['"a"', '"-"', '"b-"', '"é"', "part", '""', '" "'])
    numbers = st.sampled_from(["0", "1", "2", "most", "limit", "1.5"])
    plain = [
        parts.map(lambda x: f"contains({s}, {x})"),
        parts.map(lambda x: f"starts_with({s}, {x})"),
        parts.map(lambda x: f"{s} != {x}"),
        parts.map(lambda x: f'{s} in [{x}, "a"]'),
        st.sampled_from(["[ab]*", ".*-.*", "(a|b-)*é?"]).map(lambda x: f'matches({s}, "{x}")'),
        st.tuples(
            st.sampled_from(["len", "letters"]),
            st.sampled_from(["<=", "<", ">=", ">", "=="]),
            numbers,
        ).map(lambda x: f"{x[0]}({s}) {x[1]} {x[2]}"),
        st.tuples(numbers, st.sampled_from(["<", ">"])).map(
            lambda x: f"{x[0]} {x[1]} letters({s})"
        ),
    ]
    if s != "w":
        of_word = conditions_on("w")
        plain += [
            st.tuples(st.sampled_from(["all", "any"]), of_word).map(
                lambda x: f"{x[0]}({x[1]} for w in words({s}))"
            ),
            st.tuples(of_word, of_word).map(lambda x: f"all({x[0]} for w in words({s}) if {x[1]})"),
        ]
    return st.recursive(
        st.one_of(plain),
        lambda inner: st.one_of(
            inner.map(lambda x: f"not ({x})"),
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
                lambda x: f"({x[0]} {x[1]} {x[2]})"
            ),
        ),
        max_leaves=3,
    )


ODD = ["not (len({s}) <= 1.5)", "not (len({s}) < 0)", "not (0 > letters({s}))"]
"""Bounds that no automaton has, and that hold of no text."""
TEXT = TABLE.replace(
    "    while not lm.done and lm.tokens < 3:\n        t ~ lm\n        ",
    "    s ~ text(lm, max_tokens=2)\n    ",
)
TWO = TABLE.replace("lm.tokens < 3", "lm.tokens < 2")


@settings(max_examples=150)
@given(st.sampled_from([(TWO, "lm.text"), (TEXT, "s")]), st.data())
def test_any_condition_on_a_text_keeps_the_measure(form, data):
    table, s = form
    assert_guided_as_plain(table.replace("{test}", data.draw(conditions_on(s))))


@pytest.mark.parametrize("test", ODD)
@pytest.mark.parametrize(("table", "s"), [(TWO, "lm.text"), (TEXT, "s")])
def test_bounds_that_are_no_bounds_keep_the_measure(test, table, s):
    assert_guided_as_plain(table.replace("{test}", test.replace("{s}", s)))


def assert_guided_as_plain(text):
    plain = fkdsl.parse(text).without()().feynman_kac()
    try:
        guided = fkdsl.parse(text)().feynman_kac()
    except fkdsl.ProgramError:  # it is known before anything runs that no text will do (FK502)
        assert not exact_measure(plain)
    else:
        assert_same_measure(guided, plain, 1e-11)


def test_one_draw_has_the_exact_mass_of_what_lives():
    """Where trials and rejection only estimate it."""
    text = TABLE.replace("{test}", TAKEN[0]).replace("lm.tokens < 3", "lm.tokens < 1")
    Z = exact_measure(fkdsl.parse(text).without()().feynman_kac())
    runs = {fkdsl.parse(text).run("importance", particles=1, seed=s).log_z for s in range(10)}
    assert max(runs) - min(runs) <= 1e-12
    assert abs(max(runs) - math.log(sum(Z.values()))) <= 1e-12


def test_the_variance_of_z_hat_is_no_larger_than_by_trials():
    text = TABLE.replace("{test}", TAKEN[0]).replace("lm.tokens < 3", "lm.tokens < 2")

    def second_moment(program):
        model = program().feynman_kac()

        def square(rng):
            *_, last = importance(model, rng, 1)
            return math.exp(2 * last.log_Z)

        return math.fsum(p * z for p, z in enumerate_outcomes(square, 2_000_000))

    program = fkdsl.parse(text)
    assert second_moment(program) <= second_moment(program.without("automata")) * (1 + 1e-12)


def test_a_mask_that_refused_too_much_would_change_the_measure():
    """A planted bug."""
    text = TABLE.replace("{test}", TAKEN[0]).replace("lm.tokens < 3", "lm.tokens < 2")
    plain = exact_measure(fkdsl.parse(text).without()().feynman_kac())
    held = RegularMasks._held

    def wrong(self, position):
        return held(self, position) & (np.arange(self.vocabulary.size) > 0)

    regular_masks.cache_clear()
    with patch.object(RegularMasks, "_held", wrong):
        model = fkdsl.parse(text)().feynman_kac()
        found = expected_measure(model, lambda rng: importance(model, rng, 1))
    regular_masks.cache_clear()
    with pytest.raises(AssertionError):
        assert_same_masses(found, plain)


def test_a_mask_that_allowed_too_much_would_cost_variance_alone():
    """A planted bug: the condition stands behind the draw and decides."""
    text = TABLE.replace("{test}", TAKEN[0]).replace("lm.tokens < 3", "lm.tokens < 2")
    plain = exact_measure(fkdsl.parse(text).without()().feynman_kac())
    regular_masks.cache_clear()
    with patch.object(
        RegularMasks, "_held", lambda self, position: np.ones(self.vocabulary.size, dtype=bool)
    ):
        model = fkdsl.parse(text)().feynman_kac()
        assert_same_masses(expected_measure(model, lambda rng: smc(model, rng, 1, 0.5)), plain)
    regular_masks.cache_clear()


# ------------------------------------------------------------- what is left of rows


@given(
    st.integers(0, 2**32),
    st.sampled_from([5, BLOCK - 1, BLOCK, 3 * BLOCK + 7]),
    st.sampled_from([np.float32, np.float64]),
)
def test_what_masks_leave_of_rows_is_the_same_for_many_at_once(seed, size, dtype):
    rng = np.random.default_rng(seed)
    rows = [np.log(rng.dirichlet(np.ones(size))).astype(dtype) for _ in range(3)]
    masks = [rng.random(size) < share for share in (0.0, 0.5, 1.0)]
    for row, mask, together in zip(rows, masks, narrowed(rows, masks), strict=True):
        alone = masked_sums(row, mask)
        assert together.dtype == alone.dtype == np.float64
        np.testing.assert_allclose(together, alone, atol=1e-6)
        p = np.exp(row.astype(np.float64)) * mask
        np.testing.assert_allclose(
            alone, [p[i : i + BLOCK].sum() for i in range(0, size, BLOCK)], atol=1e-6
        )
        blocks = Blocks.of_masked(row, mask, together)
        np.testing.assert_allclose(np.asarray(blocks), p, atol=1e-7)
        assert {i for i, _ in blocks.descending(0.01)} == set(np.flatnonzero(p))
        assert [blocks[i] > 0 for i in range(0, size, 7)] == (p[::7] > 0).tolist()
    assert narrowed([], []) == []


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_a_run_is_the_same_whether_rows_are_narrowed_together_or_each_at_its_draw(seed):
    """On a vocabulary that is long enough for it."""
    rng = np.random.default_rng(seed)
    texts = [*(chr(97 + i % 26) + chr(97 + i // 26) for i in range(600)), " ", None]
    model = TableModel(
        "m", {"": dict(zip(texts, rng.dirichlet(np.ones(602)).tolist(), strict=True))}
    )
    text = (
        'program main() -> str:\n    lm = prompt("")\n    while lm.tokens < 3:\n        t ~ lm\n'
        '        condition t != EOS and all(letters(w) <= 3 for w in words(lm.text)) and not contains(lm.text, "q")\n'
        "    return lm.text\n"
    )
    asked = []
    left = CachedTransformer.left
    with patch.object(
        CachedTransformer,
        "left",
        lambda self, rows, masks: asked.extend(rows) or left(self, rows, masks),
    ):
        together = fkdsl.parse(text).run("smc", model=model, particles=6, seed=seed)
    assert asked
    with patch("fkdsl.steering.feynman_kac.narrowed", lambda particle: None):
        apart = fkdsl.parse(text).run("smc", model=model, particles=6, seed=seed)
    assert together.log_z == pytest.approx(apart.log_z, abs=1e-12)
    assert [p.value for p in together.particles] == [p.value for p in apart.particles]


def test_rows_of_a_file_can_be_narrowed():
    row = np.log(np.full(300, 1 / 300, dtype=np.float32))
    row.flags.writeable = False
    (found,) = narrowed([row], [np.arange(300) < 3])
    assert torch.allclose(
        torch.from_numpy(found), torch.tensor([0.01, 0.0], dtype=torch.float64), atol=1e-6
    )
