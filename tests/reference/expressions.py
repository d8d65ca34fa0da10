"""Draws expressions: numbers, texts, and every kind of condition that the library has."""

import json
import math
import re
from random import Random

from tests.reference import syntax as s
from tests.reference.semantics import EOS, words


class Expressions:
    """Draws expressions over the variables of a scope. texts: what literals are made of."""

    rng: Random
    texts: list

    def pick(self, *options):
        return self.rng.choice(options)()

    def number(self, scope):
        if self.rng.random() < 0.25:
            return s.literal(self.rng.choice((0, 1, 2)))
        found = []
        for n in scope.of("int"):
            found += [lambda n=n: s.name(n)] * 2
        for n in scope.of("str") + scope.of("list"):
            found.append(lambda n=n: s.E(f"len({n})", lambda m, v: len(plain(v[n]))))
        for n in scope.of("record"):
            found.append(lambda n=n: s.E(f'int(str({n}["n"]))', lambda m, v: v[n]["n"]))
        if scope.contexts:
            c = self.rng.choice(scope.contexts)
            found.append(lambda: s.E(f"{c}.tokens", lambda m, v: v[c].tokens))
        return self.rng.choice(found)() if found else s.literal(self.rng.choice((0, 1, 2)))

    def text(self, scope):
        found = []
        for n in scope.of("str") + scope.of("token"):
            found += [lambda n=n: s.name(n)] * 2
        for n in scope.of("list"):
            found.append(lambda n=n: s.E(f'join({n}, "")', lambda m, v: "".join(v[n])))
        for n in scope.of("record"):
            found.append(lambda n=n: s.E(f'str({n}["text"])', lambda m, v: v[n]["text"]))
        for c in scope.contexts:
            found.append(lambda c=c: s.E(f"{c}.text", lambda m, v: v[c].text))
        literal = not found or self.rng.random() < 0.1
        e = s.literal(self.rng.choice(self.texts)) if literal else self.rng.choice(found)()
        if self.rng.random() < 0.15:
            f, call = self.rng.choice(
                (("lower", str.lower), ("upper", str.upper), ("strip", str.strip))
            )
            return s.E(f"{f}({e.text})", lambda m, v: call(plain(e(m, v))))
        return e

    def truth(self, scope, deep=0):
        rng = self.rng
        if deep < 2 and rng.random() < 0.45:
            a, b = self.truth(scope, deep + 1), self.truth(scope, deep + 1)
            return self.pick(
                lambda: s.E(f"({a.text} and {b.text})", lambda m, v: a(m, v) and b(m, v)),
                lambda: s.E(f"({a.text} or {b.text})", lambda m, v: a(m, v) or b(m, v)),
                lambda: s.E(f"(not {a.text})", lambda m, v: not a(m, v)),
                lambda: s.E(f"(not ({a.text} or {b.text}))", lambda m, v: not (a(m, v) or b(m, v))),
            )
        kinds = ["text"] * 6 + ["number"] * 3
        kinds += ["token"] * 4 * bool(scope.of("token")) + ["bool"] * bool(scope.of("bool"))
        kinds += ["logprob"] * bool(scope.contexts) + ["call"] * 2 * bool(
            self.pure_functions(scope)
        )
        kind = rng.choice(kinds)
        if kind == "number":
            a, k = (
                self.number(scope),
                self.number(scope) if rng.random() < 0.3 else s.literal(rng.choice((0, 1, 2, 3))),
            )
            op = rng.choice(("<=", "<", ">=", ">", "==", "!="))
            return s.E(f"{a.text} {op} {k.text}", lambda m, v: COMPARE[op](a(m, v), k(m, v)))
        if kind == "token":
            return self.of_token(s.name(rng.choice(scope.of("token"))))
        if kind == "bool":
            return s.name(rng.choice(scope.of("bool")))
        if kind == "logprob":
            c, text = rng.choice(scope.contexts), rng.choice(self.texts)

            def likely(m, v):
                p = v[c].along(v[c].encode(text))
                return p > 0 and math.log(p) > -1.0371

            return s.E(f"logprob({c}, {s.written(text)}) > -1.0371", likely)
        if kind == "call":
            f, a, n = (
                rng.choice(self.pure_functions(scope)),
                as_text(self.text(scope)),
                self.number(scope),
            )
            return s.E(
                f"{f.name}({a.text}, {n.text})",
                lambda m, v: m.functions[f.name].call(m, (plain(a(m, v)), n(m, v))),
            )
        return self.of_text(scope, as_text(self.text(scope)))

    def pure_functions(self, scope):
        return [] if scope.pure else [f for f in self.functions if f.params[0][1] == "str"]

    def about(self, scope, n):
        """A test of a variable that has changed."""
        if n in scope.of("int"):
            k, op = (
                self.rng.choice((0, 1, 2, 3)),
                self.rng.choice(("<=", "<", ">=", ">", "==", "!=")),
            )
            return s.E(f"{n} {op} {k}", lambda m, v: COMPARE[op](v[n], k))
        if n in scope.of("list"):
            k = self.rng.choice((1, 2, 3))
            return s.E(f"len({n}) < {k}", lambda m, v: len(v[n]) < k)
        if n in scope.contexts:
            return self.of_text(scope, s.E(f"{n}.text", lambda m, v: v[n].text))
        return self.of_text(scope, s.name(n)) if n in scope.of("str") else self.truth(scope, deep=1)

    def mixed(self, scope, t, changed):
        """A test of what was drawn, and of what else there is: what a guide takes depends on what
        the rest reads."""
        rng = self.rng
        b = (
            self.about(scope, rng.choice(changed))
            if changed and rng.random() < 0.8
            else self.truth(scope, deep=1)
        )
        a = self.of_token(s.name(t)) if t in scope.of("token") else self.of_text(scope, s.name(t))
        return self.pick(
            lambda: s.E(f"{a.text} or {b.text}", lambda m, v: a(m, v) or b(m, v)),
            lambda: s.E(f"({b.text} or {a.text})", lambda m, v: b(m, v) or a(m, v)),
            lambda: s.E(f"{a.text} and {b.text}", lambda m, v: a(m, v) and b(m, v)),
            lambda: s.E(
                f"({b.text} if {a.text} else true)", lambda m, v: b(m, v) if a(m, v) else True
            ),
        )

    def of_token(self, t):
        x = self.rng.choice(self.texts)
        return self.pick(
            lambda: s.E(f"{t.text} == {s.written(x)}", lambda m, v: t(m, v) == x),
            lambda: s.E(f"{t.text} != {s.written(x)}", lambda m, v: t(m, v) != x),
            lambda: s.E(f"{t.text} != EOS", lambda m, v: t(m, v) != EOS),
            lambda: s.E(f"{t.text} == EOS", lambda m, v: t(m, v) == EOS),
            lambda: s.E(f'{t.text} in [{s.written(x)}, "zz"]', lambda m, v: t(m, v) == x),
        )

    def of_text(self, scope, e):
        """Every kind of predicate of the library on a text."""
        rng, a, b = self.rng, self.rng.choice(self.texts), self.rng.choice(self.texts)
        n = self.number(scope)
        op = rng.choice(("<=", "<", ">=", ">", "=="))

        def of(m, v):
            return plain(e(m, v))

        def number(text, f):
            return lambda: s.E(
                f"{text} {op} {n.text}", lambda m, v: COMPARE[op](f(of(m, v)), n(m, v))
            )

        def test(text, f):
            return lambda: s.E(text, lambda m, v: f(of(m, v)))

        x, wa, wb, t = e.text, s.written(a), s.written(b), self.text(scope)
        pattern = rng.choice(
            (
                f"{escaped(a)}*",
                f"({escaped(a)}|{escaped(b)})+",
                ".?",
                f".*{escaped(b)}",
                "[^a]*",
                r"\w*",
                "a?b?",
                r"(\w ?)*",
            )
        )
        raw = pattern.replace('"', '\\"')
        return self.pick(
            test(
                f'matches({x}, r"{raw}")',
                lambda s_: "�" not in s_ and re.fullmatch(pattern, s_) is not None,
            ),
            test(f"contains({x}, {wa})", lambda s_: a in s_),
            test(f"not contains({x}, {wa})", lambda s_: a not in s_),
            test(f"{wa} in {x}", lambda s_: a in s_),
            test(f"starts_with({x}, {wa})", lambda s_: s_.startswith(a)),
            test(f"ends_with({x}, {wa})", lambda s_: s_.endswith(a)),
            test(
                f'{x} in [{wa}, {wb}, "", {s.written(a + b)}]', lambda s_: s_ in (a, b, "", a + b)
            ),
            test(f"{x} not in [{wa}, {wb}]", lambda s_: s_ not in (a, b)),
            lambda: s.E(f"{x} == {as_text(t).text}", lambda m, v: of(m, v) == plain(t(m, v))),
            lambda: s.E(f"{x} != {as_text(t).text}", lambda m, v: of(m, v) != plain(t(m, v))),
            number(f"len({x})", len),
            number(f"letters({x})", lambda s_: sum(map(str.isalpha, s_))),
            number(f"len(words({x}))", lambda s_: len(words(s_))),
            number(f"count({x}, {wa})", lambda s_: s_.count(a)),
            number(f"len({x}) + count({x}, {wb})", lambda s_: len(s_) + s_.count(b)),
            number(f"sum(len(w) for w in words({x}))", lambda s_: sum(map(len, words(s_)))),
            test(
                f"all(len(w) < 2 for w in words({x}))",
                lambda s_: all(len(w) < 2 for w in words(s_)),
            ),
            test(
                f"any(contains(w, {wa}) for w in words({x}))",
                lambda s_: any(a in w for w in words(s_)),
            ),
            test(
                f"all(w != {wa} for w in words({x}) if len(w) > 0)", lambda s_: a not in words(s_)
            ),
            test(f"all(c in [{wa}, {wb}] for c in {x})", lambda s_: all(c in (a, b) for c in s_)),
            test(f"last_word({x}) == {wa}", lambda s_: (words(s_) or [""])[-1] == a),
            test(f"len(lines({x})) <= 1", lambda s_: len(s_.splitlines()) <= 1),
            test(f"find({x}, {wa}) < 1", lambda s_: s_.find(a) < 1),
            test(
                f'valid_json({x}, schema="{{\\"type\\": \\"integer\\"}}")',
                lambda s_: is_integer(s_),
            ),
            test(
                f'parses({x}, grammar="start: \\"a\\" (\\"b\\" | \\"é\\")*")',
                lambda s_: re.fullmatch("a[bé]*", s_) is not None,
            ),
        )


def escaped(text):
    """A pattern of one line for a text."""
    return re.escape(text).replace("\\\n", r"\n")


def is_integer(text):
    if text != text.strip() or "�" in text:
        return False
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, int) and not isinstance(value, bool)


COMPARE = {
    "<=": lambda a, b: a <= b, "<": lambda a, b: a < b, ">=": lambda a, b: a >= b,
    ">": lambda a, b: a > b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


def plain(value):
    return value.text if hasattr(value, "end") else value


def as_text(e):
    """An expression that is surely a text: a token's own."""
    return s.E(
        f"str({e.text})" if re.fullmatch(r"t\d+", e.text) else e.text, lambda m, v: plain(e(m, v))
    )


class Scope:
    """The variables that are sure to be set, by type."""

    def __init__(self):
        self.by, self.contexts, self.model = {}, [], {}
        self.inside = self.pure = False
        self.fixed = set()
        self.returns = ""

    def add(self, kind, name):
        self.by.setdefault(kind, []).append(name)
        if name[0] in "ick" or kind in ("token", "bool"):
            self.fixed.add(name)

    def of(self, kind):
        return list(self.by.get(kind, ()))

    def within(self):
        twin = Scope()
        twin.by = {k: list(v) for k, v in self.by.items()}
        twin.contexts, twin.model = list(self.contexts), dict(self.model)
        twin.inside, twin.pure, twin.fixed, twin.returns = (
            self.inside,
            self.pure,
            set(self.fixed),
            self.returns,
        )
        return twin
