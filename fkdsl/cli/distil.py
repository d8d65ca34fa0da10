"""`fkdsl distil`: draws texts from a model and fits a surrogate to them, a hidden Markov
model, for runs to look ahead to constraints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fkdsl.base.errors import CallError
from fkdsl.cli.parsers import count

if TYPE_CHECKING:
    from fkdsl.api.distil import Distilled, Distilling
    from fkdsl.cli.progress import RunProgress

MOST_CORPUS_BYTES = 1 << 28


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags. Those that are None where they are not given have their defaults in
    fkdsl.api.distil and fkdsl.models.surrogate.fitting."""
    parser.add_argument("model", metavar="MODEL", help="whose surrogate: what --model takes")
    parser.add_argument(
        "-o",
        "--out",
        metavar="FILE",
        help="where to write it (default: in the cache folder, where runs of the model find it)",
    )
    parser.add_argument(
        "--kind",
        help="hmm (default), or bigram: a bigram of classes of tokens, worse and quicker",
    )
    parser.add_argument(
        "--states", type=int, metavar="H", help="hidden states, or classes (default 256)"
    )
    parser.add_argument(
        "--tokens", type=int, metavar="N", help="tokens drawn from the model (default 200000)"
    )
    parser.add_argument(
        "--length", type=int, metavar="L", help="most tokens drawn of a text (default 64)"
    )
    parser.add_argument(
        "--corpus",
        metavar="FILE",
        help="draw texts that go on from the lines of this file instead of fkdsl's own prompts",
    )
    parser.add_argument(
        "--texts",
        metavar="FOLDER",
        action="append",
        help="fit to the texts in this FILE.work too, which a run of another --seed has kept; may "
        "be given several times",
    )
    _add_passes(parser)
    parser.add_argument("--seed", type=count, metavar="SEED", help="(default 0)")
    parser.add_argument(
        "--resume", action="store_true", help="go on with a run that was stopped, to the same file"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the texts, for a fit with other --states"
    )
    parser.add_argument("--dtype", help="precision of the model: float32, bfloat16, float16")
    parser.add_argument("--device", help="where the model runs: cpu, cuda, auto")


def _add_passes(parser: argparse.ArgumentParser) -> None:
    """The flags that say how it is fitted to the texts."""
    parser.add_argument("--passes", type=int, help="over all texts (default 5)")
    parser.add_argument(
        "--refine",
        type=int,
        metavar="K",
        help="passes that fit the states to the model's probabilities, by gradient (default 4)",
    )
    parser.add_argument(
        "--head",
        type=int,
        metavar="K",
        help="passes that fit a head, which tells the hidden state from the model's probabilities "
        "(default 4; 0 for no head)",
    )
    parser.add_argument(
        "--from",
        dest="begin",
        metavar="FILE",
        help="begin from the hidden Markov model of this surrogate; with --refine 0, keep it",
    )


def main(args: argparse.Namespace) -> int:
    # Imported here since every command builds the parser above.
    from fkdsl.api.distil import check_distilling, distil, facts_of, sampling_of
    from fkdsl.api.engines import CALLER, Engines
    from fkdsl.cli.output import check_file_target, say, tell
    from fkdsl.cli.progress import RunProgress
    from fkdsl.models.cache import make_private
    from fkdsl.models.surrogate.files import write
    from fkdsl.models.surrogate.shipped import cached_file
    from fkdsl.models.surrogate.work import Work

    if args.out:
        check_file_target(args.out, "--out")
    settings = _settings(args)
    with RunProgress("texts") as progress:
        engine = Engines(
            {}, CALLER, dtype=args.dtype, device=args.device, progress=progress.loading
        ).of_reference(args.model)
        check_distilling(settings, engine.model)
        out = Path(args.out) if args.out else cached_file(engine.model)
        if out is None:
            raise CallError(
                f"{args.model} has no digest by which the cache could name it", "name a file: --out"
            )
        if not args.out:
            make_private(out.parent)
        work = Work(
            out.with_name(f"{out.name}.work"),
            facts_of(engine.model, sampling_of(engine.model, settings)),
        )
        if not args.resume:
            work.clear()
        try:
            distilled = distil(engine, settings, work, _Shown(progress))
        except KeyboardInterrupt:
            tell(f"what was drawn and fitted is in {work.folder}: go on with --resume")
            raise
    size = write(out, distilled.surrogate)
    if not args.keep:
        work.clear()
    say(distilled_text(distilled))
    say(f"{out}: {size / 1e6:.1f} MB")
    return 0


class _Shown:
    """Shows the work on a line of progress. See DistilObserver."""

    def __init__(self, progress: RunProgress) -> None:
        self.progress = progress

    def drew(self, done: int, total: int) -> None:
        self.progress.advance(done, total, f"{done} of {total} tokens")

    def fitted(self, done: int, total: int, nats: float) -> None:
        self.progress.stage("fit")
        self.progress.advance(done, total, f"{nats:.3f} nats a held-out token")

    def ascended(self, stage: str, done: int, total: int, nats: float) -> None:
        self.progress.stage(stage)
        self.progress.advance(done, total, f"{nats:.3f} nats a held-out token")


def _settings(args: argparse.Namespace) -> Distilling:
    from fkdsl.api.distil import Distilling
    from fkdsl.models.surrogate.files import read
    from fkdsl.models.surrogate.fitting import FitSettings

    def given(*names: str) -> dict[str, int | str]:
        return {name: value for name in names if (value := getattr(args, name)) is not None}

    fit = FitSettings(**given("kind", "states", "passes", "seed"))  # type: ignore[arg-type]
    return Distilling(
        texts=tuple(map(Path, args.texts or ())),
        corpus=_lines(args.corpus) if args.corpus else None,
        fit=fit,
        begin=read(Path(args.begin)) if args.begin else None,
        **given("tokens", "length", "refine", "head"),  # type: ignore[arg-type]
    )


def _lines(corpus: str) -> tuple[str, ...]:
    """The lines of a corpus that are not empty."""
    from fkdsl.base.files import read_text

    try:
        text = read_text(Path(corpus), MOST_CORPUS_BYTES)
    except UnicodeDecodeError:
        raise CallError(f"--corpus {corpus} is no UTF-8 text", "convert it") from None
    except OSError as error:
        raise CallError(
            f"--corpus {corpus} cannot be read: {error.strerror}", "name a file of text"
        ) from None
    lines = tuple(line for line in text.splitlines() if line.strip())
    if not lines:
        raise CallError(f"--corpus {corpus} has no line of text", "name a file of text")
    return lines


def distilled_text(distilled: Distilled) -> str:
    """The figures of a surrogate, a line each."""
    from fkdsl.models.surrogate.ahead import AHEAD

    about, nats, ahead = distilled.surrogate.about, distilled.nats, distilled.ahead
    names = {
        "unigram": "unigram",
        "bigram": "bigram, Witten-Bell",
        "surrogate": f"{about['kind']}, {about['states']} states",
        "head": "  with its head",
    }
    title = f"{about['held-out tokens']} held-out tokens"
    rows = [f"{title:<28}the next token, and each of {AHEAD - 1} after it"]
    for name, n in nats.items():
        of_next = f"{ahead[name]:>9.3f}" if name in ahead else ""
        rows.append(f"{names[name]:<28}{n:>6.3f}{of_next}")
    return "\n".join(rows)
