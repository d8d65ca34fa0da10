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
    UNKNOWN,
    early_parts,
    grown_parts,
    has_unknown_pattern,
    idle_json_tests,
    unfollowed_parts,
    weak_json_tests,
    whole_numbers,
    why_not_followed,
)
from fkdsl.ir.passes.early import early_form
from fkdsl.ir.passes.inline import inlined
from fkdsl.ir.passes.json_beginnings import (
    compares_numbers,
    looks_at_json,
    texts_before,
    with_whole_numbers,
)
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
SOMETIMES_EARLY = ("`if` at ", UNKNOWN)
"""How parts of a schema begin that may be known before the text is complete."""
SWITCHED_OFF = "what would guide it is switched off"


@dataclass
class Guidance:
    """What the conditions after a text say of it while it is drawn.

    languages, checks: (the condition's place, an expression over the caller's slots); a check reads
    the text's slot for the beginning of the text. unfollowed, tried: by condition, the parts of its
    language that no mask follows, and that are tried where the text may end, or at every token by a
    check. unused: the conditions that guide nothing, and why. closed: where it is said that a stop
    or EOS must end the text, None where it need not. elsewhere: the conditions that particles may
    come to by ways that are not known. coarse: those whose masks may allow too much. early: the
    checks of the tests of JSON values among the languages, by their places there.
    """

    languages: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    checks: list[tuple[Span, ir.Expr]] = field(default_factory=list)
    unfollowed: dict[Span, dict[str, None]] = field(default_factory=dict)
    tried: dict[Span, dict[str, None]] = field(default_factory=dict)
    unused: list[Absorbed] = field(default_factory=list)
    closed: Span | None = None
    elsewhere: frozenset[Span] = frozenset()
    coarse: set[Span] = field(default_factory=set)
    early: dict[int, ir.Expr] = field(default_factory=dict)

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
    sort_json_tests(guidance, settings)
    return guidance


def sort_json_tests(guidance: Guidance, settings: Settings) -> None:
    """Leaves tests of values in a JSON text to the end where no schema is beside them, which masks
    would follow them by, or where they are known to narrow none. Beside a schema these are asked as
    soon as their values are complete, and so are those that masks follow in part."""
    schemas = [e for _, e in guidance.languages if _is_schema(e)]
    early = [(span, e) for span, e in guidance.checks if looks_at_json(e)]
    guidance.checks = [(span, e) for span, e in guidance.checks if not looks_at_json(e)]
    if not schemas:
        lone = {i for i, (_, e) in enumerate(guidance.languages) if has_json_test(e)}
        lost = dict.fromkeys(span for span, _ in early)
        guidance.unused += [Absorbed(span, ONLY_AT_THE_END) for span in lost]
    else:
        guidance.coarse |= {s for s, e in guidance.languages if has_json_test(e)}
        lone = idle_json_tests([e for _, e in guidance.languages], settings.folders)
        weak = weak_json_tests(guidance.languages, settings.folders)
        followed = {span for i, (span, _) in enumerate(guidance.languages) if i not in lone}
        for i, (span, e) in enumerate(guidance.languages):
            if i in guidance.early and (i in lone or i in weak or compares_numbers(e)):
                early.append((span, guidance.early[i]))
            elif i in weak and span in followed:
                guidance.unfollowed.setdefault(span, {})[weak[i]] = None
        before = {
            e.args[0] if isinstance(e, ir.Builtin) and e.name == ".after" else None for e in schemas
        }
        lost = dict.fromkeys(span for span, e in early if not texts_before(e) <= before)
        early = [(span, e) for span, e in early if span not in lost]
        tested = {span for span, _ in guidance.languages}
        guidance.unused += [Absorbed(span, ONLY_AT_THE_END) for span in lost if span not in tested]
        whole = whole_numbers(schemas, settings.folders)
        guidance.checks += [(span, with_whole_numbers(e, whole)) for span, e in early]
    asked = {span for span, _ in guidance.checks}
    spans = dict.fromkeys(guidance.languages[i][0] for i in sorted(lone))
    guidance.languages = [p for i, p in enumerate(guidance.languages) if i not in lone]
    for span in spans:
        if any(span == other for other, _ in guidance.languages):
            guidance.tried.setdefault(span, {})[IN_NO_SCHEMA] = None
        elif span not in asked:
            guidance.unused.append(Absorbed(span, ONLY_AT_THE_END))


def _is_schema(e: ir.Expr) -> bool:
    """Whether it is the language of a `valid_json` of the text, perhaps with something around."""
    match e:
        case (
            ir.Builtin(name=".after", args=(_, inner))
            | ir.Builtin(name=".json_stripped", args=(inner,))
        ):
            return _is_schema(inner)
        case ir.Builtin(name=name):
            return name == ".json"
    return False


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
            if settings.early and has_json_test(language):
                check = early_form(part, target)
                if check is not None and looks_at_json(check):
                    guidance.early[len(guidance.languages)] = check
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
    seen: tuple[str, ...] = ()
    if check is not None:
        seen = early_parts(language, parts) + grown
        if not parts or seen or any(part.startswith(SOMETIMES_EARLY) for part in parts):
            guidance.checks.append((span, check))
    late = [part for part in parts if part not in seen]
    for left, those in ((guidance.tried, seen), (guidance.unfollowed, late)):
        if those:
            left.setdefault(span, {}).update(dict.fromkeys(those))
