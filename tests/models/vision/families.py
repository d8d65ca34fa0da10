"""Tiny random models with eyes of many families of transformers, with processors of their own,
whose tokens are letters and the marks of each family."""

from functools import cache

import pytest

LETTERS = "abcdefghijklmnopqrstuvwxyz .:\n?"
SIDE = 16
"""Pixels of a side of the images that the models look at."""
MARKS = {
    "idefics": ("<fake_token_around_image>", "<image>"),
    "mllama": ("<|image|>", "<|python_tag|>"),
    "llava": ("<image>",),
    "llava_next": ("<image>",),
    "smolvlm": (
        "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<video>"
    ),
    "idefics3": ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"),
    "paligemma": ("<image>",),
    "gemma3": ("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    "qwen2_vl": ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    "qwen2_5_vl": ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
}  # fmt: skip
FAST = ("llava", "smolvlm", "qwen2_vl", "paligemma", "mllama", "idefics", "gemma3")
SLOW = ("llava_next", "idefics3", "qwen2_5_vl")


def tokenizer_of(family):
    """A tokenizer of letters and the family's marks; <s> begins every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = MARKS[family]
    names = ["<s>", "</s>", "<unk>", *LETTERS, *marks]
    backend = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)]
    )
    extra = {}
    match family:
        case "gemma3":
            extra = {
                "extra_special_tokens": {
                    "boi_token": marks[0], "eoi_token": marks[1], "image_token": marks[2],
                }
            }  # fmt: skip
        case "paligemma":
            extra = {"extra_special_tokens": {"image_token": "<image>"}}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        pad_token="</s>", **extra,
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    return tokenizer


def text_config(kind, size, **more):
    import transformers as tf

    common = {
        "vocab_size": size, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "head_dim": 8,
    }  # fmt: skip
    return getattr(tf, kind)(**{**common, **more})


def vision(kind, **more):
    import transformers as tf

    common = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "image_size": SIDE, "patch_size": 4,
    }  # fmt: skip
    return getattr(tf, kind)(**{**common, **more})


def eyes_of(family, kind="Pil"):
    """The family's image processor, for images of SIDE x SIDE pixels."""
    import transformers as tf

    square = {"height": SIDE, "width": SIDE}
    match family:
        case "idefics":
            return tf.IdeficsImageProcessorPil(image_size=SIDE)
        case "mllama":
            return tf.MllamaImageProcessorPil(size=square, max_image_tiles=2)
        case "llava":
            return tf.CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square)
        case "llava_next":
            return tf.LlavaNextImageProcessorPil(
                size={"shortest_edge": SIDE}, crop_size=square,
                image_grid_pinpoints=[[SIDE, 2 * SIDE], [2 * SIDE, SIDE]],
            )  # fmt: skip
        case "smolvlm" | "idefics3":
            name = "SmolVLM" if family == "smolvlm" else "Idefics3"
            try:
                return getattr(tf, f"{name}ImageProcessorPil")(
                    size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}
                )
            except ImportError:  # transformers 5.16 asks for torchvision here
                pytest.skip("this release's SmolVLM needs torchvision")
        case "paligemma":
            eyes = tf.SiglipImageProcessorPil(size=square)
            eyes.image_seq_length = 16
            return eyes
        case "gemma3":
            return tf.Gemma3ImageProcessorPil(size=square)
        case "qwen2_vl" | "qwen2_5_vl":
            return tf.Qwen2VLImageProcessorPil(
                patch_size=4, merge_size=2, temporal_patch_size=2,
                size={"shortest_edge": 64, "longest_edge": SIDE * SIDE},
            )  # fmt: skip
    raise ValueError(family)


def processor_of(family, template=None):
    import transformers as tf

    from fkdsl.models.compat.processors import made_processor

    tokenizer, eyes = tokenizer_of(family), eyes_of(family)
    match family:
        case "idefics":
            return tf.IdeficsProcessor(eyes, tokenizer, image_size=SIDE)
        case "mllama":
            return tf.MllamaProcessor(eyes, tokenizer, chat_template=template)
        case "llava":
            return tf.LlavaProcessor(
                eyes, tokenizer, patch_size=4, vision_feature_select_strategy="default",
                num_additional_image_tokens=1, chat_template=template,
            )  # fmt: skip
        case "llava_next":
            return tf.LlavaNextProcessor(
                eyes, tokenizer, patch_size=4, vision_feature_select_strategy="default",
                num_additional_image_tokens=1, chat_template=template,
            )  # fmt: skip
        case "smolvlm":
            return made_processor(
                tf.SmolVLMProcessor, eyes, tokenizer, None, image_seq_len=4, chat_template=template
            )
        case "idefics3":
            return tf.Idefics3Processor(eyes, tokenizer, image_seq_len=4, chat_template=template)
        case "paligemma":
            return tf.PaliGemmaProcessor(eyes, tokenizer, chat_template=template)
        case "gemma3":
            return tf.Gemma3Processor(eyes, tokenizer, image_seq_length=4, chat_template=template)
        case "qwen2_vl" | "qwen2_5_vl":
            name = "Qwen2VL" if family == "qwen2_vl" else "Qwen2_5_VL"
            kind = getattr(tf, f"{name}Processor")
            return made_processor(kind, eyes, tokenizer, None, chat_template=template)
    raise ValueError(family)


def config_of(family, tokenizer):
    import transformers as tf

    size = len(tokenizer)
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS[family]}
    match family:
        case "idefics":
            return tf.IdeficsConfig(
                vocab_size=size, additional_vocab_size=0, hidden_size=32, intermediate_size=48,
                num_hidden_layers=2, num_attention_heads=4, cross_layer_interval=1,
                alpha_initializer="random", alpha_type="vector", alphas_initializer_range=0.5,
                use_resampler=True, max_position_embeddings=256,
                bos_token_id=0, eos_token_id=1, pad_token_id=1,
                vision_config={
                    "embed_dim": 32, "image_size": SIDE, "patch_size": 4, "intermediate_size": 48,
                    "num_hidden_layers": 2, "num_attention_heads": 4,
                },
                perceiver_config={
                    "use_resampler": True, "resampler_n_latents": 4, "resampler_depth": 1,
                    "resampler_n_heads": 4, "resampler_head_dim": 8,
                    "qk_layer_norms_perceiver": False,
                },
            )  # fmt: skip
        case "mllama":
            return tf.MllamaConfig(
                vision_config={
                    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                    "num_global_layers": 1, "attention_heads": 4, "num_attention_heads": 4,
                    "image_size": SIDE, "patch_size": 4, "max_num_tiles": 2,
                    "intermediate_layers_indices": [0], "vision_output_dim": 64,
                    "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
                },
                text_config={
                    "vocab_size": size, "hidden_size": 32, "intermediate_size": 48,
                    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
                    "cross_attention_layers": [1], "max_position_embeddings": 256,
                    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
                },
                image_token_index=ids["<|image|>"],
            )  # fmt: skip
        case "llava":
            return tf.LlavaConfig(
                vision_config=vision("CLIPVisionConfig"),
                text_config=text_config("LlamaConfig", size),
                image_token_id=ids["<image>"], image_seq_length=16, vision_feature_layer=-1,
            )  # fmt: skip
        case "llava_next":
            return tf.LlavaNextConfig(
                vision_config=vision("CLIPVisionConfig"),
                text_config=text_config("LlamaConfig", size),
                image_token_id=ids["<image>"], vision_feature_layer=-1,
                image_grid_pinpoints=[[SIDE, 2 * SIDE], [2 * SIDE, SIDE]],
            )  # fmt: skip
        case "smolvlm" | "idefics3":
            name = "SmolVLM" if family == "smolvlm" else "Idefics3"
            return getattr(tf, f"{name}Config")(
                vision_config=vision(f"{name}VisionConfig"),
                text_config=text_config("LlamaConfig", size), image_token_id=ids["<image>"],
                scale_factor=2, pad_token_id=1,
            )  # fmt: skip
        case "paligemma":
            return tf.PaliGemmaConfig(
                vision_config=vision("SiglipVisionConfig", vision_use_head=False),
                text_config=text_config("GemmaConfig", size), image_token_id=ids["<image>"],
                projection_dim=32, hidden_size=32, vocab_size=size,
            )  # fmt: skip
        case "gemma3":
            return tf.Gemma3Config(
                vision_config=vision("SiglipVisionConfig", vision_use_head=False),
                text_config=text_config(
                    "Gemma3TextConfig", size, sliding_window=8, query_pre_attn_scalar=8,
                    layer_types=["sliding_attention", "full_attention"],
                ),
                mm_tokens_per_image=4, boi_token_id=ids["<start_of_image>"],
                eoi_token_id=ids["<end_of_image>"], image_token_id=ids["<image_soft_token>"],
            )  # fmt: skip
        case "qwen2_vl" | "qwen2_5_vl":
            old = family == "qwen2_vl"
            name = "Qwen2VL" if old else "Qwen2_5_VL"
            eyes = {"depth": 2, "num_heads": 4, "patch_size": 4, "spatial_merge_size": 2}
            eyes |= (
                {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
                if old
                else {
                    "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32,
                    "fullatt_block_indexes": [1], "window_size": 16,
                }
            )  # fmt: skip
            return getattr(tf, f"{name}Config")(
                vision_config=eyes,
                text_config=text_config(
                    f"{name}TextConfig", size,
                    rope_parameters={"rope_type": "default", "mrope_section": [2, 1, 1],
                                     "rope_theta": 10000.0},
                ).to_dict(),
                image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
                vision_start_token_id=ids["<|vision_start|>"],
                vision_end_token_id=ids["<|vision_end|>"],
            )  # fmt: skip
    raise ValueError(family)


@cache
def family(name):
    """(module, processor) of a family. Gates that begin closed are opened, and weights are scaled
    up, so that an image that is not seen shows in the rows."""
    import torch
    from transformers import AutoModelForImageTextToText

    processor = processor_of(name)
    torch.manual_seed(7)
    module = AutoModelForImageTextToText.from_config(config_of(name, processor.tokenizer)).float()
    with torch.no_grad():
        for key, p in module.named_parameters():
            if "gate" in key and p.numel() == 1:
                p.fill_(0.7)
            elif not p.any():
                p.normal_(0.0, 0.3)
            elif p.ndim >= 2:
                p.mul_(5.0)
    return module.eval(), processor


def noise(seed=0, size=(20, 14)):
    """An image of noise."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)
