"""Every supported pipeline class: previews of it, exact replay, bit-identical finishes, moved images.

What a class cannot do is refused, and the reason stands in docs/support.md; see tests/support_table.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from commutant.adapters.diffusers import PipelineField, Previewer, stage
from commutant.adapters.diffusers.families import REFUSED
from commutant.adapters.diffusers.layout import Layout, NoiseForm
from commutant.commutator import preset
from commutant.operators import Translate

from . import tiny_images, tiny_video
from .test_borrow import same, state
from .tiny_registry import VARIANTS

TABLE = "Pipelines"
SEEDS = [0, 4]


@dataclass
class Made:
    """A pipeline with previews of it, made by the plan that uses candidates, corrections and a tail."""

    previewer: Previewer
    sheet: Any
    call: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def pipe(self) -> Any:
        return self.previewer.pipe

    def plain(self, seed: int, **changes: Any) -> Any:
        """The user's own call. Seeded globally, because one pipeline encodes control images from the global state."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            generator = torch.Generator().manual_seed(seed)
            return self.pipe(generator=generator, **{**self.call, **changes})[0]


@cache
def made(name: str) -> Made:
    pipe = VARIANTS[name].build()
    pipe.set_progress_bar_config(disable=True)
    call = VARIANTS[name].arguments()
    previewer, before = Previewer(pipe), state(pipe)
    sheet = previewer.preview(seeds=SEEDS, plan="paper", progress=False, **call)
    return Made(previewer, sheet, call, before, state(pipe))


def size(image: Any) -> tuple[int, int]:
    """Width and height of an image, or of a video as frames or as an array."""
    if isinstance(image, np.ndarray):
        return image.shape[-2], image.shape[-3]
    return image[0].size if isinstance(image, list) else image.size


def groups(latent: torch.Tensor, patch: int) -> torch.Tensor:
    """(..., H, W) -> (channels, frames and positions in a patch, the cells that share them)."""
    rows, columns = (side // patch for side in latent.shape[-2:])
    x = latent.reshape(-1, rows, patch, columns, patch)
    return x.permute(0, 2, 4, 1, 3).reshape(-1, rows * columns)


def cells_agree(layout: Layout, state: torch.Tensor, decoded: torch.Tensor) -> bool:
    """Whether `state` in this layout is what was decoded, up to a scale and a shift for each channel."""
    ours, theirs = (groups(x, layout.form.patch) for x in (layout.spatial(state)[0], decoded[0].float()))
    if ours.shape != theirs.shape:
        return False
    ours, theirs = (x - x.mean(-1, keepdim=True) for x in (ours, theirs))
    cosine = torch.nn.functional.cosine_similarity(ours, theirs, dim=-1)
    return bool((cosine > 1 - 1e-4).all())


@pytest.fixture(params=VARIANTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_preview(name: str, support) -> None:
    with support.cell(TABLE, name, "preview"):
        one = made(name)
        assert len(one.sheet) == len(SEEDS)
        for item in one.sheet:
            assert size(item.image) == (one.call["width"] // 2, one.call["height"] // 2)
        assert not np.array_equal(np.asarray(one.sheet[0].image), np.asarray(one.sheet[1].image))
        assert same(one.before, one.after)
        assert one.sheet.cost.high > 0
        assert one.sheet.cost.low > 0


def test_exact_replay(name: str, support, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pipeline shows the sampler at low resolution is the selected high-resolution state."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    replayed_by = stage.StageLoop.replayed

    def watched(self):
        y, head = replayed_by(self), self.head
        seen.append((y, self.layout.solver(self._move.state(head.state, head.times[head.switch]), self.dtype)))
        return y

    samples: list[torch.Tensor] = []
    step = stage.StageLoop.step

    def watched_step(self, real, output, timestep, sample):
        samples.append(sample)
        return step(self, real, output, timestep, sample)

    with support.cell(TABLE, name, "exact replay"):
        one = made(name)
        monkeypatch.setattr(stage.StageLoop, "replayed", watched)
        monkeypatch.setattr(stage.StageLoop, "step", watched_step)
        one.previewer.preview(seeds=[0], plan=preset("naive", 6), progress=False, **one.call)
        ((replayed, expected),) = seen
        assert torch.equal(replayed, expected)
        assert torch.equal(samples[0], expected)
        assert not torch.equal(samples[1], expected)


def test_finish(name: str, support) -> None:
    """Bit-identical to the plain call, and decoded from the cells that the layout says."""
    with support.cell(TABLE, name, "finish bit-identical"):
        one = made(name)
        item = one.sheet[1]
        (final,) = one.previewer.finish([item], output_type="latent")
        assert torch.equal(final.image, one.plain(item.seed, output_type="latent")[0])
        assert final.cost.high < final.cost.full
        state, decoded = last_state(one)
        ((key, layout),) = ((k, v) for k, v in one.previewer._layouts.items() if k[0] == one.call["height"])
        assert key[:2] == (one.call["height"], one.call["width"])
        assert cells_agree(layout, state, decoded)
        wrong = Layout(layout.grid, layout.packed, layout.order.roll(1), layout.inverse.roll(1), layout.form)
        assert not cells_agree(wrong, state, decoded)


def last_state(one: Made) -> tuple[torch.Tensor, torch.Tensor]:
    """The solver's last state in a plain call, and what the pipeline makes of it for its decoder."""
    states: list[torch.Tensor] = []
    decoded: list[torch.Tensor] = []
    scheduler, vae = one.pipe.scheduler, one.pipe.vae
    step, decode = scheduler.step, vae.decode

    def stepped(*arguments: Any, **options: Any) -> Any:
        out = step(*arguments, **options)
        states.append(out[0].clone())
        return out

    def recorded(z: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        decoded.append(z)
        return decode(z, *arguments, **options)

    scheduler.step, vae.decode = stepped, recorded
    try:
        one.plain(4)
    finally:
        del scheduler.step, vae.decode
    return states[-1], decoded[0]


def test_transform(name: str, support) -> None:
    """A move by nothing is the plain run, to the last rounding; a move by something is another image."""
    with support.cell(TABLE, name, "transform"):
        one = made(name)
        cell = one.call["height"] // next(v for k, v in one.previewer._layouts.items() if k[0] == 64).grid[-2]
        still, moved = (
            one.previewer.transform(one.sheet[1:], Translate(dx, 0), at=2, guidance=None, output_type="latent")[0].image
            for dx in (0, cell)
        )
        torch.testing.assert_close(still, one.plain(4, output_type="latent")[0], rtol=1e-3, atol=1e-3)
        assert not torch.allclose(still, moved, atol=1e-2)


def test_field(name: str, support) -> None:
    with support.cell(TABLE, name, "field"):
        one = made(name)
        field = PipelineField(one.pipe, one.call.get("prompt"), **{k: v for k, v in one.call.items() if k != "prompt"})
        layout = next(v for k, v in one.previewer._layouts.items() if k[0] == one.call["height"])
        x = layout.spatial(one.sheet[0].tape.noise)
        t = one.sheet[0].tape.times[0]
        expected = field.path.denoised(layout.spatial(one.sheet[0].tape.outputs[0]), x, t)
        torch.testing.assert_close(field.denoised(x, t), expected, rtol=1e-3, atol=1e-3)


def with_scheduler(build: Any, scheduler: Any) -> Any:
    pipe = build()
    pipe.scheduler = scheduler
    return pipe


# The schedulers that these are published with, where it is another than the one above.
PUBLISHED = {
    "WanPipeline, UniPCMultistepScheduler": lambda: with_scheduler(
        tiny_video.wan,
        diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    ),
    "SanaPipeline, DPMSolverMultistepScheduler": lambda: with_scheduler(
        tiny_images.sana,
        diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_schedulers(name: str, support) -> None:
    pipe = PUBLISHED[name]()
    pipe.set_progress_bar_config(disable=True)
    variant = VARIANTS.get(name.split(",")[0]) or VARIANTS["WanPipeline, 2.1"]
    call = variant.arguments()
    with support.cell(TABLE, name, "finish bit-identical"):
        previewer = Previewer(pipe)
        (item,) = previewer.preview(seeds=[3], plan="paper", progress=False, **call)
        plain = pipe(generator=torch.Generator().manual_seed(3), output_type="latent", **call)[0]
        assert torch.equal(previewer.finish([item], output_type="latent")[0].image, plain[0])


def test_a_stochastic_solver_of_a_flow_draws_for_a_batch() -> None:
    """With a generator for each image the solver asks for one image's noise after the other, in the tail, too."""
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "algorithm_type": "sde-dpmsolver++"}
    pipe = with_scheduler(tiny_images.sana, diffusers.DPMSolverMultistepScheduler(**flow))
    pipe.set_progress_bar_config(disable=True)
    call = VARIANTS["SanaPipeline"].arguments() | {"output_type": "latent"}
    previewer, plan = Previewer(pipe), preset("naive", 6)
    together = previewer.preview(seeds=[3, 4], plan=plan, progress=False, **call)
    (alone,) = previewer.preview(seeds=[4], plan=plan, progress=False, **call)
    torch.testing.assert_close(together[1].image, alone.image, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(together[0].image, alone.image, atol=1e-2)
    plain = pipe(generator=torch.Generator().manual_seed(4), **call)[0]
    assert torch.equal(previewer.finish(together[1]).image, plain[0])


@pytest.mark.parametrize("name", [n for n in REFUSED if hasattr(diffusers, n)])
def test_refused_by_name(name: str, support) -> None:
    with support.cell("Pipelines refused by name", name, "preview"):
        Previewer(object.__new__(getattr(diffusers, name)))


def test_the_layout_check_notices_a_wrong_noise_form() -> None:
    """Flux 2 draws noise of patches: read as cells, every exactness check still holds and the picture is scrambled."""
    one = made("Flux2KleinPipeline")
    layout = next(v for k, v in one.previewer._layouts.items() if k[0] == 64)
    shape = tuple(layout.noise(torch.zeros(1, *layout.grid)).shape)
    drawn = torch.arange(layout.order.numel(), dtype=torch.float64)
    packed = drawn.reshape(shape).flatten(2).transpose(1, 2)
    right, wrong = (Layout.probed(shape, packed, "Flux 2", form) for form in (NoiseForm(patch=2), NoiseForm()))
    state, decoded = last_state(one)
    assert cells_agree(right, state, decoded)
    assert not cells_agree(wrong, state, decoded)


@pytest.mark.parametrize("form", [NoiseForm(), NoiseForm(patch=2), NoiseForm(channels_last=True)])
def test_noise_forms_are_inverted(form: NoiseForm) -> None:
    drawn = torch.randn((2, 3, 4, 6, 8) if form.channels_last else (2, 8, 4, 6), generator=torch.Generator())
    assert torch.equal(form.drawn(form.spatial(drawn)), drawn)
