r"""Groups of a pattern and what refers to them: back-references, conditionals and calls.

A group that something refers to keeps its number and the texts that it can capture, if they are
few; then the automaton tells them apart, and a back-reference is exact. Other groups are what is
in them. A call is the group that it calls, written out; a recursion is written out a few times.
Parts that no automaton follows get their weaker form here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product
from math import prod

from fkdsl.engine.constraints.charsets import Charset, without_point
from fkdsl.engine.constraints.pattern_characters import either_case
from fkdsl.engine.constraints.pattern_reader import Reading
from fkdsl.engine.constraints.pattern_trees import (
    ANY_TEXT,
    EMPTY_TEXT,
    NOTHING,
    ZERO_WIDTH,
    Text,
    Tree,
    Unsupported,
    has_assertions,
    is_known,
    least_width,
    rebuilt,
    sequence,
    weaker,
    within,
)

MOST_TEXTS = 64
"""Most texts of a group that an automaton tells apart: letters and digits in ASCII, and others."""
MOST_COMBINATIONS = 1_000
"""Most combinations of the texts of all groups."""
CALLS = 3
"""How often a recursion is written out."""
LOOK_BEHIND = "a look-behind with groups, or with a look-ahead inside"
LARGEST = 20_000
"""Most parts of a pattern whose calls are written out."""
UNROLLED = 64
"""Most times that a repeated part with assertions is written out."""


def with_groups(reading: Reading) -> Tree:
    """The tree of a pattern without what only the reader makes. Raises Unsupported."""
    if reading.unfollowed:
        raise Unsupported(reading.unfollowed)
    if any(part.operator == "call" for t in within(reading.tree) for part in _behind_of(t)):
        raise Unsupported("a call of a group in a look-behind")  # the library itself gets it wrong
    tree = _Calls(reading.tree, reading.names).written_out(reading.tree, {})
    operators = {part.operator for part in within(tree)}
    if reading.backwards and operators & {"atomic", "ref", "given", "tested"}:
        raise Unsupported("groups that are referred to, or atomic, under one of the flags r and p")
    return _Groups(tree).resolved(tree)


def _behind_of(tree: Tree) -> Iterable[Tree]:
    """What is in a look-behind."""
    match tree.operator, tree.parts:
        case ("behind", (inner, _)) | ("tested", ("behind", inner, _, _)):
            yield from within(inner)


class _Calls:
    """names: the numbers of named groups."""

    def __init__(self, whole: Tree, names: Mapping[str, int]) -> None:
        self.names, self.size = names, 0
        self.groups: dict[int, list[Tree]] = {0: [whole]}
        for part in within(whole):
            if part.operator == "group":
                self.groups.setdefault(part.parts[0], []).append(part.parts[1])

    def number(self, name: str) -> int:
        return int(name) if name.isdigit() else self.names.get(name, 0)

    def written_out(self, tree: Tree, depth: dict[int, int]) -> Tree:
        self.size += 1
        if self.size > LARGEST:
            raise Unsupported("calls of groups that are too large when they are written out")
        match tree.operator, tree.parts:
            case "call", (name,):
                return self.called(self.number(name), depth)
            case "open ref", (name, fold):
                return Tree("ref", (self.number(name), fold))
            case "open given", (name, yes, no):
                branches = (self.written_out(yes, depth), self.written_out(no, depth))
                number = self.number(name)  # 0 for DEFINE, whose groups are for calls alone
                return Tree("given", (number, *branches)) if number else branches[1]
        return rebuilt(tree, lambda part: self.written_out(part, depth))

    def called(self, number: int, depth: dict[int, int]) -> Tree:
        if len(self.groups[number]) != 1:
            return weaker(ANY_TEXT, "a call of one of several groups")
        if depth.get(number, 0) >= CALLS:
            return weaker(ANY_TEXT, "a recursion")
        deeper = {**depth, number: depth.get(number, 0) + 1}
        inner = _without_captures(self.written_out(self.groups[number][0], deeper))
        if any(part.operator in ("ref", "given") for part in within(inner)):
            return weaker(ANY_TEXT, "a call of a group that refers to others")
        return inner


def _without_captures(tree: Tree) -> Tree:
    if tree.operator == "group":
        return _without_captures(tree.parts[1])
    return rebuilt(tree, _without_captures)


class _Groups:
    """counts: how often a part refers to each group. texts: those that each may capture, None if
    they are not told apart. unknown: a tree of all texts that each may capture."""

    def __init__(self, tree: Tree) -> None:
        self.counts = _references(tree)
        self.texts: dict[int, list[Text] | None] = {}
        unknown: dict[int, list[Tree]] = {}
        for part in within(tree):
            if part.operator == "group" and part.parts[0] in self.counts:
                number, inner, _ = part.parts
                found, before = texts_of(inner), self.texts.get(number, [])
                both = found is not None and before is not None
                self.texts[number] = [*(before or []), *(found or [])] if both else None
                unknown.setdefault(number, []).append(_relaxed(inner))
        self.unknown = {n: Tree("alt", tuple(trees)) for n, trees in unknown.items()}
        while (known := self.known()) and prod(map(len, known.values())) > MOST_COMBINATIONS:
            self.texts[max(known, key=lambda n: len(known[n]))] = None

    def known(self) -> dict[int, list[Text]]:
        return {n: texts for n, texts in self.texts.items() if texts is not None}

    def resolved(self, tree: Tree) -> Tree:
        """The tree with its groups, and weaker forms of what no automaton follows."""
        match tree.operator, tree.parts:
            case "group", (number, inner, _):
                inside = self.resolved(inner)
                if number not in self.counts:
                    return inside
                texts = None if self.texts[number] is None else texts_of(inner)
                return Tree("group", (number, inside, texts and tuple(texts)))
            case "ref", (number, fold):
                return self.reference(number, fold)
            case (("ahead" | "behind" as operator), (inner, must)):
                return self.look_around(operator, inner, must)
            case "tested", (operator, test, yes, no):
                ways = ((True, yes), (False, no))
                branches = [sequence((Tree(operator, (test, m)), t)) for m, t in ways]
                return self.resolved(Tree("alt", tuple(branches)))
        known = rebuilt(tree, self.resolved)
        match known.operator, known.parts:
            case "atomic", (inner,) if not _is_ordered(inner):
                return weaker(inner, "an atomic group")
            case "repeat", (inner, least, most, greedy) if max(least, most) > UNROLLED:
                if has_assertions(inner):
                    reason = f"assertions that are repeated more than {UNROLLED} times"
                    return weaker(Tree("repeat", (inner, 0, -1, greedy)), reason)
        return known

    def reference(self, number: int, fold: bool) -> Tree:
        if number not in self.texts:
            return NOTHING  # no such group is ever read
        texts = self.texts[number]
        unknown = _either_case(self.unknown[number]) if fold else self.unknown[number]
        sets = dict.fromkeys(runs for text in texts or () for runs in text) if fold else ()
        cases = tuple((runs, either_case(runs)) for runs in sets)
        exact = texts is not None and all(map(is_known, texts))
        return Tree("ref", (number, cases, unknown, exact))

    def look_around(self, operator: str, inner: Tree, must: bool) -> Tree:
        inside = _references(inner)
        captured = {p.parts[0] for p in within(inner) if p.operator == "group"}
        lost = tuple(sorted(n for n in captured if self.counts[n] > inside[n] and must))
        known = self.resolved(inner)
        tree = Tree("ahead", (known, must))
        if operator == "behind":
            tested = any(part.operator == "tested" for part in within(inner))
            tree = weaker(EMPTY_TEXT, LOOK_BEHIND) if tested else _behind(known, must)
        return sequence((tree, Tree("forget", (lost,)))) if lost else tree


def _behind(inner: Tree, must: bool) -> Tree:
    """`(?<=X)`. Assertions at the end of X look ahead from the same place."""
    parts = inner.parts if inner.operator == "seq" else (inner,)
    last = len(parts)
    while last and parts[last - 1].operator in ("ahead", "boundary", "end"):
        last -= 1
    if not _is_past(sequence(parts[:last]), False):
        return weaker(EMPTY_TEXT, LOOK_BEHIND)
    past = Tree("behind", (sequence(parts[:last]), True))
    if last == len(parts):
        return Tree("behind", (inner, must))
    both = sequence((past, *parts[last:]))
    return both if must else Tree("ahead", (both, False))


def _is_past(tree: Tree, followed: bool) -> bool:
    """Whether all that a look-behind looks at lies before its place. followed: whether a character
    that it reads follows the tree."""
    match tree.operator, tree.parts:
        case "set" | "start" | "behind", _:
            return True
        case "boundary", _:
            return followed
        case "seq", parts:
            for part in reversed(parts):
                if not _is_past(part, followed):
                    return False
                followed = followed or least_width(part) > 0
            return True
        case "alt", parts:
            return all(_is_past(part, followed) for part in parts)
        case "repeat", (inner, *_):
            return _is_past(inner, followed)
    return False


def _references(tree: Tree) -> Counter[int]:
    return Counter(p.parts[0] for p in within(tree) if p.operator in ("ref", "given"))


def _relaxed(tree: Tree) -> Tree:
    """A tree without assertions and groups that has all texts of the tree, and perhaps more."""
    match tree.operator, tree.parts:
        case operator, _ if operator in ZERO_WIDTH:
            return EMPTY_TEXT
        case ("group", (_, inner, _)) | ("atomic", (inner,)) | ("weaker", (inner, _)):
            return _relaxed(inner)
        case "ref", _:
            return ANY_TEXT
        case ("given" | "tested", (*_, yes, no)):
            return Tree("alt", (_relaxed(yes), _relaxed(no)))
    return rebuilt(tree, _relaxed)


def _either_case(tree: Tree) -> Tree:
    if tree.operator == "set":
        return Tree("set", (either_case(tree.parts[0]),))
    return rebuilt(tree, _either_case)


def _is_ordered(tree: Tree) -> bool:
    """Whether the first match of a tree is that of its options in their order: the library ends a
    repeat that has read nothing, which is another order."""
    for part in within(tree):
        match part.operator, part.parts:
            case "repeat", (inner, least, most, _):
                if most != 1 and (least_width(inner) == 0 or max(least, most) > UNROLLED):
                    return False
            case "group", (_, _, texts):
                if texts is None or len(set(map(len, texts))) > 1:
                    return False
            case "forget", _:
                return False
    return True


def texts_of(tree: Tree) -> list[Text] | None:
    """The texts of a tree, if they are few; a set of more than MOST_TEXTS characters as those in
    ASCII and the rest together."""
    match tree.operator, tree.parts:
        case "set", (runs,):
            return [(part,) for part in _apart(runs)]
        case "seq", parts:
            return _product([texts_of(part) for part in parts])
        case "alt", parts:
            options = [texts_of(part) for part in parts]
            return (
                _few(text for texts in options if texts is not None for text in texts)
                if (None not in options)
                else None
            )
        case "repeat", (inner, least, most, _):
            if not 0 <= most <= MOST_TEXTS:
                return None
            once = texts_of(inner)
            times = [_product([once] * n) for n in range(least, most + 1)]
            return (
                _few(text for texts in times if texts for text in texts)
                if (None not in times)
                else None
            )
        case "group", (_, inner, _):
            return texts_of(inner)
    return None


def _product(parts: list[list[Text] | None]) -> list[Text] | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or prod(map(len, known)) > MOST_TEXTS:
        return None
    return [sum(texts, ()) for texts in product(*known)]


def _few(texts: Iterable[Text]) -> list[Text] | None:
    different = list(dict.fromkeys(texts))
    return different if len(different) <= MOST_TEXTS else None


def _apart(runs: Charset) -> list[Charset]:
    """A set as its characters; a large one as those in ASCII, or of these the letters and digits,
    and the set of the others."""
    if sum(last - first for first, last in runs) <= MOST_TEXTS:
        return [((p, p + 1),) for first, last in runs for p in range(first, last)]
    apart = [p for first, last in runs for p in range(first, min(last, 128))]
    if len(apart) >= MOST_TEXTS:
        apart = [p for p in apart if chr(p).isalnum()]
    rest = runs
    for point in apart:
        rest = without_point(rest, point)
    return [*(((p, p + 1),) for p in apart), *([rest] if rest else [])]
