"""`bytes(...)` in programs: the strings' own posterior, whatever their tokens; different
vocabularies combined."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.cli.main import main
from fkdsl.engine.byte_view import ByteView
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.inference.result import total_variation
from fkdsl.models.registry import model_info
from fkdsl.models.table import TableModel
from tests.engine.tokenisations import covering

TOY = """
model toy = table:
    "" -> "a": 0.3, "ab": 0.2, "b": 0.1, "bé": 0.1, "é.": 0.2, EOS: 0.1
    "a" -> "b.": 0.4, ".": 0.2, " b.": 0.3, " ": 0.1
    "b" -> ".": 0.5, "a.": 0.3, EOS: 0.2
    "é" -> ".": 0.7, EOS: 0.3
    " " -> "b.": 0.5, "b": 0.5
    "." -> EOS: 1
model view = bytes(toy, beam=none)
"""
TABLE = TableModel(
    "toy",
    {
        "": {"a": 0.3, "ab": 0.2, "b": 0.1, "bé": 0.1, "é.": 0.2, None: 0.1},
        "a": {"b.": 0.4, ".": 0.2, " b.": 0.3, " ": 0.1},
        "b": {".": 0.5, "a.": 0.3, None: 0.2},
        "é": {".": 0.7, None: 0.3},
        " ": {"b.": 0.5, "b": 0.5},
        ".": {None: 1.0},
    },
)
STATEMENTS = (
    'condition not contains(s, "ab")',
    r'condition matches(s, r"[abé]*\.?")',
    r'condition matches(s, r"a.*")',
    'condition s == "ab." or s == "a b" or len(s) < 2',
    "factor -0.3 * len(s)",
    "condition len(words(s)) == 1",
    'condition ends_with(s, ".")',
    'observe true ~ bernoulli(0.9 if contains(s, "é") else 0.2)',
    'condition parses(s, grammar="start: (\\"a\\" | \\"b\\" | \\".\\")+")',
)
DRAWS = (
    "text(lm, max_tokens=20)",
    'text(lm, until=".", max_tokens=20)',
    'text(lm, until="b", max_tokens=20)',
    'text(lm, until=[".", "b"], max_tokens=20)',
)


def run(model, body, returns="str"):
    source = f'{TOY}program p() -> {returns}:\n    lm = prompt("", model={model})\n' + "".join(
        f"    {line}\n" for line in body
    )
    return fkdsl.parse(source).exact()


def assert_same(a, b):
    assert a.log_z == pytest.approx(b.log_z, abs=1e-10)
    for answer in (*a.posterior, *b.posterior):
        assert a.probability(answer.value) == pytest.approx(b.probability(answer.value), abs=1e-10)


@settings(max_examples=25)
@given(
    draw=st.sampled_from(DRAWS),
    conditions=st.lists(st.sampled_from(STATEMENTS), max_size=2, unique=True),
)
def test_what_looks_at_finished_texts_only_has_the_same_posterior_over_bytes(draw, conditions):
    body = [f"s ~ {draw}", *conditions, "return s"]
    try:
        tokens = run("toy", body)
    except (
        fkdsl.base.errors.PopulationDied,
        fkdsl.ProgramError,
    ) as none:  # the text cannot hold what ends it
        with pytest.raises(type(none)):
            run("view", body)
        return
    assert_same(run("view", body), tokens)


def test_observing_a_text_and_logprob_sum_over_its_tokenisations():
    both = ['observe "ab" ~ lm', 'return logprob(lm, ".")']
    assert run("view", both, "float").log_z == pytest.approx(
        math.log(covering(TABLE, b"ab")), abs=1e-10
    )
    (answer,) = run("view", both, "float").posterior
    assert answer.value == pytest.approx(
        math.log(covering(TABLE, b"ab.") / covering(TABLE, b"ab")), abs=1e-10
    )
    assert run("toy", both, "float").log_z == pytest.approx(math.log(0.2), abs=1e-10)


def test_a_choice_is_between_texts_however_they_are_tokenised():
    found = run("view", ['c ~ choice(lm, ["ab", "a ", "é"])', "return c"])
    mass = {c: covering(TABLE, c.encode()) for c in ("ab", "a ", "é")}
    for c, p in mass.items():
        assert found.probability(c) == pytest.approx(p / sum(mass.values()), abs=1e-10)


def test_a_condition_on_a_character_comes_as_soon_as_the_character_does():
    body = ["t ~ lm", 'condition t == "a"', "return lm.text"]
    assert run("view", body).log_z == pytest.approx(math.log(0.5), abs=1e-10)
    assert run("toy", body).log_z == pytest.approx(math.log(0.3), abs=1e-10)


def test_a_word_is_a_word_over_bytes():
    found = run("view", ["w ~ word(lm)", "return w"])
    assert found.probability("ab") == pytest.approx(
        run("toy", ["w ~ word(lm)", "return w"]).probability("ab"), abs=1e-10
    )


OTHER = """
model other = table:
    "" -> "b": 0.5, "a.": 0.2, "a": 0.1, "é": 0.1, EOS: 0.1
model second = bytes(other, beam=none)
"""
OTHER_TABLE = TableModel("other", {"": {"b": 0.5, "a.": 0.2, "a": 0.1, "é": 0.1, None: 0.1}})


def next_symbol(model, raw):
    """p(next byte or end | raw), by sums over tokenisations."""
    p = np.array(
        [covering(model, raw + bytes([b])) for b in range(256)] + [covering(model, raw, ended=True)]
    )
    return p / covering(model, raw)


@pytest.mark.parametrize(
    ("expression", "combined"),
    [
        ("x * y", lambda p, q: p * q / (p * q).sum()),
        ("mixture([x, y], weights=[0.3, 0.7])", lambda p, q: 0.3 * p + 0.7 * q),
    ],
)
def test_views_of_different_vocabularies_are_combined(expression, combined):
    source = f"""{TOY}{OTHER}program p() -> list[str]:
    x = prompt("", model=view)
    y = prompt("", model=second)
    a ~ {expression}
    condition a != EOS
    b ~ {expression}
    return [x.text, y.text]
"""
    found = fkdsl.parse(source).exact()
    for first in b"ab":
        p = combined(next_symbol(TABLE, b""), next_symbol(OTHER_TABLE, b""))
        # A mixture may leave one of the two behind, at text that it cannot write.
        if not (covering(TABLE, bytes([first])) and covering(OTHER_TABLE, bytes([first]))):
            continue
        then = combined(
            next_symbol(TABLE, bytes([first])), next_symbol(OTHER_TABLE, bytes([first]))
        )
        for second in b"ab.":
            text = bytes([first, second]).decode()
            assert found.probability((text, text)) == pytest.approx(
                p[first] * then[second] / p[:256].sum(), abs=1e-10
            )


def test_a_view_and_a_token_model_are_not_combined():
    source = f"""{TOY}program p() -> str:
    x = prompt("", model=view)
    y = prompt("", model=toy)
    t ~ x * y
    return x.text
"""
    with pytest.raises(ProgramError) as caught:
        fkdsl.parse(source).run()
    assert "bytes(toy) and toy" in str(caught.value)
    assert "`bytes(...)`" in str(caught.value)


PROGRAM = (
    'program p() -> str:\n    lm = prompt("")\n    s ~ text(lm, max_tokens=20)\n    return s\n'
)


@pytest.mark.parametrize(
    "model", ["bytes(toy)", 'bytes("toy", beam=none)', " bytes( toy , beam = 3 ) ", "view"]
)
def test_a_view_can_be_named_in_a_call(model):
    assert fkdsl.parse(TOY + PROGRAM).run(model=model, particles=4).log_z == 0.0


def test_a_view_can_be_the_default_model_and_a_chats():
    source = TOY.replace("model view = ", "model ") + PROGRAM.replace(
        'prompt("")', 'chat(user="b")'
    )
    assert fkdsl.parse(source).exact().probability("") > 0.0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("bytes(nothing)", "there is no model called `nothing`"),
        ("bytes(view)", "bytes\\(toy\\) is a model of bytes already"),
        ("bytes(bytes(toy))", "bytes\\(toy\\) is a model of bytes already"),
        ("bytes(toy, beam=wide)", "beam=wide"),
        ("bytes(toy, beam=0)", "at least 1"),
        ("bytes()", "a model's name"),
    ],
)
def test_a_view_of_nothing_is_a_clear_error(model, message):
    with pytest.raises(CallError, match=message):
        fkdsl.parse(TOY + PROGRAM).run(model=model)


def test_a_run_says_what_its_beams_lost():
    program = fkdsl.parse(TOY + PROGRAM)
    engines = program.engines("bytes(toy, beam=1)")
    result = program.run(engines=engines, particles=20, seed=3)
    (note,) = [n for n in result.notes if "bytes(toy)" in n]
    assert "beam 1" in note
    assert "wider beam" in note
    assert not any(
        "bytes(toy)" in n for n in program.run(model=ByteView(CachedTransformer(TABLE), None)).notes
    )


def test_the_counts_of_a_view_are_its_models_and_fresh_engines_renew_both():
    program = fkdsl.parse(TOY + PROGRAM)
    for model in (
        "bytes(toy)",
        ByteView(CachedTransformer(TABLE)),
        CachedTransformer(ByteView(CachedTransformer(TABLE))),
    ):
        engines = program.engines(model)
        result = program.run(engines=engines, particles=20, seed=3)
        inner = engines[""].model.engine
        assert result.model_calls == inner.stats.model_calls > 0
        again = engines.fresh()
        assert again.counts() == (0, 0)
        assert again[""].model.engine is not inner
        assert again[""].model.engine.model is inner.model
        repeated = program.run(engines=again, particles=20, seed=3)
        assert repeated.posterior == result.posterior
        assert repeated.forwarded_tokens == result.forwarded_tokens


def test_a_view_is_no_model_to_fetch_or_describe():
    with pytest.raises(CallError, match="a view of a model"):
        model_info("bytes(smollm2)")


def test_a_schema_guides_bytes_as_it_does_tokens():
    table = """model toy = table:
    "" -> "{\\"a\\"": 0.5, "{": 0.3, "\\"": 0.2
    "\\"a\\"" -> ": ": 0.5, ":": 0.5
    "{" -> "\\"a": 0.6, "}": 0.4
    "\\"a" -> "\\"": 1
    ":" -> "1}": 0.5, " 12": 0.2, "1": 0.3
    " " -> "1}": 0.5, "x": 0.5
    "1" -> "}": 0.9, "2": 0.1
    "2" -> "}": 1
    "x" -> EOS: 1
    "}" -> EOS: 1
model view = bytes(toy, beam=none)
"""
    body = """program p() -> str:
    s ~ text(prompt("", model=MODEL), max_tokens=20)
    condition valid_json(s, schema="{\\"type\\": \\"object\\", \\"required\\": [\\"a\\"]}")
    return s
"""
    tokens, view = (fkdsl.parse(table + body.replace("MODEL", m)).exact() for m in ("toy", "view"))
    assert len(tokens.posterior) == 4
    assert_same(tokens, view)


def test_the_note_is_in_the_json(capsys, tmp_path):
    (tmp_path / "p.fk").write_text(TOY + PROGRAM, "utf-8")
    assert main(["run", str(tmp_path / "p.fk"), "--model", "bytes(toy, beam=1)", "--json"]) == 0
    assert any(
        "bytes(toy), beam 1" in note for note in json.loads(capsys.readouterr().out)["notes"]
    )


def test_a_traced_run_over_bytes_is_resumed_and_replayed(capsys, tmp_path):
    (tmp_path / "p.fk").write_text(TOY + PROGRAM, "utf-8")
    trace = str(tmp_path / "run.trace")
    call = [str(tmp_path / "p.fk"), "--model", "bytes(toy)", "--particles", "5", "--json"]
    assert main(["run", *call, "--trace", trace]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["run", *call, "--resume", trace]) == 0
    assert json.loads(capsys.readouterr().out)["posterior"] == first["posterior"]
    assert main(["replay", trace]) == 0
    assert capsys.readouterr().out


def test_stats_of_a_view_are_its_models(capsys, tmp_path):
    (tmp_path / "p.fk").write_text(TOY + PROGRAM, "utf-8")
    assert main(["run", str(tmp_path / "p.fk"), "--model", "bytes(toy)", "--json", "--stats"]) == 0
    found = json.loads(capsys.readouterr().out)
    kinds = found["stats"][""]
    assert sum(kind["tokens"] for kind in kinds.values()) == found["forwarded_tokens"] > 0


def test_prefill_of_a_view_is_a_clear_error(capsys, tmp_path):
    (tmp_path / "p.fk").write_text(TOY + PROGRAM.replace('""', '"a"'), "utf-8")
    out = str(tmp_path / "file")
    assert main(["prefill", str(tmp_path / "p.fk"), "--model", "bytes(toy)", "--out", out]) == 2
    assert "bytes(toy) has no keys and values" in capsys.readouterr().err


WORD = (
    'program p() -> str:\n    lm = prompt("He walked down to the")\n'
    "    w ~ word(lm)\n    return w\n"
)


def test_a_byte_level_model_is_its_own_view():
    """Draw for draw: tiny's rows and those of bytes(tiny) differ by rounding, and its ids are the
    bytes."""
    tiny, view = (
        fkdsl.parse(WORD).run("importance", particles=40, model=m) for m in ("tiny", "bytes(tiny)")
    )
    assert len(tiny.posterior) > 10
    assert [a.value for a in view.posterior] == [a.value for a in tiny.posterior]


@pytest.mark.smollm2
def test_smollm2_and_its_bytes_say_the_same_words_and_tiny_others():
    """By total variation, beside that of two runs of one model: 0.37 with so many particles."""

    def words(model, seed):
        return fkdsl.parse(WORD).run("importance", particles=400, model=model, seed=seed).posterior

    a, b, view, tiny = (
        words("smollm2", 1),
        words("smollm2", 5),
        words("bytes(smollm2)", 1),
        words("tiny", 1),
    )
    assert total_variation(a, view) <= total_variation(a, b) + 0.08
    assert total_variation(a, tiny) > 0.8


@pytest.mark.smollm2
def test_smollm2_and_tiny_are_mixed_byte_by_byte():
    source = """model a = bytes("smollm2")
model b = bytes("tiny")
program p() -> str:
    x = prompt("He walked down to the", model=a)
    y = prompt("He walked down to the", model=b)
    while x.tokens < 8 and not x.done:
        t ~ x * y
    return x.text
"""
    assert len(fkdsl.parse(source).run("importance", particles=4).posterior) >= 1


@pytest.mark.smollm2
def test_a_program_means_the_same_on_smollm2_and_on_its_bytes():
    """As far as the prompt's and the text's own tokens are nearly all of the mass; " Lyon." has
    others."""
    source = """model "smollm2"
program p(w: str) -> float:
    lm = prompt("The capital of France is")
    return logprob(lm, w)
"""
    program = fkdsl.parse(source)
    tokens, view = program.engines("smollm2"), program.engines("bytes(smollm2)")
    for w, apart in ((" Paris", 0.01), (" the city of", 0.01), (" Lyon", 0.2)):
        a, b = (
            program(w=w).run("importance", particles=1, engines=e).posterior[0].value
            for e in (tokens, view)
        )
        assert a == pytest.approx(b, abs=apart)
    assert program.is_large(view)
