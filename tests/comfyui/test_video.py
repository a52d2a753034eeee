"""Latents with frames: models of WAN's, LTX-Video's and HunyuanVideo's classes."""

import pytest
import torch

from .small_models import hunyuan_video, ltxv, wan
from .worlds import STEPS, condition

SAMPLERS = (
    "euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_sde", "dpmpp_2m_sde", "res_multistep", "uni_pc",
    "uni_pc_bh2", "sa_solver",
)  # fmt: skip
FAVOURED = ((1, 1), (0, 1))


@pytest.fixture(scope="module")
def model(nodes):
    return wan()


def latent(channels=16, batch=1, fill=0.0):
    return {"samples": torch.full((batch, channels, 3, 16, 24), fill)}


def ltxv_text(seed):
    return condition(seed, attention_mask=torch.ones(1, 7, dtype=torch.long))


def answering(model, answer):
    """`model`, answered for by a function of its input."""
    other = model.clone()
    other.set_model_unet_function_wrapper(lambda apply_model, options: answer(options["input"]))
    return other


def pointwise(x):
    """Looks at single cells only, so that it commutes with every rearrangement of them."""
    return torch.tanh(x) * 0.5 + 0.1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_wan_finishes_as_the_stock_node_does(graph, model, sampler):
    made = graph.compare(model, condition(1), latent(), sampler=sampler)
    assert made["preview"]["samples"].shape == (1, 16, 3, 8, 12)
    assert made["preview"]["samples"].isfinite().all()
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "lcm"])
def test_ltxv_finishes_as_the_stock_node_does(graph, nodes, sampler):
    made = graph.compare(ltxv(), ltxv_text(1), latent(128), negative=ltxv_text(2), sampler=sampler)
    assert made["preview"]["samples"].shape == (1, 128, 3, 8, 12)
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "uni_pc"])
def test_hunyuan_video_finishes_as_the_stock_node_does(graph, nodes, sampler):
    made = graph.compare(hunyuan_video(), condition(1), latent(), sampler=sampler)
    assert made["preview"]["samples"].shape == (1, 16, 3, 8, 12)
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


def test_the_live_previewer_shows_both_sizes(graph, model, monkeypatch):
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    shown = []
    to_image = latent_preview.preview_to_image
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(latent_preview, "preview_to_image", lambda x: shown.append(tuple(x.shape)) or to_image(x))
    graph.compare(model, condition(1), latent(), sampler="uni_pc", finish=False)
    assert shown == [(16, 24, 3)] * 3 + [(8, 12, 3)] * (STEPS - 3)


def test_an_image_of_a_video_model_is_a_video_of_one_frame(graph, model):
    made = graph.compare(model, condition(1), {"samples": torch.zeros(1, 4, 16, 24)})
    assert made["preview"]["samples"].shape == (1, 16, 1, 8, 12)
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


def test_frames_stay_apart(graph, model):
    """Where every frame is of one colour, the preview's are too, in the same order."""
    made = graph.compare(
        answering(model, lambda x: torch.arange(3.0).reshape(1, 1, 3, 1, 1).expand_as(x)), condition(1), latent()
    )
    large, small = made["stock"]["samples"], made["preview"]["samples"]
    assert torch.allclose(small, large[..., ::2, ::2], atol=1e-4)
    assert not torch.allclose(small[:, :, 0], small[:, :, 1], atol=1e-1)


def favouring(x):
    """`pointwise`, but for a large latent right only at one phase of the cells: another for each of two videos."""
    answer = pointwise(x)
    if x.shape[-1] == 24:
        for video, (i, j) in zip(answer, FAVOURED * (len(x) // 2), strict=True):
            kept = video[..., i::2, j::2].clone()
            video += 0.3
            video[..., i::2, j::2] = kept
    return answer


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_2m"])
def test_all_frames_of_a_video_get_one_phase(graph, model, sampler):
    plan = {"preset": "paper", "sampler": sampler}
    made = graph.compare(answering(model, favouring), condition(1), latent(batch=2), **plan)
    large, small = made["stock"]["samples"], made["preview"]["samples"]
    assert torch.equal(made["finish"]["samples"], large)
    for k in range(2):
        phases = {(i, j): large[k, ..., i::2, j::2] for i in range(2) for j in range(2)}
        assert [at for at, phase in phases.items() if torch.allclose(small[k], phase, atol=0.1)] == [FAVOURED[k]]


def test_a_picture_to_begin_from_is_seen_by_the_preview_at_its_own_size(graph, nodes):
    model, seen = wan("i2v"), {}

    def listening(apply_model, options):
        seen[tuple(options["input"].shape[-2:])] = options["c"]["c_concat"]
        return apply_model(options["input"], options["timestep"], **options["c"])

    model.set_model_unet_function_wrapper(listening)
    columns = torch.linspace(-1, 1, 12).repeat_interleave(2).expand(1, 16, 3, 16, 24)
    picture = {"concat_latent_image": columns, "concat_mask": torch.zeros(1, 1, 3, 16, 24)}
    made = graph.compare(model, condition(1, **picture), latent(), negative=condition(2, **picture))
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])
    assert seen.keys() == {(16, 24), (8, 12)}
    large, small = seen[16, 24], seen[8, 12]
    assert torch.allclose(small, large[..., ::2, ::2], atol=1e-5)
    assert small.std() > 0.1


def test_a_masked_first_frame_is_kept(graph, nodes):
    mask = torch.ones(1, 1, 3, 1, 1)
    mask[:, :, 0] = 0
    start = latent(128, fill=0.5) | {"noise_mask": mask}
    made = graph.compare(ltxv(), ltxv_text(1), start, negative=ltxv_text(2))
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])
    small = made["preview"]["samples"]
    assert torch.allclose(small[:, :, 0], torch.full_like(small[:, :, 0], 0.5), atol=1e-3)
    assert not torch.allclose(small[:, :, 1], torch.full_like(small[:, :, 1], 0.5), atol=1e-1)


def test_an_area_of_a_video(graph, model):
    both = condition(1) + condition(3, area=(8, 8, 8, 12), strength=1.0)
    made, plain = graph.compare(model, both, latent()), graph.compare(model, condition(1), latent())
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])
    assert not torch.allclose(made["preview"]["samples"], plain["preview"]["samples"], atol=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "vace_frames",
        "camera_conditions",
        "pose_video_latent",
        "control_video",
        "time_dim_concat",
        "keyframe_idxs",
        "reference_latents",
    ],
)
def test_conditions_laid_over_the_large_latent_are_refused_by_name(graph, model, name):
    asked = []
    heard = answering(model, lambda x: asked.append(1) or x)
    with pytest.raises(RuntimeError, match=f"UnsupportedError: the condition '{name}'"):
        graph.compare(heard, condition(1, **{name: [torch.zeros(1, 16, 3, 16, 24)]}), latent(), finish=False)
    assert not asked
    graph.compare(heard, condition(1, **{name: None}), latent(), finish=False)
    assert asked


def test_a_moved_video_is_moved_in_every_frame(graph, model):
    alike = answering(model, pointwise)
    moved, stock = graph.transformed(alike, latent(), right=32, down=-16)
    assert torch.allclose(moved[..., :14, 4:], stock[..., 2:, :20], atol=1e-4)
    flipped, stock = graph.transformed(alike, latent(), flip="horizontal", sampler="dpmpp_2m")
    assert torch.allclose(flipped, stock.flip(-1), atol=1e-4)


@pytest.mark.parametrize("how", [{"right": 32}, {"rotate": 20.0, "zoom": 1.2}], ids=["moved", "turned"])
@pytest.mark.parametrize("sampler", ["euler", "heun", "uni_pc"])
def test_a_video_model_of_its_own_is_moved(graph, model, sampler, how):
    moved, stock = graph.transformed(model, latent(), sampler=sampler, **how)
    assert moved.shape == stock.shape
    assert moved.isfinite().all()
    assert not torch.allclose(moved, stock, atol=1e-2)
