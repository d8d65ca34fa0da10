"""Loads a language model from a folder, a gguf file or a module of transformers, and runs it
by the fastest way whose rows are correct."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from fkdsl.base.errors import CallError
from fkdsl.models.check_memory import remember_check, remembered_check
from fkdsl.models.checked import PROBE_TOKENS, cache_error, reference_rows
from fkdsl.models.compat import TESTED_VERSIONS, CacheUnknown
from fkdsl.models.compat.kernels import instructions, multiplies_bfloat16
from fkdsl.models.decoder import Decoder
from fkdsl.models.decoder_model import DecoderModel, decoder_from_files
from fkdsl.models.decoder_weights import has_decoder_form
from fkdsl.models.digest import digest_of
from fkdsl.models.encoder_decoder.check import sourced_reference_rows
from fkdsl.models.encoder_decoder.texts import SourceTexts, reads_source, sourced_texts
from fkdsl.models.gguf_header import read_header
from fkdsl.models.interface import Noted
from fkdsl.models.linear import DTYPES, NARROW, pack_modules, verify_precision
from fkdsl.models.pretrained_texts import texts_of_tokenizer, token_ids
from fkdsl.models.reference import stored_tensors
from fkdsl.models.sizes import verify_parameters, verify_sizes
from fkdsl.models.tokenized import ModelTexts, TokenizedModel
from fkdsl.models.uncached import UncachedModel


def load_pretrained(
    path: str,
    *,
    gguf_file: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    local_files_only: bool = False,
    name: str | None = None,
    origin: Mapping[str, Any] | None = None,
    fast: bool = True,
    own: bool = False,
) -> TokenizedModel:
    """The model of a folder or a hub id. origin: further facts for `describe`. fast: False runs the
    library's own module unchanged. own: whether fkdsl has written the folder itself.

    Raises CallError for a dtype or device that cannot be used, for weights that lack some tensors,
    and for sizes that the weights cannot have.
    """
    if dtype == "auto":
        dtype = "bfloat16" if device != "cpu" or multiplies_bfloat16() else "float32"
    verify_precision(dtype, device, fast)
    name = name or Path(path).name
    model: TokenizedModel | None = None
    if own and fast and gguf_file is None:
        with _usable(device):
            model = decoder_from_files(Path(path), dtype, DTYPES[dtype], name, device)
    elif gguf_file is not None and dtype in NARROW:
        from fkdsl.models.gguf_decoder import decoder_from_gguf  # imports gguf

        model = decoder_from_gguf(Path(path) / gguf_file, dtype, name)
    if model is None:
        model = _load(path, gguf_file, dtype, device, local_files_only, name, fast)
    model.describe_also(origin or {})
    if dtype == "bfloat16" and device == "cpu" and not multiplies_bfloat16():
        before = f"{model.note}; " if isinstance(model, Noted) else ""
        model.note = before + EMULATED.format(name=name)  # type: ignore[attr-defined]
    return model


EMULATED = (
    "{name} was run in bfloat16 on a processor that has no instructions for it, so that products "
    "were emulated: float32 takes less time here, and --dtype auto chooses it"
)
"""The note of a model that is slower than it need be."""


def _load(
    path: str,
    gguf_file: str | None,
    dtype: str,
    device: str,
    local_files_only: bool,
    name: str,
    fast: bool,
) -> TokenizedModel:
    from transformers import AutoTokenizer

    from fkdsl.models.compat.quiet import quiet_transformers

    common: dict[str, Any] = {"local_files_only": local_files_only, "trust_remote_code": False}
    if gguf_file is not None:
        common["gguf_file"] = gguf_file
    with _usable(device):
        torch.empty(1, device=device)  # before minutes of reading
    with quiet_transformers():
        processor = _processor(path, name, common) if gguf_file is None else None
        module = _module(path, gguf_file, dtype, device, name, common, processor is not None)
        tokenizer = (
            AutoTokenizer.from_pretrained(path, **common)
            if processor is None
            else processor.tokenizer
        )
    with _usable(device):
        module = module.to(device)
    texts, precision = texts_of(module, tokenizer, name, dtype), dtype if fast else None
    if processor is not None:
        from fkdsl.models.vision.loading import vision_model

        key = check_key(module, precision, dtype)
        with quiet_transformers():
            return vision_model(module, processor, texts, precision, dtype, key)
    sources = None
    if reads_source(module.config):
        texts, sources = sourced_texts(module, tokenizer, texts)
    return checked_model(module, texts, precision, dtype, sources)


def _module(
    path: str,
    gguf_file: str | None,
    dtype: str,
    device: str,
    name: str,
    common: Mapping[str, Any],
    has_processor: bool,
) -> Any:
    """The module of transformers, with its weights, which go from their files straight to the
    device. Raises CallError for weights that are not the configuration's, and for more of them than
    the device has memory for."""
    from transformers import AutoConfig

    if gguf_file is not None:
        header = read_header(Path(path) / gguf_file, name)
        verify_sizes(header.sizes, header.tensors, name)
        tensors: Mapping[str, int] | None = header.tensors
    else:
        tensors = stored_tensors(Path(path), name) if Path(path).is_dir() else None
    config = AutoConfig.from_pretrained(path, **common)
    auto = _auto_class(config, has_processor)
    if tensors is not None:
        verify_module(auto, config, name, tensors)
    kind: dict[str, Any] = {} if gguf_file is not None else {"use_safetensors": True}
    if device != "cpu" and gguf_file is None:
        kind["device_map"] = {"": device}
    try:
        module, report = auto.from_pretrained(
            path, dtype=DTYPES[dtype], output_loading_info=True, **common, **kind
        )
    except torch.OutOfMemoryError:
        raise CallError(
            f"the device `{device}` has too little memory for the weights of {name}",
            "take a smaller model, --dtype bfloat16, or --device cpu",
        ) from None
    if missing := sorted(report["missing_keys"]):
        # The library would fill them with random numbers and say so only in a warning.
        raise CallError(
            f"the weights lack {len(missing)} of the model's tensors, such as {missing[0]}",
            "the configuration and the weights are of different models, or the weights are of "
            "no language model",
        )
    return module


def _auto_class(config: Any, has_processor: bool) -> Any:
    """The class of transformers that loads a model for the generation of text."""
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForSeq2SeqLM,
    )

    if has_processor:
        return AutoModelForImageTextToText
    return AutoModelForSeq2SeqLM if reads_source(config) else AutoModelForCausalLM


def _processor(path: str, name: str, common: Mapping[str, Any]) -> Any:
    """The processor of a folder whose model has eyes; None for a model of text alone, and for one
    that is given as one: without a processor of images."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from fkdsl.models.vision.loading import has_eyes

    config = AutoConfig.from_pretrained(path, **common)
    if not has_eyes(config):
        return None
    named = [Path(path) / file for file in ("preprocessor_config.json", "processor_config.json")]
    if not any(file.is_file() for file in named):
        if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            return None
        raise CallError(
            f"`{name}` looks at images, and its folder has no processor for them",
            "fetch the model again with preprocessor_config.json or processor_config.json",
        )
    from fkdsl.models.compat.processors import load_processor
    from fkdsl.models.vision.images import pillow
    from fkdsl.models.vision.processing import verify_settings

    pillow()
    try:
        processor = load_processor(path, config)
        verify_settings(processor, name)
        return processor
    except CallError:
        raise
    except Exception as error:  # the library raises many kinds for files that do not fit together
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise CallError(
            f"the processor of images of `{name}` cannot be loaded: {reason}",
            "install what it asks for, or fetch the model again",
        ) from error


@contextmanager
def _usable(device: str) -> Iterator[None]:
    """Makes the errors of a device that cannot be used clear ones."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        if device == "cpu":
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CallError(
            f"the device `{device}` cannot be used: {reason}", "run with --device cpu"
        ) from None


def verify_module(auto: Any, config: Any, name: str, tensors: Mapping[str, int]) -> None:
    """Raises CallError if the module that a configuration describes has more parameters than its
    weights hold. The module is built on the meta device, without memory. auto: the library's class
    that builds it. tensors: by name, how many numbers the weights hold."""
    with torch.device("meta"):
        module = auto.from_config(config)
    parameters = sum(p.numel() for p in module.parameters())
    verify_parameters(
        parameters, tensors, getattr(config, "quantization_config", None) is not None, name
    )


def checked_model(
    module: Any,
    texts: ModelTexts,
    precision: str | None,
    dtype: str,
    sources: SourceTexts | None = None,
) -> TokenizedModel:
    """The model of a module by the fastest way whose rows equal the library's: our decoder, the
    module with its cache, or the module without a cache. precision: as `model_of` takes it; dtype:
    a key of DTYPES, by which rounding is bounded. sources: of an encoder-decoder.

    The first load finds the way and remembers it. Raises CallError if no way's rows are correct.
    """
    key = check_key(module, precision, dtype)
    known = remembered_check(key)
    if known == WHOLE_TEXTS:
        return _uncached(module, texts, precision, sources)
    if known == CACHED:
        return model_of(module, texts, precision, sources)
    longest = texts.max_length
    if longest is not None and longest < PROBE_TOKENS:
        reason = f"since it reads at most {longest} tokens, too few to check a cache by"
        return _uncached(module, texts, precision, sources, reason)
    reference = (
        reference_rows(module, longest)
        if sources is None
        else sourced_reference_rows(module, texts.name, sources, longest)
    )
    errors = []
    for way, build in ((CACHED, model_of), (WHOLE_TEXTS, _uncached)):
        try:
            model = build(module, texts, precision, sources)
            error = cache_error(model, reference, dtype)
        except CacheUnknown as unknown:
            error = unknown.message
        if not error:
            remember_check(key, way)
            return model
        errors.append(error)
    raise CallError(
        f"transformers {key['transformers']} does not give the same probabilities twice for models "
        f"of the family {key['family']}: {errors[-1]}",
        f"fkdsl is tested with transformers {TESTED_VERSIONS[0]} to {TESTED_VERSIONS[1]}: install "
        "one of these",
    )


CACHED, WHOLE_TEXTS = "cached", "whole texts"
"""The ways to run a module, as check_memory remembers them."""


def _uncached(
    module: Any,
    texts: ModelTexts,
    precision: str | None,
    sources: SourceTexts | None,
    reason: str = "which gives other probabilities with this version of transformers",
) -> TokenizedModel:
    """The model of a module that runs without a cache. reason: why."""
    if sources is None:
        if precision is not None:
            pack_modules(module, precision)
        return UncachedModel(module, texts, reason)
    # Here, since it imports transformers, which smollm2 does without.
    from fkdsl.models.encoder_decoder.model import UNPACKED
    from fkdsl.models.encoder_decoder.uncached import UncachedEncoderDecoder

    if precision is not None:
        pack_modules(module, precision, leave=UNPACKED)
    return UncachedEncoderDecoder(module, texts, sources, reason)


def check_key(module: Any, precision: str | None, dtype: str) -> dict[str, str]:
    """Everything but the weights that may decide whether a way to run a module is correct. A cache
    folder may be shared by machines, and a kernel may be wrong on one of them alone."""
    device = module.device.type
    gpu = torch.cuda.get_device_name(module.device) if device == "cuda" else ""
    kinds = getattr(module.config.get_text_config(decoder=True), "layer_types", None) or ()
    return {
        "family": module.config.model_type,
        "module": type(module).__name__,
        "layers": " ".join(sorted(set(map(str, kinds)))),
        "decoder": str(precision is not None and has_decoder_form(module.config)),
        "precision": precision or "as it is",
        "dtype": dtype,
        "device": f"{device} {gpu}".strip(),
        "processor": instructions(),
        **{name: version(name) for name in ("transformers", "torch", "fkdsl")},
    }


def model_of(
    module: Any, texts: ModelTexts, precision: str | None, sources: SourceTexts | None = None
) -> TokenizedModel:
    """The model of a module with a cache: by our own decoder if that can run it, else by the module
    with its linear maps packed; for precision None, by the module unchanged. sources: of an
    encoder-decoder."""
    if sources is not None:
        from fkdsl.models.encoder_decoder.model import EncoderDecoderModel

        return EncoderDecoderModel(module, texts, sources, precision)
    if precision is not None and has_decoder_form(module.config):
        return DecoderModel(Decoder.of_module(module, precision), texts)
    if module.config.model_type == "blt":
        from fkdsl.models.byte_latent import ByteLatentModel

        if precision in NARROW:
            raise CallError(
                f"byte-latent models have no {NARROW[precision]}-bit linear maps here",
                "use --dtype bfloat16 or float32",
            )
        return ByteLatentModel(module, texts)
    from fkdsl.models.huggingface import HuggingFaceModel
    from fkdsl.models.mtp import MtpTransformer, mtp_layer_count

    kind = MtpTransformer if mtp_layer_count(module.config) else HuggingFaceModel
    return kind(module, texts, precision)


def texts_of(module: Any, tokenizer: Any, name: str, dtype: str) -> ModelTexts:
    """The ModelTexts of a tokenizer and a module's configuration."""
    family = module.config.model_type
    config = module.config.get_text_config(decoder=True)
    facts = {
        "family": family if reads_source(module.config) else config.model_type,
        "parameters": sum(p.numel() for p in module.parameters()),
        "dtype": dtype,
        "device": str(module.device),
        "digest": digest_of(module.state_dict()),
    }
    head = module.get_output_embeddings()
    size = head.weight.shape[0] + int(getattr(head, "out_additional_features", 0))
    ends = token_ids(getattr(module.generation_config, "eos_token_id", None))
    return texts_of_tokenizer(tokenizer, config, ends, size, name, facts)
