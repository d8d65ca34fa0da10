"""The flags of `fkdsl train-retriever`, apart from what runs it, so that every command's parser is
quick. Those that are None where they are not given have their defaults in fkdsl.api.retriever and
fkdsl.retrieval.adapter_training."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's own flags."""
    parser.add_argument(
        "--data", required=True, metavar="FILE.jsonl",
        help="questions with answers: a line is an object with values for the program's parameters",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="where to write the adapter"
    )
    parser.add_argument(
        "--held-out", metavar="FILE.jsonl",
        help="questions to measure by (default: a share of those of --data)",
    )  # fmt: skip
    parser.add_argument(
        "--share", type=float, default=0.2, metavar="SHARE",
        help="of the questions, held out, and as many to stop by (default 0.2)",
    )  # fmt: skip
    parser.add_argument(
        "--documents", type=int, metavar="N",
        help="documents that training sums over (default: 4 times the program's k, at least 20)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=int, metavar="N", help="of gradient ascent at most (default 300)"
    )
    parser.add_argument(
        "--penalty", type=float, metavar="X",
        help="on half the squared change of the directions, in nats "
        "(default: 0.3, 0.1 and 0.03 are tried)",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true",
        help="go on with a run that was stopped, to the same file",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop after this time, with what there is"
    )
