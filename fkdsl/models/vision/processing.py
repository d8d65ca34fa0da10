"""A prompt of texts and images -> what a model's own processor makes of it.

    prompts = Prompts(processor, module, "org/model")
    inputs = prompts.inputs(("A photo of ", cat, "is"))    # cat: an Attachment of the kind "image"
    inputs.ids       # (0, 17, 9, 33, 33, 33, ...)  with a placeholder for each part of an image
    inputs.end       # the number of ids up to the end of the last image
    inputs.tensors   # what the module takes beside them: pixels, masks, sizes

The texts of a prompt are data: one that spells a mark of the model, such as `<image>`, is refused,
since the processor would read it as the mark.
"""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fkdsl.base.errors import CallError
from fkdsl.base.locks import locked
from fkdsl.models.attachments import Attachment, Part
from fkdsl.models.chat import Hidden, TemplateMark, marks_of
from fkdsl.models.chat_template import render_chat
from fkdsl.models.vision.images import MOST_PIXELS, read_image

KEPT_INPUTS = 4
"""Prompts whose processed images are kept, since a prompt is asked for more than once as it
begins."""
MOST_SIZE = 1 << 14
"""The largest number in a processor's settings: pixels of a side, tokens of an image."""
MOST_IMAGES = 32
"""Most images of a prompt."""
MOST_TOGETHER = 2 * MOST_PIXELS
"""Most pixels of all images of a prompt, at three bytes each."""


@dataclass(frozen=True)
class Inputs:
    """What a processor makes of a prompt. ids: its tokens. end: how many of them there are up to
    the end of the last image. tensors: what the module takes beside ids, by name, a batch of
    one."""

    ids: tuple[int, ...]
    end: int
    tensors: Mapping[str, Any]


def _read_together(attached: Sequence[Attachment]) -> list[Any]:
    """The images of a prompt, decoded. Raises CallError where they are too large together, before
    the next one is read."""
    images, pixels = [], 0
    for one in attached:
        if pixels > MOST_TOGETHER:
            raise CallError(
                f"the images of a prompt have more than {MOST_TOGETHER:,} pixels together",
                "give fewer images, or smaller ones",
            )
        images.append(read_image(one.content, one.origin))
        pixels += images[-1].width * images[-1].height
    return images


class Prompts:
    """A model's own processor, for one thread at a time. module: of transformers. name: of the
    model, for messages."""

    def __init__(self, processor: Any, module: Any, name: str) -> None:
        self.processor, self.name = processor, name
        self.lock = threading.RLock()
        self.placeholders = _placeholders(processor, module.config)
        self._takes = _arguments(module)
        self._marks = marks_of(processor.tokenizer)
        self._kept: OrderedDict[Attachment, Inputs] = OrderedDict()
        self._image = _image_mark(processor)

    @locked
    def inputs(self, parts: Sequence[Part], system: str = "", is_chat: bool = False) -> Inputs:
        """The inputs of a prompt, or of a chat up to where the answer begins.

        Raises CallError for an image that cannot be read or that the processor refuses, a text
        that spells a mark, too many images, and a chat without a template.
        """
        key = Attachment.prompt(parts, system, is_chat)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        attached = [p for p in parts if isinstance(p, Attachment)]
        if len(attached) > MOST_IMAGES:  # before the first is decoded: each may take 150 MB
            raise CallError(
                f"a prompt has {len(attached)} images, and may have {MOST_IMAGES}",
                "give fewer images",
            )
        images = _read_together(attached)
        if is_chat:
            made = self._of_text(self._rendered(parts, system), images)
        elif type(self.processor).__name__ == "IdeficsProcessor":
            # It takes texts and images as a list, and puts marks around images itself.
            self._verify_plain([p for p in parts if isinstance(p, str)])
            left = iter(images)
            made = self._called(text=[[p if isinstance(p, str) else next(left) for p in parts]])
        else:
            self._verify_plain([p for p in parts if isinstance(p, str)])
            text = "".join(p if isinstance(p, str) else self._image for p in parts)
            made = self._of_text(text, images)
        self._kept[key] = made
        while len(self._kept) > KEPT_INPUTS:
            self._kept.popitem(last=False)
        return made

    @property
    def has_template(self) -> bool:
        """Whether the model has a chat template."""
        return bool(self._template())

    @locked
    def chat(self, user: str, system: str = "") -> tuple[int, ...]:
        """The ids of a chat without images, up to where the answer begins. Raises CallError as
        `inputs` does."""
        text = self._rendered((user,), system)
        encoded = self.processor.tokenizer(text, **self._without_second_mark(text))
        return tuple(encoded["input_ids"])

    def _of_text(self, text: str, images: Sequence[Any]) -> Inputs:
        """The inputs of a text in which a mark stands for each image."""
        marks = self._without_second_mark(text)
        return self._called(text=[text], images=[list(images)], **marks)

    def _without_second_mark(self, text: str) -> dict[str, bool]:
        """Keeps a tokenizer from writing the first mark of a text that a template has written."""
        begin = self.processor.tokenizer.bos_token
        return {"add_special_tokens": False} if begin and text.startswith(begin) else {}

    def _called(self, **given: Any) -> Inputs:
        try:
            output = self.processor(return_tensors="pt", **given)
        except Exception as error:  # a processor raises many kinds for images that it cannot take
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise CallError(
                f"the processor of {self.name} refuses this prompt: {reason}",
                "look at the sizes and the number of its images",
            ) from None
        ids = tuple(output["input_ids"][0].tolist())
        ends = [i + 1 for i, token in enumerate(ids) if token in self.placeholders]
        if not ends:
            raise CallError(
                f"the processor of {self.name} gives an image no place in the prompt",
                "fkdsl cannot use this model's images",
            )
        tensors = {
            name: value
            for name, value in output.items()
            if name in self._takes and name not in ("input_ids", "labels") and hasattr(value, "to")
        }
        return Inputs(ids, ends[-1], tensors)

    # ----------------------------------------------------------------- texts

    def _verify_plain(self, texts: Sequence[str]) -> None:
        """Raises CallError if a text, or several together, spell a mark."""
        for mark in self._marks:
            if mark.spelling in "".join(texts):
                raise self._spells(mark)

    def _spells(self, mark: TemplateMark) -> CallError:
        return CallError(
            f"a text of the prompt spells `{mark.spelling}`, which is a mark to {self.name}",
            "leave it out of the text",
        )

    def _template(self) -> str:
        template = self.processor.chat_template or self.processor.tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        return template or ""

    def _rendered(self, parts: Sequence[Part], system: str) -> str:
        """The text of a chat by the model's own template."""
        template = self._template()
        if not template:
            raise CallError(
                f"{self.name} has no chat template", "use prompt(...) with the model's own format"
            )
        texts = [system, *(p for p in parts if isinstance(p, str))]
        self._verify_plain(texts)
        hidden = Hidden(self._marks, template + "".join(texts))
        content = [
            {"type": "text", "text": hidden.hide(p)} if isinstance(p, str) else {"type": "image"}
            for p in parts
        ]
        turns = [{"role": "user", "content": content}]
        if system:
            said = [{"type": "text", "text": hidden.hide(system)}]
            turns.insert(0, {"role": "system", "content": said})
        given = {
            **self.processor.tokenizer.special_tokens_map,
            "messages": turns,
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
        }
        rendered = render_chat(template, given, self.name)
        whole = hidden.restore(rendered)
        for mark in self._marks:
            if whole.count(mark.spelling) != rendered.count(mark.spelling):
                raise self._spells(mark)
        return whole


def verify_settings(processor: Any, name: str) -> None:
    """Raises CallError for a size in a processor's settings that would have an image take all
    memory: they come with a model's files. Families that count pixels (those whose processors merge
    patches) may have more of them along an "edge"."""
    settings = {k: v for k, v in processor.to_dict().items() if k not in ("tokenizer",)}
    counts_pixels = hasattr(getattr(processor, "image_processor", None), "merge_size")
    todo: list[tuple[str, Any]] = [("", settings)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, Mapping) or hasattr(value, "items"):
            todo.extend(value.items())
        elif isinstance(value, list | tuple):
            todo.extend((key, item) for item in value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            pixels = counts_pixels and key.endswith(("_edge", "_pixels"))
            most = MOST_PIXELS if pixels else MOST_SIZE
            if not key.endswith(("_id", "_ids", "_index")) and not abs(value) <= most:
                raise CallError(
                    f"the processor of images of `{name}` has {key} = {value:,}, and at most "
                    f"{most:,} is taken",
                    "fetch the model again",
                )


def _placeholders(processor: Any, config: Any) -> frozenset[int]:
    """The ids that stand for a part of an image in a prompt."""
    found = {
        getattr(processor, "image_token_id", None),
        *(getattr(processor, "image_token_ids", None) or ()),
        getattr(config, "image_token_id", None),
        getattr(config, "image_token_index", None),
    }
    return frozenset(i for i in found if isinstance(i, int))


def _image_mark(processor: Any) -> str:
    """What a text has in the place of an image, for the processor to expand."""
    boi = getattr(processor, "boi_token", None)
    if isinstance(boi, str):
        return boi  # Gemma's processors expand the mark of an image's beginning
    mark = getattr(processor, "image_token", None) or "<image>"
    known = processor.tokenizer.get_vocab()
    if "<|vision_start|>" in known and "<|vision_end|>" in known:
        return f"<|vision_start|>{mark}<|vision_end|>"  # as Qwen's chat templates write it
    return str(mark)


def _arguments(module: Any) -> frozenset[str]:
    """The names of what a module's forward takes."""
    names: set[str] = set()
    for part in (module, getattr(module, "model", None)):
        if part is not None:
            names.update(inspect.signature(part.forward).parameters)
    return frozenset(names)
