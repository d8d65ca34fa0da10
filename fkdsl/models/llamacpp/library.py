"""llama.cpp's shared library: where it is, the functions that are used of it, and the layout of its
parameters.

The wheels of the package `xllamacpp` hold a shared library that exports llama.cpp's C interface,
for Linux, macOS and Windows; it is loaded without running the package's own code. A library that
the user has built is taken instead where FKDSL_LLAMACPP names it.

Structures are passed by value and gain fields from release to release, so `layout` compares the
library's own defaults with what each layout that is known here would read. A library that fits none
is refused: with a wrong one the memory would be written at random.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int8, c_int32, c_size_t, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fkdsl.base.errors import CallError

VARIABLE = "FKDSL_LLAMACPP"
"""The environment variable that names a library of the user's own."""
TESTED = "xllamacpp 2026.10.11549"
WHEEL = "xllamacpp"
"""The package, and what its library's name begins with."""
INSTALL = 'pip install "fkdsl[llamacpp]"'
F32 = 0
"""ggml's number of the type of single precision."""
_ROOM = 64
"""Bytes behind a structure for fields that a release may add at its end."""

c_uint32 = ctypes.c_uint32


class Batch(ctypes.Structure):
    """llama_batch: tokens, their positions and sequences, and whether their rows are wanted."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
    ]


class ModelParameters(ctypes.Structure):
    """llama_model_params as the library gives it, which is handed back unchanged."""

    _fields_ = [("opaque", ctypes.c_uint64 * 32)]


_Fields = list[tuple[str, Any]]
_FIRST: _Fields = [
    ("n_ctx", c_uint32),
    ("n_batch", c_uint32),
    ("n_ubatch", c_uint32),
    ("n_seq_max", c_uint32),
]
_MIDDLE: _Fields = [
    ("n_threads", c_int32),
    ("n_threads_batch", c_int32),
    ("ctx_type", c_int),
    ("rope_scaling_type", c_int),
    ("pooling_type", c_int),
    ("attention_type", c_int),
    ("flash_attn_type", c_int),
    ("rope_freq_base", c_float),
    ("rope_freq_scale", c_float),
    ("yarn_ext_factor", c_float),
    ("yarn_attn_factor", c_float),
    ("yarn_beta_fast", c_float),
    ("yarn_beta_slow", c_float),
    ("yarn_orig_ctx", c_uint32),
    ("defrag_thold", c_float),
    ("cb_eval", c_void_p),
    ("cb_eval_user_data", c_void_p),
    ("type_k", c_int),
    ("type_v", c_int),
    ("abort_callback", c_void_p),
    ("abort_callback_data", c_void_p),
]
_SWITCHES: _Fields = [
    ("embeddings", c_bool),
    ("offload_kqv", c_bool),
    ("no_perf", c_bool),
    ("op_offload", c_bool),
    ("swa_full", c_bool),
    ("kv_unified", c_bool),
]
_LAST: _Fields = [("samplers", c_void_p), ("n_samplers", c_size_t), ("ctx_other", c_void_p)]
_BEHIND: _Fields = [("behind", ctypes.c_uint8 * _ROOM)]


class October2026(ctypes.Structure):
    """llama_context_params of build 11549."""

    _fields_ = [
        *_FIRST,
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        *_MIDDLE,
        ("pointer", c_void_p),  # unknown here; null by default
        *_SWITCHES,
        *_LAST,
        *_BEHIND,
    ]


class September2026(ctypes.Structure):
    """llama_context_params as llama-cpp-python 0.3.36 has it."""

    _fields_ = [
        *_FIRST,
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        *_MIDDLE,
        *_SWITCHES,
        *_LAST,
        *_BEHIND,
    ]


class Spring2026(ctypes.Structure):
    """llama_context_params before a sequence's outputs had a bound of their own."""

    _fields_ = [
        *_FIRST,
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        *_MIDDLE,
        *_SWITCHES,
        *_LAST,
        *_BEHIND,
    ]


LAYOUTS: tuple[type[ctypes.Structure], ...] = (October2026, September2026, Spring2026)
DEFAULTS: dict[str, Any] = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_rs_seq": 0,
    "n_outputs_max": 0,
    "n_outputs_max_per_seq": 1,
    "n_threads": 4,
    "n_threads_batch": 4,
    "ctx_type": 0,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "rope_freq_base": 0.0,
    "rope_freq_scale": 0.0,
    "yarn_ext_factor": -1.0,
    "yarn_attn_factor": -1.0,
    "yarn_beta_fast": -1.0,
    "yarn_beta_slow": -1.0,
    "yarn_orig_ctx": 0,
    "defrag_thold": -1.0,
    "cb_eval": None,
    "cb_eval_user_data": None,
    "type_k": 1,
    "type_v": 1,
    "abort_callback": None,
    "abort_callback_data": None,
    "pointer": None,
    "embeddings": False,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
    "kv_unified": False,
    "samplers": None,
    "n_samplers": 0,
    "ctx_other": None,
}
"""What llama_context_default_params gives for each field."""

_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (c_void_p, c_void_p)),
    "llama_print_system_info": (c_char_p, ()),
    "llama_supports_gpu_offload": (c_bool, ()),
    "llama_model_default_params": (ModelParameters, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParameters)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_desc": (c_int32, (c_void_p, c_char_p, c_size_t)),
    "llama_model_n_params": (ctypes.c_uint64, (c_void_p,)),
    "llama_model_size": (ctypes.c_uint64, (c_void_p,)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_has_encoder": (c_bool, (c_void_p,)),
    "llama_model_is_recurrent": (c_bool, (c_void_p,)),
    "llama_model_is_hybrid": (c_bool, (c_void_p,)),
    "llama_model_is_diffusion": (c_bool, (c_void_p,)),
    "llama_model_n_swa": (c_int32, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_get_text": (c_char_p, (c_void_p, c_int32)),
    "llama_tokenize": (
        c_int32,
        (c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool),
    ),
    "llama_free": (None, (c_void_p,)),
    "llama_n_ctx": (c_uint32, (c_void_p,)),
    "llama_n_ctx_seq": (c_uint32, (c_void_p,)),
    "llama_n_batch": (c_uint32, (c_void_p,)),
    "llama_n_ubatch": (c_uint32, (c_void_p,)),
    "llama_n_seq_max": (c_uint32, (c_void_p,)),
    "llama_n_threads": (c_int32, (c_void_p,)),
    "llama_set_n_threads": (None, (c_void_p, c_int32, c_int32)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_memory_seq_cp": (None, (c_void_p, c_int32, c_int32, c_int32, c_int32)),
    "llama_memory_seq_pos_max": (c_int32, (c_void_p, c_int32)),
    "llama_batch_init": (Batch, (c_int32, c_int32, c_int32)),
    "llama_batch_free": (None, (Batch,)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits": (c_void_p, (c_void_p,)),
    "llama_get_logits_ith": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_state_seq_get_size": (c_size_t, (c_void_p, c_int32)),
    "llama_state_seq_get_data": (c_size_t, (c_void_p, c_void_p, c_size_t, c_int32)),
    "llama_state_seq_set_data": (c_size_t, (c_void_p, c_void_p, c_size_t, c_int32)),
}

_LOG = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
_WARNING = 3
_said: deque[str] = deque(maxlen=20)


@_LOG  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _data: Any) -> None:
    """Keeps what the library warns of, so that an error can say why; nothing is printed."""
    if level >= _WARNING and text:
        _said.append(text.decode("utf-8", "replace").strip())


def said(reset: bool = True) -> list[str]:
    """The lines of warning since the last call."""
    if not _said:
        return []
    lines = [line for line in _said if line]
    if reset:
        _said.clear()
    return lines


class Library:
    """The functions of a shared library, by their names, with the types that they take. Raises
    CallError if it lacks one of them or has an unknown layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.dll = dll = ctypes.CDLL(str(path))
        except OSError as error:
            raise CallError(
                f"llama.cpp's library cannot be loaded: {error}",
                "on Debian it needs libgomp1 and libstdc++6; else install it anew",
            ) from None
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(dll, name, None)
            if function is None:
                raise _unknown(path, f"it lacks {name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name.removeprefix("llama_"), function)
        self.parameters = layout(dll, path)
        dll.llama_context_default_params.restype = self.parameters
        dll.llama_init_from_model.argtypes = (c_void_p, self.parameters)
        dll.llama_init_from_model.restype = c_void_p
        self.context_default_params = dll.llama_context_default_params
        self.init_from_model = dll.llama_init_from_model
        dll.llama_log_set(ctypes.cast(_log, c_void_p), None)
        dll.llama_backend_init()

    def __getattr__(self, name: str) -> Any:
        """The function `llama_{name}`."""
        raise AttributeError(name)


def layout(dll: Any, path: Path) -> type[ctypes.Structure]:
    """The layout of a library's llama_context_params: that by which its defaults read as
    DEFAULTS."""
    for candidate in LAYOUTS:
        dll.llama_context_default_params.restype = candidate
        dll.llama_context_default_params.argtypes = ()
        given = dll.llama_context_default_params()
        names = [name for name, *_ in candidate._fields_ if name != "behind"]
        if all(getattr(given, name) == DEFAULTS[name] for name in names):
            return candidate
    raise _unknown(path, "the layout of its parameters is unknown")


def _unknown(path: Path, why: str) -> CallError:
    return CallError(
        f"this release of llama.cpp ({path.name}) cannot be used: {why}",
        f"fkdsl is tested with {TESTED}: {INSTALL}",
    )


@cache
def library() -> Library:
    """llama.cpp's library on this machine, loaded once. Raises CallError where there is none."""
    return Library(find_library())


def find_library() -> Path:
    """The path of the shared library. Raises CallError where there is none."""
    if given := os.environ.get(VARIABLE):
        path = Path(given)
        if not path.is_file():
            raise CallError(
                f"{VARIABLE} names {given}, which is no file", "name libllama.so, or unset it"
            )
        return path
    for package, pattern in ((WHEEL, f"{WHEEL}.*"), ("llama_cpp", "lib/*llama.*")):
        spec = find_spec(package)  # finds, and runs nothing
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            endings = (".so", ".pyd", ".dll", ".dylib")
            found = [p for p in sorted(Path(folder).glob(pattern)) if p.suffix in endings]
            if found:
                return found[0]
    raise CallError(
        "the engine llamacpp needs llama.cpp, which is not installed",
        f"{INSTALL}, or leave the engine out: fkdsl then computes the model itself"
        + ("" if sys.platform.startswith("linux") else f", or name a library by {VARIABLE}"),
    )
