"""Regular languages as expressions of an algebra, which make an automaton (automaton.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fkdsl.base.deadline import check
from fkdsl.engine.constraints import transducers
from fkdsl.engine.constraints.added_numbers import AddedNumbers
from fkdsl.engine.constraints.case_mapping import (
    FINAL_SIGMA,
    SIGMA,
    SMALL_SIGMA,
    images,
    unchanged,
)
from fkdsl.engine.constraints.charsets import (
    ALL_CHARACTERS,
    REPLACEMENT,
    Partition,
    charset,
    letter_charset,
    without_point,
)
from fkdsl.engine.constraints.counters import Counter
from fkdsl.engine.constraints.counters import Items as CountedItems
from fkdsl.engine.constraints.expressions import INFINITE, Algebra
from fkdsl.engine.constraints.language_charsets import BREAK, SPACE, white_space
from fkdsl.engine.constraints.languages import (
    CLOSER,
    IN_WORD,
    JOINT,
    MARK,
    Added,
    Beginnings,
    Both,
    Cased,
    Complement,
    Contains,
    Count,
    Counted,
    Either,
    EndsWith,
    Framed,
    InCase,
    Items,
    Language,
    Larger,
    Length,
    Letters,
    Listed,
    Matches,
    MayFail,
    NoneIf,
    One,
    OneOf,
    Ordered,
    Outlined,
    PartOf,
    Replaced,
    Row,
    Sliced,
    StartsWith,
    Stripped,
    Summed,
    Texts,
    Times,
    Trimmed,
    Undivided,
    WholeNumber,
)
from fkdsl.engine.constraints.order_expressions import WholeNumbers, ordered
from fkdsl.engine.constraints.outline_expressions import OutlineExpressions
from fkdsl.engine.constraints.pattern_expressions import PatternExpressions
from fkdsl.engine.constraints.pattern_trees import Tree, Unsupported, text_tree
from fkdsl.engine.constraints.patterns import parse_pattern
from fkdsl.engine.constraints.text_parts import text_parts
from fkdsl.engine.constraints.transducers import Transducer


class LanguageExpressions:
    """Languages as expressions of an algebra over a partition. clean: the expression of texts
    without U+FFFD. separator: a symbol behind each item of a list, which no text has; item: any
    texts without it."""

    def __init__(self, algebra: Algebra, partition: Partition) -> None:
        self.a, self.partition, self.members = algebra, partition, partition.members
        self.clean = algebra.star(
            algebra.symbol(self.members[without_point(ALL_CHARACTERS, REPLACEMENT)])
        )
        self.separator = partition.size
        self.item = algebra.star(algebra.symbol(range(partition.size)))
        self._transducers: dict[object, Transducer] = {}

    def language(self, language: Language, upper: bool = True) -> int:
        """The expression of a language. Where a part has only a weaker form, the result is larger
        than the language, or, if not `upper`, smaller."""
        a = self.a
        match language:
            case Matches(pattern):
                return a.intersection([self.matches(pattern, upper), self.clean])
            case Texts(texts):
                return self.texts(texts)
            case Contains(part):
                return self.containing([part])
            case StartsWith(part):
                return a.concat(self.text(part), a.EVERYTHING)
            case EndsWith(part):
                return a.concat(a.EVERYTHING, self.text(part))
            case Length(least, most):
                return a.repeat(a.any_symbol(), least, most)
            case Letters(least, most):
                return self.letter_count(least, most)
            case InCase(to):
                return a.star(a.symbol(self.members[unchanged(to)]))
            case Trimmed(characters):
                return self.trimmed(characters)
            case Larger(part=inner):
                return self.language(inner, True) if upper else a.EMPTY
            case Outlined(outline, stops, depth, counted):
                return OutlineExpressions(a, self.members, outline, stops, counted).whole(depth)
            case Both(parts):
                return a.intersection([self.language(p, upper) for p in parts])
            case Either(parts):
                words = [p.part for p in parts if isinstance(p, Contains)]
                others = [self.language(p, upper) for p in parts if not isinstance(p, Contains)]
                return a.union([*others, self.containing(words)])
            case Complement(part=inner):
                return a.complement(self.language(inner, not upper))
        return self.of_view(language, upper)

    def of_view(self, language: Language, upper: bool) -> int:
        """`language` for those that speak of an order, of a part or of a form of the text."""
        a = self.a
        match language:
            case PartOf(whole):
                return a.part(text_parts(self._symbols(whole)))
            case Ordered(operator, text):
                return ordered(a, self.partition, operator, text)
            case WholeNumber(ranges):
                return WholeNumbers(a, self.members).written(ranges)
            case Beginnings():  # only a whole table of the part says which these are
                return a.EVERYTHING if upper else a.EMPTY
            case Undivided(part=part):
                return self.language(part, upper)
            case MayFail(part, fails):
                parts = (part,) if upper else (part, fails)
                return a.union([self.language(p, upper) for p in parts])
            case Cased(to, part):
                return a.preimage(self.case(to, upper), self.language(part, upper))
            case Stripped(characters, part):
                space = a.star(a.symbol(self.members[white_space(characters)]))
                inner = a.intersection([self.language(part, upper), self.trimmed(characters)])
                return a.concat_all([space, inner, space])
            case Sliced(start, stop, part):
                return self.sliced(start, stop, self.language(part, upper))
            case Framed(before, behind, part):
                frame = transducers.framed(*(self._symbols(t) for t in (before, behind)))
                return a.preimage(frame, self.language(part, upper))
            case Replaced(old, new, part):
                changed = transducers.replaced(*(self._symbols(t) for t in (old, new)))
                return a.preimage(changed, self.language(part, upper))
            case Counted(counts, first, ranges, divisor):
                counters = tuple(self.counted(count, upper) for count in counts)
                return a.counter(Counter(counters, first, ranges, divisor, upper))
            case Listed(by, items):
                return a.preimage(self.listing(by), self.items(items, by, upper))
        raise Unsupported("a schema or a grammar inside `or` or `not`")

    def matches(self, pattern: str, upper: bool) -> int:
        """The texts that a pattern matches, those with U+FFFD included."""
        tree = parse_pattern(pattern)
        return PatternExpressions(self.a, self.members, self.tree, tree).expression(upper)

    def letter_count(self, least: int, most: int) -> int:
        a, letter = self.a, self.members[letter_charset()]
        others = a.star(self.all_but(letter))
        return a.concat(a.repeat(a.concat(others, a.symbol(letter)), least, most), others)

    def trimmed(self, characters: str) -> int:
        """The texts with none of some characters, "" for white space, at their ends."""
        a, space = self.a, self.members[white_space(characters)]
        kept = self.all_but(space)
        longer = a.concat_all([kept, a.EVERYTHING, kept])
        return a.union([a.EPSILON, kept, longer])

    def sliced(self, start: int | None, stop: int | None, part: int) -> int:
        """The texts of which s[start:stop] is in an expression. At most one end may count from the
        beginning and the other from the end, if that is the stop."""
        a, one = self.a, self.a.any_symbol()

        def some(least: int, most: int) -> int:
            return a.repeat(one, least, most)

        def of_length(least: int, most: int) -> int:
            return a.intersection([part, some(least, most)])

        def short(length: int) -> int:
            """The texts too short for any of the slice."""
            return some(0, length - 1) if length > 0 and a.nullable(part) else a.EMPTY

        first = start or 0
        if first >= 0 and stop is None:
            return a.union([a.concat(some(first, first), part), short(first)])
        if first >= 0 and stop is not None and stop >= 0:
            n = max(stop - first, 0)
            cut = a.concat(of_length(n, n), a.EVERYTHING)
            whole = of_length(0, n - 1) if n else a.EMPTY
            return a.union([a.concat(some(first, first), a.union([cut, whole])), short(first)])
        end = -stop if stop is not None else 0
        behind = some(end, end)
        if first >= 0:
            return a.union([a.concat_all([some(first, first), part, behind]), short(first + end)])
        n = max(-first - end, 0)
        kept = a.concat_all([a.EVERYTHING, of_length(n, n), behind])
        fewer = a.concat(of_length(0, n - 1), behind) if n else a.EMPTY
        return a.union([kept, fewer, short(end)])

    # -------------------------------------------------------------------- items

    def items(self, items: Items, by: str | tuple[str, str], upper: bool) -> int:
        """The expression of lists of items, each with the separator behind it."""
        a = self.a
        match items:
            case One(part):
                inner = self.language(part, upper)
                if by == "sentences":  # white space behind the last one is no part of it
                    space = a.star(a.symbol(self.members[charset(SPACE)]))
                    inner = a.concat(a.intersection([inner, self.trimmed("")]), space)
                item = a.intersection([inner, self.item])
                return a.concat(item, a.symbol({self.separator}))
            case NoneIf(part):
                return a.EPSILON if a.nullable(self.language(part, upper)) else a.EMPTY
            case Row(parts):
                return a.concat_all([self.items(p, by, upper) for p in parts])
            case OneOf(parts):
                return a.union([self.items(p, by, upper) for p in parts])
            case Times(part, least, most):
                return a.repeat(self.items(part, by, upper), least, most)
            case Added():
                lists = AddedNumbers(
                    a, self.members, self.item, self.separator, by != "words"
                ).lists(items)
                return lists if upper else a.EMPTY
            case Summed(ranges):
                summed = AddedNumbers(
                    a, self.members, self.item, self.separator, by != "words"
                ).summed(ranges)
                return summed if upper else a.EMPTY
        raise AssertionError(items)

    def counted(self, count: Count, upper: bool) -> CountedItems:
        one = self.items(One(count.part), count.by, upper)
        a, by = self.a, self.listing(count.by)
        return CountedItems(by, self.separator, one, count.factor, a.derive, a.nullable)

    def listing(self, by: str | tuple[str, str]) -> Transducer:
        """The function that gives the items of a text, the separator behind each."""
        members, separator = self.members, self.separator

        def make() -> Transducer:
            match by:
                case "words":
                    inside, joint = members[charset(IN_WORD)], members[charset(JOINT)]
                    return transducers.words(inside, joint, separator)
                case "lines":
                    breaks = members[charset(BREAK)]
                    return transducers.lines(
                        breaks, self._class("\r"), self._class("\n"), separator
                    )
                case "sentences":
                    marks, closers, space = (members[charset(c)] for c in (MARK, CLOSER, SPACE))
                    return transducers.sentences(marks, closers, space, separator)
                case "parts":
                    return transducers.runs(members[charset(SPACE)], separator)
                case (_, str(between)):
                    return transducers.parts(self._symbols(between), separator)
            return transducers.characters(separator)

        return self._kept(by, make)

    def case(self, to: str, upper: bool) -> Transducer:
        """The function that gives the lower or upper case of a text."""

        def make() -> Transducer:
            moved, by_class = images(to), {}
            for number, character in self.partition.representatives().items():
                if character in moved:
                    written = tuple(map(self._class, moved[character]))
                    by_class[number] = [written]
                if to == "lower" and character == SIGMA:
                    by_class[number] = [(self._class(c),) for c in (SMALL_SIGMA, FINAL_SIGMA)]
            return transducers.mapping(by_class, upper)

        return self._kept((to, upper), make)

    def _kept(self, key: object, make: Callable[[], Transducer]) -> Transducer:
        """The transducer of a key, made once: so equal expressions have one number."""
        if key not in self._transducers:
            self._transducers[key] = make()
        return self._transducers[key]

    def _class(self, character: str) -> int:
        return self.partition.classes_of(character)[0]

    def _symbols(self, text: str) -> tuple[int, ...]:
        return tuple(map(self._class, text))

    def all_but(self, classes: frozenset[int]) -> int:
        """One character that is in none of the classes."""
        return self.a.symbol(set(range(self.partition.size)) - classes)

    def text(self, text: str) -> int:
        return self.tree(text_tree(text))

    def containing(self, words: Sequence[str]) -> int:
        """The texts that contain one of the words."""
        a = self.a
        return a.concat_all([a.EVERYTHING, self.texts(words), a.EVERYTHING])

    def texts(self, texts: Sequence[str]) -> int:
        """One of the texts, as a trie: so the union at each character has few parts, however many
        texts there are."""
        check()
        if len(texts) == 1:
            return self.text(texts[0])
        by_first: dict[str, list[str]] = {}
        for text in texts:
            by_first.setdefault(text[:1], []).append(text[1:])
        parts = [self.a.concat(self.text(c), self.texts(rest)) for c, rest in by_first.items() if c]
        return self.a.union([*parts, *([self.a.EPSILON] if "" in by_first else [])])

    def tree(self, tree: Tree) -> int:
        a = self.a
        match tree.operator, tree.parts:
            case "set", (runs,):
                return a.symbol(self.members[runs])
            case "seq", parts:
                return a.concat_all(map(self.tree, parts))
            case "alt", parts:
                return a.union(map(self.tree, parts))
            case "repeat", (inner, least, most, _):
                return a.repeat(self.tree(inner), least, INFINITE if most == -1 else most)
        raise AssertionError(tree.operator)
