"""The language models that a program names, as cached transformers, each loaded when it is first
needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.folders import Folder
from fkdsl.base.locks import taking_turns
from fkdsl.engine.byte_beam import LostMass
from fkdsl.engine.byte_view import VIEW_BEAM, ByteView
from fkdsl.engine.cached_transformer import CachedTransformer
from fkdsl.engine.drafts import with_heads
from fkdsl.engine.meter import ForwardMeter
from fkdsl.language.syntax import tree
from fkdsl.language.syntax.parser import parse, read_source
from fkdsl.models.dtypes import verify_device, verify_dtype
from fkdsl.models.interface import LanguageModel, Noted, RunsHeads
from fkdsl.models.prefill.use import StoreUse
from fkdsl.models.progress import Progress, silent
from fkdsl.models.registry import SHIPPED, load_model
from fkdsl.models.runtimes import check_engine
from fkdsl.models.table import TableModel

ModelReference = str | LanguageModel | CachedTransformer
"""What a caller may give for a model: a name as in `model "..."`, a model, or an engine."""


DEFAULT = "tiny"
"""The model where neither the program nor its caller names one. It ships with fkdsl, and never
stands in for a model that is named."""
CACHE_MEMORY = 2 << 30
"""Bytes of cache that one engine may hold, unless the caller says otherwise."""
SEARCH_ROWS = 512 << 20
"""Bytes of rows that a search keeps of each engine, within its cache's budget."""
MAX_BATCH = 128
"""Rows in one forward, unless the caller says otherwise: a forward's memory grows with them."""


MakeEngine = Callable[[LanguageModel, int | None, int | None], CachedTransformer]
CALLER = Path()
"""The folder that a caller's paths are relative to. This very object marks a caller's path, which
may lead anywhere."""
LoadedModels = dict[tuple[str, Path, str | None, str | None, str], LanguageModel]
"""Models by their reference, the folder that it is relative to, precision, device and what computes
them: "" for fkdsl itself, or an engine's name with its options."""
VIEW = re.compile(r"\s*bytes\(\s*(?P<of>.*?)\s*(?:,\s*beam\s*=\s*(?P<beam>\w+)\s*)?\)\s*")
"""A byte view, as `--model` and `model=` take it: bytes(smollm2), bytes("./folder", beam=10)."""


class Engines(Mapping[str, CachedTransformer]):
    """Engines by the name that the program declares, '' for the default. A name that is not
    declared is a reference (`prompt(..., model="org/name")`).

    override: takes the default model's place: a reference, the name of a model that the file
    declares, a .fk file whose first table it is, or a model itself. Two names for one reference
    share one engine. metered: whether engines take the time of their forwards. loaded: models that
    are loaded already, kept for the next run of a session, which gives the same dict to each. load:
    what loads a model by its reference, in the place of fkdsl.models.registry.load_model. make: the
    engine of a loaded model, from the model and the bounds of `cache_memory` and `max_batch`.
    model_folder: what the paths of the program's models are relative to, where that is another
    folder than that of its files. runtime: what computes the models whose declarations name no
    engine (fkdsl.models.runtimes), None for fkdsl itself. Tables, and what ships with fkdsl, it
    computes always. Raises CallError for a dtype, device or runtime that there is not.
    """

    def __init__(
        self,
        declared: Mapping[str | None, tree.ModelDecl],
        folder: Path,
        override: ModelReference | None = None,
        *,
        cache_memory: int | None = None,
        max_batch: int | None = None,
        dtype: str | None = None,
        device: str | None = None,
        progress: Progress = silent,
        metered: bool = False,
        allow_outside: bool = False,
        loaded: LoadedModels | None = None,
        load: Callable[..., LanguageModel] | None = None,
        make: MakeEngine = CachedTransformer,
        model_folder: Path | None = None,
        runtime: str | None = None,
    ) -> None:
        # Also where no model that is loaded would ask: a wrong word is not passed over in silence.
        verify_dtype(dtype)
        verify_device(device)
        if runtime is not None:
            check_engine(runtime, {})
        self.declared, self.folder, self.override = declared, folder, override
        self.cache_memory, self.max_batch = cache_memory or CACHE_MEMORY, max_batch or MAX_BATCH
        self.dtype, self.device, self.runtime = dtype, device, runtime
        self.model_folder = model_folder if model_folder is not None else folder
        self.progress, self.metered, self.allow_outside = progress, metered, allow_outside
        self.loaded: LoadedModels = {} if loaded is None else loaded
        self.load, self.make = load, make
        self.defaulted = False  # whether DEFAULT was used
        self.fetched: StoreUse | None = None  # what a store of prompts gave
        self._engines: dict[str, CachedTransformer] = {}
        self._by_reference: dict[Any, CachedTransformer] = {}

    def __getitem__(self, name: str) -> CachedTransformer:
        engine = self._engines.get(name)
        if engine is None:
            with taking_turns(self):
                engine = self._engines.get(name)
                if engine is None:
                    engine = self._engines[name] = self._make(name)
        return engine

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)

    def counts(self) -> tuple[int, int]:
        """(batched forwards, tokens that went through a model) of all engines so far. A byte view
        counts as its model."""
        stats = [e.stats for e in self._by_reference.values() if not isinstance(e.model, ByteView)]
        return sum(s.model_calls for s in stats), sum(s.forwarded_tokens for s in stats)

    def reset_lost_mass(self) -> None:
        """Resets the mass that byte views have lost, so that `notes` tells of this run's alone."""
        for view in self._views():
            view.lost = LostMass()

    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the models: a line for each model whose cache is not used, and
        for each byte view that lost mass."""
        models = [engine.model for engine in self._by_reference.values()]
        slow = sorted({model.note for model in models if isinstance(model, Noted)})
        lost = [lost_note(name, mass) for name, mass in self.lost_mass() if mass.total > 0.0]
        return (*slow, *lost)

    def lost_mass(self) -> list[tuple[str, LostMass]]:
        """(name and beam, the mass that it has lost) of each byte view."""
        return [(f"{view.name}, beam {view.beam}", view.lost) for view in self._views()]

    def _views(self) -> list[ByteView]:
        return [e.model for e in self._by_reference.values() if isinstance(e.model, ByteView)]

    def fresh(self, make: MakeEngine | None = None, cache_memory: int | None = None) -> Engines:
        """Engines over the same loaded models, with empty caches and zero counts. Loads nothing; a
        model that is not loaded yet is loaded by each of the two when it needs it. make,
        cache_memory: in the place of those of these engines."""
        if isinstance(self.override, CachedTransformer):
            self._of(self.override, self.folder)
        other = copy(self)
        vars(other).pop("_turn", None)  # its engines are its own
        if make is not None or cache_memory is not None:
            other.make = make or self.make
            other.cache_memory = cache_memory or self.cache_memory
        renewed = {
            id(engine): engine.fresh() if other.make is self.make else other._engine(engine.model)
            for engine in self._by_reference.values()
            if not isinstance(engine.model, ByteView)
        }
        for engine in self._by_reference.values():
            if isinstance(engine.model, ByteView):
                # A view rests on its model's engine, which has been renewed with the others.
                view = ByteView(renewed[id(engine.model.engine)], engine.model.beam)
                renewed[id(engine)] = CachedTransformer(view, engine.cache.budget, engine.max_batch)
        other._by_reference = {
            key: renewed[id(engine)] for key, engine in self._by_reference.items()
        }
        other._engines = {name: renewed[id(engine)] for name, engine in self._engines.items()}
        return other

    def vocabulary(self, names: Iterable[str]) -> int:
        """The size of the largest of these models' vocabularies in tokens, 0 for no model. A byte
        view counts as its model, whose texts it can all say."""
        return max((token_engine(self[name]).model.vocabulary.size for name in names), default=0)

    @contextmanager
    def in_one_thread(self) -> Iterator[None]:
        """A context in which no other thread is, of these engines or of the engine that a caller
        gave for the default model: their trees and caches are for one run at a time. Raises
        DeadlinePassed where the current deadline passes before its turn."""
        given = self.override if isinstance(self.override, CachedTransformer) else self
        with taking_turns(self), taking_turns(given):
            yield

    @contextmanager
    def keeping_rows(self, row_bytes: int = SEARCH_ROWS) -> Iterator[None]:
        """A context in which each engine keeps `row_bytes` of rows: a search comes back to a state
        for its further outcomes long after it read the first."""
        caches = [engine.cache for engine in self._by_reference.values()]
        before = [cache.row_budget for cache in caches]
        for cache in caches:
            cache.row_budget = row_bytes
        try:
            yield
        finally:
            for cache, bytes_before in zip(caches, before, strict=True):
                cache.row_budget = bytes_before

    def _make(self, name: str) -> CachedTransformer:
        if name == "" and self.override is not None:
            # A caller's paths are relative to where the caller stands, a program's to the program.
            return self._of(self.override, CALLER)
        declaration = self.declared.get(name or None)
        if declaration is None and name == "":
            self.defaulted = True
            return self._of(DEFAULT, self.folder)
        return (
            self._of_declaration(declaration)
            if declaration is not None
            else self._of(name, self.folder)
        )

    def _of_declaration(self, declaration: tree.ModelDecl) -> CachedTransformer:
        if declaration.view is not None:
            beam = declaration.view.beam
            return self._view(
                declaration.view.of, VIEW_BEAM if isinstance(beam, str) else beam, self.folder
            )
        if declaration.table is None:
            reference = declaration.reference or ""
            try:
                return self._of(reference, self.folder, declaration.option_values)
            except CallError as error:
                span = declaration.span
                place = f"{Path(span.source.name).name}:{span.line}:{span.column}"
                error.facts = (*error.facts, f"the model is declared at {place}")
                raise
        key = (declaration.span.source.name, declaration.span.start)
        if key not in self._by_reference:
            self._by_reference[key] = self._engine(table_model(declaration))
        return self._by_reference[key]

    def _of(
        self, model: ModelReference, folder: Path, options: Mapping[str, Any] | None = None
    ) -> CachedTransformer:
        if not isinstance(model, str):
            if id(model) not in self._by_reference:
                engine = model if isinstance(model, CachedTransformer) else self._engine(model)
                inner = token_engine(engine)
                if inner is not engine:
                    self._by_reference.setdefault(id(inner), inner)
                self._by_reference[id(model)] = engine
            return self._by_reference[id(model)]
        if model in self.declared:
            return self._of_declaration(self.declared[model])
        if match := VIEW.fullmatch(model):
            return self._view(match["of"].strip("\"'"), _beam(match["beam"]), folder)
        if model.endswith(".fk"):
            return self._of_declaration(first_table(self._tables(model, folder)))
        options = dict(options or {})
        runtime = options.pop("engine", None) or (None if model in SHIPPED else self.runtime)
        computed = "" if runtime is None else f"{runtime} {sorted(options.items())}"
        reference = (model, computed) if computed else model
        if reference not in self._by_reference:
            folder = self.model_folder if folder is self.folder else folder
            key = (model, folder.resolve(), self.dtype, self.device, computed)
            if key not in self.loaded:
                self.loaded[key] = (self.load or load_model)(
                    model,
                    folder=folder,
                    dtype=self.dtype,
                    device=self.device,
                    progress=self.progress,
                    engine=runtime,
                    options=options,
                )
            self._by_reference[reference] = self._engine(self.loaded[key])
        return self._by_reference[reference]

    def _tables(self, name: str, folder: Path) -> Path:
        """The path of a file of tables: anywhere for a caller, below its folder for a program."""
        if folder is CALLER or self.allow_outside:
            return folder / name
        try:
            return Folder.main(folder).find(name)
        except OSError as error:
            help = "put it beside the program, or run with --allow-outside if you trust the program"
            raise CallError(f"the tables `{name}` are not read: {error.strerror}", help) from None

    def of_reference(self, reference: str) -> CachedTransformer:
        """The engine of a model by its declared name or by a reference, relative to the program."""
        return self._of(reference, self.folder)

    def with_heads(self, name: str) -> CachedTransformer:
        """The engine of a name, whose rows have the heads of its model for further tokens from now
        on.
        CallError for a model that has none, and for an engine that holds a prefill, which was made
        without them."""
        engine = self[name]
        if isinstance(engine.model, RunsHeads):
            return engine
        if engine.has_adopted:
            raise CallError(
                "a prefill has nothing of a model's heads, by which the draft goes",
                "leave --prefill and --prefill-store out, or draft by ngram",
            )
        other = with_heads(engine)
        other.meter = engine.meter
        for engines in (self._engines, self._by_reference):
            for key, value in engines.items():
                if value is engine:
                    engines[key] = other
        return other

    def _view(self, of: str, beam: int | None, folder: Path) -> CachedTransformer:
        """The byte view of a model, on the model's engine in this program."""
        inner = self._of(of, folder)
        if isinstance(inner.model, ByteView):
            raise CallError(f"{inner.model.name} is a model of bytes already", "take it as it is")
        key = (id(inner), beam)
        if key not in self._by_reference:
            self._by_reference[key] = self._engine(ByteView(inner, beam))
        return self._by_reference[key]

    def _engine(self, model: LanguageModel) -> CachedTransformer:
        make = CachedTransformer if isinstance(model, ByteView) else self.make
        engine = make(model, self.cache_memory, self.max_batch)
        engine.meter = ForwardMeter() if self.metered and not isinstance(model, ByteView) else None
        return engine


def lost_note(view: str, lost: LostMass) -> str:
    """The line on what a byte view has lost."""
    return (
        f"{view}: a byte lost {lost.mean:.1g} of its probability on average, {lost.worst:.1g} at "
        "most; a wider beam loses less"
    )


def token_engine(engine: CachedTransformer) -> CachedTransformer:
    """The engine that calls a model of tokens: for a byte view the engine of its model, else the
    engine itself."""
    return engine.model.engine if isinstance(engine.model, ByteView) else engine


def _beam(text: str | None) -> int | None:
    """The beam of a reference `bytes(..., beam=...)`; None for all sequences."""
    if text is None or text.lower() == "none":
        return VIEW_BEAM if text is None else None
    if not text.isdecimal():
        raise CallError(
            f"beam={text} is no number of sequences",
            f"write beam={VIEW_BEAM}, or beam=none for all",
        )
    return int(text)


def table_model(declaration: tree.ModelDecl) -> TableModel:
    """The table model of a declaration."""
    rows = {
        row.context: {
            None if isinstance(e.token, tree.End) else e.token: e.probability for e in row.entries
        }
        for row in declaration.table or ()
    }
    return TableModel(declaration.name or "table", rows)


def first_table(path: Path) -> tree.ModelDecl:
    """The first table that a .fk file declares: `--model tables.fk`."""
    for d in parse(read_source(path)).declarations:
        if isinstance(d, tree.ModelDecl) and d.table is not None:
            return d
    raise CallError(f"{path} declares no table", "add `model name = table:` with rows")
