"""Fetching a prompt from a shared store against computing it.

    python tests/benchmarks/prefill_store.py [--model smollm2] [--tokens 500,2000]
        [--stores FOLDER,redis://localhost]

For each length and store: the bytes, the seconds that computing took, the seconds that fetching
took (the best of three), and the bytes a second of a link from which on fetching is quicker. Every
fetched row equals the computed one bit for bit, or the script ends.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np

import fkdsl
from fkdsl.api.prefill_store import fetch_prompts, put_prompts
from fkdsl.base.files import shown_size
from fkdsl.models.prefill.stores import open_store
from fkdsl.models.registry import load_model

WORDS = "The ship went out to the sea in the morning, and the old sailor told a story. "


def program_of(model: object, tokens: int) -> fkdsl.Program:
    """A program whose prompt has so many tokens, or a few more."""
    text = f"{tokens}. {WORDS}"  # prompts that begin alike would share blocks
    while len(model.start(text)) < tokens:
        text += WORDS
    return fkdsl.parse(
        f'program p() -> str:\n    lm = prompt("{text.strip()}")\n    t ~ lm\n    return lm.text\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tokens", default="500,2000")
    parser.add_argument("--stores", help="folders or URLs; without them a folder of its own")
    args = parser.parse_args()
    model = load_model(args.model)
    print(f"{'tokens':>6}  {'size':>9}  {'computed':>9}  {'fetched':>9}  {'pays from':>11}  store")
    with tempfile.TemporaryDirectory() as folder:
        for tokens in map(int, args.tokens.split(",")):
            program = program_of(model, tokens)
            for url in (args.stores or folder).split(","):
                measure(program, model, url)


def measure(program: fkdsl.Program, model: object, url: str) -> None:
    """Prints the line of a prompt and a store."""
    store, computed = open_store(url), program.engines(model)
    began = time.perf_counter()
    made = put_prompts(program, store, computed)
    seconds = time.perf_counter() - began
    best, use, engines = float("inf"), None, None
    for _ in range(3):
        engines = program.engines(model)
        began = time.perf_counter()
        use = fetch_prompts(program, store, engines)
        best = min(best, time.perf_counter() - began)
        assert use.fetched_tokens == use.tokens, use.notes()
    if made.fetched_tokens:
        print(f"{url} had the prompt already: only fetching is measured")
    plain = program.engines(model)[""]
    found = engines[""]
    context = found._adopted[0]
    (row,) = plain.log_probs([plain.extend(plain.root, context.tokens)])
    same = np.array_equal(found.cached(context), row)
    assert same or made.fetched_tokens, "a fetched row differs from the computed one"
    took = use.computing or seconds
    print(
        f"{use.tokens:6}  {shown_size(use.fetched_bytes):>9}  {took:7.2f} s  {best:7.3f} s  "
        f"{shown_size(int(use.fetched_bytes / took)):>9}/s  {use.name}",
        flush=True,
    )


if __name__ == "__main__":
    main()
