"""The networks of `scenes` as one module for training, and the scheduler that samples from them."""

import math

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn

from .text import SEQUENCE_LENGTH, TEXT_WIDTH, clip_text_model, clip_tokenizer, t5_text_model, t5_tokenizer
from .vocabulary import OBJECTS

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
