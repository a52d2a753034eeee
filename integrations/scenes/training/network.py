"""The networks of `scenes` as one module for training, the tokenizers, and the scheduler that samples from them.

`FluxPipeline` reads a pooled vector from a `CLIPTextModel` and a sequence from a `T5EncoderModel`. Both are a few
layers here and are trained together with the transformer. Their tokenizers are made from the prompt vocabulary: one
word is one token in both; a word outside it becomes unknown tokens, which training never showed (see
`vocabulary.unknown_words`). For a CPU the transformer's blocks get plain attention and are compiled.
"""

import math
import string
from collections import Counter
from itertools import pairwise
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from ..vocabulary import OBJECTS, WORDS

SEQUENCE_LENGTH = 24
"""Tokens of a prompt in both encoders; pass it to the pipeline as `max_sequence_length`."""

TEXT_WIDTH = 128

_START, _END, _WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"


def clip_tokenizer() -> CLIPTokenizer:
    """Byte-pair tokenizer whose merges build every vocabulary word as one token; letters remain for other words."""
    symbols = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    merges = _merges(list(WORDS))
    tokens = [_START, _END, *symbols, *(symbol + _WORD_END for symbol in symbols), *("".join(pair) for pair in merges)]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=SEQUENCE_LENGTH)


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Learn byte-pair merges until every word is one symbol.

    Ties break by the alphabet: the `tokenizers` trainer breaks them by hash order, and token ids must never change.
    """
    spelled = [[*word[:-1], word[-1] + _WORD_END] for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(symbols) > 1 for symbols in spelled):
        pairs = Counter(pair for symbols in spelled for pair in pairwise(symbols))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_merged(symbols, best) for symbols in spelled]
    return merges


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for symbol in symbols:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def t5_tokenizer() -> T5Tokenizer:
    """Unigram tokenizer over whole words, lower case or capitalised."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0), (",", -1.0), (".", -1.0)]
    pieces += [(f"▁{form}", -2.0) for form in (*WORDS, *(word.capitalize() for word in WORDS))]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=SEQUENCE_LENGTH)


def clip_text_model(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A two-layer CLIP text encoder with fresh weights from the global generator (fork it to keep it untouched)."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=2 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=SEQUENCE_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def t5_text_model(tokenizer: T5Tokenizer) -> T5EncoderModel:
    """A two-layer T5 encoder with fresh weights from the global generator (fork it to keep it untouched)."""
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=TEXT_WIDTH,
            d_kv=TEXT_WIDTH // 4,
            num_heads=4,
            d_ff=2 * TEXT_WIDTH,
            num_layers=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    )


@torch.no_grad()
def share_capitals(encoder: T5EncoderModel) -> None:
    """Give each capitalised word the embedding of its lower-case form, which alone is trained.

    CLIP's tokenizer lowers the case by itself; T5's keeps no normalizer in its files.
    """
    vocab, rows = t5_tokenizer().get_vocab(), encoder.get_input_embeddings().weight
    for word in WORDS:
        rows[vocab[f"▁{word.capitalize()}"]] = rows[vocab[f"▁{word}"]]


_SHIFT_AT = {64: 1.7, 256: 3.0}  # image tokens -> shift of the noise odds: 128x128 and 256x256


def shift_of(tokens: int) -> float:
    """Shift of the odds t / (1 - t) for `tokens` image tokens: its logarithm is linear in the number of tokens."""
    (few, low), (many, high) = _SHIFT_AT.items()
    slope = (math.log(high) - math.log(low)) / (many - few)
    return math.exp(math.log(low) + slope * (tokens - few))


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The Euler scheduler whose dynamic shift equals `shift_of`."""
    (few, low), (many, high) = _SHIFT_AT.items()
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_image_seq_len=few,
        max_image_seq_len=many,
        base_shift=math.log(low),
        max_shift=math.log(high),
    )


class LayoutHead(nn.Module):
    """Training aid, not shipped: from a middle block's image tokens, which object covers each token, and where on it.

    Input [B, T, width]; output logits [B, T, objects + 1] (index 0 is the background) and offsets [B, T, 2] in -1..1.
    """

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, len(OBJECTS) + 3))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Split the outputs into class logits and offsets."""
        out = self.net(hidden).float()
        return out[..., :-2], out[..., -2:]


class ScenesFlow(nn.Module):
    """Transformer, both text encoders and the layout head; `forward` is one velocity prediction from token ids."""

    def __init__(self, double: int = 2, single: int = 8, heads: int = 4, head_dim: int = 64):
        super().__init__()
        axes = (head_dim // 4, 3 * head_dim // 8, 3 * head_dim // 8)
        self.transformer = FluxTransformer2DModel(
            in_channels=64,
            num_layers=double,
            num_single_layers=single,
            attention_head_dim=head_dim,
            num_attention_heads=heads,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH,
            guidance_embeds=False,
            axes_dims_rope=axes,
        )
        self.text_encoder = clip_text_model(clip_tokenizer())
        self.text_encoder_2 = t5_text_model(t5_tokenizer())
        self.layout = LayoutHead(heads * head_dim)
        self._tap_block = single // 2 - 1
        _initialize(self.transformer)

    def forward(self, x: Tensor, t: Tensor, clip_ids: Tensor, t5_ids: Tensor, side: tuple[int, int]) -> Tensor:
        """Velocity [B, T, 64] of packed latents x [B, T, 64] at times t [B] in 0..1 on the token grid `side`."""
        pooled = self.text_encoder(clip_ids).pooler_output
        sequence = self.text_encoder_2(t5_ids)[0]
        return self.transformer(
            hidden_states=x,
            encoder_hidden_states=sequence,
            pooled_projections=pooled,
            timestep=t,
            img_ids=FluxPipeline._prepare_latent_image_ids(1, *side, x.device, x.dtype),
            txt_ids=torch.zeros(SEQUENCE_LENGTH, 3, device=x.device, dtype=x.dtype),
            return_dict=False,
        )[0]

    def forward_with_layout(self, *args: Tensor | tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """`forward`, together with the layout head's (logits, offsets) read from a middle block."""
        block = self.transformer.single_transformer_blocks[self._tap_block]
        kept: list[Tensor] = []
        handle = block.register_forward_hook(lambda _module, _inputs, output: kept.append(output[1]))
        try:
            velocity = self(*args)
        finally:
            handle.remove()
        return (velocity, *self.layout(kept[0]))


@torch.no_grad()
def _initialize(transformer: FluxTransformer2DModel) -> None:
    """Xavier weights; modulations and the output start at zero, so every block starts as the identity."""
    for name, module in transformer.named_modules():
        if isinstance(module, nn.Linear):
            zero = name == "proj_out" or ("norm" in name and name.endswith("linear"))
            nn.init.zeros_(module.weight) if zero else nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


_IGNORED_GUARDS = ("GLOBAL_STATE",)  # holds the thread count; nothing else in it changes during training


class PlainAttention:
    """FLUX attention written as two matrix products and a softmax.

    The backward pass of torch's fused attention is slow on a CPU (a third of a training step here); compiled, this form
    takes 30% of its time at 128x128 and 60% at 256x256.
    """

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Image tokens [B, T, C] (and text tokens [B, L, C] in double blocks) to attention outputs of those shapes."""
        heads = (-1, attn.head_dim)
        query = attn.norm_q(attn.to_q(hidden_states).unflatten(-1, heads))
        key = attn.norm_k(attn.to_k(hidden_states).unflatten(-1, heads))
        value = attn.to_v(hidden_states).unflatten(-1, heads)
        if encoder_hidden_states is not None:
            text = encoder_hidden_states
            query = torch.cat([attn.norm_added_q(attn.add_q_proj(text).unflatten(-1, heads)), query], dim=1)
            key = torch.cat([attn.norm_added_k(attn.add_k_proj(text).unflatten(-1, heads)), key], dim=1)
            value = torch.cat([attn.add_v_proj(text).unflatten(-1, heads), value], dim=1)
        if image_rotary_emb is not None:
            query = apply_rotary_emb(query, image_rotary_emb, sequence_dim=1)
            key = apply_rotary_emb(key, image_rotary_emb, sequence_dim=1)
        query, key, value = (x.to(value.dtype).transpose(1, 2) for x in (query, key, value))
        weights = torch.softmax((query * attn.head_dim**-0.5) @ key.mT, dim=-1, dtype=torch.float32)
        out = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        if encoder_hidden_states is None:
            return out
        length = encoder_hidden_states.shape[1]
        return attn.to_out[1](attn.to_out[0](out[:, length:])), attn.to_add_out(out[:, :length])


def _keep(guards: list[Any]) -> list[bool]:
    return [guard.guard_type not in _IGNORED_GUARDS for guard in guards]


def compile_blocks(transformer: FluxTransformer2DModel, threads: int) -> None:
    """Change the attention and compile the repeated blocks in place: one kernel per shape, threads read at run time.

    `threads` is the most threads that a step will use: kernels planned for one thread have no parallel loop at all.
    """
    import torch._dynamo.config
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = 64
    torch._inductor.config.cpp.dynamic_threads = True
    torch._inductor.config.cpp.threads = threads
    transformer.set_attn_processor(PlainAttention())
    transformer.compile_repeated_blocks(dynamic=False, options={"guard_filter_fn": _keep})
