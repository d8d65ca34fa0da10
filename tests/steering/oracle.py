"""A second reading of drawn programs: their text turned into Python line by line, and every path
summed.

It shares nothing with the parser, the lowering, the machine or the engine but the model's table; so
where it agrees with `exact`, both read the program as it is meant.
"""

import math
import re
from fractions import Fraction

from fkdsl.base.value_keys import value_key
from fkdsl.inference.enumeration import EnumeratingRng, enumerate_outcomes


class Dead(Exception):
    """The weight is zero."""


class Tok(str):
    """A drawn token; the end is a Tok with `end` set, equal to EOS alone."""

    end = False

    def __eq__(self, other):
        return self.end == getattr(other, "end", False) and (self.end or str.__eq__(self, other))

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


EOS = Tok("")
EOS.end = True


class Row:
    """A distribution over tokens, and the contexts that append what is drawn."""

    def __init__(self, p, contexts, mass=None):
        total = sum(p.values())
        self.p = {t: q / total for t, q in p.items() if q > 0} if total > 0 else {}
        self.mass, self.contexts = (float(total > 0) if mass is None else mass), contexts

    def row(self):
        return self

    def __mul__(self, other):
        a, b = self.row(), other.row()
        return Row({t: q * b.p.get(t, 0.0) for t, q in a.p.items()}, a.contexts + b.contexts)

    def __pow__(self, exponent):
        a = self.row()
        return Row({t: q**exponent for t, q in a.p.items()}, a.contexts)


class Context(Row):
    def __init__(self, rows, prompt):
        self.rows, self.prompt, self.text, self.tokens, self.done = rows, prompt, "", 0, False

    def row(self):
        if self.done:
            return Row({}, (self,))
        whole = self.prompt + self.text
        suffix = max((s for s in self.rows if whole.endswith(s)), key=len)
        p = {(EOS if t is None else t): q for t, q in self.rows[suffix].items()}
        return Row(p, (self,))

    def append(self, token):
        self.tokens += 1
        self.done = self.done or token == EOS
        self.text += token


class Runner:
    def __init__(self, rows, rng):
        self.rows, self.rng, self.weight = rows, rng, 1.0

    def sample(self, d):
        if isinstance(d, Row):
            row = d.row()
            if not row.p:
                raise Dead
            values, p = zip(*row.p.items(), strict=True)
            self.weight *= row.mass
            token = values[self.rng.choice(p)]
            token = token if isinstance(token, Tok) else Tok(token)
            for c in dict.fromkeys(row.contexts):
                c.append(token)
            return token
        if isinstance(d, str):  # a function's value: it has drawn already
            return d
        values, p = d
        return values[self.rng.choice(p)]

    def cond(self, ok):
        if not ok:
            raise Dead

    def fac(self, nats):
        self.weight *= math.exp(nats)

    def obs(self, value, d):
        row = d.row()
        self.weight *= row.mass * row.p.get(value, 0.0)
        if self.weight == 0.0:
            raise Dead
        for c in dict.fromkeys(row.contexts):
            c.append(value)

    def names(self):
        def mixture(parts, weights):
            rows = [part.row() for part in parts]
            tokens = {t: None for r in rows for t in r.p}
            shares = [w / sum(weights) * r.mass for w, r in zip(weights, rows, strict=True)]
            p = {
                t: sum(w * r.p.get(t, 0.0) for w, r in zip(shares, rows, strict=True))
                for t in tokens
            }
            return Row(p, tuple(c for r in rows for c in r.contexts), sum(shares))

        def logprob(c, text):
            p = c.row().p.get(text, 0.0)
            return math.log(p) if p > 0 else -math.inf

        def text(c, until="", max_tokens=256, closed=False):
            start = len(c.text)
            for _ in range(0 if c.done else max_tokens):
                t, s = self.sample(c), c.text[start:]
                if t == EOS:
                    break
                stops = (until,) if isinstance(until, str) else until
                if any(map(s.count, filter(None, stops))):
                    return re.split("|".join(map(re.escape, stops)), s)[0]
            if closed and not c.done:
                raise Dead
            return c.text[start:]

        def choice(c, options, other=None):
            def mass(option):
                ahead, p = Context(c.rows, c.prompt + c.text), 1.0
                ahead.done = c.done
                for letter in option:
                    p *= ahead.row().p.get(letter, 0.0)
                    ahead.append(Tok(letter))
                return p

            masses = {option: mass(option) for option in options}
            if other is not None:
                masses = longest(masses, other)
            if not any(masses.values()):
                raise Dead
            chosen = [*masses][self.rng.choice([*masses.values()])]
            for letter in chosen if chosen != other else "":
                c.append(Tok(letter))
            return chosen

        return {
            "text": text,
            "choice": choice,
            "prompt": lambda text: Context(self.rows, text),
            "mixture": mixture,
            "logprob": logprob,
            "contains": lambda s, part: part in s,
            "count": lambda s, part: s.count(part),
            "uniform_int": lambda a, b: (tuple(range(a, b + 1)), (1 / (b - a + 1),) * (b - a + 1)),
            "bernoulli": lambda p: ((True, False), (p, 1 - p)),
            "EOS": EOS,
            "sample": self.sample,
            "cond": self.cond,
            "fac": self.fac,
            "obs": self.obs,
        }


def longest(masses, other):
    """masses: of the texts that begin with each option. Of each, those that begin with no longer
    one; of `other`, those that begin with none."""

    def next_longer(begin):
        longer = [o for o in masses if o != begin and o.startswith(begin)]
        return [o for o in longer if not any(o != x and o.startswith(x) for x in longer)]

    found = {o: p - sum(masses[x] for x in next_longer(o)) for o, p in masses.items()}
    found[other] = 1.0 - sum(masses[x] for x in next_longer(""))
    return {o: p if p > 1e-14 else 0.0 for o, p in found.items()}


def to_python(text):
    """The program as a Python function `main`, after the functions that it has."""
    body = text[text.index("\n\n") :]
    body = re.sub(r"program main\(\) -> .*:", "def main():", body)
    body = re.sub(r"def (\w+)\(lm: context\) -> .*:", r"def \1(lm):", body)
    body = re.sub(r"^(\s*)observe (.*) ~ (.*)$", r"\1obs(\2, \3)", body, flags=re.M)
    body = re.sub(r"^(\s*)(\w+) ~ (.*)$", r"\1\2 = sample(\3)", body, flags=re.M)
    body = re.sub(r"^(\s*)condition (.*)$", r"\1cond(\2)", body, flags=re.M)
    body = re.sub(r"^(\s*)factor (.*)$", r"\1fac(\2)", body, flags=re.M)
    return re.sub(r"^(\s*)checkpoint$", r"\1pass", body, flags=re.M)


def rows_of(text):
    rows = {}
    for line in text[: text.index("\n\n")].splitlines()[1:]:
        context, entries = re.fullmatch(r'\s+"(.*?)" -> (.*)', line).groups()
        pairs = [e.split(": ") for e in entries.split(", ")]
        rows[context] = {None if t == "EOS" else t.strip('"'): float(Fraction(p)) for t, p in pairs}
    return rows


def oracle_measure(text):
    """Unnormalised mass by value, summed over every path of the Python function."""
    rows, source = rows_of(text), to_python(text)

    def once(rng: EnumeratingRng):
        runner = Runner(rows, rng)
        names = runner.names()
        exec(compile(source, "oracle", "exec"), names)
        try:
            return names["main"](), runner.weight
        except Dead:
            return None, 0.0

    found = {}
    for p, (value, weight) in enumerate_outcomes(once):
        if weight > 0.0:
            key = value_key(tuple(value) if isinstance(value, list) else value)
            found[key] = found.get(key, 0.0) + p * weight
    return found
