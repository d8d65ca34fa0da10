"""What guides a text while it is drawn: the conditions after the draw that speak of the text alone,
each as a language, as a check of the beginning of the text, or as what stays for the end, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fkdsl.base.folders import Folder
from fkdsl.base.spans import Source, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.effects import reads, writes
from fkdsl.ir.passes.constant import unfollowed_parts, why_not_followed
from fkdsl.ir.passes.early import early_form
from fkdsl.ir.passes.inline import inlined
from fkdsl.ir.passes.reading import asks_model, calls_out, conjuncts, reads_context, substitute
from fkdsl.ir.passes.regular import language_of
from fkdsl.machine.proposal_plan import Absorbed

ONLY_AT_THE_END = (
    "it decides the last token only; guide the text by what it implies: a pattern, a grammar, "
    "a bound on words or length"
)
SWITCHED_OFF = "what would guide it is switched off"


@dataclass
class Guidance:
    """What the conditions after a text say of it while it is drawn.

    languages, checks: (the condition's place, an expression over the caller's slots); a check reads
    the text's slot for the beginning of the text. unfollowed: by condition, the parts of its
    language that no mask follows. unused: the conditions that guide nothing, and why. closed:
    where it is said that a stop or EOS must end the text, None where it need not.
    """

    languages: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    checks: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    unfollowed: dict[Span, dict[str, None]] = field(default_factory=dict)
    unused: list[Absorbed] = field(default_factory=list)
    closed: Span | None = None

    def __bool__(self) -> bool:
        return bool(self.languages or self.checks or self.closed)

    @property
    def expressions(self) -> list[ir.Expr]:
        return [e for _, e in [*self.languages, *self.checks]]

    @property
    def decided(self) -> tuple[Span, ...]:
        """The conditions of which every part is in a language that masks follow."""
        partly = {s for s, _ in self.checks} | {a.span for a in self.unused} | set(self.unfollowed)
        whole = [s for s, _ in self.languages] + [self.closed] * (self.closed is not None)
        return tuple(dict.fromkeys(s for s in whole if s is not None and s not in partly))


@dataclass(frozen=True)
class Settings:
    """automata, early, budget_lookahead: which kinds of guidance are switched on. folders: where
    the files are that a source names."""

    automata: bool = True
    early: bool = True
    budget_lookahead: bool = True
    folders: Mapping[Source, Folder] = field(default_factory=dict)


def guidance_of(
    program: ir.Program, function: ir.Function, at: int, target: int, settings: Settings
) -> Guidance:
    """What guides the text that the call at a position draws into the slot `target`: of the
    conditions that every particle passes after it, up to the first fork."""
    labels = {i.name: pc for pc, i in enumerate(function.body) if isinstance(i, ir.Label)}
    values: dict[int, ir.Expr | None] = {}  # what slots hold since; None where it is not known
    guidance, pc, seen = Guidance(), at + 1, set[int]()
    while pc not in seen:
        seen.add(pc)
        instr = function.body[pc]
        match instr:
            case ir.Jump(label=label):
                pc = labels[label]
                continue
            case ir.Branch() | ir.Return() | ir.Next():
                break
            case ir.Set(targets=(slot,), value=value):
                values[slot] = _over_caller(program, value, values)
            case ir.Condition(span=span, test=test):
                for part in conjuncts(inlined(program, test)):
                    known = _over_caller(program, part, values)
                    if known is not None and target in reads(known):
                        _add(program, guidance, span, known, target, settings)
                    elif target in reads(part) and (reason := _why_unknown(program, part)):
                        guidance.unused.append(Absorbed(span, reason))
            case _:
                values.update(dict.fromkeys(writes(instr)))
        pc += 1
    return guidance


def _over_caller(
    program: ir.Program, e: ir.Expr, values: dict[int, ir.Expr | None]
) -> ir.Expr | None:
    """The expression over the slots as they were when the text was drawn; None if it reads what
    came later."""
    if _why_unknown(program, e) or any(s in values and values[s] is None for s in reads(e)):
        return None
    return substitute(inlined(program, e), {s: v for s, v in values.items() if v is not None})


def _why_unknown(program: ir.Program, e: ir.Expr) -> str:
    """Why an expression cannot be evaluated while the text is drawn; "" if it can."""
    without = "write what can be said without"
    if asks_model(program, e):
        return f"it asks a model; {without} one as a condition of its own, before it"
    if calls_out(program, e):
        return f"it calls Python; {without} it as a condition of its own, before it"
    if reads_context(program, e):
        return "it looks at a context; write it over the text that was drawn"
    return ""


def _add(
    program: ir.Program, guidance: Guidance, span: Span, e: ir.Expr, target: int, settings: Settings
) -> None:
    """Adds each part of a test of the text, by the strongest means that there is."""
    for part in conjuncts(inlined(program, e)):
        language = language_of(part, target)
        reason = why_not_followed(language, settings.folders) if language is not None else ""
        if language is not None and not reason and settings.automata:
            guidance.languages.append((span, language))
            if parts := unfollowed_parts(language, settings.folders):
                guidance.unfollowed.setdefault(span, {}).update(dict.fromkeys(parts))
            continue
        check = early_form(part, target)
        if check is not None and settings.early:
            guidance.checks.append((span, check))
            continue
        if (language is not None and not reason) or check is not None:
            reason = SWITCHED_OFF
        elif reason:
            reason = f"no mask follows it: {reason}; write it without, or as several conditions"
        guidance.unused.append(Absorbed(span, reason or ONLY_AT_THE_END))
