"""Make the transformer's blocks fast to train on a CPU: plain attention, compiled, at any thread count."""

from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

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
