"""Folders of tiny random encoder-decoders with their tokenizers, as their makers save them."""

from tests.engine.readers import reader_config

TEXT = "translate the cat sat on a mat and the dog ran to it; summarize it: no, not that. "


def t5_tokenizer():
    """Pieces of a Unigram model after U+2581, sentinels, `</s>` behind a source."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    words = sorted({f"\u2581{w}" for w in TEXT.split()})
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz<>_/0123456789 .,:;é", "\u2581"})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(w, -2.0) for w in words] + [(c, -4.0) for c in letters if c not in words]
    backend = Tokenizer(Unigram(pieces, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        additional_special_tokens=["<extra_id_0>", "<extra_id_1>"],
    )  # fmt: skip


def bart_tokenizer(languages=()):
    """Bytes, `<s>` before a source and `</s>` behind it; MBart's: `</s> en_XX` behind it."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {t: i for i, t in enumerate((*specials, *letters))}
    backend = Tokenizer(BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        pad_token="<pad>", mask_token="<mask>", additional_special_tokens=list(languages),
    )  # fmt: skip
    around = ("$A </s> en_XX" if languages else "<s> $A </s>").split()
    known = [(t, fast.convert_tokens_to_ids(t)) for t in around if t != "$A"]
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(around), special_tokens=known
    )
    return fast


def save_reader(folder, family):
    """A folder with a model of the family and a tokenizer of its kind."""
    import torch
    from transformers import AutoModelForSeq2SeqLM

    if family in ("t5", "t5gemma"):
        fast = t5_tokenizer()
        ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    else:
        fast = bart_tokenizer(("en_XX", "fr_XX") if family == "mbart" else ())
        ids = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
        ids |= {"bos_token_id": 0, "forced_bos_token_id": 0}
        if family == "mbart":
            ids["forced_bos_token_id"] = fast.convert_tokens_to_ids("fr_XX")
    if family == "t5gemma":
        fast.chat_template = (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}<extra_id_1>{% endfor %}"
        )
    torch.manual_seed(3)
    size = len(fast)
    config = reader_config(family)
    if family == "t5gemma":
        config.encoder.vocab_size = config.decoder.vocab_size = size
        config.decoder.update({"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0})
        ids["bos_token_id"] = 0
    own = {k: v for k, v in ids.items() if k != "forced_bos_token_id"}
    config.update({"vocab_size": size, **own})
    module = AutoModelForSeq2SeqLM.from_config(config)
    for name, value in ids.items():
        setattr(module.generation_config, name, value)
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 2:
                p.mul_(1.0 if family == "t5" else 6.0)
    module.config.forced_bos_token_id = None
    module.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
