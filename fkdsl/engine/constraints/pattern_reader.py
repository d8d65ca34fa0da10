r"""The syntax of the `regex` library, read into trees (pattern_trees.py).

>>> read_pattern("a|b+").tree.operator
'alt'

It follows the library's own grammar (`regex/_regex_core.py`), so that spaces, braces and escapes
mean here what they mean there. What single characters and sets match, the library itself is asked
(pattern_characters.py). Only patterns that the library compiles are read.
"""

from __future__ import annotations

import string
from collections.abc import Mapping

import regex

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.engine.constraints.charsets import ALL_CHARACTERS
from fkdsl.engine.constraints.pattern_characters import (
    ASCII,
    DOTALL,
    IGNORECASE,
    LOCALE,
    MULTILINE,
    UNICODE,
    VERBOSE,
    WORD,
    Characters,
)
from fkdsl.engine.constraints.pattern_ends import Beginnings, Mark, TextEnds
from fkdsl.engine.constraints.pattern_escapes import Escapes
from fkdsl.engine.constraints.pattern_source import Source
from fkdsl.engine.constraints.pattern_trees import (
    ANY_TEXT,
    EMPTY_TEXT,
    NEWLINE,
    NOTHING,
    ZERO_WIDTH,
    Tree,
    Unsupported,
    sequence,
    weaker,
)

_GLOBAL = int(regex.V0 | regex.V1 | regex.B | regex.E | regex.P | regex.R)
_ENCODINGS = ASCII | UNICODE | LOCALE
_ERRORS = r"[deis](?:<=?\d+)?|\d+<=?[deis]<=?\d+|\d*[dis](?:\+\d*[dis])*<=?\d+"
_FUZZY = regex.compile(rf"\{{(?:{_ERRORS})(?:,(?:{_ERRORS}))*(?=[:}}])")
_QUANTIFIERS = {"?": (0, 1), "*": (0, -1), "+": (1, -1)}


@dataclass(frozen=True)
class Reading:
    """A pattern as it is read. tree: its references are not yet resolved (pattern_groups.py).
    names: the numbers of named groups. backwards: whether flags change the order in which parts
    match. unfollowed: what makes an automaton impossible, "" for nothing. beginnings: what
    is known of the beginnings of texts that match, None for nothing."""

    tree: Tree
    names: Mapping[str, int]
    backwards: bool
    unfollowed: str
    beginnings: Beginnings | None


def read_pattern(pattern: str) -> Reading:
    """A pattern that the library compiles. Raises Unsupported."""
    flags = int(regex.compile(pattern).flags)
    if flags & LOCALE:
        raise Unsupported("the flag L")
    return _Reader(pattern, flags).whole()


class _Reader(Source):
    """ends: what depends on whether the text goes
    on. front: where flags at the front end. nesting: how many parentheses are open. top: the parts
    of the sequence outside of all of them."""

    def __init__(self, pattern: str, flags: int) -> None:
        # Full case-folding goes with version 1 until a part turns it off.
        super().__init__(pattern, int(regex.F) if flags & int(regex.V1) else 0)
        self.backwards = bool(flags & int(regex.R | regex.P))
        self.ends = TextEnds(pattern, not flags & int(regex.R))
        self.unfollowed = ""
        self.characters = Characters(flags, pattern)
        self.escapes = Escapes(self.characters, self.reference)
        self.group_count = 0
        self.numbers: dict[str, int] = {}
        self.open: list[int] = []
        self.begun = False
        self.front = self.nesting = 0
        self.front_flags = self.flags
        self.top: list[Tree | None] = []

    def whole(self) -> Reading:
        tree = self.alternatives()
        self.skip()
        if self.at < len(self.pattern):
            raise Unsupported("a part that is not read")
        return Reading(tree, self.numbers, self.backwards, self.unfollowed, self.ends.beginnings())

    # -------------------------------------------------------------------- structure

    def alternatives(self) -> Tree:
        branches = [self.sequence()]
        while self.accept("|"):
            if not self.nesting:
                self.ends.undo_refused(0)
            branches.append(self.sequence())
            if not self.nesting:
                self.ends.undo_refused(0)
        return branches[0] if len(branches) == 1 else Tree("alt", tuple(branches))

    def sequence(self) -> Tree:
        items: list[Tree | None] = [None]
        mark = self.ends.mark()
        if not self.nesting:
            self.top = items
        while True:
            before = self.at
            c = self.next()
            if c in ("", ")", "|"):
                self.at = before
                return sequence(item for item in items if item is not None)
            if c in "?*+{":
                self.quantifier(c, items, mark)
            else:
                mark = self.ends.mark()
                item = self.item(c)
                if item is not None:
                    items.append(item)
                    self.begun = True
                elif not self.begun:
                    self.front, self.front_flags = self.at, self.flags

    def item(self, c: str) -> Tree | None:
        match c:
            case "\\":
                begins = self.at - 1
                tree, self.at = self.escapes.read(self.at, self.flags)
                self.ends.escape(begins, self.at)
                return tree
            case "(":
                return self.parenthesis()
            case ".":
                if self.flags & DOTALL:
                    return Tree("set", (ALL_CHARACTERS,))
                return Tree("set", (self.characters.of(".", self.flags),))
            case "[":
                begins = self.at - 1
                self.at = self.characters.set_end(begins, self.flags)
                return self.characters.tree(self.pattern[begins : self.at], self.flags)
            case "^" | "$" if self.flags & WORD:
                self.ends.end()
                return weaker(EMPTY_TEXT, f"`{c}` under the flag w")
            case "^":
                if self.flags & MULTILINE:
                    after = Tree("behind", (Tree("set", (NEWLINE,)), True))
                    return Tree("alt", (Tree("start", ()), after))
                return Tree("start", ())
            case "$":
                self.ends.end()
                if self.flags & MULTILINE:
                    before = Tree("ahead", (Tree("set", (NEWLINE,)), True))
                    return Tree("alt", (Tree("end", (None,)), before))
                return Tree("end", (NEWLINE,))
        return self.characters.literal(c, self.flags)

    # ------------------------------------------------------------------- quantifiers

    def quantifier(self, c: str, items: list[Tree | None], mark: Mark) -> None:
        """Repeats the last item, which began at the mark, or lets it match with errors; or the
        brace is a literal."""
        counts = _QUANTIFIERS.get(c) or self.counts()
        if counts is None and not self.fuzzy(items):
            items.append(self.characters.literal(c, self.flags))
        if counts is None:
            return
        element = items.pop()
        if element is None:
            raise Unsupported("nothing to repeat")
        self.ends.undo_refused(mark.refused)
        before = self.at
        suffix = self.next()
        if suffix not in ("?", "+"):
            self.at = before
        tree = element
        if counts != (1, 1) and element != EMPTY_TEXT:
            tree = Tree("repeat", (element, *counts, suffix != "?"))
            if suffix == "+":
                self.ends.atomic(mark)
                tree = Tree("atomic", (tree,))
        items += [tree, None]

    def fuzzy(self, items: list[Tree | None]) -> bool:
        """Whether a fuzzy match's errors come next; then the last item may be any text."""
        if self.flags & VERBOSE:
            raise Unsupported("a brace that begins no repeat, under the flag x")
        match = _FUZZY.match(self.pattern, self.at - 1)
        if match is None:
            return False
        self.at = match.end()
        self.ends.unknown()
        if self.accept(":"):
            self.item(self.next())
        self.expect("}")
        if items.pop() is None:
            raise Unsupported("nothing to match with errors")
        items += [weaker(ANY_TEXT, "a fuzzy match"), None]
        return True

    # -------------------------------------------------------------------- parentheses

    def parenthesis(self) -> Tree | None:
        """What a parenthesis begins; None for flags and comments."""
        self.nesting += 1
        tree = self.opened()
        self.nesting -= 1
        return tree

    def opened(self) -> Tree | None:
        before = self.at
        match self.next(skips=False):
            case "?":
                return self.extension()
            case "*":
                verb = self.run(lambda c: c not in ")>")
                if verb[:1].isalpha():
                    self.expect(")")
                    if verb in ("FAIL", "F"):
                        return NOTHING
                    self.unfollowed = f"(*{verb})"
                    if verb == "SKIP":  # partial matches of such patterns are not all found
                        self.ends.unknown()
                    return EMPTY_TEXT
        self.at = before
        return self.group("")

    def extension(self) -> Tree | None:
        before = self.at
        c = self.next(skips=False)
        match c:
            case "<":
                at = self.at
                direction = self.next()
                if direction in ("=", "!"):
                    return self.look_around("behind", direction == "=", at - 3)
                self.at = at
                return self.group(self.name(">"))
            case "=" | "!":
                return self.look_around("ahead", c == "=", self.at - 3)
            case "P":
                return self.python_extension()
            case "#":
                self.comment()
                return None
            case "(":
                return self.conditional()
            case ">":
                mark = self.ends.mark()
                tree = Tree("atomic", (self.inside(),))
                self.ends.atomic(mark)
                return tree
            case "|":
                return self.branch_reset()
            case "&":
                return Tree("call", (self.name(")"),))
            case "R":
                self.expect(")")
                return Tree("call", ("0",))
            case "+" | "-" if self.pattern[self.at : self.at + 1].isdigit():
                offset = int(self.name(")"))
                number = self.group_count + (offset if c == "+" else 1 - offset)
                return Tree("call", (str(number),))
            case _ if c in string.digits and c:
                return Tree("call", (c + self.name(")"),))
        self.at = before
        return self.flagged()

    def python_extension(self) -> Tree:
        match self.next():
            case "<":
                return self.group(self.name(">"))
            case "=":
                return self.reference(self.name(")"), self.flags)
            case ">" | "&":
                return Tree("call", (self.name(")"),))
        raise Unsupported("an unknown extension")

    def reference(self, name: str, flags: int) -> Tree:
        if (int(name) if name.isdigit() else self.numbers.get(name)) in self.open:
            self.unfollowed = "a reference to a group from its inside"
        return Tree("open ref", (name, bool(flags & IGNORECASE)))

    def inside(self) -> Tree:
        """The alternatives up to the closing parenthesis; flags set there end there."""
        outside = self.flags
        tree = self.alternatives()
        self.expect(")")
        self.flags = outside
        return tree

    def look_around(self, operator: str, must: bool, begins: int) -> Tree:
        mark = self.ends.mark()
        tree = Tree(operator, (self.inside(), must))
        if operator == "ahead" and not must and self.is_at_front():
            inside = self.pattern[begins + 3 : self.at - 1]
            self.ends.refuse(mark, self.pattern[: self.front], inside)
        self.ends.look_around(mark, must, begins, self.at)
        return tree

    def is_at_front(self) -> bool:
        """Whether the open parenthesis stands where every match begins, and under the flags of the
        front."""
        at_front = (t is None or t.operator in ZERO_WIDTH or t == EMPTY_TEXT for t in self.top)
        return self.nesting == 1 and self.flags == self.front_flags and all(at_front)

    def group(self, name: str) -> Tree:
        self.ends.group()
        number = self.numbers.get(name) if name else None
        if number is None:
            self.group_count += 1
            while name and self.group_count in self.numbers.values():
                self.group_count += 1
            number = self.group_count
            if name:
                self.numbers[name] = number
        if number in self.open:
            self.unfollowed = "a group within a group of the same name"
        self.open.append(number)
        tree = self.inside()
        self.open.pop()
        return Tree("group", (number, tree, None))

    def branch_reset(self) -> Tree:
        """Alternatives whose groups have the same numbers."""
        outside, first = self.flags, self.group_count
        branches, last = [self.sequence()], self.group_count
        while self.accept("|"):
            self.group_count = first
            branches.append(self.sequence())
            last = max(last, self.group_count)
        self.group_count = last
        self.expect(")")
        if self.flags != outside:
            raise Unsupported("flags inside a branch reset")
        return Tree("alt", tuple(branches))

    def conditional(self) -> Tree:
        outside, before = self.flags, self.at
        if self.next() == "?":
            behind = self.accept("<")
            must = self.next() == "="
            mark = self.ends.mark()
            test = self.inside()
            self.ends.test(mark)
            yes, no = self.options()
            branches = (yes, no) if must else (no, yes)
            tree = Tree("tested", ("behind" if behind else "ahead", test, *branches))
        else:
            self.at = before
            tree = Tree("open given", (self.name(")"), *self.options()))
        if self.flags != outside:
            raise Unsupported("flags inside a conditional")
        return tree

    def options(self) -> tuple[Tree, Tree]:
        yes = self.sequence()
        no = self.sequence() if self.accept("|") else EMPTY_TEXT
        self.expect(")")
        return yes, no

    # -------------------------------------------------------------------------- flags

    def flagged(self) -> Tree | None:
        """Flags for what follows (None), or for the part in the parenthesis."""
        on = self.flag_set()
        off = self.flag_set() if self.accept("-") else 0
        on &= ~_GLOBAL
        outside = self.flags
        if self.accept(":"):
            self.flags = (outside | on) & ~off
            if self.flags & _ENCODINGS:
                self.flags = self.flags & ~_ENCODINGS | on
            tree = self.alternatives()
            self.expect(")")
            self.flags = outside
            return tree
        self.expect(")")
        if self.begun and on & _ENCODINGS:
            raise Unsupported("a flag of an alphabet in the middle")
        self.flags = (outside | on) & ~off
        return None
