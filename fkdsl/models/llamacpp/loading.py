"""From a gguf file to a LanguageModel that llama.cpp computes.

The file's header is checked by fkdsl before llama.cpp reads the file; the vocabulary and the
tokenizer are those with which fkdsl reads gguf files itself, so a program means the same by both.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.models.compat.huge_pages import anonymous, without
from fkdsl.models.digest import digest_of_file
from fkdsl.models.gguf_header import GgufHeader, read_header
from fkdsl.models.llamacpp.context import reason
from fkdsl.models.llamacpp.library import WHEEL, Library, find_library, library, said
from fkdsl.models.llamacpp.model import MOST_SEQUENCES, LlamaCppModel
from fkdsl.models.llamacpp.trial import verify
from fkdsl.models.pretrained_texts import texts_of_tokenizer
from fkdsl.models.runtimes import Request
from fkdsl.models.sizes import verify_sizes
from fkdsl.models.tokenized import ModelTexts

PROBES = ("The quick brown fox", " jumps over 13 lazy dogs.\n", "naïve café: (x + y) != z")
"""Texts that are compared as tokens to fkdsl and to llama.cpp."""
TOKENS_COMPARED = 100


def load(request: Request) -> LlamaCppModel:
    """The model of a gguf file. Raises CallError for what is no such file, for one that llama.cpp
    does not know, and where llama.cpp is not installed."""
    if request.file is None:
        raise CallError(
            f"llama.cpp computes gguf files, and `{request.name}` is none",
            "leave the engine out, or name a .gguf file of the model",
        )
    if request.device not in (None, "cpu"):
        raise CallError(
            f"the engine llamacpp runs on the CPU here, not on `{request.device}`",
            "leave --device out",
        )
    if request.dtype not in (None, "auto"):
        raise CallError(
            f"the engine llamacpp computes with the weights as the file has them, not in "
            f"{request.dtype}",
            "leave --dtype out",
        )
    built = find_library()
    if not built.name.startswith(WHEEL):
        verify(built)
    llama = library()
    path = request.place / request.file
    header = read_header(path, request.name)
    verify_sizes(header.sizes, header.tensors, request.name)
    before = anonymous()
    pointer = _load(llama, path, request.name)
    weights_at = without(anonymous(), before)
    try:
        texts = _texts(llama, pointer, path, request.name)
        texts.facts.update(request.origin)
        sequences = request.options.get("sequences", MOST_SEQUENCES)
        return LlamaCppModel(llama, pointer, texts, token_bytes(header), sequences, weights_at)
    except BaseException:
        llama.model_free(pointer)
        raise


def _load(llama: Library, path: Path, name: str) -> int:
    """llama.cpp's model of a file."""
    said()
    pointer = llama.model_load_from_file(str(path).encode(), llama.model_default_params())
    if not pointer:
        raise CallError(
            f"llama.cpp does not load `{name}`: {reason('it does not say why')}",
            "leave the engine out: fkdsl may know the model itself",
        )
    for kind in ("is_recurrent", "is_hybrid", "is_diffusion", "has_encoder"):
        if getattr(llama, f"model_{kind}")(pointer):
            llama.model_free(pointer)
            what = kind.partition("_")[2]
            raise CallError(
                f"`{name}` is a model that the engine llamacpp does not take: "
                + {"encoder": "it has an encoder"}.get(what, f"it is {what}"),
                "leave the engine out: fkdsl may know the model itself",
            )
    return int(pointer)


def token_bytes(header: GgufHeader) -> int:
    """Bytes of a token's keys and values, in single precision; an upper bound."""
    sizes = header.sizes
    heads = max(sizes.get("num_attention_heads", 1), 1)
    width = max(sizes.get("head_dim", 0), sizes.get("hidden_size", heads) // heads)
    layers = sizes.get("num_hidden_layers", 1)
    return 2 * 4 * layers * sizes.get("num_key_value_heads", heads) * width


def _texts(llama: Library, pointer: int, path: Path, name: str) -> ModelTexts:
    """The vocabulary and the tokenizer, as fkdsl reads them of a gguf file."""
    from transformers import AutoTokenizer

    from fkdsl.models.compat.quiet import quiet_transformers

    common: dict[str, Any] = {
        "gguf_file": path.name,
        "local_files_only": True,
        "trust_remote_code": False,
    }
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **common)
    words = llama.model_get_vocab(pointer)
    buffer = ctypes.create_string_buffer(256)
    llama.model_desc(pointer, buffer, len(buffer))
    family, _, kind = buffer.value.decode("utf-8", "replace").partition(" ")
    facts = {
        "family": family,
        "parameters": int(llama.model_n_params(pointer)),
        "dtype": kind.split(" ", 1)[-1].removeprefix("(guessed) "),
        "device": "cpu",
        "engine": "llama.cpp",
        "weights_bytes": int(llama.model_size(pointer)),
        "digest": digest_of_file(path),
    }
    # transformers makes a gguf file's configuration of the same metadata as its tokenizer.
    config = SimpleNamespace(
        eos_token_id=None, max_position_embeddings=int(llama.model_n_ctx_train(pointer))
    )
    size = int(llama.vocab_n_tokens(words))
    texts = texts_of_tokenizer(tokenizer, config, set(), size, name, facts)
    _verify_tokens(llama, words, tokenizer, size, name)
    if probe := _reads_otherwise(llama, words, texts):
        facts["tokens"] = f"as transformers reads them; llama.cpp reads {probe!r} otherwise"
    return texts


def _verify_tokens(llama: Library, words: int, tokenizer: Any, size: int, name: str) -> None:
    """Raises CallError if a token of llama.cpp's is another one of fkdsl's, in more than a few of a
    sample: then its rows are over another vocabulary than the one by which fkdsl reads them."""
    sample = range(0, size, max(size // TOKENS_COMPARED, 1))
    theirs = [llama.vocab_get_text(words, i).decode("utf-8", "replace") for i in sample]
    ours = tokenizer.convert_ids_to_tokens(list(sample))
    differ = [(i, a, b) for i, a, b in zip(sample, ours, theirs, strict=True) if a != b]
    if len(differ) > len(sample) // 10:
        token, own, other = differ[0]
        raise CallError(
            f"the token {token} of `{name}` is {other!r} to llama.cpp and {own!r} to transformers: "
            "one of them misreads the vocabulary",
            "leave the engine out",
        )


def _reads_otherwise(llama: Library, words: int, texts: ModelTexts) -> str:
    """A probe that llama.cpp reads as other tokens than fkdsl does; "" for none. fkdsl's are used,
    so that a program means the same with an engine and without."""
    read = texts.begin or texts.encode
    return next((p for p in PROBES if list(read(p)) != _tokenize(llama, words, p)), "")


def _tokenize(llama: Library, words: int, text: str) -> list[int]:
    raw = text.encode()
    ids = (ctypes.c_int32 * (len(raw) + 8))()
    n = llama.tokenize(words, raw, len(raw), ids, len(ids), False, False)
    return list(ids[: max(n, 0)])
