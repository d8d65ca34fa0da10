"""The commands: where each is, its line of help, how it is called, and examples."""

from __future__ import annotations

from itertools import chain

from fkdsl.base.quick_dataclass import dataclass


@dataclass(frozen=True)
class Command:
    """A command. module: which has its `main`. doc: what it does, in a line. call: what follows its
    name. examples: calls, with what each is for."""

    module: str
    doc: str
    call: str
    examples: tuple[tuple[str, str], ...] = ()


GROUPS: dict[str, dict[str, Command]] = {
    "Write programs": {
        "new": Command(
            "fkdsl.cli.new",
            "write a program to begin with, and its test",
            "NAME [--template TEMPLATE] | --list",
            (
                ("fkdsl new my_program", ""),
                ("fkdsl new order --template json", ""),
                ("fkdsl new --list", "the templates"),
            ),
        ),
        "check": Command(
            "fkdsl.cli.check",
            "find mistakes without running anything",
            "FILE.fk... [options]",
            (("fkdsl check *.fk", ""), ("fkdsl check my.fk --json", "for scripts")),
        ),
        "test": Command(
            "fkdsl.cli.test",
            "run test blocks on exact figures, and hold methods to them",
            "FILE.fk... [options]",
            (
                ("fkdsl test my.fk", ""),
                ("fkdsl test *.fk --no-methods", "exact figures only, at once"),
                ("fkdsl test my.fk -v -k keyword", "one test, line by line"),
            ),
        ),
        "fmt": Command(
            "fkdsl.cli.fmt",
            "write programs in their canonical form",
            "FILE.fk... [--check] [--diff]",
            (("fkdsl fmt my.fk", ""), ("fkdsl fmt --check .", "in CI")),
        ),
        "explain": Command(
            "fkdsl.cli.check",
            "print the Feynman-Kac model of a program, and what guides it",
            "FILE.fk [options]",
            (("fkdsl explain my.fk", ""), ("fkdsl explain my.fk --no-opt", "as it is written")),
        ),
        "lsp": Command(
            "fkdsl.cli.lsp",
            "serve an editor: mistakes as one types, completion, renaming",
            "[--tcp PORT]",
        ),
        "completion": Command(
            "fkdsl.cli.completion",
            "print what completes fkdsl's commands in a shell",
            "bash|zsh|fish",
            (
                ('eval "$(fkdsl completion bash)"', "in ~/.bashrc"),
                ('eval "$(fkdsl completion zsh)"', "in ~/.zshrc, after compinit"),
                ("fkdsl completion fish | source", "in ~/.config/fish/config.fish"),
            ),
        ),
    },
    "Run programs": {
        "run": Command(
            "fkdsl.cli.run",
            "run a program: its posterior, log Z and how sure they are",
            "FILE.fk [-p NAME=VALUE]... [options]",
            (
                ("fkdsl run my.fk", ""),
                ('fkdsl run my.fk -p topic="the sea" --seed 7', ""),
                ("fkdsl run my.fk --model tiny", "without a download"),
                ("fkdsl run my.fk --particles 64 --report out.html", ""),
                ("fkdsl run my.fk --target-se 0.1", "until log Z is that sure"),
                ("fkdsl run my.fk --samples 5 --format text", "draws, one a line"),
                ("fkdsl run my.fk --each rows.csv --out answers.jsonl", "each row of a file"),
            ),
        ),
        "exact": Command(
            "fkdsl.cli.run",
            "run a program by exact enumeration, with certain bounds",
            "FILE.fk [-p NAME=VALUE]... [options]",
            (
                ("fkdsl exact my.fk", ""),
                ("fkdsl exact my.fk --max-tokens 100000 --gap 0.01", ""),
            ),
        ),
        "compare": Command(
            "fkdsl.cli.compare",
            "run several methods at an equal number of tokens, side by side",
            "FILE.fk [-p NAME=VALUE]... [options]",
            (("fkdsl compare my.fk --methods smc,steer --budget tokens=5000", ""),),
        ),
        "repl": Command(
            "fkdsl.cli.repl",
            "keep a program's models loaded, and run it again as you edit",
            "FILE.fk [-p NAME=VALUE]... [options]",
            (("fkdsl repl my.fk --particles 32", ""),),
        ),
        "serve": Command(
            "fkdsl.cli.serve",
            "serve a folder of programs as models of OpenAI's API",
            "FOLDER [options]",
            (("fkdsl serve programs/ --port 8000", ""),),
        ),
    },
    "Look at runs": {
        "replay": Command(
            "fkdsl.cli.replay",
            "read a trace: the particles, and the path of any, line by line",
            "FILE.jsonl [options]",
            (
                ("fkdsl replay run.jsonl", "the population at the end"),
                ("fkdsl replay run.jsonl --particle 3", "one particle's path"),
            ),
        ),
        "report": Command(
            "fkdsl.cli.page",
            "make a page of a run, to look at in a browser",
            "FILE.jsonl -o FILE.html",
            (("fkdsl report run.jsonl -o run.html", ""),),
        ),
        "plot": Command(
            "fkdsl.cli.page",
            "draw a figure of a run or of a comparison, as SVG, PNG or PDF",
            "FILE -o FILE [options]",
            (
                ("fkdsl plot run.jsonl -o steps.svg", ""),
                ("fkdsl plot table.json -o table.pdf", "what `compare --json` printed"),
            ),
        ),
    },
    "Prepare models": {
        "models": Command(
            "fkdsl.cli.models",
            "list, fetch and describe language models",
            "[list | pull MODEL | info MODEL]",
            (
                ("fkdsl models", ""),
                ("fkdsl models pull smollm2", "fetch it now"),
                ("fkdsl models info ./folder", "without loading it"),
            ),
        ),
        "prefill": Command(
            "fkdsl.cli.prefill",
            "compute a program's prompts once, for runs elsewhere",
            "FILE.fk -o FILE [-p NAME=VALUE]... [options]",
            (
                ("fkdsl prefill my.fk -o my.kv", ""),
                ("fkdsl run my.fk --prefill my.kv", "on another machine"),
            ),
        ),
        "tune": Command(
            "fkdsl.cli.tune",
            "learn a twist, which lowers the variance of a program's runs",
            "FILE.fk -o FILE [-p NAME=VALUE]... [options]",
            (
                ("fkdsl tune my.fk -o my.twist", ""),
                ("fkdsl run my.fk --twist my.twist", "use it"),
            ),
        ),
        "train-retriever": Command(
            "fkdsl.cli.train_retriever",
            "learn from answers which documents an index should find",
            "FILE.fk --data FILE.jsonl -o FILE [options]",
            (
                ("fkdsl train-retriever my.fk --data qa.jsonl -o my.adapter", ""),
                ("fkdsl train-retriever my.fk --data qa.jsonl -o my.adapter --resume", ""),
            ),
        ),
        "distil": Command(
            "fkdsl.cli.distil",
            "fit a small surrogate to a model, to look ahead with",
            "MODEL [options]",
            (("fkdsl distil smollm2", "runs of smollm2 find it"),),
        ),
        "train": Command(
            "fkdsl.cli.train",
            "train a byte-level model on texts of your own",
            "--text FILE... [options]",
            (
                ("fkdsl train --text letters/ -o mine", ""),
                ("fkdsl run my.fk --model mine/model.safetensors", "use it"),
            ),
        ),
    },
}
"""The commands by what they are for, in the order in which one meets them."""
COMMANDS = dict(chain.from_iterable(group.items() for group in GROUPS.values()))
"""Each command by its name."""
