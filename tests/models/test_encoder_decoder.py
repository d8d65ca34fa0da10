"""Encoder-decoders by name: four families as their makers save them, what they read and begin with,
and programs on them. Their cached rows are held to the library's in
tests/engine/test_cached_transformer.py."""

import math

import numpy as np
import pytest

import fkdsl
from fkdsl.base.errors import CallError, ProgramError
from fkdsl.engine.byte_view import ByteView
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.models import loading, registry
from fkdsl.models.attachments import Attachment
from fkdsl.models.interface import ForwardRow, TakesAttachments
from tests.engine.readers import READERS
from tests.models.reader_folders import save_reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    here = tmp_path_factory.mktemp("readers")
    for family in READERS:
        save_reader(here / family, family)
    return here


@pytest.fixture(scope="module")
def models(folder):
    return {family: registry.load_model(f"./{family}", folder=folder) for family in READERS}


def whole(module, source, own):
    """(length, V) log-probabilities by the library, nothing kept."""
    import torch

    read, own = torch.tensor([source]), torch.tensor([own])
    with torch.inference_mode():
        logits = module(
            input_ids=read, attention_mask=torch.ones_like(read), decoder_input_ids=own,
            decoder_attention_mask=torch.ones_like(own),
        ).logits[0]  # fmt: skip
    return torch.log_softmax(logits.double(), -1).numpy()


@pytest.mark.parametrize("family", READERS)
def test_a_folder_loads_by_its_name_with_the_librarys_law(folder, models, family):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = models[family]
    assert isinstance(model, TakesAttachments)
    module = AutoModelForSeq2SeqLM.from_pretrained(folder / family).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / family)
    text = "translate: the cat sat"
    ids = model.start_with((Attachment.source(text), "the dog"))
    rows = model.forward([ForwardRow(None, ids, tuple(range(len(ids))))])[0].log_probs
    expected = whole(module, tokenizer(text)["input_ids"], ids[1:])
    assert np.abs(np.exp(rows[1:]) - np.exp(expected)).max() < 1e-5
    assert rows[0].argmax() == ids[1]
    assert rows[0].max() == 0.0
    facts = model.describe()
    assert facts["family"] == family
    assert facts["reads"].startswith("a source of at most")


def test_a_context_begins_with_the_decoders_start_and_the_forced_token(models):
    begins = {f: models[f].start_with((Attachment.source("a"), ""))[1:] for f in READERS}
    assert begins["t5"] == (0,)
    assert begins["bart"] == (2, 0)
    assert begins["mbart"] == (2, models["mbart"].vocabulary.marks["fr_XX"])


def test_a_source_is_text_but_for_its_gaps(models):
    sources = {f: models[f].source_texts.source for f in READERS}
    marks = models["t5"].vocabulary.marks
    assert sources["t5"]("a <extra_id_0> b")[-4:-2] == [
        marks["<extra_id_0>"],
        *sources["t5"]("b")[:1],
    ]
    assert sources["t5"]("a")[-1] == marks["</s>"]
    assert marks["</s>"] not in sources["t5"]("a </s> b")[:-1]
    bart = models["bart"].vocabulary.marks
    assert sources["bart"]("a<mask>b") == [
        bart["<s>"], *sources["bart"]("a")[1:-1], bart["<mask>"], *sources["bart"]("b")[1:]
    ]  # fmt: skip


def test_a_chat_is_a_source_in_the_models_own_template(models):
    model = models["t5gemma"]
    chat, *begin = model.chat("the cat", "the dog")
    assert begin == [0]
    assert (chat.parts, chat.system, chat.is_chat) == (("the cat",), "the dog", True)
    text = model.vocabulary.text(model.source_texts.ids(chat, "")).replace(" ", "")
    assert text == "system:thedoguser:thecat"
    with pytest.raises(CallError, match="no chat template"):
        models["bart"].chat("the cat")


def test_without_a_cache_the_law_is_the_same(folder, monkeypatch):
    monkeypatch.setattr(loading, "remembered_check", lambda key: loading.WHOLE_TEXTS)
    slow = registry.load_model("./bart", folder=folder)
    monkeypatch.setattr(loading, "remembered_check", lambda key: loading.CACHED)
    quick = registry.load_model("./bart", folder=folder)
    assert "run without its cache" in slow.note
    engines = [CachedTransformer(m) for m in (slow, quick)]
    rows = []
    for engine in engines:
        a, b = (
            engine.extend(engine.root, engine.model.start_with((Attachment.source(s), "the")))
            for s in ("cat", "a long dog")
        )
        longer = engine.extend(a, engine.model.encode(" mat"))
        rows.append([*engine.log_probs([a, b, a.path()[0]]), *engine.log_probs([longer])])
    assert np.abs(np.exp(rows[0]) - np.exp(rows[1])).max() < 1e-5


def test_a_wrong_cache_is_found_when_the_model_is_loaded(folder, monkeypatch):
    """Rows of one source given another's keys and values: the check runs the model uncached."""
    from fkdsl.models.encoder_decoder import model as module

    right = module.joined
    monkeypatch.setattr(loading, "remembered_check", lambda key: "")
    monkeypatch.setattr(loading, "remember_check", lambda key, way: None)
    monkeypatch.setattr(module, "joined", lambda sources: right([sources[0]] * len(sources)))
    assert "run without its cache" in registry.load_model("./t5", folder=folder).note


def run(folder, family, body, returns="str", method="smc", **options):
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    text = f'model m = "./{family}"\n\nprogram p() -> {returns}:\n{lines}'
    return fkdsl.parse(text, folder=folder).run(method, **options)


@pytest.mark.parametrize("family", READERS)
def test_what_is_observed_is_what_logprob_says(folder, family):
    body = 'lm = prompt("", source="the cat")\n'
    observed = run(folder, family, body + 'observe "the dog" ~ lm\nreturn lm.text', particles=1)
    said = run(folder, family, body + 'return logprob(lm, "the dog")', "float", particles=1)
    assert observed.log_z == pytest.approx(said.posterior[0].value, abs=1e-4)
    assert math.isfinite(observed.log_z)


def test_a_byte_view_gives_a_text_its_tokens_probability(models):
    """All spellings of the text together: no less than that of the tokenizer's own."""
    model = models["t5"]
    engine, view = (
        CachedTransformer(model),
        CachedTransformer(ByteView(CachedTransformer(model), None)),
    )
    starts = [
        e.extend(e.root, e.model.start_with((Attachment.source("the cat"), "")))
        for e in (engine, view)
    ]
    by_tokens = engine.logprob_of(starts[0], model.encode(" dog"))
    total = np.logaddexp.reduce(
        [engine.logprob_of(starts[0], ids) for ids in _spellings(model, b" dog")]
    )
    by_bytes = view.logprob_of(starts[1], tuple(b" dog"))
    # A byte view's texts go on with any token, so it has every beginning of a longer one too.
    assert by_bytes >= total - 1e-6
    assert total >= by_tokens - 1e-6


def _spellings(model, raw):
    if not raw:
        return [()]
    tokens = model.vocabulary.tokens
    return [
        (i, *rest)
        for i, t in enumerate(tokens)
        if t and raw.startswith(t)
        for rest in _spellings(model, raw[len(t) :])
    ]


def test_one_encoder_pass_serves_the_population_and_its_islands(folder):
    program = fkdsl.parse(
        'model m = "./t5"\n\nprogram p() -> str:\n    lm = prompt("", source="the cat")\n'
        "    s ~ text(lm, max_tokens=3)\n    return s\n",
        folder=folder,
    )
    engines = program.engines()
    program.run("smc", particles=8, islands=3, engines=engines)
    assert engines["m" if "m" in engines else ""].model.encoder_work.passes == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('prompt("the cat")', "reads a source text, and is given none"),
        ('prompt("", source="the cat " * 3000)', r"6,00\d tokens; \./t5 reads at most 4,096"),
        ('chat("the cat")', "no chat template"),
    ],
)
def test_what_such_a_model_cannot_begin_from_is_told(folder, call, message):
    with pytest.raises((ProgramError, CallError), match=message):
        run(folder, "t5", f"lm = {call}\nreturn lm.text", particles=2)


def test_models_info_says_that_it_reads_a_source(folder):
    facts = {f: registry.model_info(f"./{f}", folder=folder).details for f in READERS}
    assert all(facts[f]["reads"] == "a source text (encoder-decoder)" for f in READERS)
    assert facts["bart"]["layers"] == "2 + 2"
    assert facts["t5"]["width"] == facts["bart"]["width"] == 32


def test_a_character_that_the_vocabulary_lacks_is_read_and_not_written(folder):
    """T5's has no `{`. In a source it is the token for unknown characters; a context's text that
    had this token in its place would be scored and shown as another text."""
    program = """model "./t5"
program p() -> str:
    lm = prompt("", source="the {cat")
    {}
    return lm.text
"""

    def run(line):
        return fkdsl.parse(program.replace("{}", line), folder=folder).run("exact")

    assert run("pass").log_z == 0.0
    for line in ('observe "a{" ~ lm', 'lm += "a{"', 'c ~ choice(lm, ["{", "a"])'):
        with pytest.raises(ProgramError, match=r"t5 cannot write '[a{]+'") as raised:
            run(line)
        assert [(d.code, d.span.line) for d in raised.value.diagnostics] == [("FK402", 4)]
