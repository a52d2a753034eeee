"""Image models that are told more than a prompt, or are built otherwise: SDXL's class and SD3's."""

import pytest
import torch

from .small_models import sd3, sdxl
from .worlds import condition

SDXL_SAMPLERS = ("euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "lcm", "deis")
SD3_SAMPLERS = ("euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_sde", "res_multistep")


@pytest.fixture(scope="module")
def unet(nodes):
    return sdxl()


def latent(channels=4):
    return {"samples": torch.zeros(1, channels, 16, 24)}  # not square: a height is no width


@pytest.mark.parametrize("sampler", SDXL_SAMPLERS)
def test_sdxl_finishes_as_the_stock_node_does(graph, unet, sampler):
    made = graph.compare(unet, condition(1), latent(), sampler=sampler)
    assert made["preview"]["samples"].shape == (1, 4, 8, 12)
    assert made["preview"]["samples"].isfinite().all()
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


@pytest.mark.parametrize("sampler", SD3_SAMPLERS)
def test_sd3_finishes_as_the_stock_node_does(graph, nodes, sampler):
    made = graph.compare(sd3(), condition(1), latent(16), sampler=sampler)
    assert made["preview"]["samples"].shape == (1, 16, 8, 12)
    assert made["preview"]["samples"].isfinite().all()
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


def test_the_paper_preset_on_sdxl(graph, unet):
    made = graph.compare(unet, condition(1), latent(), sampler="dpmpp_2m", preset="paper")
    assert made["preview"]["samples"].shape == (1, 4, 8, 12)
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


@pytest.mark.parametrize(("kind", "channels"), [(sdxl, 4), (sd3, 16)])
def test_both_are_moved(graph, nodes, kind, channels):
    moved, stock = graph.transformed(kind(), latent(channels), right=32, down=-16)
    assert moved.isfinite().all()
    assert not torch.allclose(moved, stock, atol=1e-2)
    still, stock = graph.transformed(kind(), latent(channels))
    assert torch.allclose(still, stock, atol=1e-3)


class Clip:
    """Encodes every text alike; ComfyUI's nodes need no more of one."""

    def tokenize(self, text):
        return {"l": [text], "g": [text]}

    def encode_from_tokens_scheduled(self, tokens, add_dict):
        ((embedding, told),) = condition(1)
        return [[embedding, told | add_dict]]


def told(unet):
    """`unet`, and what it is told, by the height of the latent: pooled text, then height, width, crop and target."""
    heard = {}

    def listening(apply_model, options):
        heard.setdefault(options["input"].shape[-2], []).append(options["c"]["y"])
        return apply_model(options["input"], options["timestep"], **options["c"])

    model = unet.clone()
    model.set_model_unet_function_wrapper(listening)
    return model, heard


def embedded(unet, sizes):
    return unet.model.embedder(torch.tensor(sizes, dtype=torch.float32)).flatten()


def test_sdxl_is_told_the_size_of_the_final_in_the_preview_too(graph, unet):
    model, heard = told(unet)
    graph.compare(model, condition(1), latent(), finish=False)
    assert heard.keys() == {16, 8}
    for y in (y for answers in heard.values() for y in answers):
        assert torch.equal(y[:, 16:], embedded(unet, [128, 192, 0, 0, 128, 192]).expand(2, -1))  # both prompts


def test_sdxl_is_told_the_sizes_that_the_prompt_names(graph, unet):
    from comfy_extras.nodes_clip_sdxl import CLIPTextEncodeSDXL

    (positive,) = CLIPTextEncodeSDXL.execute(Clip(), 200, 160, 24, 8, 184, 120, "a", "a").result
    model, heard = told(unet)
    made = graph.compare(model, positive, latent())
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])
    named, default = embedded(unet, [160, 200, 8, 24, 120, 184]), embedded(unet, [128, 192, 0, 0, 128, 192])
    assert heard.keys() == {16, 8}
    for y in (y for answers in heard.values() for y in answers):
        rows = sorted(int(torch.equal(row, named)) - int(torch.equal(row, default)) for row in y[:, 16:])
        assert rows == [-1, 1]
