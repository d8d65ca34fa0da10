"""Runs tests with vLLM's second model runner, which it takes on a GPU, on a processor: triton
interprets the runner's kernels there, so rows of tiny models take seconds.

    python -m tests.models.second_runner tests/models/test_vllm.py
"""

import os
import sys

import pytest


class Interpreted:
    """A driver of triton for vLLM's CPU build, which asks for one that is called `cpu`. Interpreted
    kernels use nothing of it."""

    @staticmethod
    def is_active():
        return True


def main():
    os.environ.update(TRITON_INTERPRET="1", VLLM_USE_V2_MODEL_RUNNER="1")
    from triton.backends import Backend, backends

    backends["cpu"] = Backend(compiler=None, driver=Interpreted)
    return pytest.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
