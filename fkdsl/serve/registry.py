"""The programs of a folder, each checked, its models loaded: what a server serves.

A file with one program is served by the file's name without `.fk`; of a file with several, each is
`file:program`. A file that has none, such as one of functions, is passed over. One that cannot be
served is told of when the server starts, and does not keep the others from being served.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fkdsl.api import Program, parse
from fkdsl.api.engines import Engines
from fkdsl.api.externs import load_externs
from fkdsl.base.diagnostics import near_name
from fkdsl.base.errors import CallError, FkdslError
from fkdsl.base.quick_dataclass import dataclass
from fkdsl.inference.methods import check_method
from fkdsl.language.syntax.parser import read_source
from fkdsl.models.interface import LanguageModel
from fkdsl.models.progress import Progress, silent
from fkdsl.models.registry import load_model
from fkdsl.serve.failures import RequestError
from fkdsl.serve.models import ServedModels
from fkdsl.serve.orders import check_size
from fkdsl.serve.settings import Settings

MOST_PROGRAMS = 1000
Tell = Callable[[str], None]


@dataclass(frozen=True)
class ServedProgram:
    """A program that is served. name: by which requests call it. engines: its models, loaded.
    created: seconds since 1970, of its file."""

    name: str
    program: Program
    engines: Engines
    created: int

    @property
    def models(self) -> list[str]:
        """The names of its models."""
        return [self.engines[name].model.name for name in self.program.model_names()]


class Registry(Mapping[str, ServedProgram]):
    """The programs by name. models: what their runs share. allowed: models that a program in a
    request may name, by reference: those of the folder's programs, and those of the settings."""

    def __init__(
        self,
        programs: Mapping[str, ServedProgram],
        models: ServedModels,
        allowed: Mapping[str, LanguageModel],
    ) -> None:
        self._programs, self.models, self.allowed = dict(programs), models, dict(allowed)

    def __getitem__(self, name: str) -> ServedProgram:
        return self._programs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)

    def find(self, name: str) -> ServedProgram:
        """The program of a name. Raises RequestError (404) where there is none."""
        if name in self._programs:
            return self._programs[name]
        near = near_name(name, list(self._programs))
        raise RequestError(
            f"there is no program `{name[:100]}` here",
            f"did you mean `{near}`?" if near else "GET /v1/models lists them",
            status=404,
            code="model_not_found",
            param="model",
        )

    @classmethod
    def of(
        cls, settings: Settings, tell: Tell = lambda line: None, progress: Progress = silent
    ) -> Registry:
        """The programs of a folder, their models loaded. tell: is told of each file that is not
        served, and why. Raises CallError where none can be served."""
        folder = settings.folder
        if not folder.is_dir():
            raise CallError(f"{folder} is no folder", "name a folder of .fk files")
        models = ServedModels(settings.prompt_memory)
        programs: dict[str, ServedProgram] = {}
        for path in sorted(folder.glob("*.fk"))[:MOST_PROGRAMS]:
            try:
                for served in _of_file(path, settings, models, progress):
                    programs[served.name] = served
            except FkdslError as error:
                tell(f"{path.name} is not served: {error}")
        if not programs and not settings.allow_programs:
            raise CallError(
                f"no program of {folder} can be served",
                "see what `fkdsl check` says of them, or begin one by `fkdsl new`",
            )
        allowed = {reference: model for (reference, *_), model in models.loaded.items()}
        for reference in settings.models if settings.allow_programs else ():
            if reference not in allowed:
                allowed[reference] = load_model(
                    reference,
                    dtype=settings.dtype,
                    device=settings.device,
                    progress=progress,
                    engine=settings.engine,
                )
        return cls(programs, models, allowed)


def _of_file(
    path: Path, settings: Settings, models: ServedModels, progress: Progress
) -> Iterator[ServedProgram]:
    """What is served of a file."""
    source = read_source(path)
    trust = {"allow_extern": settings.allow_extern, "allow_outside": settings.allow_outside}
    # By its own name alone: error messages do not tell where the folder lies.
    whole = parse(source.text, name=path.name, folder=path.parent, **trust)
    names = list(whole.checked.programs)
    for name in names:
        program = whole.select(name)
        load_externs(program.checked.externs, settings.allow_extern)
        method, options = program.method
        check_size(check_method(method).call(options), 1, settings.limits)
        _ = program.ir()
        engines = program.engines(
            dtype=settings.dtype,
            device=settings.device,
            runtime=settings.engine,
            progress=progress,
            loaded=models.loaded,
        )
        for model in program.model_names():
            _ = engines[model]
        called = path.stem if len(names) == 1 else f"{path.stem}:{name}"
        created = int(path.stat().st_mtime) if path.exists() else int(time.time())
        yield ServedProgram(called, replace(program), engines, created)
