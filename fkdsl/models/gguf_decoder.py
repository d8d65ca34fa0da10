"""A decoder straight from a gguf file, whose matrices stay in eight or four bits.

The library's own reading de-quantises every tensor, and holds the whole model in float32 before it
is packed. This one knows the architectures llama, qwen2 and qwen3 as far as fkdsl.models.decoder
computes them. A file with any other key, tensor or shape is left to the library.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_model import DecoderModel, default_frequencies
from fkdsl.models.decoder_weights import DecoderShape
from fkdsl.models.digest import digest_of_file
from fkdsl.models.gguf_header import GgufHeader, read_header
from fkdsl.models.gguf_weights import GgufEmbedding, GgufWeights
from fkdsl.models.pretrained_texts import texts_of_tokenizer
from fkdsl.models.sizes import verify_sizes

ARCHITECTURES = ("llama", "qwen2", "qwen3")
KEYS = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "vocab_size",
}
"""What may stand in the metadata behind the architecture's name."""


def decoder_from_gguf(path: Path, precision: str, name: str) -> DecoderModel | None:
    """The model of a file, in "int8" or "int4"; None if this function cannot read its form. Raises
    CallError for a file that is not sound."""
    header = read_header(path, name)
    verify_sizes(header.sizes, header.tensors, name)
    config = _config(header)
    if config is None:
        return None
    shapes, heads = _shapes(config), {}
    if config.model_type == "llama":
        for i in range(config.num_hidden_layers):
            heads[f"blk.{i}.attn_q.weight"] = config.num_attention_heads
            heads[f"blk.{i}.attn_k.weight"] = config.num_key_value_heads
    weights = GgufWeights.of(path, header, shapes, heads, four=precision == "int4")
    if weights is None:
        return None
    from transformers import AutoTokenizer

    from fkdsl.models.compat.quiet import quiet_transformers

    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(
            str(path.parent), gguf_file=path.name, local_files_only=True, trust_remote_code=False
        )
    size = shapes["token_embd.weight"][0]
    # Beside the file's own tokens a tokenizer may have some that the library adds.
    if tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False) > size:
        return None
    shape = DecoderShape.of(config, default_frequencies(config), 1.0)
    decoder = Decoder(shape, weights, precision, embed=GgufEmbedding(weights))
    facts = {
        "family": config.model_type,
        "parameters": sum(header.tensors.values()),
        "dtype": precision,
        "weights": weights.formats(),
        "device": "cpu",
        "digest": digest_of_file(path),
    }
    texts = texts_of_tokenizer(tokenizer, config, set(), size, name, facts)
    return DecoderModel(decoder, texts)


def _config(header: GgufHeader) -> SimpleNamespace | None:
    """The configuration that the metadata describes, under transformers' names; None for one that
    the decoder does not compute."""
    metadata: dict[str, Any] = dict(header.metadata)
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        return None
    mark = f"{architecture}."
    own = {key.removeprefix(mark): v for key, v in metadata.items() if key.startswith(mark)}
    needed = ("block_count", "embedding_length", "feed_forward_length", "attention.head_count")
    if set(own) - KEYS or any(type(own.get(key)) is not int or own[key] < 1 for key in needed):
        return None
    heads, width = own["attention.head_count"], own["embedding_length"]
    head_width = own.get("attention.key_length", width // heads)
    kv_heads = own.get("attention.head_count_kv", heads)
    alike = (own.get("attention.value_length", head_width), own.get("rope.dimension_count"))
    eps = own.get("attention.layer_norm_rms_epsilon", 1e-5)
    base = own.get("rope.freq_base", 10000.0)
    embedding = header.places.get("token_embd.weight")
    if (
        any(n not in (head_width, None) for n in alike)
        or type(kv_heads) is not int
        or type(head_width) is not int
        or kv_heads < 1
        or head_width < 2
        or head_width % 2
        or type(eps) is not float
        or type(base) is not float
        or not (eps >= 0 and base > 0)
        or embedding is None
        or len(embedding.shape) != 2
    ):
        return None
    return SimpleNamespace(
        model_type=architecture,
        num_hidden_layers=own["block_count"],
        hidden_size=width,
        intermediate_size=own["feed_forward_length"],
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_width,
        vocab_size=embedding.shape[0],
        rms_norm_eps=eps,
        rope_parameters={"rope_type": "default", "rope_theta": base},
        max_position_embeddings=own.get("context_length"),
        eos_token_id=metadata.get("tokenizer.ggml.eos_token_id"),
    )


def _shapes(config: SimpleNamespace) -> dict[str, tuple[int, ...]]:
    """The shapes of a model's tensors, by ggml's names."""
    d, hidden, vocabulary = config.hidden_size, config.intermediate_size, config.vocab_size
    q, k = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, d),
        "output_norm.weight": (d,),
        "output.weight": (vocabulary, d),
    }
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (d,),
        "attn_q.weight": (q, d),
        "attn_k.weight": (k, d),
        "attn_v.weight": (k, d),
        "attn_output.weight": (d, q),
        "ffn_norm.weight": (d,),
        "ffn_gate.weight": (hidden, d),
        "ffn_up.weight": (hidden, d),
        "ffn_down.weight": (d, hidden),
    }
    if config.model_type == "qwen2":
        layer |= {"attn_q.bias": (q,), "attn_k.bias": (k,), "attn_v.bias": (k,)}
    if config.model_type == "qwen3":
        layer |= {f"attn_{c}_norm.weight": (config.head_dim,) for c in "qk"}
    for i in range(config.num_hidden_layers):
        shapes |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    return shapes
