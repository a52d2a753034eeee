"""Every scheduler through whole pipeline calls: previews, exact replay, matched noise, finishes; and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch

from commutant.adapters.diffusers import Previewer, UnsupportedError
from commutant.commutator import preset
from commutant.operators import Translate
from commutant.tests.support_table import Support

from ..commutator.plans import low
from .conftest import PROMPT
from .scheduler_cases import CASES, FLOWS, LEADING, REFUSED, SchedulerCase
from .test_borrow import same
from .tiny import tiny_flux, tiny_sd3
from .tiny_unet import tiny_sd

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # diffusers on schedulers made by hand
]

TABLE = "Schedulers"
SIZE = {"height": 64, "width": 96, "num_inference_steps": 8}
COLUMNS = ("preview", "exact replay", "noise matched", "finish bit-identical", "transform")


@pytest.fixture(scope="module")
def sd() -> Any:
    return tiny_sd()


@pytest.fixture(scope="module")
def sd3() -> Any:
    return tiny_sd3()


@contextmanager
def pointwise(pipe: Any) -> Iterator[None]:
    """A model that acts on each value alone, and so commutes with every selection of pixels, bit for bit."""
    module = pipe.unet if hasattr(pipe, "unet") else pipe.transformer

    def forward(sample: Any = None, timestep: Any = None, *args: Any, **kwargs: Any) -> Any:
        x = kwargs["hidden_states"] if sample is None else sample
        level = torch.as_tensor(kwargs.get("timestep", timestep), dtype=torch.float32).reshape(-1)[:1] / 1000
        return (x * (0.3 + 0.4 * level) + 0.1 * (x * x - 1).clamp(-1, 1),)

    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]


@contextmanager
def scheduled(pipe: Any, case: SchedulerCase) -> Iterator[None]:
    kept, pipe.scheduler = pipe.scheduler, case.make()
    try:
        yield
    finally:
        pipe.scheduler = kept


def plain(pipe: Any, seed: int, **call: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return pipe(PROMPT, generator=generator, output_type="latent", **call).images[0]


def latent(pipe: Any, seed: int, plan: Any, **call: Any) -> torch.Tensor:
    sheet = Previewer(pipe).preview(PROMPT, seeds=[seed], plan=plan, progress=False, output_type="latent", **call)
    return sheet[0].image


@contextmanager
def untouched(scheduler: Any) -> Iterator[None]:
    """Fail unless the scheduler is afterwards what it was, its history and its configuration included."""

    def state() -> dict[str, Any]:
        values = {k: list(v) if isinstance(v, list) else v for k, v in vars(scheduler).items()}
        return values | {"config": dict(vars(scheduler.config)), "class": type(scheduler)}

    def plain_numbers(value: Any) -> Any:
        return value.nan_to_num(nan=-1.0) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    before = {k: plain_numbers(v) for k, v in state().items()}
    yield
    after = {k: plain_numbers(v) for k, v in state().items()}
    assert [k for k in before if not same(before[k], after.get(k))] == []
    assert list(before) == list(after)


def check(support: Support, pipe: Any, case: SchedulerCase, call: dict[str, Any]) -> None:
    """All cells of one row."""
    with scheduled(pipe, case):
        with support.cell(TABLE, case.name, "preview"):
            with untouched(pipe.scheduler):
                (item,) = Previewer(pipe).preview(PROMPT, seeds=[3], progress=False, **call)
            assert item.image.size == (SIZE["width"] // 2, SIZE["height"] // 2)
        with pointwise(pipe):
            final = plain(pipe, 3, **call)
            # D = 3 lies within a block of every single-step solver; the head's history and noise are replayed.
            with support.cell(TABLE, case.name, "exact replay"):
                selection = low(3, operator="strided", time="same")
                assert torch.equal(latent(pipe, 3, selection, **call), final[..., ::2, ::2])
            if drawing(pipe, case, call):
                with support.cell(TABLE, case.name, "noise matched"):
                    assert torch.equal(latent(pipe, 3, selection.replaced(head=0), **call), final[..., ::2, ::2])
                    assert not torch.equal(latent(pipe, 4, selection, **call), final[..., ::2, ::2])
        with support.cell(TABLE, case.name, "finish bit-identical"):
            image = Previewer(pipe).finish([item], output_type="latent")[0].image
            assert torch.equal(image, plain(pipe, 3, **call))
        with support.cell(TABLE, case.name, "transform"):
            with untouched(pipe.scheduler):
                (moved,) = Previewer(pipe).transform([item], Translate(0, 0), at=3, guidance=None, output_type="latent")
            torch.testing.assert_close(moved.image, image, rtol=1e-3, atol=1e-3 * float(image.abs().max()))


def drawing(pipe: Any, case: SchedulerCase, call: dict[str, Any]) -> bool:
    from commutant.adapters.diffusers.schedulers import draws

    return draws(pipe.scheduler) or bool(call.get("eta"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_on_a_unet(support: Support, sd: Any, case: SchedulerCase) -> None:
    check(support, sd, case, {**SIZE, "guidance_scale": 3.0, **case.call})


@pytest.mark.parametrize("case", FLOWS, ids=str)
def test_on_a_flow(support: Support, sd3: Any, case: SchedulerCase) -> None:
    check(support, sd3, case, {**SIZE, "guidance_scale": 3.0, "max_sequence_length": 16})


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(support: Support, sd: Any, case: SchedulerCase) -> None:
    calls: list[int] = []
    handle = sd.unet.register_forward_pre_hook(lambda *a: calls.append(1))
    try:
        with scheduled(sd, case):
            for column in COLUMNS:
                with support.cell(TABLE, case.name, column):
                    Previewer(sd).preview(PROMPT, seeds=[3], progress=False, **SIZE)
            with pytest.raises(UnsupportedError, match=r"from_config\(pipe.scheduler.config"):
                Previewer(sd)
    finally:
        handle.remove()
    assert calls == []


def test_a_flow_that_draws_noise_is_refused(support: Support) -> None:
    """Flux and SD3 hand their generator to no step: such a run repeats from no seed."""
    case = SchedulerCase("FlowMatchEuler, stochastic", "FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True})
    pipe = tiny_flux()
    with scheduled(pipe, case):
        for column in COLUMNS:
            with support.cell(TABLE, case.name, column):
                Previewer(pipe)


def test_a_switch_below_the_trained_noise_levels_is_refused(sd: Any) -> None:
    """At the last step of many, the matched level is below the smallest the model has seen."""
    calls: list[int] = []
    handle = sd.unet.register_forward_pre_hook(lambda *a: calls.append(1))
    try:
        with (
            scheduled(sd, next(c for c in CASES if c.name == "Euler, Karras levels")),
            pytest.raises(UnsupportedError, match=r"below the smallest.*switch earlier"),
        ):
            Previewer(sd).preview(PROMPT, seeds=[3], plan=low(7), progress=False, **SIZE)
    finally:
        handle.remove()
    assert len(calls) <= 1  # the schedule is known when the pipeline has made it, before its model is called
    assert calls == []


def test_matched_levels_stay_within_the_training(sd: Any) -> None:
    """The tail's noise levels end at the smallest that the model was trained at, not below."""
    from commutant.adapters.diffusers.schedulers import binding_of
    from commutant.commutator import Transport
    from commutant.operators import BlockMean

    for case in CASES:
        scheduler = case.make()
        scheduler.set_timesteps(20)
        binding = binding_of(scheduler)
        assert binding.levels is not None
        timetable = binding.read(scheduler)
        move = Transport(BlockMean(2), binding.path, 0.5)
        for tail in (None, 5):
            course = binding.carried(timetable, move, 6, tail)
            times = list(course.tail[:-1])
            assert all(b <= a * (1 + 1e-6) for a, b in pairwise(times))
            assert min(times) >= binding.levels[0] * (1 - 1e-6)
            assert float(course.model_timesteps.min()) >= 0
            assert times[0] == pytest.approx(0.5 * timetable.times[binding.evaluation(6)])


def test_a_batch_draws_what_its_images_draw_alone(sd: Any) -> None:
    case = next(c for c in CASES if c.name == "Euler ancestral")
    plan = low(3, operator="spectral")
    with scheduled(sd, case):
        call = {**SIZE, "guidance_scale": 3.0, "plan": plan, "progress": False, "output_type": "latent"}
        together = Previewer(sd, head_batch_size=2).preview(PROMPT, seeds=[3, 4], **call)
        for item in together:
            (alone,) = Previewer(sd).preview(PROMPT, seeds=[item.seed], **call)
            torch.testing.assert_close(item.image, alone.image, rtol=1e-3, atol=1e-3)
        finals = Previewer(sd).finish(list(together), batch_size=2, output_type="latent")
    assert not torch.equal(finals[0].image, finals[1].image)


@pytest.mark.parametrize("kind", ["PNDM", "Euler", "DPM-Solver++ 2M"])
def test_the_presets(sd: Any, kind: str) -> None:
    case = next(c for c in CASES if c.name == kind)
    with scheduled(sd, case):
        for name in ("paper", "direct"):
            call = {**SIZE, "guidance_scale": 3.0}
            (item,) = Previewer(sd).preview(PROMPT, seeds=[3], plan=preset(name, 8), progress=False, **call)
            image = Previewer(sd).finish([item], output_type="latent")[0].image
            assert torch.equal(image, plain(sd, 3, **call))


def test_the_check_can_fail(sd: Any) -> None:
    """Without the head's history, a multistep solver does not arrive where the selection of the final lies."""
    from commutant.adapters.diffusers.schedulers.noise_levels import NoiseLevels
    from commutant.adapters.diffusers.stage import StageLoop

    def forgetful(self: StageLoop) -> None:
        NoiseLevels.rewind(self._course.binding, self._scheduler, self._course.schedule, 8)
        self._scheduler._step_index = self._course.schedule.switch

    case = SchedulerCase("DPM-Solver++ 2M", "DPMSolverMultistepScheduler", LEADING)
    call = {**SIZE, "guidance_scale": 3.0}
    plan = low(3, operator="strided", time="same")
    with scheduled(sd, case), pointwise(sd), pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageLoop, "replayed", forgetful)
        wrong = latent(sd, 3, plan, **call)
        assert float((wrong - plain(sd, 3, **call)[..., ::2, ::2]).abs().max()) > 1e-2


def test_levels_given_by_the_user(sd: Any) -> None:
    """Euler takes them with the end of the run."""
    case = next(c for c in CASES if c.name == "Euler")
    call = {"height": 64, "width": 96, "guidance_scale": 3.0, "sigmas": [14.0, 7.0, 4.0, 2.0, 1.0, 0.3, 0.0]}
    with scheduled(sd, case):
        (item,) = Previewer(sd).preview(PROMPT, seeds=[3], plan=low(2), progress=False, **call)
        assert len(item.tape.times) == 7
        assert item.cost.full == 12
        assert torch.equal(Previewer(sd).finish([item], output_type="latent")[0].image, plain(sd, 3, **call))
        with pytest.raises(ValueError, match="choose head <= 5"):
            Previewer(sd).preview(PROMPT, seeds=[3], plan=low(6), progress=False, **call)
