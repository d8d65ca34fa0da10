"""What retrieval costs: `python tests/benchmarks/retrieval.py [--passages 100000] [--queries 200]
[--ranking bm25]`.

Passages of about 60 words of Zipf frequencies over 30,000 words, in files of 1,000; queries of
eight words of such text. CPU time of this process; of queries, the median, and the fastest tenth,
which other processes disturbed least.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from report import machine, table

from fkdsl.base.folders import Folder
from fkdsl.retrieval.index import open_index
from fkdsl.retrieval.spec import RANKINGS, IndexSpec

WORDS, IN_FILE = 30_000, 1_000


def texts(n: int, length: int, rng: np.random.Generator) -> list[str]:
    """n texts of about `length` words."""
    law = 1.0 / np.arange(1, WORDS + 1)
    law /= law.sum()
    lengths = rng.integers(length // 2, length * 3 // 2 + 1, n)
    words = iter(rng.choice(WORDS, int(lengths.sum()), p=law).tolist())
    return [" ".join(f"w{next(words)}" for _ in range(k)) for k in lengths.tolist()]


def timed(spec: IndexSpec, folder: Path) -> tuple[float, object]:
    """(CPU seconds of opening an index, the index)."""
    began = time.process_time()
    index = open_index(spec, Folder.main(folder))
    return time.process_time() - began, index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--ranking", choices=RANKINGS, default="bm25")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        os.environ["FKDSL_CACHE"] = str(Path(place) / "cache")
        folder = Path(place) / "notes"
        folder.mkdir()
        for k in range(0, args.passages, IN_FILE):
            many = texts(min(IN_FILE, args.passages - k), 60, rng)
            (folder / f"{k // IN_FILE:05}.md").write_text("\n\n".join(many))
        spec = IndexSpec("*.md", ranking=args.ranking)
        built, _ = timed(spec, folder)
        opened, _ = timed(spec, folder)
        (folder / "00000.md").write_text("\n\n".join(texts(IN_FILE, 60, rng)))
        changed, index = timed(spec, folder)
        spent = []
        for query in texts(args.queries, 8, rng):
            clock, cpu = time.perf_counter(), time.process_time()
            index.search(query, 5)
            spent.append((time.perf_counter() - clock, time.process_time() - cpu))
        kept = sum(f.stat().st_size for f in Path(place, "cache").rglob("*") if f.is_file())
    print(machine(1))
    print(f"{args.passages:,} passages, {args.ranking}: {kept / 1e6:.0f} MB in the cache\n")
    clock, cpu = np.median(spent, axis=0)
    fast = np.quantile([c for c, _ in spent], 0.1)
    rows = [
        ["built", f"{built:.1f} s", f"{args.passages / built:,.0f} passages a second"],
        ["opened again", f"{opened:.2f} s", ""],
        ["one file of 1,000 changed", f"{changed:.1f} s", ""],
        ["a query", f"{1000 * cpu:.1f} ms", f"{1000 * clock:.1f} ms by the clock"],
        ["its fastest tenth", "", f"{1000 * fast:.1f} ms by the clock, or less"],
    ]
    print(table(["", "", ""], rows))


if __name__ == "__main__":
    main()
