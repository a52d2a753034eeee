"""Previews made again from tapes, previews without a low resolution, and heads that end when they have settled."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from commutant.adapters.diffusers import Previewer, UnsupportedError
from commutant.commutator import Guidance, Plan, Stage, TapeError, preset

from ..commutator.plans import low
from .conftest import PROMPT, Case
from .tiny_unet import tiny_sd

STEPS = 6
PLANS = {
    "matched": preset("matched", STEPS),
    "paper": preset("paper", STEPS),
    "direct": preset("direct", STEPS),
    "late": low(4, steps=1, operator="spectral", guidance=Guidance("anchor", 1, 0.5, reference="last")),
    "coarse": Plan(0, (Stage(1, 1), Stage(2, 2, guidance=Guidance("defect", 1, 1.0)))),
    "staged": Plan(2, (Stage(1, 1, order=2), Stage(2, 2, guidance=Guidance("defect", 1, 1.0)))),
    "live": Plan.live(3),
    "fewer": Plan.fewer(3),
}


def whole(case: Case, seeds: list[int]) -> tuple[Previewer, list]:
    """The runs of some seeds, recorded to their ends."""
    previewer = Previewer(case.pipe)
    sheet = previewer.preview(PROMPT, seeds=seeds, plan=Plan.live(STEPS), progress=False, **case.call)
    return previewer, list(sheet)


@pytest.mark.parametrize("name", PLANS)
def test_made_again_is_the_preview_itself(case: Case, name: str) -> None:
    plan = PLANS[name]
    previewer, recorded = whole(case, [3, 4])
    again = previewer.with_plan(recorded, plan)
    fresh = previewer.preview(PROMPT, seeds=[3, 4], plan=plan, progress=False, **case.call)
    for a, b in zip(again, fresh):
        assert np.array_equal(np.asarray(a.image), np.asarray(b.image))
        assert a.tape.recorded == b.tape.recorded
        assert a.cost.low == b.cost.low
        assert a.cost.full == b.cost.full
        assert a.cost.high == b.cost.high - round(plan.recorded_steps * b.cost.full / STEPS)
    other = previewer.with_plan(recorded[1:], plan)
    assert not np.array_equal(np.asarray(other[0].image), np.asarray(fresh[0].image))  # the comparison can fail


def test_a_run_recorded_to_its_end_is_the_final(case: Case) -> None:
    previewer, (recorded,) = whole(case, [3])
    (final,) = previewer.finish([recorded], output_type="latent")
    assert final.cost.high == 0
    assert torch.equal(final.image, case.plain([3], output_type="latent")[0])
    # What is shown at the last evaluation is the final up to rounding: the last step goes to the denoised prediction.
    difference = np.asarray(recorded.image).astype(int) - np.asarray(case.plain([3])[0]).astype(int)
    assert np.abs(difference).max() <= 1


def test_fewer_steps_are_the_plain_call_with_fewer_steps(case: Case) -> None:
    sheet = Previewer(case.pipe).preview(PROMPT, seeds=[3], plan=Plan.fewer(4), progress=False, **case.call)
    plain = case.plain([3], num_inference_steps=4)[0]
    assert sheet[0].image.size == plain.size
    assert np.abs(np.asarray(sheet[0].image).astype(int) - np.asarray(plain).astype(int)).max() <= 1
    assert sheet[0].cost.high * STEPS == sheet[0].cost.full * 4
    assert sheet[0].tape.recorded == 0  # a schedule of its own: nothing of it can be continued


def test_an_altered_tape_is_refused(case: Case) -> None:
    previewer, (one, two) = whole(case, [3, 4])
    swapped = dataclasses.replace(one, tape=dataclasses.replace(one.tape, noise=two.tape.noise))
    with pytest.raises(TapeError, match="initial noise"):
        previewer.with_plan([swapped], "matched")
    other = previewer.preview(PROMPT, seeds=[4], plan="direct", progress=False, **(case.call | {"height": 128}))
    with pytest.raises(ValueError, match="one request"):
        previewer.with_plan([one, other[0]], "matched")


def test_a_head_ends_when_it_has_settled(flux: Case) -> None:
    previewer, recorded = whole(flux, [3, 4, 5])
    changes = [moved(preview) for preview in recorded]
    # A threshold between the images' own: they end at different steps.
    threshold = sorted(c[1] for c in changes)[1] * 1.0001
    expected = [next((i for i in range(1, STEPS - 1) if c[i - 1] < threshold), STEPS - 2) for c in changes]
    assert len(set(expected)) > 1
    fixed_plan = low(STEPS - 2, operator="spectral", steps=2, guidance=Guidance("defect", 1, 1.0))
    plan = fixed_plan.replaced(early_switch=threshold)
    sheet = previewer.preview(PROMPT, seeds=[3, 4, 5], plan=plan, progress=False, **flux.call)
    assert [item.tape.header["switch"] for item in sheet] == expected
    for item, switch in zip(sheet, expected):
        fixed = previewer.preview(
            PROMPT, seeds=[item.seed], plan=fixed_plan.replaced(head=switch), progress=False, **flux.call
        )[0]
        assert np.array_equal(np.asarray(item.image), np.asarray(fixed.image))
        assert item.cost.high == fixed.cost.high
        (final,) = previewer.finish([item], output_type="latent")
        assert torch.equal(final.image, flux.plain([item.seed], output_type="latent")[0])


def moved(preview) -> list[float]:
    """How far the denoised prediction moves from each evaluation to the next (entry 0: to the second)."""
    tape, x, seen = preview.tape, preview.tape.noise, []
    for i, output in enumerate(tape.outputs):
        t, t_next = tape.times[i], tape.times[i + 1]
        seen.append(x - t * output)
        x = x + (t_next - t) * output
    return [float((b - a).norm() / b.norm()) for a, b in itertools.pairwise(seen)]


def test_what_plans_ask_of_a_scheduler_is_refused_by_name(flux: Case) -> None:
    from diffusers import FlowMatchHeunDiscreteScheduler, UniPCMultistepScheduler

    pipe = tiny_sd()
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    call = {"height": 64, "width": 64, "num_inference_steps": 6, "progress": False}
    plan = preset("matched", 6)
    with pytest.raises(UnsupportedError, match="order=2"):
        Previewer(pipe).preview(PROMPT, seeds=[1], plan=plan.with_last(order=2), **call)
    scheduler = flux.pipe.scheduler
    flux.pipe.scheduler = FlowMatchHeunDiscreteScheduler.from_config(scheduler.config)
    try:
        with pytest.raises(UnsupportedError, match="early_switch"):
            Previewer(flux.pipe).preview(PROMPT, seeds=[1], plan=plan.replaced(early_switch=0.1), **flux.call)
    finally:
        flux.pipe.scheduler = scheduler


def test_a_head_grows_and_nothing_is_evaluated_twice(case: Case) -> None:
    """The ladder: any number of refinements, then the final, bit for bit, for the price of what was left."""
    previewer, rows = Previewer(case.pipe), None
    (item,) = previewer.preview(PROMPT, seeds=[3], plan=PLANS["staged"], progress=False, **case.call)
    rows = item.cost.full // STEPS
    spent = item.tape.recorded
    assert spent == 3
    for head in (3, 4, 5):
        refined = previewer.refine(item, head=head)
        assert refined.tape.recorded == max(spent, head + 1)
        assert refined.plan.head == head
        # Of the one coarse step the head's own answer is the first; the answer at the switch to low resolution is new.
        assert refined.cost.high == rows * (refined.tape.recorded - spent + 1)
        item, spent = refined, refined.tape.recorded
        (fresh,) = previewer.preview(PROMPT, seeds=[3], plan=refined.plan, progress=False, **case.call)
        assert np.array_equal(np.asarray(refined.image), np.asarray(fresh.image))
    back = previewer.refine([item], PLANS["live"])[0]
    assert back.tape.recorded == spent  # a shorter head takes nothing away
    final = previewer.finish(back, output_type="latent")
    assert torch.equal(final.image, case.plain([3], output_type="latent")[0])
    assert final.cost.high == rows * (STEPS - spent)


def test_refinements_of_what_no_final_continues_are_refused(flux: Case) -> None:
    previewer = Previewer(flux.pipe)
    (item,) = previewer.preview(PROMPT, seeds=[3], plan=PLANS["fewer"], progress=False, **flux.call)
    with pytest.raises(ValueError, match="give a plan with a head"):
        previewer.refine(item)
    with pytest.raises(ValueError, match="head= goes with a Plan"):
        previewer.refine(item, "matched", head=3)
    refined = previewer.refine(item, "matched")
    assert refined.tape.recorded == preset("matched", STEPS).recorded_steps
