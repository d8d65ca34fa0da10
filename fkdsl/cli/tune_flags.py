"""The flags of `fkdsl tune`, apart from what runs it, so that every command's parser is quick."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own flags."""
    for flag, doc in (
        ("--rounds", "rounds of runs and fits (default 3)"),
        ("--runs", "runs of a round, and of each set compared at the end (default 8)"),
        ("--particles", "particles of a run (default: the file's, or 32)"),
        ("--tokens", "forward about so many tokens in all"),
    ):
        parser.add_argument(flag, type=int, metavar="N", help=doc)
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop after this time, with what there is"
    )
    parser.add_argument(
        "--lookahead",
        default="auto",
        metavar="HOW|FILE",
        help="how draws of constrained texts look ahead, as in `fkdsl run`",
    )
    parser.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="where to write the learned twist"
    )
