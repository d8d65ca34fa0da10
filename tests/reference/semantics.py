"""What docs/language.md says of contexts and draws, as plain Python: no code of
fkdsl's is used here.

A `Machine` runs one path of a program: it is given the choices to make, and notes what else could
have been chosen. `measure` runs every path and adds up what each returned value weighs.
"""

import math
import re
from dataclasses import dataclass, field

from tests.reference.language_models import decoded


class Dead(Exception):
    """The weight is zero."""


class Returned(Exception):
    def __init__(self, value):
        self.value = value


@dataclass(frozen=True)
class Tok:
    """A drawn token; compared by its text, an end with ends alone."""

    id: int
    text: str
    end: bool = False

    def __eq__(self, other):
        if isinstance(other, Tok):
            return self.end == other.end and (self.end or self.text == other.text)
        return isinstance(other, str) and not self.end and self.text == other

    __hash__ = None


EOS = Tok(-1, "", True)


class Context:
    def __init__(self, model, ids):
        self.model, self.ids, self.start, self.done, self.pending = (
            model,
            tuple(ids),
            len(ids),
            False,
            None,
        )
        self.skip = len(self.raw())

    def fork(self):
        twin = Context(self.model, ())
        twin.__dict__.update(self.__dict__)
        return twin

    def raw(self):
        return b"".join(self.model.tokens[i] for i in self.ids)

    @property
    def text(self):
        return decoded(self.raw()[self.skip :], self.done)

    @property
    def tokens(self):
        return len(self.ids) - self.start

    def row(self):
        if self.done:
            return {}
        row = self.model.row(self.ids)
        if self.pending is None:
            return row
        return normal(
            {i: p for i, p in row.items() if goes_on(self.model.tokens[i]) == self.pending}
        )

    def append(self, i):
        self.ids = (*self.ids, i)
        self.done, self.pending = self.done or i in self.model.ends, None

    def add(self, text):
        """`lm += text`: no weight; a finished context goes on after it."""
        for i in self.encode(text):
            self.append(i)
            self.done = i in self.model.ends

    def encode(self, value):
        if isinstance(value, Tok):
            if value.end:
                return (min(self.model.ends),)
            if (
                value.id < len(self.model.tokens)
                and decoded(self.model.tokens[value.id], False) == value.text
            ):
                return (value.id,)
            value = value.text
        return self.model.encode(value)

    def along(self, ids):
        """The probability of tokens as the next ones."""
        ahead, p = self.fork(), 1.0
        for i in ids:
            p *= ahead.row().get(i, 0.0)
            ahead.ids, ahead.pending = (*ahead.ids, i), None
        return p


def goes_on(raw):
    first = raw.decode("utf-8", "replace")[:1]
    return bool(first) and (first.isalnum() or first in "'\u2019-_\ufffd")


def normal(row):
    total = math.fsum(row.values())
    return {i: p / total for i, p in row.items() if p > 0} if total > 0 else {}


@dataclass
class Mix:
    """A distribution of tokens: its row, and the contexts that append what comes of it."""

    row: dict
    contexts: list

    @staticmethod
    def of(d):
        return d if isinstance(d, Mix) else Mix(d.row(), [d])

    def times(self, other):
        row = normal({i: p * other.row.get(i, 0.0) for i, p in self.row.items()})
        return Mix(row, self.contexts + other.contexts)

    def power(self, exponent):
        return Mix(normal({i: p**exponent for i, p in self.row.items()}), self.contexts)

    @staticmethod
    def mixture(parts, weights):
        total = math.fsum(weights)
        ids = sorted({i for m in parts for i in m.row})
        row = {
            i: math.fsum(w / total * m.row.get(i, 0.0) for w, m in zip(weights, parts, strict=True))
            for i in ids
        }
        return Mix(row, [c for m in parts for c in m.contexts])

    def distinct(self):
        found = []
        for c in self.contexts:
            if all(c is not other for other in found):
                found.append(c)
        return found


@dataclass
class Machine:
    """One path. functions: the program's, by name; script: the choices to make; taken: those made,
    with how many there were."""

    functions: dict
    script: tuple = ()
    taken: list = field(default_factory=list)
    weight: float = 1.0
    steps: int = 0

    def choose(self, probabilities):
        """One of the outcomes {outcome: probability}; its probability is weighed."""
        possible = [i for i, p in probabilities.items() if p > 0]
        if not possible:
            raise Dead
        at = self.script[len(self.taken)] if len(self.taken) < len(self.script) else 0
        self.taken.append((at, len(possible)))
        self.weight *= probabilities[possible[at]]
        return possible[at]

    def weigh(self, factor):
        self.weight *= factor
        if not self.weight > 0:
            raise Dead

    # ------------------------------------------------------------------ draws

    def token(self, d):
        mix = Mix.of(d)
        i = self.choose(mix.row)
        contexts = mix.distinct()
        for c in contexts:
            c.append(i)
        model = contexts[0].model
        return Tok(i, decoded(model.tokens[i], False), i in model.ends)

    def observe_token(self, value, d):
        mix = d()
        contexts = mix.distinct()
        if isinstance(value, Tok) and value.end:
            ends = contexts[0].model.ends
            p = math.fsum(mix.row.get(i, 0.0) for i in ends)
            for c in contexts:
                c.append(min(ends))
            self.weigh(p)
            return
        for i in contexts[0].encode(value):
            mix = d()
            p = mix.row.get(i, 0.0)
            for c in contexts:
                c.append(i)
            self.weigh(p)

    def choice(self, c, options, other=None):
        value = self.choose(chosen_among(c, options, other))
        for i in c.encode(value) if value != other else ():
            c.append(i)
        return value

    def observe_choice(self, value, c, options, other=None):
        masses = chosen_among(c, options, other)
        if value not in masses:
            raise Dead
        for i in c.encode(value) if value != other else ():
            c.append(i)
        self.weigh(masses[value])

    def text(self, c, until, most):
        start, stop = len(c.text), c.tokens + most
        while c.tokens < stop and not c.done:
            t = self.token(c)
            s = c.text[start:]
            if t.end:
                return s
            stops = [until] if isinstance(until, str) else until
            ends = [s.index(stop) for stop in stops if stop and stop in s]
            if ends:
                return s[: min(ends)]
        return c.text[start:]

    def word(self, c, most):
        start, stop, more = len(c.text), c.tokens + most, not c.done
        while more and c.tokens < stop:
            t = self.token(c)
            s = c.text[start:]
            if t.end:
                break
            if words(s):
                more = s[-1:].isalnum() or s[-1:] in ("_", "'", "-")
                if more:
                    row = c.row()
                    on = math.fsum(p for i, p in row.items() if goes_on(c.model.tokens[i]))
                    off = math.fsum(p for i, p in row.items() if not goes_on(c.model.tokens[i]))
                    more = self.choose({False: off, True: on})
                    c.pending = more
        return " ".join(words(c.text[start:]))


def chosen_among(c, options, other):
    """The probability of each value of a choice: of the options, scaled to sum to 1; where there is
    `other`, of the longest option that comes next, or none."""
    paths = {o: c.encode(o) for o in options}
    masses = {o: c.along(path) for o, path in paths.items()}
    if other is None:
        masses = normal(masses)
        return {o: masses.get(o, 0.0) for o in options}

    def behind(path):
        """What is next to come of the options that go on from there."""
        longer = [p for p in paths.values() if len(p) > len(path) and p[: len(path)] == path]
        nearest = [p for p in longer if not any(p != q and p[: len(q)] == q for q in longer)]
        return math.fsum(c.along(p) for p in nearest)

    each = {o: masses[o] - behind(path) for o, path in paths.items()} | {other: 1.0 - behind(())}
    return {value: p if p > 1e-14 else 0.0 for value, p in each.items()}


def words(s):
    return re.findall(r"[^\W_]+(?:['\u2019-][^\W_]+)*", s)


def key(value):
    """Equal for answers that are the same value of the same type."""
    if isinstance(value, bool) or value is None:
        return ("bool", value)
    if isinstance(value, int):
        return ("int", value)
    if isinstance(value, float):
        return ("float", value)
    if isinstance(value, list | tuple):
        return ("list", *map(key, value))
    if hasattr(value, "items"):
        return ("record", *sorted((k, key(v)) for k, v in value.items()))
    if hasattr(value, "end"):
        return (
            ("end",) if value.end else ("str", value.text)
        )  # a token of an answer counts by its text
    return ("str", value)


class TooMany(Exception):
    """The program has more paths than are worth while."""


def measure(program, most):
    """{key of a returned value: its mass}, by every path of a program. most: paths at most."""
    functions = {f.name: f for f in program.functions}
    found, script, paths = {}, (), 0
    while True:
        machine = Machine(functions, script)
        paths += 1
        if paths > most:
            raise TooMany
        try:
            program.run(machine)
        except Dead:
            pass
        except Returned as done:
            found[key(done.value)] = found.get(key(done.value), 0.0) + machine.weight
        taken = machine.taken
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return found
        script = (*(at for at, _ in taken[:-1]), taken[-1][0] + 1)
