"""A whole session over stdin and stdout, as an editor has it: one server, one client, every
feature."""

import asyncio
import subprocess
import sys

import pytest

pytest.importorskip("pygls", reason="pygls comes with the extra `editor`")

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from fkdsl.base.errors import CallError
from fkdsl.cli import lsp as lsp_command
from fkdsl.cli.flags import command_parser
from fkdsl.editor.positions import Lines

MAIN = """\
import "words.fk"

model toy = table:
    "" -> "a": 0.5, "b": 0.5

program main(n: int = 2) -> str:
    lm = prompt("")
    name = "😀😀"; kept = name
    for i in range(n):
        t ~ lm
        condition t != "b"
    total = long(lm.text, by=2)
    return  lm.text
""".replace("; kept = name", '\n    kept = name + f"😀{name}"')
WORDS = 'def long(s: str, by: int = 1) -> int:\n    """A length."""\n    return len(s) * by\n'
BROKEN = MAIN.replace("return  lm.text", "return  lm.txt")
SECONDS = 60


class Editor:
    """A client that keeps what it is told."""

    def __init__(self, folder):
        self.folder = folder
        self.client = LanguageClient("test", "1")
        self.published, self.logged, self.registered = {}, [], []
        self.news = asyncio.Event()
        self.client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(lambda p: self.receive(p))
        self.client.feature(lsp.CLIENT_REGISTER_CAPABILITY)(lambda p: self.registered.append(p))
        self.client.feature(lsp.WINDOW_LOG_MESSAGE)(lambda p: self.logged.append(p.message))

    def receive(self, params):
        self.published[params.uri] = params
        self.news.set()

    def uri(self, name):
        return (self.folder / name).as_uri()

    def document(self, name="main.fk"):
        return lsp.TextDocumentIdentifier(self.uri(name))

    async def open(self, name, text):
        item = lsp.TextDocumentItem(self.uri(name), "fk", 1, text)
        self.client.text_document_did_open(lsp.DidOpenTextDocumentParams(item))

    def change(self, name, text, version):
        document = lsp.VersionedTextDocumentIdentifier(version=version, uri=self.uri(name))
        whole = lsp.TextDocumentContentChangeWholeDocument(text)
        self.client.text_document_did_change(lsp.DidChangeTextDocumentParams(document, [whole]))

    async def codes(self, name, wanted):
        """Waits until a document's diagnostics are the wanted ones."""
        while (found := self.published.get(self.uri(name))) is None or (
            [d.code for d in found.diagnostics] != wanted
        ):
            self.news.clear()
            try:
                await asyncio.wait_for(self.news.wait(), SECONDS)
            except TimeoutError:
                pytest.fail(f"{name} should have {wanted}, and has {found}; {self.logged}")
        return found.diagnostics


def place(text, before, behind=""):
    """The position between two pieces of a text."""
    offset = text.index(before + behind) + len(before)
    return lsp.Position(*Lines(text).position(offset))


def cut(text, range):
    lines = Lines(text)
    start, end = (lines.offset(p.line, p.character) for p in (range.start, range.end))
    return text[start:end]


def applied(text, edits):
    lines = Lines(text)
    for e in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character))[::-1]:
        start, end = (lines.offset(p.line, p.character) for p in (e.range.start, e.range.end))
        text = text[:start] + e.new_text + text[end:]
    return text


async def session(folder):
    """Goes through all features, and gives the answers by name."""
    e = Editor(folder)
    c, doc = e.client, e.document()
    got = {}
    await c.start_io(sys.executable, "-m", "fkdsl", "lsp")
    watched = lsp.DidChangeWatchedFilesClientCapabilities(dynamic_registration=True)
    capabilities = lsp.ClientCapabilities(
        workspace=lsp.WorkspaceClientCapabilities(did_change_watched_files=watched)
    )
    init = lsp.InitializeParams(capabilities=capabilities, root_uri=folder.as_uri())
    got["server"] = (await c.initialize_async(init)).capabilities
    c.initialized(lsp.InitializedParams())
    await e.open("main.fk", MAIN)
    await e.codes("main.fk", ["FK330", "FK204"])  # there is no words.fk, on the disk or open
    await e.open("words.fk", WORDS)
    await e.codes("main.fk", [])

    def at(before, behind=""):
        return {"text_document": doc, "position": place(MAIN, before, behind)}

    got["hover"] = await c.text_document_hover_async(lsp.HoverParams(**at("t ", "~ lm")))
    got["emoji"] = await c.text_document_hover_async(lsp.HoverParams(**at('f"😀{na', "me")))
    got["completion"] = await c.text_document_completion_async(
        lsp.CompletionParams(**at("lm.", "text, by"))
    )
    got["signature"] = await c.text_document_signature_help_async(
        lsp.SignatureHelpParams(**at("long(lm.text, ", "by"))
    )
    got["definition"] = await c.text_document_definition_async(
        lsp.DefinitionParams(**at("lo", "ng("))
    )
    whole = lsp.ReferenceContext(include_declaration=True)
    got["references"] = await c.text_document_references_async(
        lsp.ReferenceParams(context=whole, **at("lo", "ng("))
    )
    got["highlights"] = await c.text_document_document_highlight_async(
        lsp.DocumentHighlightParams(**at("na", 'me = "'))
    )
    got["may rename"] = await c.text_document_prepare_rename_async(
        lsp.PrepareRenameParams(**at("na", 'me = "'))
    )
    got["rename"] = await c.text_document_rename_async(
        lsp.RenameParams(new_name="face", **at("na", 'me = "'))
    )
    got["rename across"] = await c.text_document_rename_async(
        lsp.RenameParams(new_name="size", **at("lo", "ng("))
    )
    try:
        await c.text_document_rename_async(lsp.RenameParams(new_name="t", **at("na", 'me = "')))
    except JsonRpcException as refused:
        got["refused"] = refused.message
    options = lsp.FormattingOptions(tab_size=4, insert_spaces=True)
    got["formatting"] = await c.text_document_formatting_async(
        lsp.DocumentFormattingParams(doc, options)
    )
    got["symbols"] = await c.text_document_document_symbol_async(lsp.DocumentSymbolParams(doc))
    got["folds"] = await c.text_document_folding_range_async(lsp.FoldingRangeParams(doc))
    everything = lsp.Range(lsp.Position(0, 0), lsp.Position(99, 0))
    got["tokens"] = await c.text_document_semantic_tokens_full_async(lsp.SemanticTokensParams(doc))
    second = lsp.Range(lsp.Position(9, 0), lsp.Position(11, 0))
    got["some tokens"] = await c.text_document_semantic_tokens_range_async(
        lsp.SemanticTokensRangeParams(doc, second)
    )
    got["hints"] = await c.text_document_inlay_hint_async(lsp.InlayHintParams(doc, everything))

    e.change("main.fk", BROKEN, 3)
    got["mistake"] = await e.codes("main.fk", ["FK219"])
    got["actions"] = await c.text_document_code_action_async(
        lsp.CodeActionParams(doc, everything, lsp.CodeActionContext([]))
    )
    e.change("main.fk", MAIN.replace('condition t != "b"', "kept = kept + str(t)").replace(
        "    total", '    condition contains(kept, "a")\n    total'), 4)  # fmt: skip
    got["late"] = await e.codes("main.fk", ["FK501"])
    e.change("words.fk", "def longer() -> int:\n    return 1\n", 2)
    await e.codes("main.fk", ["FK204"])
    e.change("main.fk", "program p(\n" * 30, 5)
    far = lsp.Position(9_999, 9_999)
    got["far"] = await c.text_document_hover_async(lsp.HoverParams(doc, far))
    got["unknown"] = await c.text_document_hover_async(lsp.HoverParams(e.document("other.fk"), far))
    e.change("main.fk", MAIN, 6)
    await e.codes("main.fk", ["FK204"])
    c.text_document_did_close(lsp.DidCloseTextDocumentParams(e.document("words.fk")))
    await e.codes("main.fk", ["FK330", "FK204"])
    (folder / "words.fk").write_text(WORDS)
    event = lsp.FileEvent(e.uri("words.fk"), lsp.FileChangeType.Created)
    c.workspace_did_change_watched_files(lsp.DidChangeWatchedFilesParams([event]))
    await e.codes("main.fk", [])
    got["registered"] = e.registered
    c.text_document_did_close(lsp.DidCloseTextDocumentParams(doc))
    await e.codes("main.fk", [])
    got["logged"] = e.logged
    await c.shutdown_async(None)
    c.exit(None)
    await asyncio.wait_for(c._server.wait(), SECONDS)
    got["status"] = c._server.returncode
    return got


@pytest.fixture(scope="module")
def got(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editor").resolve()
    return asyncio.run(asyncio.wait_for(session(folder), 4 * SECONDS))


def test_the_server_ends_as_asked_and_has_logged_nothing(got):
    assert got["status"] == 0
    assert got["logged"] == []
    (registered,) = got["registered"]
    assert registered.registrations[0].method == "workspace/didChangeWatchedFiles"


def test_hover_speaks_of_the_draw_and_positions_count_utf16(got):
    assert "by a mask over the vocabulary" in got["hover"].contents.value
    assert "name: str" in got["emoji"].contents.value
    assert cut(MAIN, got["emoji"].range) == "name"


def test_completion_and_signatures(got):
    assert [i.label for i in got["completion"].items] == ["text", "tokens", "done"]
    help = got["signature"]
    assert help.signatures[0].label == "long(s: str, by: int = 1) -> int"
    assert help.active_parameter == 1


def test_definition_and_references_reach_an_open_text_of_another_file(got):
    assert got["definition"].uri.endswith("words.fk")
    assert cut(WORDS, got["definition"].range) == "long"
    assert sorted(r.uri.rpartition("/")[2] for r in got["references"]) == ["main.fk", "words.fk"]
    assert [cut(MAIN, h.range) for h in got["highlights"]] == ["name"] * 3


def test_renaming_within_a_file_across_files_and_refused(got):
    assert cut(MAIN, got["may rename"]) == "name"
    (edits,) = got["rename"].changes.values()
    assert applied(MAIN, edits) == MAIN.replace("name", "face")
    across = {uri.rpartition("/")[2]: edits for uri, edits in got["rename across"].changes.items()}
    assert applied(MAIN, across["main.fk"]) == MAIN.replace("long", "size")
    assert applied(WORDS, across["words.fk"]) == WORDS.replace("long", "size")
    assert "has a variable `t` already" in got["refused"]


def test_formatting_symbols_folds_and_hints(got):
    assert applied(MAIN, got["formatting"]) == MAIN.replace("return  lm", "return lm")
    assert [s.name for s in got["symbols"]] == ["words.fk", "toy", "main"]
    assert (5, 13) in [(f.start_line, f.end_line) for f in got["folds"]]
    assert {h.label for h in got["hints"]} >= {": context", ": token", "mask"}


def described(text, tokens, legend):
    """(name, type, modifiers) of every token, as the protocol says."""
    lines, line, character = Lines(text), 0, 0
    for down, right, length, kind, bits in zip(*[iter(tokens.data)] * 5, strict=True):
        line, character = line + down, right + (0 if down else character)
        start, end = (lines.offset(line, character + n) for n in (0, length))
        modifiers = {m for i, m in enumerate(legend.token_modifiers) if bits >> i & 1}
        yield text[start:end], legend.token_types[kind], modifiers


def test_every_name_says_what_it_is(got):
    legend = got["server"].semantic_tokens_provider.legend
    every = list(described(MAIN, got["tokens"], legend))
    assert [name for name, _, _ in every if name == "name"] == ["name"] * 3
    assert ("toy", "class", {"declaration"}) in every
    assert ("main", "function", {"declaration"}) in every
    assert ("n", "parameter", {"declaration", "readonly"}) in every
    assert ("lm", "variable", {"modification", "readonly"}) in every
    assert ("i", "variable", {"modification"}) in every
    assert [m for name, _, m in every if name == "t"] == [{"modification", "drawn"}, {"drawn"}]
    assert ("prompt", "function", {"defaultLibrary"}) in every
    assert ("long", "function", set()) in every
    assert ("by", "parameter", {"readonly"}) in every
    assert ("text", "property", {"defaultLibrary"}) in every
    some = list(described(MAIN, got["some tokens"], legend))
    assert [name for name, _, _ in some] == ["i", "range", "n", "t", "lm"]


def test_a_mistake_links_to_its_page_and_offers_its_correction(got):
    (mistake,) = got["mistake"]
    assert cut(BROKEN, mistake.range) == "lm.txt"
    assert mistake.code_description.href.endswith("FK219.md")
    assert "did you mean `text`?" in mistake.message
    (action,) = got["actions"]
    (edits,) = action.edit.changes.values()
    assert applied(BROKEN, edits) == MAIN


def test_the_optimisers_warnings_come_too_and_nonsense_has_no_answer(got):
    assert got["late"][0].severity == lsp.DiagnosticSeverity.Warning
    assert got["far"] is None
    assert got["unknown"] is None


def test_the_server_imports_no_transformer():
    code = (
        "import sys; from fkdsl.editor.server import make_server; make_server(); "
        "assert not {'torch', 'transformers', 'llguidance'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_pygls_the_command_says_what_to_install(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] in ("pygls", "lsprotocol")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "fkdsl.editor.server", raising=False)
    monkeypatch.delitem(sys.modules, "fkdsl.editor.translate", raising=False)
    monkeypatch.setitem(sys.modules, "lsprotocol", None)
    monkeypatch.setitem(sys.modules, "pygls", None)
    with pytest.raises(CallError, match="needs pygls") as error:
        lsp_command.main(command_parser().parse_args(["lsp"]))
    assert error.value.help == 'pip install "fkdsl[editor]"'


def test_a_port_that_there_is_not_is_an_error():
    with pytest.raises(CallError, match="no port 70000"):
        lsp_command.main(command_parser().parse_args(["lsp", "--tcp", "70000"]))
