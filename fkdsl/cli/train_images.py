"""`fkdsl train --images`: trains eyes for a byte-level model on rendered images, with checkpoints
to go on from; with `--evaluate` it measures a model on held-out ones."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fkdsl.base.errors import CallError

if TYPE_CHECKING:
    from fkdsl.models.tiny.vision.fonts import Fonts
    from fkdsl.models.tiny.vision.training import VisionPoint, VisionRun, VisionSettings
    from fkdsl.models.tiny.vision.transformer import SeeingTransformer

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "model.safetensors"
SETTINGS = ("steps", "rows", "rate", "warm_up", "cool_down", "seed", "precision")


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `fkdsl train` has for images alone."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--images",
        action="store_true",
        help="train eyes for a model that is frozen, on rendered images, instead of a text (by "
        "default --steps 2200 --rows 32 --rate 0.002 --cool-down 0.4)",
    )
    group.add_argument(
        "--model", default="tiny", help="the frozen model: tiny (default), or a file of fkdsl train"
    )
    group.add_argument(
        "--fonts",
        nargs="+",
        default=[],
        metavar="FILE",
        help="TrueType fonts to render with, or folders of them (default: those of Debian's "
        "fonts-dejavu and fonts-liberation, where they are, and Pillow's own)",
    )
    group.add_argument(
        "--held-out-images",
        type=int,
        default=200,
        metavar="N",
        help="held-out images of each kind in the report (default 200)",
    )


def train_images(args: argparse.Namespace) -> int:
    """Trains, or measures."""
    from fkdsl.cli.output import check_folder_target, say
    from fkdsl.cli.progress import RunProgress
    from fkdsl.models.tiny.vision.files import read_eyes, save_eyes, save_vision_run
    from fkdsl.models.tiny.vision.fonts import find_fonts
    from fkdsl.models.tiny.vision.training import train_eyes

    fonts = find_fonts(args.fonts)
    if args.held_out_images < 1:
        raise CallError(
            f"--held-out-images {args.held_out_images} is no number of images", "at least 1"
        )
    if args.evaluate:
        say(report_text(read_eyes(Path(args.evaluate)).model(), fonts, args.held_out_images))
        return 0
    check_folder_target(args.out, "--out")
    if args.save_every < 1:
        raise CallError(f"--save-every {args.save_every} is no number of steps", "at least 1")
    run = _run(args, fonts)
    parameters = sum(p.numel() for p in run.model.eyes.parameters())
    say(f"{parameters} parameters to train; {len(fonts)} fonts; step {run.step}")
    say("\n".join([_heading(), *map(_line, run.curve)]), flush=True)
    with RunProgress("training") as progress:

        def save(run: VisionRun) -> None:
            save_vision_run(run, Path(args.out) / CHECKPOINT)
            save_eyes(run, Path(args.out) / WEIGHTS, provenance(run, args, fonts))
            progress.print(_line(run.curve[-1]))

        def observe(step: int, bits: float) -> None:
            progress.advance(step, run.settings.steps, f"bits per byte {bits:.2f}")

        train_eyes(
            run,
            fonts,
            save=save,
            every=args.save_every,
            held_out=_measured(args),
            observer=observe,
        )
        progress.stage("reading held-out images")
        report = report_text(run.model, fonts, args.held_out_images)
        save_eyes(run, Path(args.out) / WEIGHTS, provenance(run, args, fonts))
    say("\n" + report)
    return 0


def _run(args: argparse.Namespace, fonts: Fonts) -> VisionRun:
    """The run of the flags: a new one, or the one of the checkpoint for --resume."""
    from fkdsl.models.tiny.vision.files import (
        SHIPPED_TRUNK,
        check_vision_settings,
        check_vision_shape,
        read_trunk,
        read_vision_run,
        trunk_of,
    )
    from fkdsl.models.tiny.vision.training import VisionRun, VisionSettings
    from fkdsl.models.tiny.vision.transformer import VisionShape

    given = {name: value for name in SETTINGS if (value := getattr(args, name)) is not None}
    place = Path(args.out) / CHECKPOINT
    if not args.resume:
        file = SHIPPED_TRUNK if args.model == "tiny" else Path(args.model)
        shape, tensors = read_trunk(file)
        vision = check_vision_shape(VisionShape(width=shape.width), shape)
        settings = check_vision_settings(VisionSettings(**given))
        return VisionRun.begun(trunk_of(shape, tensors), vision, settings, fonts.digest)
    run = read_vision_run(place)
    had = asdict(run.settings)
    for name, value in given.items():
        if had[name] != value and name != "steps":
            raise CallError(
                f"the run in `{place}` has {name} {had[name]}, not {value}", "leave the flag out"
            )
    run.settings = check_vision_settings(_longer(run.settings, args.steps, run.step))
    return run


def _longer(settings: VisionSettings, steps: int | None, done: int) -> VisionSettings:
    """The settings with another number of steps, as long as none that was done would have been
    another."""
    other = replace(settings, steps=steps or settings.steps)
    if other != settings and done > min(settings.falls_from(), other.falls_from()):
        raise CallError(
            f"the run has done {done} steps, and its learning rate would have fallen from step "
            f"{other.falls_from()}",
            "leave --steps out to end the run as it was begun",
        )
    return other


def provenance(run: VisionRun, args: argparse.Namespace, fonts: Fonts) -> dict[str, Any]:
    """Where the weights come from: the command that makes them again in one go, the images, and
    how good they are."""
    from fkdsl.models.tiny.vision.rendering import KINDS

    had = asdict(run.settings)
    words = ["fkdsl", "train", "--images", "--model", args.model]
    words += ["--fonts", *args.fonts] if args.fonts else []
    words += ["--save-every", str(args.save_every)]
    for name in SETTINGS:
        words += [f"--{'dtype' if name == 'precision' else name.replace('_', '-')}", str(had[name])]
    shares = zip(KINDS, run.curve[-1].exact, strict=True)
    return {
        "command": shlex.join(words),
        "images": f"rendered in {len(fonts)} fonts, sha256 of their files {fonts.digest[:16]}",
        "held out": "one text in ten, by its hash",
        "trained": f"step {run.step} of {run.settings.steps}",
        "read exactly": ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in shares)
        + f" (of {_measured(args)} held-out images each)",
        "licence": args.licence,
    }


def _measured(args: argparse.Namespace) -> int:
    """How many held-out images of each kind a point of the curve is measured on."""
    from fkdsl.models.tiny.vision.training import HELD_OUT_IMAGES

    return min(HELD_OUT_IMAGES, int(args.held_out_images))


def report_text(model: SeeingTransformer, fonts: Fonts, count: int) -> str:
    """How many of `count` held-out images of each kind greedy decoding reads exactly: without
    noise, as in training, and with the most noise of training."""
    from fkdsl.models.tiny.vision.rendering import KINDS
    from fkdsl.models.tiny.vision.training import exact_shares

    columns = [exact_shares(model, fonts, count, noise) for noise in (0.0, None, 1.0)]
    heading = f"read exactly, of {count} held-out images each"
    lines = [f"{heading}{'clean':>10}{'as trained':>12}{'most noise':>12}"]
    for kind, *shares in zip(KINDS, *columns, strict=True):
        shown = (f"{100 * s:.1f} %" for s in shares)
        lines.append(f"{kind:<{len(heading)}}" + "{:>10}{:>12}{:>12}".format(*shown))
    return "\n".join(lines)


def _heading() -> str:
    from fkdsl.models.tiny.vision.rendering import KINDS

    kinds = "".join(f"  {kind:>6}" for kind in KINDS)
    return (
        f"{'':>16}  bits per            held out, read exactly\n"
        f"{'step':>6}  {'seconds':>8}  {'byte':>8}  {'spelling':>8}{kinds}"
    )


def _line(point: VisionPoint) -> str:
    shares = "".join(f"  {100 * share:>4.0f} %" for share in point.exact)
    losses = f"  {point.bits:>8.3f}  {point.spelling:>8.3f}"
    return f"{point.step:>6}  {point.seconds:>8.0f}{losses}{shares}"
