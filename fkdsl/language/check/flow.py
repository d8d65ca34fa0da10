"""Where control can go: variables read before they are set, ends without `return`, code that is
never reached.

The state of a point is the set of variables set on every path to it, or None if no path reaches it.
A loop needs no iteration to a fixpoint: its body only adds to the set, so the state at its head is
the state before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.language.check.report import Report
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.tree_walk import evaluated, is_true, reads, statements, targets

State = frozenset[str] | None


def join_states(a: State, b: State) -> State:
    """What is set on the paths of both."""
    if a is None or b is None:
        return b if a is None else a
    return a & b


@dataclass
class Loop:
    breaks: State = None


def leaves(body: Iterable[tree.Stmt]) -> Iterator[tree.Break | tree.Continue]:
    """The `break` and `continue` of statements that belong to a loop round them."""
    for s in body:
        if isinstance(s, tree.Break | tree.Continue):
            yield s
        elif isinstance(s, tree.If):
            yield from leaves((*s.then, *s.other))


def _is_never(s: tree.Stmt) -> bool:
    """Whether a statement is `condition false`."""
    match s:
        case tree.Condition(test=tree.Literal(value=False)):
            return True
    return False


@dataclass
class Flow:
    """Checks the flow of one def or program."""

    report: Report
    definition: tree.FunctionDef
    loops: list[Loop] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)
    """For a variable that is set on some paths only: which path misses it."""

    def check(self, gives_value: bool) -> None:
        """Reports the mistakes of flow; `gives_value`: the function returns a value somewhere, or
        says that it does."""
        d = self.definition
        self.first_set = {n.name: n for s in reversed(list(statements(d.body))) for n in targets(s)}
        end = self.block(d.body, frozenset(p.name for p in d.params))
        kind = "program" if d.is_program else "function"
        if d.is_program and not any(isinstance(s, tree.Return) for s in statements(d.body)):
            self.report.error(
                "FK303", f"program `{d.name}` returns nothing", d.name_span, "no `return`",
                "a program's value is what the posterior is over: end with `return lm.text`, say",
            )  # fmt: skip
        elif gives_value and end is not None:
            last = d.body[-1].span.line if d.body else d.name_span.line
            help = "end with `return ...`"
            if any(_is_never(s) for s in statements(d.body)):
                help += ", behind `condition false` too: no particle gets there"
            self.report.error(
                "FK302", f"{kind} `{d.name}` can end without a `return`", d.name_span,
                "gives a value on other paths",
                help,
                notes=(f"the end is reached after {_what(d.body)} of line {last}",),
            )  # fmt: skip

    def block(self, body: Sequence[tree.Stmt], state: State) -> State:
        for i, s in enumerate(body):
            if state is None:
                for stray in () if self.loops else leaves(body[i:]):
                    self.leave(stray, frozenset())
                self.report.warning(
                    "FK310",
                    "this is never reached",
                    s.span,
                    "no path leads here",
                    "remove it, or what ends before it",
                )
                return None
            state = self.statement(s, state)
        return state

    def statement(self, s: tree.Stmt, state: frozenset[str]) -> State:
        for e in evaluated(s):
            state = self.read(e, state)
        match s:
            case tree.If(then=then, other=other):
                return self.branch(s, self.block(then, state), self.block(other, state))
            case tree.While(test=test, body=body):
                return self.loop(s, body, state, None if is_true(test) else state)
            case tree.For(targets=names, body=body):
                return self.loop(s, body, state, state, frozenset(n.name for n in names))
            case tree.Return():
                return None
            case tree.Break() | tree.Continue():
                return self.leave(s, state)
        return state | {n.name for n in targets(s)}

    def branch(self, s: tree.If, then: State, other: State) -> State:
        after = join_states(then, other)
        if then is not None and other is not None:
            for name in then - other:
                self.why[name] = f"it is set only if the test of line {s.span.line} holds"
            for name in other - then:
                self.why[name] = f"it is set only if the test of line {s.span.line} does not hold"
        return after

    def loop(
        self, s: tree.For | tree.While, body: tuple[tree.Stmt, ...], head: frozenset[str],
        falls: State,
        set_by_head: frozenset[str] = frozenset(),
    ) -> State:  # fmt: skip
        self.loops.append(Loop())
        end = self.block(body, head | set_by_head)
        after = join_states(falls, self.loops.pop().breaks)
        for name in ((end or frozenset()) | set_by_head) - (after or frozenset()):
            endless = isinstance(s, tree.While) and is_true(s.test)
            how = "may be left before" if endless else "may run no time at all"
            self.why[name] = f"it is set inside the loop of line {s.span.line}, which {how}"
        return after

    def leave(self, s: tree.Break | tree.Continue, state: frozenset[str]) -> State:
        if not self.loops:
            word = "break" if isinstance(s, tree.Break) else "continue"
            self.report.error(
                "FK305",
                f"`{word}` outside a loop",
                s.span,
                "no loop round it",
                "to end the function, write `return`",
            )
            return state
        if isinstance(s, tree.Break):
            self.loops[-1].breaks = join_states(self.loops[-1].breaks, state)
        return None

    def read(self, e: tree.Expr, state: frozenset[str]) -> frozenset[str]:
        """Reports what the expression reads too early, and takes it as set from then on."""
        for name in reads(e):
            if name.name in state or name.name not in self.first_set:
                continue
            first = self.first_set[name.name]
            note = self.why.get(name.name, "")
            if note:
                message, label = (
                    f"`{name.name}` may be read before it is set",
                    "not set on every path",
                )
                help = f"set `{name.name}` on every path, or give it a first value before"
            else:
                message, label = f"`{name.name}` is read before it is set", "not set yet"
                note = f"it is first set in line {first.span.line}"
                help = f"give `{name.name}` a value before this line"
            self.report.error("FK301", message, name.span, label, help, notes=(note,))
            state = state | {name.name}
        return state


def _what(body: tuple[tree.Stmt, ...]) -> str:
    match body[-1] if body else None:
        case tree.If():
            return "the `if`"
        case tree.For() | tree.While():
            return "the loop"
    return "the statement"
