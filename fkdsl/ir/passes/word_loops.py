"""Draws of words look ahead to what is asked of them all:

    for i in range(5):
        w ~ word(lm)
        n += syllables(w)
    condition n == 7

The words that a loop draws are those of one text. So the loop is read as one over `words(s)` of a
text s that is drawn before it, by the means that read loops over texts (ways.py, folds.py). What
they make of the conditions in it and behind it says which texts are asked for, and how many words.
That is read for a surrogate's guesses alone, which a weight makes up for: nothing is refused by it,
and the conditions stay where they are, so it may be a little more or less than what they ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import PRELUDE, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import bound, reads, renumbered, writes
from fkdsl.ir.passes.constant import why_not_followed
from fkdsl.ir.passes.forms import FLIPPED, in_plain_form
from fkdsl.ir.passes.inline import fresh_slot, inlined
from fkdsl.ir.passes.reading import conjuncts, loops, rebuilt
from fkdsl.ir.passes.regular import ORDERS, all_of, language_of
from fkdsl.ir.passes.text_copies import with_own_sites
from fkdsl.ir.passes.text_guidance import Settings
from fkdsl.ir.passes.views import has_grammar
from fkdsl.ir.passes.ways import Ways
from fkdsl.machine.proposal_plan import Absorbed, ProposalPlan, WordsAhead

OF_WORD = "[\\w'\u2019-]"
"""A character of a word."""
WORD = "word"
"""The prelude's function that draws a word."""


def guide_words(program: ir.Program, settings: Settings) -> ir.Program:
    """The program, each loop that draws words of which something is asked with a `word` of its own
    that looks ahead to it."""
    word = program.functions.get(WORD)
    if word is None or word.span.source.name != PRELUDE or not settings.automata:
        return program
    functions = dict(program.functions)
    for name, function in program.functions.items():
        while (found := _next(program, functions[name], settings)) is not None:
            copy = f"{WORD} {len(functions)}"
            functions[copy], functions[name] = _guided(word, copy, functions[name], found)
        del function
    called = {i.function for f in functions.values() for i in f.body if isinstance(i, ir.Call)}
    kept = {n: f for n, f in functions.items() if n != WORD or n in called or n == program.entry}
    return replace(program, functions=with_own_sites(kept))


@dataclass(frozen=True)
class _Asked:
    """What is asked of the words of a call. at: the call's position; first: where its loop begins,
    or the call itself, which nothing but the words that it draws comes between. languages: by
    condition, of the text of all words, over the slots as they were there. text: its slot."""

    at: int
    first: int
    text: int
    languages: tuple[tuple[Span, ir.Expr], ...]


def _next(program: ir.Program, function: ir.Function, settings: Settings) -> _Asked | None:
    """The first call of `word` of whose words something is asked."""
    for at, instr in enumerate(function.body):
        match instr:
            case ir.Call(function=name, args=(ir.Local(slot=context), _)) if name == WORD:
                asked = _asked(program, function, at, context, settings)
                if asked is not None:
                    return asked
    return None


def _asked(
    program: ir.Program, function: ir.Function, at: int, context: int, settings: Settings
) -> _Asked | None:
    around = [(a, b) for a, b in loops(function) if a < at < b]
    first, last = max(around) if around else (at, at)
    others = (i for pc, i in enumerate(function.body) if first <= pc <= last and pc != at)
    if any(_extends(i, context) for i in others):
        return None
    text = fresh_slot()
    as_text = _as_text(function, at, first, last, text)
    if as_text is None:
        return None
    begins, body, count = as_text
    ways = Ways(program, replace(function, body=body), text)
    ways.follow(begins, _begun_with(function.body[:first]))
    languages: list[tuple[Span, ir.Expr]] = []
    for met in ways.met:
        for part in conjuncts(inlined(program, met.known)) if met.known is not None else ():
            known = in_plain_form(_of_characters(part, text))
            of = _syllables(known, text) or language_of(known, text)
            if (
                of is not None
                and text in reads(known)
                and not has_grammar(of)
                and not why_not_followed(of, settings.folders)
            ):
                languages.append((met.span, of))
    if all(span == count for span, _ in languages):  # as many words come in any case
        return None
    return _Asked(at, first, text, tuple(languages))


def _begun_with(before: Sequence[ir.Instr]) -> dict[int, ir.Expr]:
    """What is written out that slots hold behind some instructions: `n = 0`, `made = []`."""
    known: dict[int, ir.Expr] = {}
    passed = set[int]()
    for instr in before[::-1]:
        match instr:
            case ir.Label() | ir.Jump() | ir.Branch() | ir.Next() | ir.Return():
                break
            case ir.Set(targets=(slot,), value=value) if slot not in passed and (
                isinstance(value, ir.Const)
                or (isinstance(value, ir.Operate) and (value.operator, value.args) == ("list", ()))
            ):
                known[slot] = value
        passed |= writes(instr)
    return known


def _extends(instr: ir.Instr, context: int) -> bool:
    """Whether an instruction may be seen to add to a context, or to make the variable another."""
    if context in writes(instr):
        return True
    return instr.contexts is ir.Contexts.EXTENDS and context in reads(instr)


def _as_text(
    function: ir.Function, at: int, first: int, last: int, text: int
) -> tuple[int, tuple[ir.Instr, ...], Span] | None:
    """(where to begin, a body in which the words of a call are those of a text, the place of the
    condition that says how many they are)."""
    body, call = function.body, function.body[at]
    assert isinstance(call, ir.Call)
    span = call.span
    listed = ir.Builtin(span, "words", (ir.Local(span, text),))
    if first == at:
        only = ir.Operate(span, "index", (listed, ir.Const(span, 0)))
        drawn = (ir.Set(span, (call.target,), only), _as_many(span, listed, ir.Const(span, 1)))
        return 0, (*drawn, *_nowhere(body[:at]), *body[at + 1 :]), span
    head, label = body[first + 1], body[first]
    items, counter = fresh_slot(), fresh_slot()
    behind: tuple[ir.Instr, ...] = ()
    targets: tuple[int, ...] = (call.target,)
    over: ir.Expr = listed
    match head:
        case ir.Branch(test=test, otherwise=done):
            behind = (ir.Condition(head.span, ir.Operate(head.span, "not", (test,))),)
        case ir.Next(items=of, counter=taken, targets=own, done=done):
            left = (ir.Local(span, of), ir.Local(span, taken), ir.Const(span, None))
            rest = ir.Operate(span, "slice", left)
            behind = (_as_many(span, listed, ir.Builtin(span, "len", (rest,))),)
            inside = body[first + 2 : last]
            if len(own) == 1 and any(own[0] in reads(i) for i in inside):
                targets, over = (*own, call.target), ir.Builtin(span, "zip", (rest, listed))
        case _:
            return None
    in_loop = [i for i in body[first + 2 : last] if i is not call]
    again = tuple(i for i in in_loop if isinstance(i, ir.Condition))
    turn = (
        ir.Set(span, (items,), ir.Operate(span, "iterate", (over,))),
        ir.Set(span, (counter,), ir.Const(span, 0)),
        label,
        ir.Next(span, items, counter, targets, done),
        *in_loop,
        body[last],
    )
    # The end of the loop may stand anywhere behind it.
    ends = next(i for i, x in enumerate(body) if isinstance(x, ir.Label) and x.name == done)
    if not last < ends:
        return None
    after = (*body[last + 1 : ends + 1], *behind, *again, *body[ends + 1 :])
    return 0, (*turn, *after, *_nowhere(body[:first])), span


def _nowhere(instrs: Sequence[ir.Instr]) -> Iterator[ir.Instr]:
    """What stood before, behind the end: so that every label is somewhere."""
    return (i for i in instrs if isinstance(i, ir.Label))


def _as_many(span: Span, listed: ir.Expr, n: ir.Expr) -> ir.Condition:
    return ir.Condition(span, ir.Operate(span, "eq", (ir.Builtin(span, "len", (listed,)), n)))


def _of_characters(test: ir.Expr, text: int) -> ir.Expr:
    """A test with the lengths of all words together as how many characters of words the text has,
    and their letters as its own."""

    def change(node: Any) -> Any:
        node = rebuilt(node, change)
        match node:
            case ir.Builtin(
                span=span,
                name="sum",
                args=(
                    ir.Gather(
                        element=ir.Builtin(
                            name="len" | "letters" as name, args=(ir.Local(slot=item),)
                        ),
                        clauses=(
                            ir.Clause(
                                (of,), ir.Builtin(name="words", args=(ir.Local(slot=slot),)), ()
                            ),
                        ),
                    ),
                ),
            ) if slot == text and item == of:
                whole, one = ir.Local(span, text), fresh_slot()
                if name == "letters":
                    return ir.Builtin(span, "letters", (whole,))
                is_of_word = (ir.Local(span, one), ir.Const(span, OF_WORD))
                clause = ir.Clause((one,), whole, (ir.Builtin(span, "matches", is_of_word),))
                return ir.Builtin(span, "len", (ir.Gather(span, ir.Local(span, one), (clause,)),))
        return node

    changed: ir.Expr = change(test)
    return changed


# ------------------------------------------------------------------- syllables


def _syllables(test: ir.Expr, text: int) -> ir.Expr | None:
    """The language of a comparison of the syllables of all words with a number."""
    match test:
        case ir.Operate(operator="not", args=(ir.Operate(operator=denied, args=(a, b)),)) if (
            denied in ORDERS
        ):
            operator = ORDERS[denied]
        case ir.Operate(operator=operator, args=(a, b)) if operator in FLIPPED:
            pass
        case _:
            return None
    if text in reads(b):
        a, b, operator = b, a, FLIPPED[operator]
    rest = _less_syllables(a, b, text)
    if rest is None or text in reads(rest):
        return None
    numbers = ir.Builtin(test.span, ".numbers", (ir.Const(test.span, operator), rest))
    return ir.Builtin(test.span, ".syllables", (numbers,))


def _less_syllables(e: ir.Expr, b: ir.Expr, text: int) -> ir.Expr | None:
    """b less what is added to the syllables in e; None where e is not those and something else."""
    span = e.span
    match e:
        case ir.Builtin(name="syllables", args=(ir.Local(slot=slot),)) if slot == text:
            return b
        case ir.Builtin(
            name="sum",
            args=(
                ir.Gather(
                    element=ir.Builtin(name="syllables", args=(ir.Local(slot=item),)),
                    clauses=(
                        ir.Clause((of,), ir.Builtin(name="words", args=(ir.Local(slot=slot),)), ()),
                    ),
                ),
            ),
        ) if slot == text and item == of:
            return b
        case ir.Operate(operator="add", args=(x, y)):
            for some, more in ((x, y), (y, x)):
                if text not in reads(more):
                    return _less_syllables(some, ir.Operate(span, "sub", (b, more)), text)
    return None


# ----------------------------------------------------------------------- the copy


def _guided(
    word: ir.Function, name: str, function: ir.Function, asked: _Asked
) -> tuple[ir.Function, ir.Function]:
    """A copy of `word` whose draws look ahead, and the function that calls it."""
    call = function.body[asked.at]
    assert isinstance(call, ir.Call)
    span, languages = call.span, [e for _, e in asked.languages]
    captured = sorted(set().union(*map(reads, languages)) - {asked.text})
    # What is asked is said by the values at the beginning, which the loop may change.
    first, n = len(function.slots), word.parameters
    before: list[ir.Instr] = [
        ir.Set(span, (first + i,), ir.Local(span, slot)) for i, slot in enumerate(captured)
    ]
    tokens = ir.Operate(span, "attribute", (call.args[0], ir.Const(span, "tokens")))
    before.append(ir.Set(span, (first + len(captured),), tokens))
    given = tuple(ir.Local(span, first + i) for i in range(len(captured) + 1))
    body = list(function.body)
    body[asked.at] = replace(call, function=name, args=(*call.args, *given))
    body[asked.first : asked.first] = before
    kept = tuple(f".{what}" for what in ("given",) * len(captured) + ("origin",))
    caller = replace(function, slots=(*function.slots, *kept), body=tuple(body))

    own = sorted(set().union(*map(bound, languages)))
    shift = {old: old if old < n else old + len(given) for old in range(len(word.slots))}
    slots = (*word.slots[:n], *kept, *word.slots[n:], *(".each" for _ in own))
    of_caller = {old: n + i for i, old in enumerate(captured)}
    of_caller |= {old: len(word.slots) + len(given) + i for i, old in enumerate(own)}
    language = renumbered(all_of(span, languages), of_caller)
    plan = ProposalPlan(
        words=WordsAhead(language, n + len(captured)),
        absorbed=tuple(
            Absorbed(s, "words")
            for s in dict.fromkeys(s for s, _ in asked.languages)
            if s != span  # how many words come is no condition
        ),
    )
    drawing = [renumbered(i, shift) for i in word.body]
    copy = tuple(replace(i, plan=plan) if isinstance(i, ir.Draw) else i for i in drawing)
    return ir.Function(name, n + len(given), slots, copy, word.span), caller
