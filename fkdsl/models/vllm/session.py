"""Sessions: requests of vLLM that stay alive, in this process. Everything that is used of vLLM's
engine stands here.

    engine = SessionEngine(settings)
    engine.feed("s1", [3, 1, 4], new=True)
    while "s1" not in (done := engine.step().ready): ...
    engine.logits(["s1"])          # (1, V), the row after 3 1 4
    engine.feed("s1", [1])         # goes on from there
    engine.feed("s2", [3, 1, 4, 2], new=True, fork=("s1", 3))      # reads 2 alone
    engine.close(["s1"])

A session is a resumable request (EngineCoreRequest.resumable, by which vLLM reads streaming inputs)
that may write one token: vLLM reads the tokens, samples one, and keeps the request with its keys
and values until further tokens come, which take the sampled token's place.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import finalize

import torch

from fkdsl.models.vllm import VllmError, forks
from fkdsl.models.vllm.rows import KEY, fetch


@dataclass(frozen=True)
class Settings:
    """How an engine is made. folder: of config.json and weights. dtype: a precision's name.
    tensor_parallel: how many GPUs share each layer. max_sessions: most sessions at once.
    max_length: most tokens of one; None for what the model reads, or less where the memory for keys
    and values has room for less. memory: bytes of it, None for what vLLM takes. eager: without
    compiling and graphs, which starts in seconds and decodes slower on a GPU. block_size: tokens of
    a block of keys and values, None for vLLM's own. more: further arguments of EngineArgs."""

    folder: str
    dtype: str = "float32"
    tensor_parallel: int = 1
    max_sessions: int = 256
    max_length: int | None = None
    memory: int | None = None
    eager: bool = True
    block_size: int | None = 32
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepDone:
    """What a step did. ready: the sessions that have read all that they were fed. worked: whether
    anything was computed; if not, no waiting session fits beside those that hold memory."""

    ready: list[str]
    worked: bool


class StepError(VllmError):
    """vLLM failed. reason: what it says."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"vLLM failed in a forward: {reason}",
            "load the model again, or leave the engine out; if memory is short, give it less to do "
            "at once (`sessions=64`). VLLM_LOGGING_LEVEL=ERROR shows what it was at",
        )
        self.reason = reason


CORES: list[Any] = []
"""vLLM's engines of this process that were not shut down."""


class SessionEngine:
    """vLLM's engine in this process. max_sessions: how many sessions may be alive at once.
    max_length: most tokens of a session. vocabulary: the length of a row. block_size: tokens of a
    block of keys and values. forks: whether a session can take over what another has read, to the
    token. runner: which of vLLM's model runners computes, "V1" or "V2". device: "cpu" or "cuda"."""

    def __init__(self, settings: Settings) -> None:
        from vllm import SamplingParams
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine import EngineCoreRequest
        from vllm.v1.engine.llm_engine import LLMEngine

        args = EngineArgs(
            model=settings.folder,
            skip_tokenizer_init=True,
            max_model_len=settings.max_length or -1,
            dtype=settings.dtype,
            enforce_eager=settings.eager,
            async_scheduling=False,
            enable_prefix_caching=True,
            block_size=settings.block_size,
            max_num_seqs=settings.max_sessions,
            kv_cache_memory_bytes=settings.memory,
            tensor_parallel_size=settings.tensor_parallel,
            disable_log_stats=True,
            use_tqdm_on_load=False,
            trust_remote_code=False,
            **{"load_format": "safetensors", **settings.more},  # its own choice may be a pickle
        )
        config = args.create_engine_config()
        config.model_config.logits_processors = [_processor(config.use_v2_model_runner)]
        self.runner = "V2" if config.use_v2_model_runner else "V1"
        # Its core is used alone: the client around it would write texts.
        self._engine: Any = LLMEngine.from_vllm_config(config, disable_log_stats=True)
        self._core: Any = self._engine.engine_core.engine_core
        self.forks = forks.install(self._core.scheduler)
        self.max_sessions: int = config.scheduler_config.max_num_seqs
        # The token that vLLM samples and that is dropped takes a place.
        self.max_length: int = config.model_config.max_model_len - 1
        self.vocabulary: int = config.model_config.get_vocab_size()
        self.block_size: int = config.cache_config.block_size
        self.device = str(config.device_config.device_type)
        self._remote = settings.tensor_parallel > 1
        self._sampling_params, self._request = SamplingParams, EngineCoreRequest
        self._sampling: dict[str, Any] = {}
        self._failure: str | None = None
        # vLLM's own would end the groups of processes, which all engines share.
        self._engine.engine_core._finalizer.detach()
        CORES.append(self._core)
        self._end = finalize(self, _shut_down, self._core)

    def feed(
        self,
        name: str,
        tokens: Sequence[int],
        *,
        new: bool = False,
        from_cache: bool = True,
        fork: tuple[str, int] | None = None,
    ) -> None:
        """Gives tokens to a session that has read all that it was fed, or begins a new one.
        from_cache: whether vLLM may take what it has read of them before from its prefix cache.
        fork: a session, and how many of the tokens it has read, which are not read again."""
        if new:
            # Greedy, and nothing else of vLLM's sampling: what it draws is dropped.
            self._sampling[name] = self._sampling_params(
                temperature=0.0,
                max_tokens=1,
                ignore_eos=True,
                detokenize=False,
                skip_reading_prefix_cache=not from_cache,
                extra_args={KEY: name} if fork is None else {KEY: name, forks.FORK: list(fork)},
            )
        request = self._request(
            request_id=name,
            prompt_token_ids=list(tokens),
            mm_features=None,
            sampling_params=self._sampling[name],
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
            resumable=True,
        )
        self._core.add_request(*self._core.preprocess_add_request(request))

    def step(self) -> StepDone:
        """One forward of vLLM over what waits, as much as it takes at once. Raises StepError where
        it fails, and from then on: what vLLM has cached is not to be relied on any more."""
        if self._failure is not None:
            raise StepError(self._failure)
        with self._failures():
            outputs, worked = self._core.step_fn()
            self._core.post_step(model_executed=worked)
        mine = outputs.get(0) if outputs else None
        ready = [o.request_id for o in (mine.outputs if mine else ()) if o.new_token_ids]
        return StepDone(ready, worked)

    def logits(self, names: Sequence[str]) -> torch.Tensor:
        """(len(names), V) the logits of sessions that were ready after the latest step."""
        with self._failures():
            args = (list(names), self._remote)
            replies = self._core.model_executor.collective_rpc(fetch, args=args)
        logits: torch.Tensor = next(reply for reply in replies if reply is not None)
        return logits

    def close(self, names: Sequence[str]) -> None:
        """Ends sessions. vLLM may still find their keys and values by their tokens. Raises
        StepError where it does not end them."""
        for name in names:
            del self._sampling[name]
        if names:
            with self._failures():
                self._core.abort_requests(list(names))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Makes what vLLM raises in it a StepError, and the last that it does. Of any kind: out of
        memory, an operator that is not there."""
        try:
            yield
        except Exception as error:
            self._failure = self._failure or str(error)[:300] or repr(error)
            raise StepError(self._failure) from error

    @property
    def sessions(self) -> int:
        """How many requests vLLM holds."""
        return len(self._core.scheduler.requests)

    @property
    def used(self) -> float:
        """The part of the memory for keys and values that sessions hold, 0 to 1."""
        used: float = self._core.scheduler.get_kv_cache_usage()
        return used

    def shutdown(self) -> None:
        """Gives back what the engine has. It happens by itself when the engine is collected, and
        when the process ends."""
        self._end()


def _shut_down(core: Any) -> None:
    """Gives back what an engine of vLLM has; with the last one the groups of processes end."""
    CORES.remove(core)
    if not CORES:
        core.shutdown()
        return
    core.model_executor.shutdown()
    core.scheduler.shutdown()


def _processor(second: bool) -> type:
    """The class of the logits processor for the model runner that vLLM has chosen."""
    if second:
        from fkdsl.models.vllm.runner_v2 import RowsOfV2

        return RowsOfV2
    from fkdsl.models.vllm.runner_v1 import RowsOfV1

    return RowsOfV1
