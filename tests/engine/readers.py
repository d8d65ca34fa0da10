"""Tiny random encoder-decoders of many families, made once, without a tokenizer: their tokens are
letters."""

from functools import cache

from fkdsl.models.vocabulary import Vocabulary
from tests.engine.tiny import V

READERS = ("t5", "bart", "t5gemma", "mbart")
"""Encoder-decoders."""
SLOW_READERS = (
    "mt5",
    "pegasus",
    "marian",
    "m2m_100",
    "blenderbot",
    "plbart",
    "mvp",
    "longt5",
)


def reader_config(family):
    """The configuration of an encoder-decoder. Its start token is 0; BART's and MBart's first token
    is forced. M2M100 counts positions without padding, V - 2, which texts of tests do not have."""
    import transformers as tf

    common = {"vocab_size": V, "d_model": 32, "pad_token_id": V - 2, "eos_token_id": V - 1,
              "decoder_start_token_id": 0}  # fmt: skip
    match family:
        case "t5" | "mt5" | "longt5":
            kind = {"t5": tf.T5Config, "mt5": tf.MT5Config,
                    "longt5": tf.LongT5Config}[family]  # fmt: skip
            return kind(
                **common, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                relative_attention_num_buckets=8, relative_attention_max_distance=20,
            )  # fmt: skip
        case "t5gemma":
            half = {
                "vocab_size": V, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
                "sliding_window": 4, "max_position_embeddings": 128,
            }  # fmt: skip
            return tf.T5GemmaConfig(
                encoder=half, decoder={**half, "cross_attention_hidden_size": 32}, vocab_size=V,
                bos_token_id=0, eos_token_id=V - 1, pad_token_id=V - 2, decoder_start_token_id=0,
            )  # fmt: skip
    kind = {"bart": tf.BartConfig, "mbart": tf.MBartConfig, "pegasus": tf.PegasusConfig,
            "marian": tf.MarianConfig, "m2m_100": tf.M2M100Config, "plbart": tf.PLBartConfig,
            "blenderbot": tf.BlenderbotConfig, "mvp": tf.MvpConfig}[family]  # fmt: skip
    forced = {"forced_bos_token_id": 5} if family in ("bart", "mbart") else {}
    return kind(
        **common, **forced, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, bos_token_id=0,
        max_position_embeddings=128,
    )  # fmt: skip


@cache
def reader_module(family):
    import torch
    from transformers import AutoModelForSeq2SeqLM

    torch.manual_seed(7)
    module = AutoModelForSeq2SeqLM.from_config(reader_config(family)).float().eval()
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 2:
                p.mul_(1.0 if family.endswith("t5") else 8.0)
    return module


@cache
def reader(family):
    """A tiny random encoder-decoder without a tokenizer."""
    from fkdsl.models.encoder_decoder.model import EncoderDecoderModel
    from fkdsl.models.encoder_decoder.texts import SourceTexts, decoder_start
    from fkdsl.models.tokenized import ModelTexts

    module = reader_module(family)
    vocabulary = Vocabulary(tuple(bytes([97 + i % 26]) for i in range(V)), ends=frozenset({V - 1}))

    def encode(text):
        return [(ord(c) - 97) % V for c in text]

    texts = ModelTexts(vocabulary, encode, name=family, max_length=129)
    sources = SourceTexts(
        lambda text: [*encode(text), V - 1], None, decoder_start(module, None), 128
    )
    return EncoderDecoderModel(module, texts, sources)


def begins(model, source="a source"):
    """The ids that every context of a model begins with: those of a source, an image, or none."""
    from fkdsl.models.attachments import Attachment
    from fkdsl.models.interface import TakesAttachments

    if model.name == "seeing":
        from tests.models.vision.test_tiny_vision import A, B

        return (A if source == "a source" else B,)
    if not isinstance(model, TakesAttachments) or "source" not in model.kinds:
        return ()
    return model.start_with((Attachment.source(source), ""))


@cache
def reader_rows(family, tokens):
    """(length, V) the library's own log-probabilities after each token of a context."""
    import torch

    source, *ids = tokens
    with torch.inference_mode():
        read = torch.tensor([reader(family).source_texts.source(source.text)])
        own = torch.tensor([ids])
        logits = reader_module(family)(
            input_ids=read, attention_mask=torch.ones_like(read), decoder_input_ids=own,
            decoder_attention_mask=torch.ones_like(own), use_cache=False,
        ).logits[0]  # fmt: skip
    return torch.log_softmax(logits.double(), dim=-1).numpy()
