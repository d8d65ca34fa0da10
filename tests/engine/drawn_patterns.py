"""Patterns drawn from all constructs of the `regex` library, over a few characters."""

# ruff: noqa: SIM905

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

Choose = Callable[[Sequence[str]], str]
"""Chooses one of several options."""

TEXTS = [
    *("".join(t) for n in range(5) for t in product("ab", repeat=n)),
    *("".join(t) for n in range(1, 4) for t in product("abA1 \n"[: 6 if n < 3 else 3], repeat=n)),
    *"aa-aa ab-ab abcab babab a.b {a} a{1 é éa ß ss aß # a#".split(),
    *["a é", "\r\n", "a\r\nb", "a #", "ab ab"],
]
CHARACTERS = r"""
a a a b b A 1 - # { } é ß ss . \. \d \w \W \s \S \n \h \x61 \141 \R \pL \p{L} \P{L} \p{Lu} \p{^Lu}
""".split()
SETS = r"""
[ab] [^a] [a-b] []a] [^]a] [a-] [\]a] [[:alpha:]] [[:^digit:]a] [:a] [a:-] [.:] [[a] [\w-] [\p{L}\d]
[a&&b] [a||b] [{a}] [^\n] [[:upper:][:digit:]]
""".split()
SETS_OF_V1 = r"""
[[a-c]--[b]] [[ab]&&[bc]] [[a]b] [[ab]~~[b]] [\w--\d] [a||b] [^[a]] [[:alpha:]--[b-z]]
""".split()
PLACES = r"^ $ \b \B \A \Z \z \m \M \G \K (?#x) (?!) (*FAIL)".split()
REPEATS = """
* + ? {2} {1,2} {,2} {1,} {0} *? +? ?? {1,2}? *+ ++ ?+ {1,2}+ {1 {a} {,}
""".split()
AROUND = ["(?=", "(?!", "(?<=", "(?<!"]
FLAGS = ["(?i:", "(?s:", "(?-i:", "(?m:", "(?x: ", "(?a:", "(?is-m:", "(?u:", "(?w:", "(?f:"]
FRONTS = [*[""] * 6, *"(?i) (?s) (?m) (?x) (?a) (?V1) (?si) (?r) (?w) (?b) (?V1i) (?p)".split()]
NOT_REGULAR = [r"\X", "(?:a){e<=1}", "b(?R)", "(*PRUNE)", "(*SKIP)", "a{i<=1,d}", "b(?1)"]
KINDS = """
character character character character character character set set place place group group group
group around around atomic flags plain plain reference reference given reset odd
""".split()


@dataclass
class Drawn:
    """A drawn pattern. size: how many parts may still be drawn."""

    choose: Choose
    size: int = 12
    groups: int = 0
    names: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)

    def pattern(self) -> str:
        front = self.choose(FRONTS)
        self.versions = SETS_OF_V1 if "V1" in front else []
        return front + self.alternatives()

    def alternatives(self) -> str:
        branches = [self.sequence()]
        while self.choose("nnny") == "y":
            branches.append(self.sequence())
        return "|".join(branches)

    def sequence(self) -> str:
        parts = []
        while self.size > 0 and self.choose("yyyn") == "y":
            part = self.part()
            if self.choose("nny") == "y" and part:
                part += self.choose(REPEATS)
            parts.append(part)
        return "".join(parts)

    def part(self) -> str:
        self.size -= 1
        kind = self.choose(KINDS)
        match kind:
            case "character":
                return self.choose(CHARACTERS)
            case "set":
                return self.choose([*SETS, *self.versions])
            case "place":
                return self.choose(PLACES)
            case "group":
                return self.group()
            case "around":
                return f"{self.choose(AROUND)}{self.alternatives()})"
            case "atomic":
                return f"(?>{self.alternatives()})"
            case "flags":
                return f"{self.choose(FLAGS)}{self.alternatives()})"
            case "reference":
                return self.reference()
            case "given":
                test = self.choose(["(1)", "(2)", "(?=a)", "(?!b)", "(?<=a)", "(DEFINE)"])
                no = (
                    f"|{self.sequence()}" if self.choose("yn") == "y" and test != "(DEFINE)" else ""
                )
                return f"(?{test}{self.sequence()}{no})"
            case "reset":
                return f"(?|{self.group()}|{self.group()})"
            case "odd":
                return self.choose(NOT_REGULAR)
        return f"(?:{self.alternatives()})"

    def group(self) -> str:
        self.groups += 1
        opening = self.choose(["(", "(", "(", "(?<q>", "(?P<q>", "(?<n>"])
        if opening[-2:] in ("q>", "n>"):
            self.names.append(opening[-2])
        inner = self.choose(["a|b", "[ab]", ".", "a?", "", "drawn"])
        return f"{opening}{self.alternatives() if inner == 'drawn' else inner})"

    def reference(self) -> str:
        named = [r"\g<{}>", "(?P={})", "(?&{})", "(?P>{})"]
        if self.names and self.choose("yn") == "y":
            return self.choose(named).format(self.choose(self.names))
        return self.choose([r"\1", r"\1", r"\2", r"\g<1>", "(?1)", "(?2)", "(?-1)"])
