"""A pipeline's autoencoder between pictures and the latents its sampler sees: decoded, and encoded again.

Decoding is the pipeline's own: a call that evaluates nothing and ends with given latents. What stands between those and
what the autoencoder's decoder gets is an affine map for each channel (scaling and shift, or means and deviations). It
is read off two such calls, with zeros and with ones, so that nothing of it is written down here for any pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UnsupportedError
from .head import ShowLoop
from .layout import Layout
from .run import Stop, run
from .schedulers import MINIMUM_STEPS


@dataclass(frozen=True)
class Autoencoder:
    """Of one pipeline at two resolutions.

    Attributes:
        call: of the plain pipeline for one image, at the size of `layout`; its settings as of `Family.low`.
        scale, shift: the decoder gets `scale * latents + shift`, each broadcast over (batch, channels, height, width).
    """

    pipe: Any
    denoiser: str
    batch: Callable[[int], Mapping[str, Any]]
    attributes: Mapping[str, Any]
    layout: Layout
    memo: dict[Any, Any]
    scale: torch.Tensor
    shift: torch.Tensor

    @classmethod
    def of(
        cls,
        pipe: Any,
        denoiser: str,
        batch: Callable[[int], Mapping[str, Any]],
        attributes: Mapping[str, Any],
        layout: Layout,
        memo: dict[Any, Any],
    ) -> Autoencoder:
        """The autoencoder of a pipeline.

        Args:
            batch: the plain call that makes so many images of the size of `layout`, with generators.
            attributes: of the pipeline, for the length of such a call.

        Raises UnsupportedError for a pipeline without an encoder, of videos, or whose decoder gets its latents in
        another form than an affine one.
        """
        name, vae = type(pipe).__name__, getattr(pipe, "vae", None)
        way = "use operator 'spectral', which needs no autoencoder"
        if not hasattr(vae, "encode") or len(layout.grid) != 3:
            raise UnsupportedError(f"{name} has no autoencoder that takes and gives single pictures; {way}")
        made = cls(pipe, denoiser, batch, attributes, layout, memo, torch.ones(1), torch.zeros(1))
        shift = made._decoder_input(0.0)
        scale = made._decoder_input(1.0) - shift
        halves = made._decoder_input(0.5)
        affine = torch.allclose(halves, shift + 0.5 * scale, rtol=1e-2, atol=1e-3 * float(scale.abs().max()))
        if tuple(shift.shape[1:]) != layout.grid or not affine or not bool(scale.abs().min() > 0):
            raise UnsupportedError(
                f"{name} arranges latents {layout.grid} anew for its autoencoder ({tuple(shift.shape[1:])}), which "
                f"this operator does not follow; {way}"
            )
        return cls(pipe, denoiser, batch, attributes, layout, memo, scale, shift)

    def decoded(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (batch, 3, height, width) in [0, 1] of spatial latents (batch, channels, rows, columns)."""
        loop = ShowLoop(self.layout.solver(latents, self._dtype))
        out, _ = run(
            self.pipe,
            self.denoiser,
            {**self._call(latents.shape[0]), "output_type": "pt"},
            loop,
            memo=self.memo,
            attributes=self.attributes,
        )
        return torch.as_tensor(out[0]).to(latents.device, torch.float32)

    def encoded(self, pictures: torch.Tensor) -> torch.Tensor:
        """The inverse of `decoded`, for pictures of any size; the mode of the encoder's distribution."""
        vae = self.pipe.vae
        dtype = vae.dtype
        upcast = dtype == torch.float16 and bool(getattr(vae.config, "force_upcast", False))
        if upcast:
            vae.to(torch.float32)
        try:
            with torch.no_grad():
                made = vae.encode((2.0 * pictures - 1.0).to(vae.device, vae.dtype))
        finally:
            if upcast:
                vae.to(dtype)
        held = made.latent_dist.mode() if hasattr(made, "latent_dist") else made.latent
        latents = held.to(torch.float32)
        rows, columns = latents.shape[-2:]  # never more than those of the layout; a pattern of patches repeats
        scale, shift = (part[:, :, :rows, :columns].to(latents.device) for part in (self.scale, self.shift))
        return ((latents - shift) / scale).to(pictures.device)

    @property
    def _dtype(self) -> torch.dtype:
        return getattr(self.pipe, self.denoiser).dtype

    def _call(self, count: int) -> dict[str, Any]:
        call = {**self.batch(count), "num_inference_steps": MINIMUM_STEPS, "callback_on_step_end": None}
        if "sigmas" in call:
            call["sigmas"] = None
        return call

    def _decoder_input(self, value: float) -> torch.Tensor:
        """What the decoder gets for latents that are `value` everywhere. Nothing is decoded."""
        vae, seen = self.pipe.vae, []

        def spy(latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            seen.append(latents.detach().to("cpu", torch.float32))
            raise Stop

        latents = torch.full((1, *self.layout.packed), value)
        before = vars(vae).get("decode")
        vars(vae)["decode"] = spy
        try:
            loop = ShowLoop(latents.to(self._dtype))
            call = {**self._call(1), "output_type": "pt"}
            run(self.pipe, self.denoiser, call, loop, memo=self.memo, attributes=self.attributes)
        finally:
            if before is None:
                del vars(vae)["decode"]
            else:
                vars(vae)["decode"] = before
        if not seen:
            raise UnsupportedError(f"{type(self.pipe).__name__} decodes without its autoencoder's decode()")
        return seen[0]


def reduced(pictures: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Pictures (batch, 3, ..., ...) at (height, width), by area averaging."""
    return torch.nn.functional.interpolate(pictures, size=(height, width), mode="area")
