"""The FLUX speed script runs as a whole on a tiny model, counts right, and refuses without a GPU."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

from commutant.adapters.diffusers import Previewer
from commutant.benchmarks import flux_speed
from commutant.benchmarks.flux_geometry import FLUX_DEV, TINY, pipeline, random_model, request
from commutant.benchmarks.flux_speed import PLAIN, Clock, Row, Run, caches, lines, main, markdown, measure, rows


def test_the_command(tmp_path: Path) -> None:
    table, text = tmp_path / "table.csv", tmp_path / "table.md"
    options = ["--tiny", "--steps", "6", "--repeats", "1", "--batches", "2", "--presets", "matched", "paper"]
    main([*options, "--caches", "TaylorSeer", "--csv", str(table), "--markdown", str(text)])
    with table.open() as file:
        found = {line["row"]: line for line in csv.DictReader(file)}
    names = ["plain", "matched", "paper", "plain + TaylorSeer", "matched + TaylorSeer", "paper + TaylorSeer"]
    assert list(found) == names
    # Counted, not planned: matched is 1 + 1 of 6 steps and a tail of 1; paper 2 + 1, its four candidates, 4 left.
    assert [(found[n]["high"], found[n]["low"]) for n in names[:3]] == [("6.0", "0.0"), ("2.0", "1.0"), ("3.0", "8.0")]
    assert all(line["peak"] == "nan" and line["batch"] == "2" for line in found.values())
    assert all(line["torch"] == f"torch {torch.__version__}" and "--tiny" in line["command"] for line in found.values())
    shown = text.read_text()
    assert "say nothing about FLUX" in shown
    assert "published" not in shown
    assert shown.count("\n| ") == 1 + len(names)


def test_refused_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(flux_speed, "pipeline", lambda *_: pytest.fail("a model was built"))
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "--tiny" in capsys.readouterr().err


def test_the_geometry_is_that_of_flux_dev() -> None:
    with torch.device("meta"):
        transformer, vae = FluxTransformer2DModel(**FLUX_DEV.transformer), AutoencoderKL(**FLUX_DEV.vae)
    assert sum(p.numel() for p in transformer.parameters()) == 11_901_408_320
    assert sum(p.numel() for p in vae.parameters()) == 83_819_683


def test_weights_are_random_in_their_dtype_and_the_same_each_time() -> None:
    def made() -> torch.nn.Module:
        generator = torch.Generator().manual_seed(0)
        return random_model(FluxTransformer2DModel, TINY.transformer, "cpu", torch.bfloat16, generator)

    state = torch.get_rng_state()
    first, second = made(), made()
    assert torch.equal(torch.get_rng_state(), state)
    for (name, a), b in zip(first.named_parameters(), second.parameters()):
        assert a.dtype == torch.bfloat16
        assert torch.equal(a, b), name
        assert a.ndim == 1 or float(a.float().std()) > 0, name

    class Buffered(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.register_buffer("table", torch.zeros(2))

    with pytest.raises(RuntimeError, match="Buffered has buffers that this does not fill: table"):
        random_model(Buffered, {}, "cpu", torch.bfloat16, torch.Generator())


def test_answers_stay_finite_at_full_depth() -> None:
    """A plan that compares norms fails on answers that are not numbers."""
    deep = replace(TINY, transformer=TINY.transformer | {"num_layers": 19, "num_single_layers": 38})
    pipe, call = pipeline(deep, "cpu"), request(deep, 2, "cpu")
    latents = pipe(**call, generator=torch.Generator().manual_seed(0), output_type="latent").images
    assert torch.isfinite(latents).all()
    assert float(latents.float().std()) < 100


@pytest.fixture(scope="module")
def tiny():
    return pipeline(TINY, "cpu"), request(TINY, 4, "cpu")


def test_a_pipeline_without_text_encoders_has_previews_and_exact_finishes(tiny) -> None:
    pipe, call = tiny
    previewer = Previewer(pipe)
    assert previewer.fingerprint == Previewer(pipeline(TINY, "cpu")).fingerprint
    (preview,) = previewer.preview(seeds=[3], progress=False, output_type="latent", **call)
    plain = pipe(**call, generator=torch.Generator().manual_seed(3), output_type="latent").images
    assert torch.equal(previewer.finish(preview).image, plain[0])


def test_the_clock_counts_and_leaves_nothing_behind(tiny) -> None:
    pipe, call = tiny
    hooks = len(pipe.transformer._forward_hooks), len(pipe.transformer._forward_pre_hooks)
    run = measure(pipe, Row(PLAIN, None), None, call, 2)
    assert (run.high, run.low) == (4.0, 0.0)
    assert 0 < run.model + run.decoder < run.seconds
    with pytest.raises(RuntimeError), Clock().on(pipe):
        raise RuntimeError
    assert "decode" not in vars(pipe.vae)
    assert (len(pipe.transformer._forward_hooks), len(pipe.transformer._forward_pre_hooks)) == hooks


def test_every_cache_is_switched_on_and_off_again(tiny) -> None:
    pipe, call = tiny
    for name, config in caches(4).items():
        run = measure(pipe, Row("matched", name), config(pipe), call, 2)
        assert run.low > 0
        assert not pipe.transformer.is_cache_enabled


def test_lines_are_medians_of_paired_ratios_and_differences() -> None:
    plain = [Run(10.0, 8.0, 1.0, 30, 0, 40.0), Run(12.0, 10.0, 1.0, 30, 0, 40.0)]
    paper = [Run(5.0, 2.0, 0.5, 11, 24, 42.0), Run(4.0, 1.0, 0.5, 11, 24, 42.0)]
    found = lines({PLAIN: plain, "paper": paper}, 1)
    assert found[0]["speedup"] == 1.0
    assert found[1]["speedup"] == 2.5  # of 2 and 3
    assert found[1]["overhead"] == "33.3%"  # 2.5 s outside, where the plain run has 1 s; of 4.5 s
    assert found[1]["peak"] == 42.0
    text = markdown(found, {"date": "2026-01-01"}, 30, tiny=False)
    assert "- paper: published 1.53x, here 2.50x (batch 1)" in text
    assert "- paper + TaylorSeer: published 3.05x, here not run" in text


def test_rows_start_with_the_plain_run() -> None:
    assert [row.name for row in rows(["paper"], ["Seer"])] == ["plain", "paper", "plain + Seer", "paper + Seer"]


def test_peak_memory_is_read_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in for the device: reset before the run, read after it."""
    told: list[str] = []
    device = SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: told.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: told.append("read") or 3 * 2**30)

    class Pipe:
        vae_scale_factor = 8
        transformer = torch.nn.Identity()
        vae = SimpleNamespace(decode=None)

        def __call__(self, **_: object) -> None:
            told.append("run")

    pipe = Pipe()
    pipe.device = device
    one = torch.zeros(1, 1)
    call = {"height": 64, "width": 64, "prompt_embeds": one, "pooled_prompt_embeds": one}
    assert measure(pipe, Row(PLAIN, None), None, call, 1).peak == 3.0
    assert told == ["reset", "run", "read"]
