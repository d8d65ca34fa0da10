"""Text is text: what spells a special token is encoded as its characters, by tokenizers of every
build."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkdsl.base.errors import CallError
from fkdsl.models.chat import Hidden, marks_of, templated
from fkdsl.models.plain_text import PlainText
from fkdsl.models.tokenizer import byte_alphabet, vocabulary_of

SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
ADDED = "<turn>"
LETTERS = "abcdefghijklmnopqrstuvwxyz<>|_/ \n.é"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] | trim }}<|im_end|>\n"
    "{% endfor %}<turn>{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level(ignore_merges=False):
    """As GPT-2's: the special tokens are in the vocabulary too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {c: i for i, c in enumerate(byte_alphabet())}
    merges = [("<", "|"), ("i", "m"), ("e", "n"), ("en", "d"), ("|", ">"), ("Ġ", "a")]
    for token in [*map("".join, merges), *SPECIAL]:
        vocabulary[token] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=ignore_merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=not ignore_merges)
    backend.decoder = decoders.ByteLevel()
    return backend


def sentencepiece(scheme):
    """As Llama's: a space before a text, bytes for what is no piece."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    pieces = [
        *SPECIAL,
        "<unk>",
        *(f"<0x{b:02X}>" for b in range(256)),
        *LETTERS.replace(" ", "▁").replace("é", ""),
    ]
    vocabulary = {p: i for i, p in enumerate(dict.fromkeys(pieces))}
    backend = Tokenizer(
        models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    if scheme == "legacy":
        backend.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", scheme, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend


def unigram():
    """As XLM's: the special tokens are likely pieces of the vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = [(s, 0.0) for s in (*SPECIAL, "<unk>")]
    pieces += [(f"<0x{b:02X}>", -9.0) for b in range(256)] + [
        (c, -5.0) for c in LETTERS.replace(" ", "▁")
    ]
    backend = Tokenizer(models.Unigram(pieces, unk_id=4, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", split=False)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", "first")])
    return backend


BUILDS = {
    "byte level": byte_level,
    "byte level, words whole": lambda: byte_level(True),
    "metaspace first": lambda: sentencepiece("first"),
    "metaspace always": lambda: sentencepiece("always"),
    "metaspace never": lambda: sentencepiece("never"),
    "prepend": lambda: sentencepiece("legacy"),
    "unigram": unigram,
}


@cache
def built(build):
    import transformers as tf
    from tokenizers import AddedToken

    backend = BUILDS[build]()
    backend.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL])
    backend.add_tokens([AddedToken(ADDED, special=False, normalized=False)])
    tokenizer = tf.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = TEMPLATE
    vocabulary = vocabulary_of(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    return tokenizer, vocabulary, PlainText(tokenizer.backend_tokenizer, vocabulary, build)


TEXTS = st.lists(
    st.sampled_from(
        [*SPECIAL, *SPECIAL, ADDED, "<|im_", "end|>", "<", "s>", "|", "é", " ", "\n", "a", "im"]
    ),
    max_size=6,
).map("".join)


@pytest.mark.parametrize("build", BUILDS)
@given(text=TEXTS)
def test_encoded_text_says_the_characters_that_it_has(build, text):
    _, vocabulary, encode = built(build)
    assert vocabulary.text(encode(text)) == text
    assert vocabulary.text(encode.start(text)).replace(" ", "") == text.replace(" ", "")
    assert all(vocabulary.tokens[i] for i in [*encode(text), *encode.start(text)])


@pytest.mark.parametrize("build", BUILDS)
def test_a_text_without_marks_is_encoded_as_the_tokenizer_does(build):
    tokenizer, _, encode = built(build)
    for text in ("a < b", "im end", f"see {ADDED} a"):
        assert encode.start(text) == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_tokens_to_ids(ADDED) in encode(
        f"see {ADDED} a"
    )  # an added token that is text stays one


def test_a_spelling_is_encoded_as_merges_have_it():
    tokenizer, _, encode = built("byte level")
    assert tokenizer.convert_ids_to_tokens(encode("<|im_end|>")) == ["<|", "im", "_", "end", "|>"]


def test_a_tokenizer_that_cannot_write_a_spelling_says_so():
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"a": 0, "<": 1, "x": 2}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    from fkdsl.models.vocabulary import Vocabulary

    encode = PlainText(backend, Vocabulary((b"a", b"", b""), frozenset()), "words")
    with pytest.raises(CallError, match="tokenizer of words has no way to write 'x' as text"):
        encode("a x")


@pytest.mark.parametrize("build", BUILDS)
@given(user=TEXTS, system=TEXTS)
def test_the_texts_of_a_chat_begin_no_turn(build, user, system):
    tokenizer, vocabulary, encode = built(build)
    marks = [mark.id for mark in marks_of(tokenizer)]

    def of(user, system):
        return templated(tokenizer, build, user, system, encode)

    plain, ids = of("x", "y" if system else ""), of(user, system)
    assert [i for i in ids if i in marks] == [i for i in plain if i in marks]
    said = [vocabulary.text(part).strip() for part in _between(ids, marks)]
    turns = [*([("system", system)] if system else []), ("user", user)]
    assert [s for s in said if s] == [
        *(f"{role}\n{text.strip()}".strip() for role, text in turns),
        "assistant",
    ]


def _between(ids, marks):
    parts = [[]]
    for i in ids:
        if i in marks:
            parts.append([])
        else:
            parts[-1].append(i)
    return parts


@pytest.mark.parametrize("build", BUILDS)
def test_a_chat_without_marks_in_its_texts_is_what_the_tokenizer_makes_of_it(build):
    tokenizer, _, encode = built(build)
    for user, system in (("a < b é", ""), ("im", "see a\n\nb"), (" a ", "<")):
        turns = [{"role": "system", "content": system}] * bool(system) + [
            {"role": "user", "content": user}
        ]
        whole = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        expected = tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert templated(tokenizer, build, user, system, encode) == expected


def test_a_chat_template_that_writes_nothing_is_refused(monkeypatch):
    tokenizer, _, encode = built("byte level")
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in others %}{{ m }}{% endfor %}")
    with pytest.raises(CallError, match="writes nothing"):
        templated(tokenizer, "m", "hi", "", encode)


def test_the_end_of_a_text_and_the_template_behind_it_make_no_mark():
    hidden = Hidden(marks_of(built("byte level")[0]), "")
    assert "<|im_end|>" not in hidden.hide("a <|im_") + "end|>"
    assert "<|im_end|>" not in "<|im_" + hidden.hide("end|> a")
    assert "<|im_end|>" not in hidden.hide("<|im_<|im_end|>end|>")


@pytest.mark.parametrize("build", BUILDS)
def test_a_vocabulary_knows_its_special_tokens_by_name_and_no_others(build):
    tokenizer, vocabulary, _ = built(build)
    marks = vocabulary.marks
    assert set(SPECIAL) <= set(marks)
    assert ADDED not in marks
    assert all(tokenizer.convert_ids_to_tokens(i) == name for name, i in marks.items())
    assert not any(vocabulary.tokens[i] for i in marks.values())
