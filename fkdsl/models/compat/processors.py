"""The processors of transformers' models with eyes, made for texts and images alone.

A processor of transformers may also ask for a reader of videos, which needs torchvision, and for
packages that only videos need. Here those parts are None, so Pillow is all that images need; and
images are resized by Pillow whatever else is installed, so that a machine with torchvision gives
the same rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fkdsl.models.compat import ProcessorUnknown


def load_processor(path: str, config: Any) -> Any:
    """The processor of a folder for texts and images. config: the model's. Uses no network, and
    runs no code of the folder.

    Raises ProcessorUnknown where transformers has no processor for the folder, and what its loaders
    raise.
    """
    kind = without_videos(_class_of(path, config))
    with _packages_of_videos(kind):
        return kind.from_pretrained(path, local_files_only=True, trust_remote_code=False)


def without_videos(kind: type[Any]) -> type[Any]:
    """A class of processors whose parts for anything but texts and images may be None."""

    class TextsAndImages(kind):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument is None:
                return type(None)
            return super().check_argument_for_proper_class(argument_name, argument)

        @classmethod
        def _get_arguments_from_pretrained(cls, path: str, *_: Any, **given: Any) -> list[Any]:
            from transformers import AutoTokenizer

            known = {"local_files_only": True, "trust_remote_code": False}
            parts: list[Any] = []
            for name in cls.get_attributes():
                if name == "tokenizer":
                    parts.append(AutoTokenizer.from_pretrained(path, **known))
                elif name == "image_processor":
                    parts.append(_image_processor(path, known))
                else:
                    parts.append(None)
            return parts

    TextsAndImages.__name__ = kind.__name__
    return TextsAndImages


def _image_processor(path: str, known: dict[str, Any]) -> Any:
    """The image processor of a folder, by Pillow."""
    import transformers
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        return transformers.AutoImageProcessor.from_pretrained(path, backend="pil", **known)
    except ImportError:
        # In transformers 5.16 this needs torchvision, though the class that it would find does not.
        settings, _ = ImageProcessingMixin.get_image_processor_dict(path, local_files_only=True)
        name = str(settings.get("image_processor_type", ""))
        name = f"{name.removesuffix('Fast').removesuffix('Pil')}Pil"
        if not isinstance(kind := getattr(transformers, name, None), type):
            raise
        loader: Any = kind
        return loader.from_pretrained(path, local_files_only=True)


def made_processor(kind: type[Any], *parts: Any, **settings: Any) -> Any:
    """A processor of a class of transformers from its parts, of which those for videos may be
    None."""
    made = without_videos(kind)
    with _packages_of_videos(made):
        return made(*parts, **settings)


def _class_of(path: str, config: Any) -> type[Any]:
    """The class that a folder's processor has: the one that its files name, or else the one of its
    family."""
    from transformers.image_processing_base import ImageProcessingMixin
    from transformers.models.auto.processing_auto import (
        PROCESSOR_MAPPING,
        processor_class_from_name,
    )
    from transformers.processing_utils import ProcessorMixin

    name = None
    for read in (ProcessorMixin.get_processor_dict, ImageProcessingMixin.get_image_processor_dict):
        try:
            settings, _ = read(path, local_files_only=True)
        except (OSError, ValueError):
            continue
        name = name or settings.get("processor_class")
    kind = processor_class_from_name(name) if isinstance(name, str) else None
    if kind is None and type(config) in PROCESSOR_MAPPING:
        kind = PROCESSOR_MAPPING[type(config)]
    if not isinstance(kind, type) or not issubclass(kind, ProcessorMixin):
        raise ProcessorUnknown(
            "it has no processor of images that transformers knows",
            "its folder needs preprocessor_config.json or processor_config.json",
        )
    return kind


@contextmanager
def _packages_of_videos(kind: type[Any]) -> Iterator[None]:
    """Within it a module of processors that asks for a package of videos alone (SmolVLM's for
    num2words) finds something in its place."""
    modules = [sys.modules.get(base.__module__) for base in kind.__mro__]
    lacking = [m for m in modules if m is not None and getattr(m, "num2words", 0) is None]
    for module in lacking:
        module.num2words = _spelt_out  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in lacking:
            module.num2words = None  # type: ignore[attr-defined]


def _spelt_out(number: int) -> str:
    return str(number)
