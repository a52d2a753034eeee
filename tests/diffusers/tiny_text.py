"""Tokenizers and language models of random weights that newer pipelines read their prompts with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma2Model,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    UMT5Config,
    UMT5EncoderModel,
)

from .tiny import WORDS

WIDTH = 32
TEMPLATE = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"
DECODER = {
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 64,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random weights of a seed, the global generator left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def words_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, with a chat template."""
    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS, "user", "system"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), special))
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, padding_side="right", **names)
    made.chat_template = TEMPLATE
    return made


class TextProcessor:
    """A vision-language processor as text-only pipelines use it: they pass `images=None, videos=None`."""

    def __init__(self) -> None:
        self.tokenizer = words_tokenizer()

    def __call__(self, text: Any = None, images: Any = None, videos: Any = None, **arguments: Any) -> Any:
        assert images is None
        assert videos is None
        return self.tokenizer(text, **arguments)

    def decode(self, tokens: Any) -> str:
        return self.tokenizer.decode(tokens)


class ChatProcessor(TextProcessor):
    """The processor of Flux 2, whose messages hold lists of typed parts."""

    def apply_chat_template(self, messages: Any, **arguments: Any) -> Any:
        plain = [
            [{"role": m["role"], "content": " ".join(part["text"] for part in m["content"])} for m in chat]
            for chat in messages
        ]
        return self.tokenizer.apply_chat_template(plain, **arguments)


def qwen_vl() -> Qwen2_5_VLForConditionalGeneration:
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH}
    text = {k: v for k, v in DECODER.items() if k != "head_dim"} | {
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    }
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision)).eval()


def qwen3(causal: bool = False, layers: int = 2) -> torch.nn.Module:
    config = Qwen3Config(**DECODER | {"num_hidden_layers": layers})
    return (Qwen3ForCausalLM if causal else Qwen3Model)(config).eval()


def gemma() -> Gemma2Model:
    return Gemma2Model(Gemma2Config(**DECODER, query_pre_attn_scalar=16)).eval()


def glm() -> GlmModel:
    return GlmModel(GlmConfig(**DECODER)).eval()


def llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**DECODER, attn_implementation="eager")).eval()


def mistral3() -> Mistral3ForConditionalGeneration:
    vision = {
        "model_type": "pixtral",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
    }
    text = DECODER | {"model_type": "mistral"}
    return Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision)).eval()


def umt5() -> UMT5EncoderModel:
    config = UMT5Config(vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=4)
    return UMT5EncoderModel(config).eval()
