"""What guides a text while it is drawn: the conditions after the draw that speak of the text alone,
each as a language, as a check of the beginning of the text, or as what stays for the end, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from fkdsl.base.folders import Folder
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.base.spans import Source, Span
from fkdsl.ir import nodes as ir
from fkdsl.ir.passes.constant import (
    grown_parts,
    has_unknown_pattern,
    idle_json_tests,
    unfollowed_parts,
    weak_json_tests,
    why_not_followed,
)
from fkdsl.ir.passes.early import early_form
from fkdsl.ir.passes.inline import inlined
from fkdsl.ir.passes.reading import conjuncts
from fkdsl.ir.passes.regular import language_of
from fkdsl.ir.passes.views import has_json_test
from fkdsl.ir.passes.ways import Met, Ways
from fkdsl.machine.proposal_plan import Absorbed

ONLY_AT_THE_END = (
    "it decides the last token only; guide the text by what it implies: a pattern, a grammar, "
    "a bound on words or length"
)
IN_NO_SCHEMA = "a test of a value in a JSON text that its schema cannot say"
SWITCHED_OFF = "what would guide it is switched off"


@dataclass
class Guidance:
    """What the conditions after a text say of it while it is drawn.

    languages, checks: (the condition's place, an expression over the caller's slots); a check reads
    the text's slot for the beginning of the text. unfollowed, tried: by condition, the parts of its
    language that no mask follows, and that are tried where the text may end, or at every token by a
    check. unused: the conditions that guide nothing, and why. closed: where it is said that a stop
    or EOS must end the text, None where it need not. elsewhere: the conditions that particles may
    come to by ways that are not known. coarse: those whose masks may allow too much.
    """

    languages: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    checks: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    unfollowed: dict[Span, dict[str, None]] = field(default_factory=dict)
    tried: dict[Span, dict[str, None]] = field(default_factory=dict)
    unused: list[Absorbed] = field(default_factory=list)
    closed: Span | None = None
    elsewhere: frozenset[Span] = frozenset()
    coarse: set[Span] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.languages or self.checks or self.closed)

    @property
    def expressions(self) -> list[ir.Expr]:
        return [e for _, e in [*self.languages, *self.checks]]

    @property
    def decided(self) -> tuple[Span, ...]:
        """The conditions of which every part is in a language that masks follow."""
        partly = {s for s, _ in self.checks} | {a.span for a in self.unused} | set(self.unfollowed)
        partly |= self.coarse
        spans = dict.fromkeys(s for s, _ in self.languages if s not in partly | self.elsewhere)
        return (*spans, *((self.closed,) if self.closed is not None else ()))


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
    conditions that a particle passes after it, on the ways that are known (ways.py)."""
    ways = Ways(program, function, target)
    ways.follow(at + 1)
    guidance = Guidance(elsewhere=ways.elsewhere)
    for met in ways.met:
        if met.known is not None:
            add_guidance(program, guidance, met, target, settings)
        else:
            guidance.unused.append(Absorbed(met.span, met.why_not))
    leave_lone_comparisons(guidance, settings)
    return guidance


def leave_lone_comparisons(guidance: Guidance, settings: Settings) -> None:
    """Leaves tests of values in a JSON text to the end where no schema is beside them, which masks
    would follow them by, or where they are known to narrow none."""
    if any(_is(e, ".json", ".json_stripped") for _, e in guidance.languages):
        guidance.coarse |= {s for s, e in guidance.languages if has_json_test(e)}
        lone = idle_json_tests([e for _, e in guidance.languages], settings.folders)
    else:
        lone = {i for i, (_, e) in enumerate(guidance.languages) if has_json_test(e)}
    weak = weak_json_tests(guidance.languages, settings.folders)
    followed = {span for i, (span, _) in enumerate(guidance.languages) if i not in lone}
    for i, part in weak.items():
        if guidance.languages[i][0] in followed:
            guidance.unfollowed.setdefault(guidance.languages[i][0], {})[part] = None
    spans = dict.fromkeys(guidance.languages[i][0] for i in sorted(lone))
    guidance.languages = [p for i, p in enumerate(guidance.languages) if i not in lone]
    for span in spans:
        if any(span == other for other, _ in guidance.languages):
            guidance.tried.setdefault(span, {})[IN_NO_SCHEMA] = None
        else:
            guidance.unused.append(Absorbed(span, ONLY_AT_THE_END))


def _is(e: ir.Expr, *names: str) -> bool:
    return isinstance(e, ir.Builtin) and e.name in names


def add_guidance(
    program: ir.Program, guidance: Guidance, met: Met, target: int, settings: Settings
) -> None:
    """Adds each part of a test of the text, by the strongest means that there is."""
    assert met.known is not None
    span = met.span
    for part in conjuncts(inlined(program, met.known)):
        language = language_of(part, target)
        reason = why_not_followed(language, settings.folders) if language is not None else ""
        if language is not None and not reason and settings.automata:
            guidance.languages.append((span, language))
            _add_what_is_left(guidance, span, part, language, target, settings)
            continue
        check = early_form(part, target)
        if check is not None and settings.early:
            guidance.checks.append((span, check))
            continue
        if (language is not None and not reason) or check is not None:
            reason = SWITCHED_OFF
        elif reason:
            reason = f"no mask follows it: {reason}; write it without, or as several conditions"
        if met.always or reason:
            guidance.unused.append(Absorbed(span, reason or ONLY_AT_THE_END))
        else:
            guidance.elsewhere |= {span}


def _add_what_is_left(
    guidance: Guidance, span: Span, e: ir.Expr, language: ir.Expr, target: int, settings: Settings
) -> None:
    """Adds what masks do not follow, or perhaps not, of the language of a part of a test."""
    folders = settings.folders
    parts, grown = unfollowed_parts(language, folders), grown_parts(language, folders)
    check = None
    if settings.early and (parts or grown or has_unknown_pattern(language, folders)):
        check = early_form(e, target)
    if check is not None:
        guidance.checks.append((span, check))
        parts += grown
    if parts:
        left = guidance.unfollowed if check is None else guidance.tried
        left.setdefault(span, {}).update(dict.fromkeys(parts))
