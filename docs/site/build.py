"""Builds these docs as a site: `python docs/site/build.py` writes build/docs/site/index.html.

The pages are written for GitHub, and are translated for the generator (zensical). A fence keeps its
language, and a title where it is a file or an example of an error; its other words say how tests
run it. Each heading gets the anchor that GitHub gives it. The README becomes the first page, the
tutorial's notebook a page, and files outside of docs/ that a page links to become pages that show
them. What was built is then read again: each link within the site must lead to a page and an
anchor, and nothing may be loaded from elsewhere.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILD = ROOT / "build" / "docs"
"""Where the pages are translated and the site is built; git ignores it."""
OWN = ("site", "pictures")
"""Folders of docs/ that hold no pages."""
LANGUAGES = {".fk": "fk", ".py": "python", ".json": "json", ".lark": "text"}
GENERATOR = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pygments.lexers import LEXERS
LEXERS["FkLexer"] = ("fkdsl.editor.pygments_lexer", "fkdsl", ("fk", "fkdsl"), ("*.fk",), ())
from zensical.main import cli
cli(["build", "--clean", "-f", "zensical.toml"])
"""
"""The generator, with the lexer of this repository: also where fkdsl is not installed."""
FENCE = re.compile(r"^(`{3,})(\w*)([^\n]*)\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)
ITEM = re.compile(r"([-*+]|\d+\.) ")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(#[^)\s]*)?\)")


def pages() -> dict[str, str]:
    """Path of each page of the site -> its Markdown."""
    sources = {"index.md": ROOT / "README.md"}
    for path in sorted(DOCS.rglob("*.md")):
        if path.relative_to(DOCS).parts[0] not in OWN:
            sources[path.relative_to(DOCS).as_posix()] = path
    texts = {name: path.read_text("utf-8") for name, path in sources.items()}
    texts["errors.md"] += all_codes()
    sources["tutorial.md"] = DOCS / "tutorial.ipynb"
    texts["tutorial.md"] = notebook_page(json.loads(sources["tutorial.md"].read_text("utf-8")))
    made: dict[str, str] = {}
    for name, text in texts.items():
        made[name] = translated(text, name, sources[name].parent, made)
    return made


def all_codes() -> str:
    """The list of the errors' pages, which GitHub shows as a folder."""
    lines = ["", "## All codes", ""]
    for path in sorted((DOCS / "errors").glob("*.md")):
        title = path.read_text("utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}](errors/{path.name})")
    return "\n".join(lines) + "\n"


def notebook_page(notebook: dict[str, list[dict[str, object]]]) -> str:
    """A notebook as Markdown: its cells, and the text of what they show."""
    parts = []
    for cell in notebook["cells"]:
        source = text_of(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        kind = "fk" if source.startswith(("%%fk", "%%writefile")) else "python"
        parts.append(f"```{kind}\n{source}\n```")
        outputs = cell["outputs"]
        assert isinstance(outputs, list)
        for output in outputs:
            text = text_of(output["text"] if "text" in output else output["data"]["text/plain"])
            parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def text_of(lines: object) -> str:
    """A text of a notebook, which is a list of lines."""
    assert isinstance(lines, list)
    return "".join(lines)


def translated(text: str, name: str, folder: Path, made: dict[str, str]) -> str:
    """A page for the generator. Files that it links to outside of docs/ are added to `made`."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts.append(prose(text[end : fence.start()], name, folder, made))
        opening = f"{fence[1]}{fence[2] or 'text'}{title(fence[3].split())}"
        parts.append(f"{opening}\n{fence[4]}{fence[1]}")
        end = fence.end()
    parts.append(prose(text[end:], name, folder, made))
    return "".join(parts)


def title(words: list[str]) -> str:
    """What stands over a block: the file that it is, or whether an example of an error is wrong."""
    over = {"bad": "wrong", "good": "right"}.get(words[0], words[0]) if words else ""
    named = over in ("wrong", "right") or re.fullmatch(r"[\w-]+\.\w+", over)
    return f' title="{over}"' if named else ""


def prose(text: str, name: str, folder: Path, made: dict[str, str]) -> str:
    """What stands between fences."""
    text = indented(text)
    text = re.sub(
        r"^(#+) (.*)$", lambda m: f"{m[1]} {m[2]} {{ #{anchor(m[2])} }}", text, flags=re.MULTILINE
    )
    return LINK.sub(lambda m: f"]({link(m[1], name, folder, made)}{m[2] or ''})", text)


def indented(text: str) -> str:
    """A text with its lists as Python-Markdown reads them: an empty line before a list, and before
    an item that comes after paragraphs of another one, and what goes on with an item by four
    columns to the right, where GitHub asks for two."""
    lines: list[str] = []
    within = apart = False  # in a list; in an item that has had an empty line
    for line in text.split("\n"):
        item = ITEM.match(line)
        if item and (apart or not within) and lines and lines[-1].strip():
            lines.append("")
        if item or (line.strip() and not line.startswith(" ")):
            within, apart = bool(item), False
        apart = apart or (within and not line.strip())
        lines.append(f"  {line}" if within and not item and line.strip() else line)
    return "\n".join(lines)


def anchor(title: str) -> str:
    """The anchor that GitHub gives to a heading."""
    title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def link(target: str, name: str, folder: Path, made: dict[str, str]) -> str:
    """A link of a page as it is in the site, where each file is a page."""
    if not target:
        return ""
    up = "../" * name.count("/")
    return up + page_of((folder / target).resolve(), made)


def page_of(path: Path, made: dict[str, str]) -> str:
    """The page of the site that shows a file or folder of the repository."""
    if path == ROOT / "README.md":
        return "index.md"
    if path == DOCS / "errors":
        return "errors.md#all-codes"
    if path == DOCS / "tutorial.ipynb":
        return "tutorial.md"
    if path.suffix in (".md", ".png") and path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    page = f"files/{name}.md"
    if page not in made:
        made[page] = ""  # before its files, of which none may lead here again
        made[page] = folder_page(path, made) if path.is_dir() else file_page(path)
    return page


def folder_page(folder: Path, made: dict[str, str]) -> str:
    """The files of a folder, each with a page."""
    lines = [f"# {folder.relative_to(ROOT)}", ""]
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in LANGUAGES:
            page = page_of(path, made).removeprefix("files/")
            lines.append(f"- [{path.name}]({page})")
    return "\n".join(lines) + "\n"


def file_page(path: Path) -> str:
    """A file, in its colours."""
    text = path.read_text("utf-8").rstrip("\n")
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    kind = LANGUAGES.get(path.suffix, "text")
    return f"# {path.relative_to(ROOT)}\n\n{fence}{kind}\n{text}\n{fence}\n"


class References(HTMLParser):
    """What a page refers to, what it loads, and the anchors that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value for name, value in attrs if value is not None}
        if "id" in named:
            self.anchors.add(named["id"])
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        elif tag == "link" and named.get("rel") != "canonical" and "href" in named:
            self.loaded.append(named["href"])
        elif tag in ("script", "img", "iframe") and "src" in named:
            self.loaded.append(named["src"])


def mistakes(site: Path) -> Iterator[str]:
    """What is wrong with a site: links that lead nowhere, and what is loaded from elsewhere."""
    read = {path: References(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in read.items():
        if path.name == "404.html":
            continue
        for href in page.loaded:
            if urlsplit(href).netloc:
                yield f"{path.relative_to(site)} loads {href}"
            elif not (path.parent / unquote(urlsplit(href).path)).exists():
                yield f"{path.relative_to(site)}: no file {href}"
        for href in page.links:
            parts = urlsplit(href)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{path.relative_to(site)}: no page {href}"
            elif target in read and unquote(parts.fragment) not in {"", *read[target].anchors}:
                yield f"{path.relative_to(site)}: no anchor {href}"


def main() -> int:
    """Builds the site, and says what is wrong with it; 1 if something is."""
    shutil.rmtree(BUILD, ignore_errors=True)
    for name, text in pages().items():
        path = BUILD / "pages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    shutil.copytree(DOCS / "pictures", BUILD / "pages" / "pictures")
    for name in ("zensical.toml", "fkdsl.css"):
        folder = BUILD / "pages" if name.endswith(".css") else BUILD
        shutil.copy(Path(__file__).with_name(name), folder / name)
    subprocess.run([sys.executable, "-c", GENERATOR], cwd=BUILD, check=True)
    wrong = sorted(set(mistakes(BUILD / "site")))
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(BUILD / "site" / "index.html")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
