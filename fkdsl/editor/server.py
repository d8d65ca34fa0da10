"""The language server of `fkdsl lsp`: the editor's messages, and the answers to them.

Diagnostics come in two steps, the checker's at once and then, of a text without mistakes, the
optimiser's. A request is answered about the text as it is. One that fails is answered by nothing,
and the log says why; a rename that is refused says so.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path

from fkdsl.base.errors import CallError
from fkdsl.base.spans import Span
from fkdsl.base.version import VERSION
from fkdsl.editor import places
from fkdsl.editor.actions import actions
from fkdsl.editor.analysis import Analysis
from fkdsl.editor.completion import completion
from fkdsl.editor.formatting import formatted
from fkdsl.editor.hints import hints
from fkdsl.editor.hover import hover
from fkdsl.editor.outline import folds, outline
from fkdsl.editor.positions import Encoding
from fkdsl.editor.renames import rename, renameable
from fkdsl.editor.semantic import MODIFIERS, TOKEN_TYPES, names
from fkdsl.editor.session import Session
from fkdsl.editor.signatures import signature_help
from fkdsl.editor.translate import Translator, fold

DEBOUNCE = 0.15
"""Seconds without a change after which a text is checked."""
REQUEST_FAILED = -32803
ENCODINGS: dict[str, Encoding] = {"utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}
T = TypeVar("T")


class Server(LanguageServer):
    """One editor's server."""

    def __init__(self, *, allow_outside: bool = False) -> None:
        super().__init__("fkdsl", VERSION, text_document_sync_kind=lsp.TextDocumentSyncKind.Full)
        self.session = Session(to_fs_path, allow_outside=allow_outside)
        self.translator = Translator("utf-16", self.address_of)
        self.watching: asyncio.Task[None] | None = None
        self._checks: dict[str, asyncio.Task[None]] = {}

    def address_of(self, path: str) -> str:
        """The address of a file as the editor knows it."""
        return self.session.addresses.get(path) or from_fs_path(path) or path

    def begin(self) -> None:
        """Takes over what was agreed when the editor connected."""
        agreed = self.workspace.position_encoding
        self.translator.encoding = ENCODINGS.get(str(getattr(agreed, "value", agreed)), "utf-16")
        roots = [*self.workspace.folders.values()] if self.workspace.folders else []
        root = to_fs_path(roots[0].uri) if roots else self.workspace.root_path
        self.session.workspace.root = Path(root) if root else None

    async def watch(self) -> None:
        """Asks the editor to say when a file changes that a program may name."""
        workspace = self.client_capabilities.workspace
        known = workspace.did_change_watched_files if workspace is not None else None
        if known is None or not known.dynamic_registration:
            return
        options = lsp.DidChangeWatchedFilesRegistrationOptions(
            [lsp.FileSystemWatcher("**/*.{fk,json,lark}")]
        )
        method = lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES
        registration = lsp.Registration("files", method, options)
        await self.guarded(
            self.client_register_capability_async(lsp.RegistrationParams([registration]))
        )

    # --------------------------------------------------------------- documents

    def changed(self, address: str, text: str, version: int | None) -> None:
        """Takes a text, and checks what it is part of."""
        path = self.session.change(address, text, version)
        for affected in self.session.affected(path):
            self.check_soon(affected)

    def closed(self, address: str) -> None:
        path = self.session.path(address)
        task = self._checks.pop(path, None)
        if task is not None:
            task.cancel()
        self.session.close(address)
        self._publish(address, None, [])
        self.check_all()

    def check_all(self) -> None:
        """Checks every open text anew, since files have changed."""
        self.session.forget()
        for path in list(self.session.addresses):
            self.check_soon(path)

    def check_soon(self, path: str) -> None:
        before = self._checks.pop(path, None)
        if before is not None:
            before.cancel()
        self._checks[path] = asyncio.ensure_future(self._check(path))

    async def _check(self, path: str) -> None:
        try:
            await asyncio.sleep(DEBOUNCE)
            address, version = self.session.addresses[path], self.session.versions[path]
            analysis = await self.session.checked(path)
            found = list(analysis.diagnostics)
            self._publish(address, version, self.translator.diagnostics(analysis, found))
            if analysis.survey is None or analysis.survey.checked is None:
                return
            compiled = await self.session.ask_compiled(path, lambda a: a.compiled)
            if compiled.problem:
                self.log(compiled.problem)
            if compiled.diagnostics:
                found += compiled.diagnostics
                self._publish(address, version, self.translator.diagnostics(analysis, found))
        except KeyError:
            return  # closed meanwhile
        except Exception:
            self.log(traceback.format_exc())

    def _publish(
        self, address: str, version: int | None, diagnostics: list[lsp.Diagnostic]
    ) -> None:
        self.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(address, diagnostics, version)
        )

    # ---------------------------------------------------------------- requests

    async def ask(
        self, address: str, question: Callable[[Analysis], T], *, compiled: bool = False
    ) -> T | None:
        """An answer about an open text; None if there is none, or if finding it fails."""
        ask = self.session.ask_compiled if compiled else self.session.ask
        return await self._answer(address, question, ask)

    async def ask_at_once(self, address: str, question: Callable[[Analysis], T]) -> T | None:
        """`ask`, while one types."""
        return await self._answer(address, question, self.session.ask_at_once)

    async def _answer(
        self,
        address: str,
        question: Callable[[Analysis], T],
        ask: Callable[[str, Callable[[Analysis], T]], Awaitable[T]],
    ) -> T | None:
        path = self.session.path(address)
        if path not in self.session.addresses:
            return None
        return await self.guarded(ask(path, question))

    async def guarded(self, answer: Awaitable[T]) -> T | None:
        """An answer, or None and a line in the log."""
        try:
            return await answer
        except CallError as error:
            text = error.message + (f": {error.help}" if error.help else "")
            raise JsonRpcException(text, REQUEST_FAILED) from None
        except Exception:
            self.log(traceback.format_exc())
            return None

    def log(self, text: str) -> None:
        self.window_log_message(lsp.LogMessageParams(lsp.MessageType.Error, text))


def make_server(*, allow_outside: bool = False) -> Server:
    """A server with all of its features."""
    server = Server(allow_outside=allow_outside)
    _documents(server)
    _reading(server)
    _moving(server)
    _changing(server)
    return server


def _documents(server: Server) -> None:
    @server.feature(lsp.INITIALIZED)
    def initialized(params: lsp.InitializedParams) -> None:
        server.begin()
        server.watching = asyncio.ensure_future(server.watch())

    @server.feature(lsp.SHUTDOWN)
    def shutdown(params: Any) -> None:
        server.session.shut()

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        d = params.text_document
        server.session.change(d.uri, d.text, d.version)
        server.check_all()  # others may import it

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        d = params.text_document
        text = server.workspace.get_text_document(d.uri).source
        server.changed(d.uri, text, d.version)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        server.closed(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        server.check_all()

    @server.feature(lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def files_changed(params: lsp.DidChangeWatchedFilesParams) -> None:
        server.check_all()


def _reading(server: Server) -> None:
    t = server.translator

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    async def hovered(params: lsp.HoverParams) -> lsp.Hover | None:
        def answer(a: Analysis) -> lsp.Hover | None:
            return t.hover(hover(a, t.offset(a.source, params.position)))

        return await server.ask(params.text_document.uri, answer, compiled=True)

    triggers = lsp.CompletionOptions(trigger_characters=[".", "~", '"', "=", "(", ",", "/"])

    @server.feature(lsp.TEXT_DOCUMENT_COMPLETION, triggers)
    async def completed(params: lsp.CompletionParams) -> lsp.CompletionList | None:
        def answer(a: Analysis) -> lsp.CompletionList:
            return t.completion(a, completion(a, t.offset(a.source, params.position)))

        return await server.ask_at_once(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_SIGNATURE_HELP, lsp.SignatureHelpOptions(["(", ","], [")"]))
    async def signed(params: lsp.SignatureHelpParams) -> lsp.SignatureHelp | None:
        def answer(a: Analysis) -> lsp.SignatureHelp | None:
            return t.signature_help(signature_help(a, t.offset(a.source, params.position)))

        return await server.ask_at_once(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_INLAY_HINT)
    async def hinted(params: lsp.InlayHintParams) -> list[lsp.InlayHint] | None:
        def answer(a: Analysis) -> list[lsp.InlayHint]:
            start, end = (t.offset(a.source, p) for p in (params.range.start, params.range.end))
            return [t.hint(a.source, h) for h in hints(a, start, end)]

        return await server.ask(params.text_document.uri, answer, compiled=True)

    legend = lsp.SemanticTokensLegend([*TOKEN_TYPES], [*MODIFIERS])

    @server.feature(lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, legend)
    async def coloured(params: lsp.SemanticTokensParams) -> lsp.SemanticTokens | None:
        return await server.ask(params.text_document.uri, lambda a: t.semantic_tokens(names(a)))

    @server.feature(lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_RANGE, legend)
    async def part_coloured(params: lsp.SemanticTokensRangeParams) -> lsp.SemanticTokens | None:
        def answer(a: Analysis) -> lsp.SemanticTokens:
            start, end = (t.offset(a.source, p) for p in (params.range.start, params.range.end))
            return t.semantic_tokens(names(a, start, end))

        return await server.ask(params.text_document.uri, answer)


def _moving(server: Server) -> None:
    t = server.translator

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    async def defined(params: lsp.DefinitionParams) -> lsp.Location | None:
        def answer(a: Analysis) -> lsp.Location | None:
            span = places.definition(a, t.offset(a.source, params.position))
            return t.location(span) if span is not None else None

        return await server.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    async def referred(params: lsp.ReferenceParams) -> list[lsp.Location] | None:
        def answer(a: Analysis) -> list[lsp.Location]:
            offset = t.offset(a.source, params.position)
            here = a.occurrence(offset)
            file = here.symbol.file if here is not None else ""
            others = server.session.workspace.importers(file) if file else ()
            found = places.references(a, offset, others)
            if not params.context.include_declaration and here is not None:
                first = a.index.definition(here.symbol)
                found = [o for o in found if not o.defines and o != first]
            return [t.location(o.span) for o in found]

        return await server.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    async def highlighted(
        params: lsp.DocumentHighlightParams,
    ) -> list[lsp.DocumentHighlight] | None:
        def answer(a: Analysis) -> list[lsp.DocumentHighlight]:
            found = places.highlights(a, t.offset(a.source, params.position))
            return [t.highlight(o) for o in found]

        return await server.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    async def outlined(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol] | None:
        def answer(a: Analysis) -> list[lsp.DocumentSymbol]:
            return [t.entry(e) for e in outline(a)]

        return await server.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_FOLDING_RANGE)
    async def folded(params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange] | None:
        def answer(a: Analysis) -> list[lsp.FoldingRange]:
            return [fold(f) for f in folds(a)]

        return await server.ask(params.text_document.uri, answer)


def _changing(server: Server) -> None:
    t = server.translator

    @server.feature(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
    async def may_rename(params: lsp.PrepareRenameParams) -> lsp.Range | None:
        def answer(a: Analysis) -> lsp.Range:
            return t.range(renameable(a, t.offset(a.source, params.position)))

        return await server.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_RENAME, lsp.RenameOptions(prepare_provider=True))
    async def renamed(params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
        def answer(a: Analysis) -> lsp.WorkspaceEdit:
            offset = t.offset(a.source, params.position)
            workspace = server.session.workspace
            return t.workspace_edit(rename(workspace, a.source.name, offset, params.new_name))

        return await server.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    async def neat(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
        def answer(a: Analysis) -> list[lsp.TextEdit]:
            text = formatted(a.text)
            if text is None or text == a.text:
                return []
            return [lsp.TextEdit(t.range(Span(a.source, 0, len(a.text))), text)]

        return await server.ask(params.text_document.uri, answer)

    kinds = lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])

    @server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, kinds)
    async def acted(params: lsp.CodeActionParams) -> list[lsp.CodeAction] | None:
        def answer(a: Analysis) -> list[lsp.CodeAction]:
            start, end = (t.offset(a.source, p) for p in (params.range.start, params.range.end))
            return [t.action(a, found) for found in actions(a, start, end)]

        return await server.ask(params.text_document.uri, answer, compiled=True)
