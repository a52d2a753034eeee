"""Today's results against the recorded ones, and the files of version 0.1.0 read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch

from commutant.benchmarks.k_diffusion_sampling import available

if not available():
    pytest.skip("k-diffusion is not installed", allow_module_level=True)

from ..diffusers.tiny import tiny_flux
from ..webui.fake_program import parse_generation_parameters
from . import cases, today
from .machine import described
from .recording import Recording
from .written import LOOP_SAMPLER

FILES = Path(__file__).parent / "files"
OLD = FILES / "v1"
CLOSE = 1e-4  # of the largest value: without vector instructions the farthest was off by 7e-6 of it


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_flux()


@pytest.mark.slow
def test_results_are_the_recorded_ones() -> None:
    """Bits are compared by the command; here machines may differ, and only counts must be equal."""
    before = Recording.load(FILES / "outputs.recording")
    with cases.one_thread():
        now = Recording.of(cases.made(), described())
    found = before.differences(now)
    print(
        f"{len(before.digests) - len(found)} of {len(before.digests)} equal bit for bit; recorded on {before.machine}"
    )
    without = [d for d in found if d.distance is None and d.name in before.arrays]
    gone = [d for d in found if d.name not in now.digests or d.name.endswith("/cost")]
    far = [d for d in found if d.distance is not None and d.distance > limit(before.arrays[d.name])]
    assert [str(d) for d in [*without, *gone, *far]] == []


def limit(array: np.ndarray) -> float:
    """Pictures are rounded to whole numbers of 255."""
    return 3 / 255 if array.dtype == np.uint8 else CLOSE


def test_a_changed_result_is_found(tmp_path: Path) -> None:
    arrays = {"a": np.arange(4.0, dtype=np.float32), "b": np.zeros((2, 3)), "c": np.arange(9)}
    Recording.of(arrays, "here").save(tmp_path / "all")
    Recording.of(arrays).small(lambda name: name != "b", largest=40).save(tmp_path / "small")
    before, small = Recording.load(tmp_path / "all"), Recording.load(tmp_path / "small")
    assert before.machine == "here"
    assert before.differences(Recording.of(arrays)) == small.differences(Recording.of(arrays)) == []
    assert (sorted(small.arrays), sorted(small.digests)) == (["a"], ["a", "c"])

    changed = {"a": np.nextafter(arrays["a"], np.float32(9)), "b": arrays["b"].astype(np.float32), "d": arrays["c"]}
    one, two, three = before.differences(Recording.of(changed))
    assert 0 < one.distance < 1e-6
    assert (two.name, two.distance, three.why) == ("b", None, "is missing")
    assert str(two) == "b: is float32 (2, 3), was float64 (2, 3)"
    (unkept,) = small.differences(Recording.of({**arrays, "c": arrays["c"] + 1}))
    assert unkept.distance is None


@pytest.mark.parametrize("name", today.TAPED)
def test_an_old_tape_is_read_and_finished(name: str, pipe: Any) -> None:
    tape = today.read_tape(OLD / f"tape-{name}.safetensors")
    plan = today.plan_on(tape)
    assert plan == today.plans(today.STEPS)[name]
    if not today.same_model(pipe, tape):
        pytest.skip("this machine draws other random weights: the tape is of another model")
    (final,) = today.finals(pipe, [today.taped_preview(tape, plan)])
    assert torch.equal(final.image, plain(pipe, 3))


def plain(pipe: Any, seed: int, **changes: Any) -> Any:
    """The user's own call."""
    call = {**today.CALL, "output_type": "latent", **changes}
    return pipe(today.PROMPT, generator=torch.Generator().manual_seed(seed), **call).images[0]


def test_an_old_sheet_is_read_and_finished(pipe: Any) -> None:
    plan, previews = today.read_sheet(OLD / "sheet")
    assert plan == today.plans(today.STEPS)["matched"]
    assert sorted(previews) == sorted(today.SHEET["seeds"])
    for seed, preview in previews.items():
        assert preview.image.size == (48, 32)
        if not today.same_model(pipe, today.tape_of(preview)):
            pytest.skip("this machine draws other random weights: the sheet is of another model")
        (final,) = today.finals(pipe, [preview], output="pil")
        assert final.image.tobytes() == plain(pipe, seed, output_type="pil").tobytes()


def test_an_old_tape_of_a_sampler_is_read_and_finished() -> None:
    sampler = today.samplers()[LOOP_SAMPLER]
    tape = today.read_tape(OLD / "tape-k-diffusion.safetensors")
    final = torch.from_numpy(today.loop_finish(sampler, cases.wavy, tape))
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        expected = sampler(cases.wavy, cases.start(), cases.levels("exploding"), disable=True)
    assert torch.allclose(final, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def test_an_old_plan_is_read() -> None:
    plan, steps = today.read_plan(OLD / "plan.json")
    assert (plan, steps) == (today.calibrated(), today.STEPS)


def test_an_old_infotext_is_read() -> None:
    said = parse_generation_parameters((OLD / "infotext.txt").read_text())
    assert today.read_infotext(said) == today.ACCORDION
    assert today.read_infotext({}) != today.ACCORDION
