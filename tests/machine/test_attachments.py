"""A source in a context: the law is that of the source's own table, in a run, a trace, a resumed
run, a byte view, a mixture."""

import json
import math
import pickle

import pytest

import fkdsl
from fkdsl.api.distil import Distilling, sampling_of
from fkdsl.api.trace.file import read_trace, with_sum
from fkdsl.api.trace.replay import Replay
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.engine.byte_view import ByteView
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models.attachments import Attachment
from fkdsl.testing import exact_measure
from fkdsl.testing.laws import assert_same_masses
from tests.models.source_table import SourceTable

COLD = {"": {"no": 0.7, "ice": 0.3}, "no": {None: 1.0}, "ice": {"no": 0.4, None: 0.6}}
HOT = {"": {"no": 0.1, "ice": 0.9}, "no": {None: 1.0}, "ice": {None: 1.0}}


def table():
    return SourceTable("weather", {"cold": COLD, "hot": HOT})


def measure(body, returns="str", model=None, **arguments):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    program = fkdsl.parse(f"program p() -> {returns}:\n{lines}")
    masses = exact_measure(program.feynman_kac(model=model or table()))
    return {k[1] if isinstance(k, tuple) else k: v for k, v in masses.items()}


DRAW = "while not lm.done:\n    t ~ lm\n"


def test_an_attachment_is_its_own_id_and_keeps_its_content():
    cold = Attachment.source("cold")
    assert cold == pickle.loads(pickle.dumps(cold)) == int(cold)
    assert pickle.loads(pickle.dumps(cold)).text == "cold"
    assert -(1 << 63) < cold < -1
    assert cold != Attachment("image", b"cold")
    assert json.dumps([cold]) == f"[{int(cold)}]"


def test_a_context_has_the_law_of_its_source():
    found = measure(f'lm = prompt("", source="cold")\n{DRAW}return lm.text')
    assert_same_masses(found, {"no": 0.7, "iceno": 0.12, "ice": 0.18})


def test_a_source_is_a_latent_with_a_posterior():
    body = """s ~ categorical(["cold", "hot"], [0.5, 0.5])
lm = prompt("", source=s)
observe "ice" ~ lm
return s"""
    found = measure(body.replace('observe "ice" ~ lm', 't ~ lm\ncondition t == "ice"'))
    assert_same_masses(found, {"cold": 0.15, "hot": 0.45})


def test_what_the_decoder_has_written_already_and_what_is_asked_of_it():
    found = measure(f'lm = prompt("ice", source="cold")\n{DRAW}return lm.text')
    assert_same_masses(found, {"no": 0.4, "": 0.6})
    body = 'lm = prompt("", source="hot")\nx ~ bernoulli(0.5)\nreturn logprob(lm, "ice")'
    (value,) = measure(body, "float")
    assert value == pytest.approx(math.log(0.9))


def test_one_token_of_two_sources_by_a_mixture_and_a_product():
    contexts = 'a = prompt("", source="cold")\nb = prompt("", source="hot")\n'
    mixed = measure(contexts + "t ~ mixture([a, b], weights=[1, 3])\nreturn str(t)")
    assert_same_masses(mixed, {"no": 0.25, "ice": 0.75})
    product = measure(contexts + "t ~ a * b\nreturn str(t)")
    assert product["no"] / product["ice"] == pytest.approx(0.07 / 0.27)


def test_a_byte_view_has_the_same_texts():
    view = ByteView(CachedTransformer(table()), None)
    whole = measure(f'lm = prompt("", source="cold")\n{DRAW}return lm.text')
    by_bytes = measure(f'lm = prompt("", source="cold")\n{DRAW}return lm.text', model=view)
    assert_same_masses(by_bytes, whole)
    after = measure(f'lm = prompt("ice", source="cold")\n{DRAW}return lm.text', model=view)
    assert_same_masses(after, {"no": 0.4, "": 0.6})


def test_a_source_is_encoded_once_for_a_population_and_again_when_evicted():
    model = table()
    program = fkdsl.parse(
        'program p() -> str:\n    lm = prompt("", source="cold")\n'
        "    while not lm.done:\n        t ~ lm\n    return lm.text\n"
    )
    program.run("smc", particles=20, model=model)
    assert model.encoder_work.passes == 1
    engine = CachedTransformer(model, memory_budget=1)
    context = engine.extend(engine.root, model.start_with((Attachment.source("cold"), "ice")))
    first = engine.log_probs([context])[0]
    again = engine.log_probs([engine.extend(context, model.encode("no")), context])[1]
    assert engine.cache.nbytes <= 1
    assert model.encoder_work.passes >= 3
    assert (first == again).all()


PROGRAM = """
program p(hint: str = "cold") -> str:
    a = prompt("", source=hint)
    s ~ categorical(["cold", "hot"], [0.5, 0.5])
    b = prompt("", source=s)
    for i in range(3):
        if not b.done:
            t ~ b
            factor 0.3 if t == "ice" else -0.2
    u ~ a
    return s + b.text + str(u)
"""


def test_a_trace_tells_each_source_once_and_a_run_goes_on_from_it(tmp_path):
    program, path, cut = fkdsl.parse(PROGRAM), tmp_path / "t.jsonl", tmp_path / "cut.jsonl"
    expected = program.run("smc", particles=6, seed=2, model=table())
    traced = program.run("smc", particles=6, seed=2, model=table(), trace=path)
    assert traced.posterior == expected.posterior
    raw = path.read_bytes()
    told = [a["text"] for s in read_trace(path).steps for a in s.get("attachments", {}).values()]
    assert sorted(told) == ["cold", "hot"]
    for lines in range(1, raw.count(b"\n")):
        cut.write_bytes(b"".join(raw.splitlines(keepends=True)[:lines]))
        resumed = program.run("smc", particles=6, seed=2, model=table(), resume=cut)
        assert resumed.posterior == expected.posterior
        assert resumed.log_z == expected.log_z
    assert all(m.state.value for m in Replay(read_trace(path)).members())


@pytest.mark.parametrize(
    "damage",
    [
        lambda a: {k: {**v, "text": "warm"} for k, v in a.items()},
        lambda a: {},
        lambda a: {k: {**v, "kind": "door"} for k, v in a.items()},
        lambda a: {"-1": next(iter(a.values()))},
    ],
)
def test_a_damaged_attachment_is_told_and_read_as_nothing_else(tmp_path, damage):
    program, path = fkdsl.parse(PROGRAM), tmp_path / "t.jsonl"
    program.run("smc", particles=3, seed=2, model=table(), trace=path)
    lines = []
    for line in path.read_bytes().splitlines()[:-1]:
        data = json.loads(line)
        if "attachments" in data:
            data["attachments"] = damage(data["attachments"])
            del data["sum"]
            line = with_sum(json.dumps(data, separators=(",", ":")).encode())
        lines.append(line + b"\n")
    path.write_bytes(b"".join(lines))
    with pytest.raises(CallError, match="line 2"):
        program.run("smc", particles=3, seed=2, model=table(), resume=path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('lm = prompt("x")', "reads a source text, and is given none"),
        ('lm = prompt("x", source="cold" * 1300)', "this source has 5200 tokens"),
        ('lm = prompt("x", source="a", model=m)', "`m` is a table, which reads no source"),
        ('lm = prompt("x", source="a", model="m")', "m reads no source"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(line, message):
    text = (
        f'model m = table:\n    "" -> "x": 1.0\n\nprogram p() -> str:\n    {line}\n    return "a"\n'
    )
    with pytest.raises(ProgramError, match=message) as caught:
        fkdsl.parse(text).run("smc", particles=2, model=table())
    (d,) = caught.value.diagnostics
    assert (d.code, d.span.line) == ("FK416", 5)


def test_no_surrogate_is_made_of_texts_about_sources():
    with pytest.raises(CallError, match="no surrogate is made"):
        sampling_of(table(), Distilling())


@pytest.mark.parametrize(
    ("call", "code"), [('prompt("x", source=7)', "FK210"), ('prompt("x", "cold")', "FK208")]
)
def test_a_source_is_a_text_and_given_by_name(call, code):
    with pytest.raises(ProgramError) as caught:
        fkdsl.parse(f"program p() -> str:\n    lm = {call}\n    return lm.text\n")
    assert [d.code for d in caught.value.diagnostics] == [code]
