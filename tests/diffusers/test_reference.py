"""The adapter's previews are those of the framework-free reference, and of hand-written plain calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from commutant.adapters.diffusers import Previewer
from commutant.commutator import Guidance, Plan, RectifiedFlow, Stage, euler, preset

from .conftest import PROMPT, Case

PATH = RectifiedFlow()
GUIDED = {
    "lagged": Guidance("lagged", 2, 0.1),
    "anchor": Guidance("anchor", 2, 0.5, "linear", "last"),
    "defect": Guidance("defect", 2, 0.5),
    "last": Guidance("defect", 2, 1.0, "linear", "last"),
    "exact": Guidance("exact", 2, 0.1),
}


OTHERS = {
    "second-order": preset("matched", 8).with_last(steps=4, order=2),
    "coarse-second-order": Plan(0, (Stage(1, 3, order=2), Stage(2, 3, guidance=GUIDED["defect"], order=2))),
    "staged": Plan(2, (Stage(1, 2, order=2), Stage(2, 3, guidance=GUIDED["defect"]))),
    "staged-by-the-last-answer": Plan(2, (Stage(1, 2), Stage(2, 3, guidance=GUIDED["last"], order=2))),
    "coarse-end": Plan(3, (Stage(1, 3, order=2),)),
    "split": Plan(2, (Stage(2, 2), Stage(2, 2, None, order=2))),
    "direct-staged": Plan(0, (Stage(2, 2), Stage(2, 2, None))),
    "strided-staged": Plan(1, (Stage(1, 2), Stage(2, 3, "strided", "argmin", guidance=GUIDED["exact"]))),
    "live": Plan.live(4),
    "fewer": Plan.fewer(5),
    "fewer-second-order": Plan.fewer(5, order=2),
}


class FluxField:
    """The true-CFG Flux transformer called directly on spatial latents, no pipeline involved."""

    def __init__(self, case: Case) -> None:
        pipe = case.pipe
        self.pipe, self.scale = pipe, case.call["true_cfg_scale"]
        self.texts = [
            pipe.encode_prompt(prompt=p, prompt_2=None, max_sequence_length=case.call["max_sequence_length"])
            for p in (PROMPT, case.call["negative_prompt"])
        ]

    @torch.no_grad()
    def denoised(self, x: torch.Tensor, t: float) -> torch.Tensor:
        b, c, h, w = x.shape
        packed = self.pipe._pack_latents(x, b, c, h, w)
        ids = self.pipe._prepare_latent_image_ids(b, h // 2, w // 2, x.device, x.dtype)
        outs = []
        for embeds, pooled, text_ids in self.texts:
            outs.append(
                self.pipe.transformer(
                    hidden_states=packed,
                    timestep=torch.full((b,), t),
                    pooled_projections=pooled.expand(b, -1),
                    encoder_hidden_states=embeds.expand(b, -1, -1),
                    txt_ids=text_ids,
                    img_ids=ids,
                    return_dict=False,
                )[0]
            )
        velocity = outs[1] + self.scale * (outs[0] - outs[1])
        velocity = velocity.reshape(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)
        return x - t * velocity


def noise_of(case: Case, seeds: list[int]) -> torch.Tensor:
    shape = (1, 4, case.call["height"] // 8, case.call["width"] // 8)
    return torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])


def unpacked(latent: torch.Tensor, height: int, width: int) -> torch.Tensor:
    b = latent.shape[0]
    x = latent.reshape(b, height // 16, width // 16, 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return x.reshape(b, 4, height // 8, width // 8)


@pytest.mark.parametrize(
    "name", ["paper", "matched", "naive", "direct", "random", "pooled-same-time", *GUIDED, *OTHERS]
)
def test_previews_equal_the_reference(flux: Case, name: str) -> None:
    steps = 8
    if name in GUIDED:
        plan = preset("matched", steps).with_last(guidance=GUIDED[name], steps=3)
    elif name in OTHERS:
        plan = OTHERS[name]
    elif name == "random":
        plan = preset("naive", steps).with_last(selection="random", selection_seed=5)
    elif name == "pooled-same-time":
        plan = preset("naive", steps).with_last(operator="mean")
    else:
        plan = preset(name, steps)
    call = flux.call | {"num_inference_steps": steps}
    sheet = Previewer(flux.pipe, batch_size=2).preview(
        PROMPT, seeds=[1, 2], plan=plan, progress=False, output_type="latent", **call
    )
    size = (int(64 / plan.scale), int(96 / plan.scale))
    got = unpacked(torch.stack([item.image for item in sheet]), *size)

    result = euler.preview(plan, PATH, FluxField(flux), noise_of(flux, [1, 2]), sheet[0].tape.times)
    torch.testing.assert_close(got, result.latent, rtol=1e-3, atol=2e-4)
    assert sheet[0].cost.high == 2 * result.high_evaluations  # two rows per guided evaluation
    assert sheet[0].cost.low == 2 * result.low_evaluations
    perturbed = euler.preview(plan, PATH, FluxField(flux), noise_of(flux, [1, 3]), sheet[0].tape.times).latent
    assert float((got - perturbed).abs().max()) > 0.05  # the comparison can fail


def test_direct_is_a_plain_call_from_pooled_noise(case: Case) -> None:
    """D = 0 with strided selection and the same times: the plain low-resolution call on D eps, bit for bit."""
    plan = preset("naive", 6).replaced(head=0)
    made: dict[str, Any] = {}

    def keep(pipe: Any, step: int, t: Any, values: dict[str, Any]) -> dict[str, Any]:
        made.setdefault("sigmas", pipe.scheduler.sigmas.clone())
        return {}

    sheet = Previewer(case.pipe).preview(
        PROMPT, seeds=[1], plan=plan, progress=False, output_type="latent", callback_on_step_end=keep, **case.call
    )
    # sigmas: the high-resolution schedule, which the low-resolution call must follow
    high = sheet[0].tape.times
    assert made["sigmas"].tolist() == list(high)
    spatial = noise_of(case, [1])[:, :, ::2, ::2].contiguous()
    latents = spatial
    if hasattr(case.pipe, "_pack_latents"):
        latents = case.pipe._pack_latents(spatial, 1, *spatial.shape[1:])
    scheduler = case.pipe.scheduler
    case.pipe.scheduler = type(scheduler).from_config(scheduler.config, use_dynamic_shifting=False, shift=1.0)
    try:
        call = case.call | {"height": 32, "width": case.call["width"] // 2, "sigmas": list(high[:-1])}
        plain = case.pipe(PROMPT, latents=latents, output_type="latent", **call).images[0]
    finally:
        case.pipe.scheduler = scheduler
    assert torch.equal(sheet[0].image, plain)
