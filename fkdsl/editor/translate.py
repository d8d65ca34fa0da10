"""Answers of the editor's modules in the types of the Language Server Protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from lsprotocol import types as lsp

from fkdsl.base.diagnostics import Diagnostic, Edit
from fkdsl.base.spans import Source, Span
from fkdsl.editor.actions import Action
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.completion_items import Item
from fkdsl.editor.hints import Hint
from fkdsl.editor.hover import Hover
from fkdsl.editor.outline import Entry, Fold
from fkdsl.editor.pages import page_path
from fkdsl.editor.positions import Encoding, Lines
from fkdsl.editor.semantic import MODIFIERS, TOKEN_TYPES, Name
from fkdsl.editor.signatures import Help
from fkdsl.language.navigation.symbols import Occurrence
from fkdsl.language.syntax import tree

K, S = lsp.CompletionItemKind, lsp.SymbolKind
ITEM_KINDS = {
    "keyword": K.Keyword, "variable": K.Variable, "function": K.Function, "distribution": K.Class,
    "attribute": K.Property, "method": K.Module, "option": K.Field, "model": K.Constant,
    "index": K.Constant, "type": K.TypeParameter, "value": K.Value, "file": K.File,
    "figure": K.Constant,
}  # fmt: skip
ENTRY_KINDS = {
    "program": S.Class, "function": S.Function, "extern": S.Function, "model": S.Constant,
    "index": S.Constant, "query": S.Property, "test": S.Event, "infer": S.Module, "import": S.File,
    "variable": S.Variable,
}  # fmt: skip


@lru_cache(maxsize=64)
def lines_of(source: Source, encoding: Encoding) -> Lines:
    return Lines(source.text, encoding)


class Translator:
    """encoding: of positions. address_of: the address of a file by its path."""

    def __init__(self, encoding: Encoding, address_of: Callable[[str], str]) -> None:
        self.encoding, self.address_of = encoding, address_of

    # ------------------------------------------------------------------ places

    def offset(self, source: Source, position: lsp.Position) -> int:
        return lines_of(source, self.encoding).offset(position.line, position.character)

    def position(self, source: Source, offset: int) -> lsp.Position:
        line, character = lines_of(source, self.encoding).position(offset)
        return lsp.Position(line, character)

    def range(self, span: Span) -> lsp.Range:
        source = span.source
        return lsp.Range(self.position(source, span.start), self.position(source, span.end))

    def location(self, span: Span) -> lsp.Location:
        return lsp.Location(self.address_of(span.source.name), self.range(span))

    def edits(self, edits: Iterable[Edit]) -> list[lsp.TextEdit]:
        return [lsp.TextEdit(self.range(e.span), e.text) for e in edits]

    def workspace_edit(self, edits: Mapping[str, Sequence[Edit]]) -> lsp.WorkspaceEdit:
        changes = {self.address_of(path): self.edits(made) for path, made in edits.items()}
        return lsp.WorkspaceEdit(changes=changes)

    # ------------------------------------------------------------- diagnostics

    def diagnostics(
        self, analysis: Analysis, diagnostics: Iterable[Diagnostic]
    ) -> list[lsp.Diagnostic]:
        """Mistakes for a text; one of an imported file stands at the import that leads to it."""
        return [self._diagnostic(analysis, d) for d in dict.fromkeys(diagnostics)]

    def _diagnostic(self, analysis: Analysis, d: Diagnostic) -> lsp.Diagnostic:
        message, span = d.message, d.span
        related = None
        if d.span.source is not analysis.source:
            message = f"{d.span.line}:{d.span.column} of an imported file: {message}"
            span = _import_of(analysis, d.span.source)
            there = self.location(d.span)
            related = [lsp.DiagnosticRelatedInformation(there, d.label or d.message)]
        parts = [message + (f" ({d.label})" if d.label else ""), *d.notes]
        page = page_path(d.code)
        severity = lsp.DiagnosticSeverity
        return lsp.Diagnostic(
            range=self.range(span),
            message="\n".join([*parts, *([f"help: {d.help}"] if d.help else [])]),
            severity=severity.Error if d.severity == "error" else severity.Warning,
            code=d.code,
            code_description=lsp.CodeDescription(page.as_uri()) if page is not None else None,
            source="fkdsl",
            related_information=related,
            tags=[lsp.DiagnosticTag.Unnecessary] if d.code in ("FK310", "FK311") else None,
        )

    def action(self, analysis: Analysis, action: Action) -> lsp.CodeAction:
        path = analysis.source.name
        return lsp.CodeAction(
            title=action.title,
            kind=lsp.CodeActionKind.QuickFix,
            diagnostics=self.diagnostics(analysis, [action.diagnostic]),
            is_preferred=True,
            edit=self.workspace_edit({path: action.edits}),
        )

    # ----------------------------------------------------------------- answers

    def hover(self, hover: Hover | None) -> lsp.Hover | None:
        if hover is None:
            return None
        return lsp.Hover(_markdown(hover.text), self.range(hover.span))

    def completion(self, analysis: Analysis, items: Sequence[Item]) -> lsp.CompletionList:
        return lsp.CompletionList(False, [_item(i) for i in items])

    def signature_help(self, help: Help | None) -> lsp.SignatureHelp | None:
        if help is None:
            return None
        s = help.signature
        parameters = [lsp.ParameterInformation(label) for label in s.parameters]
        information = lsp.SignatureInformation(s.label, _markdown(s.doc), parameters)
        return lsp.SignatureHelp([information], 0, help.active)

    def highlight(self, o: Occurrence) -> lsp.DocumentHighlight:
        kinds = lsp.DocumentHighlightKind
        return lsp.DocumentHighlight(self.range(o.span), kinds.Write if o.sets else kinds.Read)

    def entry(self, entry: Entry) -> lsp.DocumentSymbol:
        return lsp.DocumentSymbol(
            name=entry.name,
            kind=ENTRY_KINDS[entry.kind],
            range=self.range(entry.span),
            selection_range=self.range(entry.name_span),
            detail=entry.detail or None,
            children=[self.entry(c) for c in entry.children],
        )

    def hint(self, source: Source, hint: Hint) -> lsp.InlayHint:
        return lsp.InlayHint(
            position=self.position(source, hint.offset),
            label=hint.text,
            kind=lsp.InlayHintKind.Type if hint.kind == "type" else None,
            tooltip=_markdown(hint.doc) if hint.doc else None,
            padding_left=hint.kind == "draw",
        )

    def semantic_tokens(self, names: Iterable[Name]) -> lsp.SemanticTokens:
        """Names in the protocol's form: five numbers each, its line and character relative to the
        name before, its length, its type and its modifiers as bits."""
        data: list[int] = []
        line = character = 0
        for name in names:
            here = self.range(name.span)
            down = here.start.line - line
            right = here.start.character - (character if down == 0 else 0)
            bits = sum(1 << MODIFIERS.index(m) for m in name.modifiers)
            length = here.end.character - here.start.character
            data += [down, right, length, TOKEN_TYPES.index(name.type), bits]
            line, character = here.start.line, here.start.character
        return lsp.SemanticTokens(data)


def fold(f: Fold) -> lsp.FoldingRange:
    kind = lsp.FoldingRangeKind.Comment if f.comment else None
    return lsp.FoldingRange(f.first, f.last, kind=kind)


def _item(item: Item) -> lsp.CompletionItem:
    return lsp.CompletionItem(
        label=item.label,
        kind=ITEM_KINDS[item.kind],
        detail=item.detail or None,
        documentation=_markdown(item.doc) if item.doc else None,
        insert_text=item.insert or None,
        sort_text=f"{item.rank}{item.label}",
    )


def _markdown(text: str) -> lsp.MarkupContent:
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, text)


def _import_of(analysis: Analysis, source: Source) -> Span:
    """The first import of a text that brings in a source, directly or not; where that is not known,
    the text's beginning."""
    module, survey = analysis.module, analysis.survey
    via = {}
    for file in survey.files if survey is not None else ():
        via[file.module.source.name] = file.via
    name = source.name
    for _ in range(len(via) + 1):
        d = via.get(name)
        if d is None:
            break
        if d.span.source is analysis.source:
            return d.span
        name = d.span.source.name
    imports = [d for d in module.declarations if isinstance(d, tree.Import)] if module else []
    if imports:
        return imports[0].span
    return Span(analysis.source, 0, 0)
