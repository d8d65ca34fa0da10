"""Draws statements: every draw, what may follow it, and blocks of them."""

import math
import zlib

from tests.reference import syntax as s
from tests.reference.expressions import Expressions, as_text, plain
from tests.reference.language_models import Bytes
from tests.reference.semantics import EOS


class Statements(Expressions):
    """Draws lists of statements in a scope. `rng`, `texts`, `functions` and `names` are of the
    program that they stand in."""

    def fresh(self, stem):
        self.names += 1
        return f"{stem}{self.names}"

    def record(self, scope):
        a, b = as_text(self.text(scope)), self.number(scope)
        return s.E(
            f'{{"text": {a.text}, "n": {b.text}}}',
            lambda m, v: {"text": plain(a(m, v)), "n": b(m, v)},
        )

    def result(self, scope):
        makers = {
            "str": self.shown,
            "list[str]": self.listed,
            "record": self.record,
            "int": self.number,
        }
        return makers[scope.returns](scope)

    def shown(self, scope):
        n = self.rng.choice(scope.contexts)
        return s.E(f"{n}.text", lambda m, v: v[n].text)

    def listed(self, scope):
        parts = [self.shown(scope)] + [self.text(scope) for _ in range(2)]
        n = self.number(scope)
        return s.E(
            f"[{', '.join(p.text for p in parts)}, str({n.text})]",
            lambda m, v: [*(p(m, v) for p in parts), str(n(m, v))],
        )

    def statements(self, scope, deep):
        """A draw with what may follow it, or something with blocks."""
        rng = self.rng
        if deep < 2 and rng.random() < 0.4:
            return self.nested(scope, deep)
        found = self.drawn(scope)
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3))):
            found += self.after(scope)
        return found

    def nested(self, scope, deep):
        rng = self.rng
        inner = scope.within()
        shape = rng.choice(("for", "for", "while", "if", "each"))
        if shape == "if":
            test = self.truth(scope)
            then = s.Block(self.statements(inner, deep + 1))
            other = s.Block(self.after(scope.within())) if rng.random() < 0.5 else s.Block()
            return [s.If(test, then, other)]
        if shape == "each" and scope.of("str"):
            c, n = self.fresh("c"), rng.choice(scope.of("str"))
            inner.add("str", c)
            return [s.For(c, s.E(n, lambda m, v: list(plain(v[n]))), s.Block(self.after(inner)))]
        live = list(scope.contexts)
        body = s.Block(self.statements(inner, deep + 1))
        text = " or ".join(f"{c}.done" for c in live)
        stop = s.If(s.E(text, lambda m, v: any(v[c].done for c in live)), s.Block([s.broken()]))
        if rng.random() < 0.7:
            body.insert(0, stop)
        if shape == "while":
            most, counter = rng.choice((1, 2, 2)), self.fresh("k")
            test = s.E(f"{counter} < {most}", lambda m, v: v[counter] < most)
            body.append(s.add(counter, s.literal(1)))
            return [s.assign(counter, s.literal(0)), s.While(test, body)]
        i, times = self.fresh("i"), rng.choice((2, 2, 3))
        inner.add("int", i)
        return [s.For(i, s.E(f"range({times})", lambda m, v: range(times)), body)]

    def guard(self, contexts):
        """Often, nothing is drawn from a finished context."""
        if self.rng.random() < 0.5:
            return []
        text = " and ".join(f"not {c}.done" for c in contexts)
        return [s.condition(s.E(text, lambda m, v: not any(v[c].done for c in contexts)))]

    def alike(self, scope, c):
        """The contexts that can be combined with one."""
        return [d for d in scope.contexts if scope.model[d].identity == scope.model[c].identity]

    def distribution(self, scope):
        """(a D, its contexts)"""
        rng, c = self.rng, self.rng.choice(scope.contexts)
        others = self.alike(scope, c)
        shape = rng.choice(("one", "one", "one", "power", "product", "mixture", "both"))
        d, e = s.of_context(c), rng.choice(others)
        if shape == "one":
            return d, [c]
        if shape == "power":
            return d ** rng.choice((0.5, 2.0)), [c]
        if shape == "product":
            return d * s.of_context(e), list({c: 0, e: 0})
        if shape == "mixture":
            return s.mixture([d, s.of_context(e)], (0.25, 0.75)), list({c: 0, e: 0})
        return (d * s.of_context(e)) ** 0.5, list({c: 0, e: 0})

    def drawn(self, scope):
        rng, c = self.rng, self.rng.choice(scope.contexts)
        kinds = ["token"] * 5 + ["text"] * 3 + ["choice", "word", "number", "flip"]
        kinds += ["call"] * (2 * bool(self.callable(scope)))
        kind = rng.choice(kinds)
        if kind == "token":
            d, contexts = self.distribution(scope)
            t = self.fresh("t")
            found = [
                *self.guard(contexts),
                s.draw(t, d.text, lambda m, v: m.token(d.mix(m, v))),
            ]
            scope.add("token", t)
            if rng.random() < 0.5:
                found += self.looked_at(scope, t, contexts)
            return found
        if kind == "text":
            until, most, n = (
                rng.choice(("", "", *self.texts, self.texts)),
                rng.choice((1, 2, 2, 3)),
                self.fresh("s"),
            )
            end = f", until={s.written(until)}" if until else ""
            scope.add("str", n)
            found = self.looked_at(scope, n, [c]) if rng.random() < 0.5 else []
            return [
                *self.guard([c]),
                s.draw(
                    n, f"text({c}{end}, max_tokens={most})", lambda m, v: m.text(v[c], until, most)
                ),
                *found,
            ]
        if kind == "word":
            n = self.fresh("s")
            scope.add("str", n)
            return [
                *self.guard([c]),
                s.draw(n, f"word({c}, max_tokens=2)", lambda m, v: m.word(v[c], 2)),
            ]
        if kind == "choice":
            options, other, n = self.options(), self.other(), self.fresh("s")
            scope.add("str", n)
            return [
                *self.guard([c]),
                s.draw(
                    n, choice_text(c, options, other), lambda m, v: m.choice(v[c], options, other)
                ),
            ]
        if kind == "call":
            f, n, k = rng.choice(self.callable(scope)), self.fresh("n"), self.number(scope)
            n = self.fresh("n" if f.returns == "int" else "s")
            found = [
                s.draw(
                    n,
                    f"{f.name}({c}, {k.text})",
                    lambda m, v: m.functions[f.name].call(m, (v[c], k(m, v))),
                )
            ]
            scope.add(f.returns, n)
            if rng.random() < 0.5 and scope.of("int"):
                total = rng.choice([x for x in scope.of("int") if x not in scope.fixed] or [n])
                if total != n and f.returns == "int":
                    found.append(s.assign(total, s.name(n)))
            return [*self.guard([c]), *found]
        return [self.flip(scope) if kind == "flip" else self.uniform(scope)]

    def callable(self, scope):
        return (
            []
            if scope.inside or scope.pure
            else [f for f in self.functions if f.params[0][1] == "context"]
        )

    def options(self):
        found = list(dict.fromkeys([self.texts[0], self.texts[1], self.texts[0] + self.texts[1]]))
        return [o for o in found if o][: self.rng.choice((2, 3))] or ["a"]

    def other(self):
        """What comes out for none of the options, or None."""
        return self.rng.choice((None, "", "no"))

    def flip(self, scope):
        n = self.fresh("b")
        scope.add("bool", n)
        return s.draw(n, "bernoulli(0.25)", lambda m, v: m.choose({True: 0.25, False: 0.75}))

    def uniform(self, scope):
        n, high = self.fresh("n"), self.rng.choice((1, 2))
        scope.add("int", n)
        return s.draw(
            n,
            f"uniform_int(0, {high})",
            lambda m, v: m.choose(dict.fromkeys(range(high + 1), 1 / (high + 1))),
        )

    def after(self, scope):
        """What follows a draw."""
        rng = self.rng
        kind = rng.choice(
            ["condition"] * 6
            + ["add"] * 4
            + ["assign"] * 2
            + [
                "factor",
                "observe",
                "observe",
                "if",
                "checkpoint",
                "extend",
                "fork",
                "return",
            ]
        )
        if kind == "condition" or scope.pure:
            return [s.condition(self.truth(scope))]
        if kind == "add":
            return self.added(scope)
        if kind == "assign":
            return self.assigned(scope)
        if kind == "factor":
            n = self.number(scope)
            if zlib.crc32(n.text.encode()) % 3 == 0:  # a twist changes no measure
                return [s.Do(f"twist 0.3 * ({n.text})", lambda m, v: None)]
            return [
                s.Do(f"factor -0.7 * ({n.text})", lambda m, v: m.weigh(math.exp(-0.7 * n(m, v))))
            ]
        if kind == "observe":
            return self.observed(scope)
        if kind == "if":
            test, inner = self.truth(scope), scope.within()
            return [s.If(test, s.Block(self.after(inner) or [s.condition(self.truth(inner))]))]
        if kind == "checkpoint":
            return [s.Do("checkpoint", lambda m, v: None)] if not scope.inside else []
        if kind == "extend":
            c, text = rng.choice(scope.contexts), rng.choice(self.texts)
            return [] if isinstance(scope.model[c], Bytes) else [s.extend(c, text)]
        if kind == "fork" and not scope.inside and len(scope.contexts) < 4:
            c, n = rng.choice(scope.contexts), self.fresh("lm")
            scope.contexts.append(n)
            scope.model[n] = scope.model[c]
            if rng.random() < 0.3:
                return [s.assign(n, s.name(c))]
            return [s.assign(n, s.E(f"fork({c})", lambda m, v: v[c].fork()))]
        if kind == "return":
            return [s.If(self.truth(scope), s.Block([s.returned(self.result(scope))]))]
        return []

    def looked_at(self, scope, drawn, contexts):
        """Some changes, and a condition on what was drawn and what has changed."""
        changes = [x for _ in range(self.rng.choice((0, 1, 1, 2))) for x in self.changed(scope)]
        names = [x.text.split()[0] for x in changes] + contexts
        return [*changes, s.condition(self.mixed(scope, drawn, names))]

    def changed(self, scope):
        """Something that may hold another value now."""
        return self.added(scope) if self.rng.random() < 0.7 else self.assigned(scope)

    def assigned(self, scope):
        k = self.rng.choice(("int", "str", "record", "list"))
        usable = [x for x in scope.of(k) if x not in scope.fixed]
        if not usable:
            return []
        makers = {
            "int": self.number,
            "str": self.own_text,
            "record": self.record,
            "list": self.texts_of,
        }
        return [s.assign(self.rng.choice(usable), makers[k](scope))]

    def own_text(self, scope):
        return as_text(self.text(scope))

    def added(self, scope):
        k = self.rng.choice(("int", "str", "list"))
        usable = [x for x in scope.of(k) if x not in scope.fixed]
        if not usable:
            return []
        e = {"int": self.number, "str": self.text, "list": self.texts_of}[k](scope)
        return [s.add(self.rng.choice(usable), e)]

    def texts_of(self, scope):
        a = self.text(scope)
        return s.E(f"[{as_text(a).text}]", lambda m, v: [plain(a(m, v))])

    def observed(self, scope):
        rng = self.rng
        kind = rng.choice(("token", "text", "number", "choice", "eos"))
        d, contexts = self.distribution(scope)
        if kind == "number":
            n = self.number(scope)
            weights = (0.3, 0.7)

            def act(m, v):
                m.weigh(sum(w for x, w in zip((0, 1), weights, strict=True) if x == n(m, v)))

            return [s.Do(f"observe {n.text} ~ categorical([0, 1], [0.3, 0.7])", act)]
        if kind == "choice":
            c, options, other = contexts[0], self.options(), self.other()
            text = rng.choice((*self.texts, *([] if other is None else [other])))
            return [
                *self.guard([c]),
                s.Do(
                    f"observe {s.written(text)} ~ {choice_text(c, options, other)}",
                    lambda m, v: m.observe_choice(text, v[c], options, other),
                ),
            ]
        if kind == "token" and scope.of("token"):
            e = s.name(rng.choice(scope.of("token")))
        elif kind == "eos":
            e = s.E("EOS", lambda m, v: EOS)
        else:
            e = s.literal(rng.choice(self.texts))
        return [
            *self.guard(contexts),
            s.Do(
                f"observe {e.text} ~ {d.text}",
                lambda m, v: m.observe_token(e(m, v), lambda: d.mix(m, v)),
            ),
        ]


def choice_text(c, options, other):
    last = "" if other is None else f", other={s.written(other)}"
    return f"choice({c}, {s.written(options)}{last})"
