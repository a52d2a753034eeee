"""Pipelines that previews do not drive, each with the reason and the way out."""

from __future__ import annotations

FROM_IMAGE = (
    "its run starts from a noised image at a middle time, not from noise; use the pipeline that starts from noise, or "
    "a plain call"
)
MASKED = (
    "it keeps a masked picture, in the latents after every step or beside them in what the model sees, outside the "
    "sampler that previews follow; use the pipeline without a mask, or a plain call"
)
VIDEO_FROM_IMAGE = (
    "its frames start from an encoded picture, not from noise alone, and no test covers it; use the text-to-video "
    "pipeline, or a plain call"
)
AUDIO = "it denoises sound along with the picture, and sound has no resolution to lower; use a plain call"

REFUSED = {
    **dict.fromkeys(
        (
            "ChromaImg2ImgPipeline",
            "FluxControlImg2ImgPipeline",
            "FluxControlNetImg2ImgPipeline",
            "FluxImg2ImgPipeline",
            "QwenImageImg2ImgPipeline",
            "StableDiffusion3Img2ImgPipeline",
            "ZImageImg2ImgPipeline",
        ),
        FROM_IMAGE,
    ),
    **dict.fromkeys(
        (
            "ChromaInpaintPipeline",
            "Flux2KleinInpaintPipeline",
            "FluxControlInpaintPipeline",
            "FluxControlNetInpaintPipeline",
            "FluxFillPipeline",
            "FluxInpaintPipeline",
            "FluxKontextInpaintPipeline",
            "QwenImageControlNetInpaintPipeline",
            "QwenImageEditInpaintPipeline",
            "QwenImageInpaintPipeline",
            "StableDiffusion3ControlNetInpaintingPipeline",
            "StableDiffusion3InpaintPipeline",
            "ZImageControlNetInpaintPipeline",
            "ZImageInpaintPipeline",
        ),
        MASKED,
    ),
    **dict.fromkeys(
        (
            "HunyuanSkyreelsImageToVideoPipeline",
            "HunyuanVideo15ImageToVideoPipeline",
            "HunyuanVideoImageToVideoPipeline",
            "Kandinsky5I2VPipeline",
            "LTXConditionPipeline",
            "LTXImageToVideoPipeline",
            "SkyReelsV2ImageToVideoPipeline",
        ),
        VIDEO_FROM_IMAGE,
    ),
    **dict.fromkeys(("LTX2Pipeline", "LTX2ConditionPipeline", "LTX2ImageToVideoPipeline"), AUDIO),
    "WanVideoToVideoPipeline": FROM_IMAGE,
}
