"""A finish is the plain pipeline call, bit for bit; every comparison is with a call that knows nothing of commutant."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from commutant.adapters.diffusers import Previewer
from commutant.commutator import PRESETS, Plan, Stage, Tape, TapeError, preset

from .conftest import PROMPT, Case


def png(image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", PRESETS)
def test_finish_equals_the_plain_call(case: Case, name: str) -> None:
    previewer = Previewer(case.pipe)
    sheet = previewer.preview(PROMPT, seeds=[3, 4], plan=name, progress=False, **case.call)
    plan = preset(name, case.call["num_inference_steps"])
    for item in sheet:
        assert item.image.size == (case.call["width"] // plan.scale, case.call["height"] // plan.scale)
        (final,) = previewer.finish([item], output_type="latent")
        assert torch.equal(final.image, case.plain([item.seed], output_type="latent")[0])
        assert final.cost.high * case.call["num_inference_steps"] == final.cost.full * (
            case.call["num_inference_steps"] - plan.recorded_steps
        )
    assert png(previewer.finish(sheet[1]).image) == png(case.plain([4])[0])


def test_a_batch_of_heads_finishes_as_the_plain_batch(case: Case) -> None:
    previewer = Previewer(case.pipe, batch_size=3, head_batch_size=3)
    sheet = previewer.preview(PROMPT, seeds=[1, 2, 5], plan="paper", progress=False, **case.call)
    finals = previewer.finish(sheet, batch_size=3, output_type="latent")
    plain = case.plain([1, 2, 5], output_type="latent")
    assert torch.equal(torch.stack([f.image for f in finals]), plain)
    assert [png(f.image) for f in previewer.finish(list(sheet), batch_size=3)] == [
        png(i) for i in case.plain([1, 2, 5])
    ]
    # One seed out of that batch: the recorded head continued alone. Equal up to the rounding of another batch size.
    alone = previewer.finish([sheet[1]], output_type="latent")[0].image
    torch.testing.assert_close(alone, case.plain([2], output_type="latent")[0], rtol=1e-4, atol=1e-4)


def test_generators_given_by_the_user(case: Case) -> None:
    previewer = Previewer(case.pipe)
    generators = [torch.Generator().manual_seed(s) for s in (8, 9)]
    torch.randn(5, generator=generators[1])  # not fresh: the state counts, not the seed
    states = [g.get_state() for g in generators]
    sheet = previewer.preview(PROMPT, generator=generators, progress=False, **case.call)
    assert all(torch.equal(g.get_state(), s) for g, s in zip(generators, states))
    plain = case.pipe(PROMPT, generator=generators[1], output_type="latent", **case.call).images[0]
    assert torch.equal(previewer.finish([sheet[1]], output_type="latent")[0].image, plain)
    assert sheet[1].seed is None


def test_a_coarse_head_finishes_from_the_start(flux: Case) -> None:
    previewer = Previewer(flux.pipe)
    plan = Plan(0, (Stage(1, 1), Stage(2, 2)))
    sheet = previewer.preview(PROMPT, seeds=[2], plan=plan, progress=False, **flux.call)
    (final,) = previewer.finish(sheet, output_type="latent")
    assert torch.equal(final.image, flux.plain([2], output_type="latent")[0])
    assert final.cost.high == final.cost.full
    assert sheet[0].cost.high == 2  # one guided evaluation


def test_a_changed_output_changes_the_final(flux: Case) -> None:
    """The check can fail: without the state check, a wrong tape would give another image."""
    previewer = Previewer(flux.pipe)
    (item,) = previewer.preview(PROMPT, seeds=[2], plan="paper", progress=False, **flux.call)
    outputs = list(item.tape.outputs)
    outputs[-1] = outputs[-1] + 1e-3  # the answer at the switch is not covered by the state at the switch
    wrong = dataclasses.replace(item, tape=dataclasses.replace(item.tape, outputs=tuple(outputs)))
    final = previewer.finish([wrong], output_type="latent")[0].image
    assert not torch.equal(final, flux.plain([2], output_type="latent")[0])


def test_tapes_that_do_not_belong_are_refused(flux: Case, sd3: Case) -> None:
    previewer = Previewer(flux.pipe)
    (item,) = previewer.preview(PROMPT, seeds=[2], progress=False, **flux.call)
    tape = item.tape

    def refused(match: str, changed: Tape | None = None, **call) -> None:
        wrong = dataclasses.replace(item, tape=changed or tape, call={**item.call, **call})
        with pytest.raises(TapeError, match=match):
            previewer.finish(wrong)

    with pytest.raises(TapeError, match="another model"):
        Previewer(sd3.pipe).finish(item)
    refused("another prompt", prompt="a cat")
    refused("another prompt", num_inference_steps=7)
    refused("another size", height=96)
    refused("initial noise", dataclasses.replace(tape, noise=tape.noise + 1))
    refused("state at the switch", dataclasses.replace(tape, state=tape.state + 1))
    refused("no generator state", dataclasses.replace(tape, rng=None))
    for key in ("model", "prompt", "size", "steps", "evaluations", "switch", "rng_device"):
        refused(f"no valid '{key}'", dataclasses.replace(tape, header={**tape.header, key: None}))
    refused("no kind of device", dataclasses.replace(tape, header={**tape.header, "rng_device": "toaster"}))
    refused("2 outputs for a switch at step 4", dataclasses.replace(tape, header={**tape.header, "switch": 4}))
    weight = flux.pipe.transformer.proj_out.weight
    with torch.no_grad():
        kept = weight.clone()
        weight.mul_(1.01)
    try:
        refused("another model")
    finally:
        with torch.no_grad():
            weight.copy_(kept)
    assert png(previewer.finish(item).image) == png(flux.plain([2])[0])


SCRIPT = """
import sys, torch
from commutant.adapters.diffusers import Previewer
from commutant.adapters.sheet import Cost, Preview
from commutant.commutator import Tape, preset
from commutant.tests.diffusers.conftest import PROMPT, _case
case = _case("flux-true-cfg")
tape = Tape.load(sys.argv[1], framework="torch")
call = dict(case.call, prompt=PROMPT)
item = Preview(0, 7, None, tape, call, Cost(0, 0, 0), preset("matched", 6))
(final,) = Previewer(case.pipe).finish([item], output_type="latent")
assert torch.equal(final.image, case.plain([7], output_type="latent")[0])
print("equal", final.cost.high, final.cost.full)
"""


@pytest.mark.slow
def test_finish_in_a_new_process(flux: Case, tmp_path: Path) -> None:
    (item,) = Previewer(flux.pipe).preview(PROMPT, seeds=[7], progress=False, **flux.call)
    item.tape.save(tmp_path / "tape.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "tape.safetensors")], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("equal 8 12"), done.stderr
