"""`fkdsl train`: trains a byte-level model on text, with checkpoints to go on from, and fits links
between its heads at the end; `--evaluate` measures a model. `--images` trains eyes for one
(fkdsl.cli.train_images)."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkdsl.base.errors import CallError
from fkdsl.cli.parsers import count
from fkdsl.cli.train_images import add_image_arguments, train_images

if TYPE_CHECKING:
    from fkdsl.models.tiny.data import Documents
    from fkdsl.models.tiny.training import TrainingRun

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "model.safetensors"
SHAPE = ("width", "layers", "heads", "hidden", "ahead", "context")
SETTINGS = (
    "steps",
    "rows",
    "rate",
    "warm_up",
    "cool_down",
    "short",
    "discount",
    "seed",
    "precision",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags. Those of shape and training are None where they are not given: the
    defaults stand in the classes of fkdsl.models.tiny."""
    parser.add_argument(
        "--text", nargs="+", metavar="FILE", help="text files, or folders of them, to train on"
    )
    parser.add_argument(
        "-o",
        "--out",
        default="trained",
        metavar="FOLDER",
        help=f"where {CHECKPOINT} and {WEIGHTS} are written (default trained)",
    )
    parser.add_argument(
        "--resume", action="store_true", help=f"go on from the {CHECKPOINT} in --out"
    )
    parser.add_argument(
        "--evaluate",
        metavar="FILE",
        help="only measure a model's file: bits per byte against gzip, xz and a 5-gram",
    )
    parser.add_argument(
        "--documents",
        default="paragraph",
        help="what one text is: paragraph (default), line or file",
    )
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of each file, its last documents, not trained on (default 0.05)",
    )
    parser.add_argument(
        "--save-every",
        type=int,
        default=100,
        metavar="STEPS",
        help="steps between checkpoints, each a line of the curve (default 100)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the blocks first: faster after a minute",
    )
    parser.add_argument(
        "--source", default="", help="where the text is from, to be kept with the weights"
    )
    parser.add_argument("--licence", default="unknown", help="of the weights, to be kept with them")
    _add_shape(parser)
    _add_training(parser)
    add_image_arguments(parser)


def _add_shape(parser: argparse.ArgumentParser) -> None:
    shape = parser.add_argument_group("shape")
    shape.add_argument("--width", type=int, help="of what flows from block to block (default 128)")
    shape.add_argument("--layers", type=int, help="blocks before a byte is predicted (default 5)")
    shape.add_argument("--heads", type=int, help="attention heads (default 4)")
    shape.add_argument("--hidden", type=int, help="width inside an MLP (default 352)")
    shape.add_argument("--ahead", type=int, help="bytes predicted at once, a head each (default 4)")
    shape.add_argument("--context", type=int, help="bytes that a text may have (default 384)")


def _add_training(parser: argparse.ArgumentParser) -> None:
    run = parser.add_argument_group("training")
    run.add_argument("--steps", type=int, help="(default 6000)")
    run.add_argument("--rows", type=int, help="windows in a step (default 6)")
    run.add_argument("--rate", type=float, help="peak of the learning rate (default 0.003)")
    run.add_argument(
        "--warm-up", type=int, metavar="STEPS", help="steps in which it rises (default 100)"
    )
    run.add_argument(
        "--cool-down",
        type=float,
        metavar="SHARE",
        help="of the steps, in which it falls (default 0.3)",
    )
    run.add_argument(
        "--short",
        type=int,
        metavar="TIMES",
        help="until it falls, windows are as many times shorter and more (default 3)",
    )
    run.add_argument(
        "--discount", type=float, help="of a head's loss against the head's before (default 0.5)"
    )
    run.add_argument("--seed", type=count, metavar="SEED", help="(default 0)")
    run.add_argument(
        "--link-steps",
        type=int,
        default=400,
        metavar="STEPS",
        help="of fitting links between the heads at the end, 0 for none (default 400)",
    )
    run.add_argument(
        "--dtype", dest="precision", help="of matrix products: float32 (default) or bfloat16"
    )


def main(args: argparse.Namespace) -> int:
    if args.images:
        _check_flags(args)
        return train_images(args)
    if not args.text:
        raise CallError("there is nothing to train on", "give --text FILE, or --images")
    # Imported here: torch takes a second, and every command builds the parser above.
    from fkdsl.cli.output import check_folder_target, say
    from fkdsl.cli.progress import RunProgress
    from fkdsl.models.tiny.checkpoint import read_links, read_model, save_run, save_weights
    from fkdsl.models.tiny.data import read_documents, split_documents
    from fkdsl.models.tiny.training import check_run, train

    if not args.evaluate:
        check_folder_target(args.out, "--out")
    training, held_out = split_documents(read_documents(args.text, args.documents), args.held_out)
    if args.evaluate:
        file = Path(args.evaluate)
        say(evaluation_text(read_model(file), read_links(file), training, held_out))
        return 0
    if args.save_every < 1:
        raise CallError(f"--save-every {args.save_every} is no number of steps", "at least 1")
    if args.link_steps < 0:
        raise CallError(
            f"--link-steps {args.link_steps} is no number of steps", "at least 1, or 0 for no links"
        )
    run = check_run(_run(args, training), training)
    parameters = sum(p.numel() for p in run.model.parameters())
    say(
        f"{parameters} parameters; {_size(training)} bytes to train on, "
        f"{_size(held_out)} held out; step {run.step}"
    )
    say("\n".join([_heading(run), *map(_line, run.curve)]), flush=True)

    with RunProgress("training") as progress:

        def save(run: TrainingRun) -> None:
            save_run(run, Path(args.out) / CHECKPOINT)
            save_weights(run, Path(args.out) / WEIGHTS, provenance(run, args, training, held_out))
            progress.print(_line(run.curve[-1]))

        def observe(step: int, bits: list[float]) -> None:
            progress.advance(
                step, run.settings.steps, "bits per byte " + " ".join(f"{b:.2f}" for b in bits)
            )

        train(
            run,
            training,
            held_out,
            save=save,
            every=args.save_every,
            compiled=args.compile,
            observer=observe,
        )
        save_weights(run, Path(args.out) / WEIGHTS, provenance(run, args, training, held_out))
        if args.link_steps and 1 < run.shape.ahead <= run.shape.context:
            progress.stage("links")
            progress.print(_linked(run, args, training, held_out, progress))
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    """Raises CallError for a flag of texts beside --images."""
    of_texts = ("text", *SHAPE, "short", "discount")
    wrong = [name for name in of_texts if getattr(args, name) is not None]
    if wrong or args.compile:
        name = wrong[0] if wrong else "compile"
        raise CallError(
            f"--{name.replace('_', '-')} is for training on a text, and --images trains on images",
            "leave one of them out",
        )


def _linked(
    run: TrainingRun,
    args: argparse.Namespace,
    training: Documents,
    held_out: Documents,
    progress: Any,
) -> str:
    """Fits links to the saved weights and saves them in the same file; returns a line on how good
    they are."""
    from fkdsl.models.tiny.checkpoint import read_model, save_links
    from fkdsl.models.tiny.evaluation import draft_quality
    from fkdsl.models.tiny.links import Links, fitted
    from fkdsl.models.tiny.training import PRECISIONS, SAMPLE

    place = Path(args.out) / WEIGHTS
    model = read_model(place)

    def observe(step: int, kept: list[float]) -> None:
        progress.advance(step, args.link_steps, "drafts kept " + " ".join(f"{a:.2f}" for a in kept))

    half = PRECISIONS[run.settings.precision]
    links = fitted(
        model,
        training,
        steps=args.link_steps,
        rows=run.settings.rows,
        seed=run.settings.seed,
        half=half,
        observer=observe,
    )
    before, after = draft_quality(model, [Links(run.shape), links], held_out, most=SAMPLE)
    bits = ", ".join(f"{b:.3f}" for b in after.bits)
    figures = (
        f"heads 2 on at {bits} bits per byte, {after.tokens:.2f} tokens a round "
        f"(without links {before.tokens:.2f})"
    )
    save_links(
        links,
        place,
        {"links": f"{args.link_steps} steps; {figures}; a sample of the held-out text"},
    )
    return f"links: {figures}"


def _run(args: argparse.Namespace, training: Documents) -> TrainingRun:
    """The run of the flags: a new one, or the one of the checkpoint for --resume."""
    from fkdsl.models.tiny.checkpoint import read_run
    from fkdsl.models.tiny.files import check_shape
    from fkdsl.models.tiny.training import TrainingRun, TrainingSettings, check_settings, longer
    from fkdsl.models.tiny.transformer import TinyShape

    shape = {name: value for name in SHAPE if (value := getattr(args, name)) is not None}
    settings = {name: value for name in SETTINGS if (value := getattr(args, name)) is not None}
    place = Path(args.out) / CHECKPOINT
    if not args.resume:
        return TrainingRun.begun(
            check_shape(TinyShape(**shape)),
            check_settings(TrainingSettings(**settings)),
            training.digest,
        )
    run = read_run(place)
    had = {**asdict(run.shape), **asdict(run.settings)}
    for name, value in {**shape, **settings}.items():
        if had[name] != value and name != "steps":
            raise CallError(
                f"the run in `{place}` has {name} {had[name]}, not {value}", "leave the flag out"
            )
    run.settings = check_settings(longer(run.settings, args.steps or run.settings.steps, run.step))
    return run


def provenance(
    run: TrainingRun, args: argparse.Namespace, training: Documents, held_out: Documents
) -> dict[str, Any]:
    """Where the weights come from: the command that makes them again in one go, the text, and how
    good they are."""
    had = {**asdict(run.shape), **asdict(run.settings)}
    flags = {
        "text": args.text,
        "documents": args.documents,
        "held_out": args.held_out,
        "save_every": args.save_every,
    }
    flags["link_steps"] = args.link_steps
    flags |= {"dtype" if name == "precision" else name: had[name] for name in (*SHAPE, *SETTINGS)}
    words = ["fkdsl", "train"]
    for name, value in flags.items():
        words += [
            f"--{name.replace('_', '-')}",
            *(map(str, value) if isinstance(value, list) else [str(value)]),
        ]
    return {
        "command": shlex.join([*words, *(["--compile"] if args.compile else [])]),
        "text": f"{args.source or 'unknown'}; {_size(training)} bytes, "
        f"sha256 of the symbols {training.digest[:16]}",
        "held out": f"{_size(held_out)} bytes, "
        f"the last {100 * args.held_out:g} % of each file's documents",
        "trained": f"step {run.step} of {run.settings.steps}",
        "bits per byte": ", ".join(f"{b:.3f}" for b in run.curve[-1].held_out)
        + " (a sample of the held-out text)",
        "licence": args.licence,
    }


def evaluation_text(model: Any, links: Any, training: Documents, held_out: Documents) -> str:
    """Bits per byte of a model's heads and of the compressors that it is compared with, a line
    each; then how many drafted bytes are kept."""
    from fkdsl.models.tiny.evaluation import (
        draft_quality,
        gzip_bits,
        model_bits,
        ngram_bits,
        xz_bits,
    )
    from fkdsl.models.tiny.links import Links

    rows = [
        (f"head {k} (byte +{k})", bits) for k, bits in enumerate(model_bits(model, held_out), 1)
    ]
    kinds = {"heads alone": Links(model.shape)} | (
        {"heads and links": links} if links is not None else {}
    )
    drafts = draft_quality(model, list(kinds.values()), held_out) if model.shape.ahead > 1 else []
    rows += [(f"head {k}, linked", bits) for d in drafts[1:] for k, bits in enumerate(d.bits, 2)]
    rows += [
        ("5-gram, Witten-Bell", ngram_bits(training, held_out)),
        ("xz after the training text", xz_bits(held_out, training)),
        ("xz alone", xz_bits(held_out)),
        ("gzip alone", gzip_bits(held_out)),
    ]
    lines = [f"{name:<28}{bits:>6.3f}" for name, bits in rows]
    if drafts:
        lines += ["", f"{'drafts':<28}tokens a round, drafted bytes kept of each head"]
    for kind, d in zip(kinds, drafts, strict=False):
        lines.append(f"{kind:<28}{d.tokens:>6.3f}   " + "  ".join(f"{a:.3f}" for a in d.accepted))
    return "\n".join([f"{_size(held_out)} held-out bytes    bits per byte", *lines])


def _size(documents: Documents) -> int:
    return len(documents.symbols) - 1


def _heading(run: TrainingRun) -> str:
    heads = "".join(f"  {f'+{k}':>5}" for k in range(1, run.shape.ahead + 1))
    above = f"{'':>16}  training{heads[10:]}  held out{heads[10:]}"
    return f"{above}\n{'step':>6}  {'seconds':>8}{heads}{heads}"


def _line(point: Any) -> str:
    return f"{point.step:>6}  {point.seconds:>8.0f}" + "".join(
        f"  {b:>5.3f}" for b in (*point.training, *point.held_out)
    )
