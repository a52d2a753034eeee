"""The autoencoder of `scenes`: 16 latent channels, factor 8, for an unmodified `FluxPipeline`.

It works on space-to-depth input, so that no convolution runs at full resolution on few channels (slow on a CPU).
Latents leave the encoder with zero mean and unit variance in every channel, so `scaling_factor` is 1 and
`shift_factor` is 0.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Residual block without normalisation: x + conv(silu(conv(silu(x)))), the second convolution starting at zero."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to the same shape."""
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class ScenesAutoencoder(ModelMixin, ConfigMixin):
    """RGB images [B, 3, H, W] in -1..1 (H and W multiples of 8) to and from latents [B, 16, H/8, W/8].

    `block_out_channels` has four entries because pipelines read the factor 8 from its length: the first two are the
    widths at a quarter and an eighth of the image in the encoder, the last two those of the decoder (eighth,
    quarter).
    """

    _supports_gradient_checkpointing = False
    # What a saved pipeline names as the class's home: importing commutant is enough to load it.
    __module__ = "commutant"

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        block_out_channels: tuple[int, int, int, int] = (64, 128, 192, 96),
        encoder_blocks: tuple[int, int] = (2, 2),
        decoder_blocks: tuple[int, int] = (3, 3),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
        posterior_std: float = 0.02,
    ):
        super().__init__()
        wide_in, deep_in, deep_out, wide_out = block_out_channels
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, wide_in, 3, padding=1),
            *(Block(wide_in) for _ in range(encoder_blocks[0])),
            nn.Conv2d(wide_in, deep_in, 4, stride=2, padding=1),
            *(Block(deep_in) for _ in range(encoder_blocks[1])),
            nn.SiLU(),
            nn.Conv2d(deep_in, latent_channels, 3, padding=1),
        )
        self.normalize = nn.BatchNorm2d(latent_channels, affine=False, momentum=0.02)
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, deep_out, 3, padding=1),
            *(Block(deep_out) for _ in range(decoder_blocks[0])),
            nn.Conv2d(deep_out, 4 * wide_out, 1),
            nn.PixelShuffle(2),
            *(Block(wide_out) for _ in range(decoder_blocks[1])),
            nn.SiLU(),
            nn.Conv2d(wide_out, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def encode_mean(self, images: Tensor) -> Tensor:
        """Latents [B, 16, H/8, W/8] of `images` [B, 3, H, W]; ValueError for sides that 8 does not divide."""
        if images.shape[-1] % 8 or images.shape[-2] % 8:
            raise ValueError(f"image sides must be multiples of 8, got {images.shape[-2]}x{images.shape[-1]}")
        return self.normalize(self.encoder(images))

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput | tuple[DiagonalGaussianDistribution]:
        """Encode images as diffusers' autoencoders do; the posterior's spread is the constant `posterior_std`."""
        mean = self.encode_mean(x)
        log_var = torch.full_like(mean, 2.0 * torch.tensor(self.config.posterior_std).log().item())
        posterior = DiagonalGaussianDistribution(torch.cat([mean, log_var], dim=1))
        return AutoencoderKLOutput(latent_dist=posterior) if return_dict else (posterior,)

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Decode latents [B, 16, h, w] to images [B, 3, 8h, 8w]. `generator` is accepted for diffusers and not used."""
        images = self.decoder(z)
        return DecoderOutput(sample=images) if return_dict else (images,)

    def forward(self, sample: Tensor) -> Tensor:
        """Round trip through the posterior mean: [B, 3, H, W] to the same shape."""
        return self.decoder(self.encode_mean(sample))
