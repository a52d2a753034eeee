"""The node that transforms an image while it forms, in ComfyUI's own engine."""

from importlib import import_module

import pytest
import torch

from .small_models import flux

DETERMINISTIC = ("euler", "heun", "dpm_2", "lms", "dpm_fast", "dpmpp_2m", "ipndm", "deis", "res_multistep", "uni_pc")


@pytest.fixture(scope="module")
def pointwise(unet):
    """A model that looks at single cells only, so that it commutes with every rearrangement of them."""
    model = unet.clone()
    model.set_model_unet_function_wrapper(lambda apply_model, options: torch.tanh(options["input"]) * 0.5 + 0.1)
    return model


def latent(batch=1, channels=4, side=16):
    return {"samples": torch.zeros(batch, channels, side, side)}


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_a_flip_flips_the_image_of_a_model_that_commutes(graph, pointwise, sampler):
    moved, stock = graph.transformed(pointwise, latent(), sampler=sampler, flip="horizontal", at=1)
    assert torch.allclose(moved, stock.flip(-1), atol=1e-4)
    assert not torch.allclose(moved, stock, atol=1e-2)


def test_a_translation_moves_by_whole_cells(graph, pointwise):
    moved, stock = graph.transformed(pointwise, latent(), right=32, down=-16)
    assert torch.allclose(moved[..., :14, 4:], stock[..., 2:, :12], atol=1e-4)
    fresh, _ = graph.transformed(pointwise, latent(), right=32, down=-16, fresh=1)
    assert torch.allclose(fresh[..., :14, 4:], moved[..., :14, 4:], atol=1e-4)
    assert not torch.allclose(fresh[..., :4], moved[..., :4], atol=1e-2)


def test_a_real_model_flows_and_turns_are_moved(graph, unet):
    still, stock = graph.transformed(unet, latent())
    assert torch.allclose(still, stock, atol=1e-3)  # moved by nothing
    turned, stock = graph.transformed(unet, latent(), rotate=20.0, zoom=1.2)
    assert turned.shape == stock.shape
    assert turned.isfinite().all()
    assert not torch.allclose(turned, stock, atol=1e-2)
    moved, stock = graph.transformed(flux(), latent(channels=16), right=32)
    assert moved.isfinite().all()
    assert not torch.allclose(moved, stock, atol=1e-2)


def test_an_image_moves_the_same_way_in_any_batch(graph, pointwise):
    pair, _ = graph.transformed(pointwise, latent(2), right=64)
    for i in range(2):
        alone, _ = graph.transformed(pointwise, {**latent(), "batch_index": [i]}, right=64)
        assert torch.allclose(alone[0], pair[i], atol=1e-4)
    assert not torch.allclose(pair[0], pair[1], atol=1e-2)


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "lcm", "er_sde"])
def test_samplers_with_fresh_noise_are_refused(graph, unet, name):
    with pytest.raises(RuntimeError, match=rf"UnsupportedError: .*{name}.* draws fresh noise"):
        graph.transformed(unet, latent(), sampler=name, right=8)


@pytest.mark.parametrize("name", ["dpm_adaptive", "euler_cfg_pp"])
def test_samplers_that_cannot_be_replayed_are_refused(graph, unet, name):
    with pytest.raises(RuntimeError, match=f"UnsupportedError: .*{name}"):
        graph.transformed(unet, latent(), sampler=name, right=8)


def test_other_refusals(graph, nodes, unet):
    with pytest.raises(RuntimeError, match="empty latent image"):
        graph.transformed(unet, {"samples": torch.ones(1, 4, 16, 16)}, right=8)
    with pytest.raises(RuntimeError, match="without a mask"):
        graph.transformed(unet, latent() | {"noise_mask": torch.ones(1, 1, 16, 16)}, right=8)
    with pytest.raises(RuntimeError, match=r"nearest \(dx, dy\): \(0, 0\) or \(8, 0\)"):
        graph.transformed(unet, latent(), right=5)
    kind = nodes.NODE_CLASS_MAPPINGS["CommutantTransformSampler"]
    import comfy.samplers

    made = kind.execute(comfy.samplers.sampler_object("euler"), 8, 0, 0.0, 1.0, "none", -1, 0).result[0]
    with pytest.raises(RuntimeError, match="a finish or a transform already"):
        graph.transformed(unet, latent(), sampler_object=made)


def test_all_in_one_is_one_after_the_other(nodes):
    name = type(nodes.NODE_CLASS_MAPPINGS["CommutantTransformSampler"]()).__module__.rsplit(".", 1)[0]
    operator = import_module(name + ".transform").pixel_operator
    x = torch.randn(1, 1, 12, 12, dtype=torch.float64)
    assert torch.allclose(operator(0, 0, 90.0, 1.0, "none")(x), x.rot90(1, (-2, -1)))  # counter-clockwise
    one = operator(2, 1, 90.0, 1.0, "horizontal")(x)
    parts = [
        operator(0, 0, 0.0, 1.0, "horizontal"),
        operator(0, 0, 90.0, 1.0, "none"),
        operator(2, 1, 0.0, 1.0, "none"),
    ]
    for part in parts:
        x = part(x)
    assert torch.allclose(one[..., 1:, 2:], x[..., 1:, 2:])
    zoomed = operator(0, 0, 0.0, 2.0, "none")(torch.linspace(-1, 1, 12).expand(1, 1, 12, 12))
    assert torch.allclose(zoomed[0, 0, 5, 6] - zoomed[0, 0, 5, 5], torch.tensor(1 / 11))
