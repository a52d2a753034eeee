"""Previews and finishes in ComfyUI's own engine, against its own sampler node."""

from importlib import import_module

import pytest
import torch

from .small_models import control, flux
from .worlds import condition

SAMPLERS = (
    "euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpmpp_2s_ancestral",
    "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "ddpm", "lcm", "ipndm", "deis", "res_multistep", "er_sde",
    "seeds_2", "uni_pc", "sa_solver",
)  # fmt: skip
FLOW_SAMPLERS = ("euler", "euler_ancestral", "heun", "dpmpp_2m", "res_multistep", "ipndm", "uni_pc", "uni_pc_bh2")


def latent(batch=1, channels=4, side=16):
    return {"samples": torch.zeros(batch, channels, side, side)}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_finish_is_what_the_stock_node_makes(graph, unet, sampler):
    made = graph.compare(unet, condition(1), latent(), sampler=sampler)
    assert made["preview"]["samples"].shape == (1, 4, 8, 8)
    assert made["preview"]["samples"].isfinite().all()
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


@pytest.mark.parametrize("sampler", FLOW_SAMPLERS)
def test_a_flow_finishes_alike(graph, nodes, sampler):
    made = graph.compare(flux(), condition(1), latent(channels=16), sampler=sampler)
    assert made["preview"]["samples"].shape == (1, 16, 8, 8)
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])


def test_another_seed_is_another_image(graph, unet):
    """The equalities above are no accident of a model that always answers alike."""
    one, other = (graph.compare(unet, condition(1), latent(), seed=s)["stock"]["samples"] for s in (5, 6))
    assert not torch.allclose(one, other, atol=1e-2)


def test_a_finish_refuses_another_latent(graph, unet):
    small = graph.compare(unet, condition(1), latent(), finish=False)
    assert small.keys() == {"preview"}
    noise, guider, _, sigmas, _ = _request(graph, unet, latent())
    sampler = _finish_sampler(graph, unet, latent())
    stock = graph.nodes.NODE_CLASS_MAPPINGS["SamplerCustomAdvanced"]
    with pytest.raises(ValueError, match="belongs to another noise or latent"):
        stock.execute(noise, guider, sampler, sigmas, {"samples": torch.ones(1, 4, 16, 16)})


def test_a_finish_is_not_previewed(graph, unet):
    sampler = _finish_sampler(graph, unet, latent())
    with pytest.raises(RuntimeError, match="a finish or a transform already"):
        graph.compare(unet, condition(1), latent(), sampler_object=sampler)


def _request(graph, model, of):
    """What the stock sampler node and *Preview Sampler* begin with."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(condition(1), condition(2))
    guider.set_cfg(3.0)
    noise = graph.nodes.NODE_CLASS_MAPPINGS["RandomNoise"].execute(5).result[0]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 9)
    return noise, guider, comfy.samplers.sampler_object("euler"), sigmas, of


def _finish_sampler(graph, model, of):
    kind = graph.nodes.NODE_CLASS_MAPPINGS["CommutantPreviewSampler"]
    return kind.execute(*_request(graph, model, of), "matched", 2, 3, 0).result[1]


@pytest.mark.parametrize("name", ["dpm_adaptive", "euler_cfg_pp", "dpmpp_2m_cfg_pp", "gradient_estimation_cfg_pp"])
def test_samplers_that_cannot_be_replayed_are_refused_by_name(graph, unet, name):
    with pytest.raises(RuntimeError, match=f"UnsupportedError: .*{name}"):
        graph.compare(unet, condition(1), latent(), sampler=name, finish=False)


@pytest.mark.parametrize("name", ["heun", "uni_pc"])
def test_samplers_whose_state_the_paper_cannot_correct_are_refused(graph, unet, name):
    with pytest.raises(RuntimeError, match="UnsupportedError: guidance kind 'exact' corrects the state"):
        graph.compare(unet, condition(1), latent(), sampler=name, preset="paper", finish=False)


def test_a_short_tail_of_a_brownian_tree_is_refused_and_a_full_one_is_not(graph, unet):
    with pytest.raises(RuntimeError, match=r"ScheduleError: .*in this node: tail 0"):
        graph.compare(unet, condition(1), latent(), sampler="dpmpp_sde", tail=3, finish=False)
    graph.compare(unet, condition(1), latent(), sampler="dpmpp_sde", tail=0, finish=False)


def test_sides_that_the_scale_does_not_divide_are_refused_with_the_nearest(graph, unet):
    with pytest.raises(RuntimeError, match=r"17x17 .*nearest is 16x16"):
        graph.compare(unet, condition(1), latent(side=17), finish=False)


def test_nested_latents_are_refused(graph, unet):
    from comfy.nested_tensor import NestedTensor

    nested = {"samples": NestedTensor([torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 8)])}
    with pytest.raises(RuntimeError, match="several tensors"):
        graph.compare(unet, condition(1), nested, finish=False)


@pytest.mark.parametrize(
    "sound", [{"samples": torch.zeros(1, 64, 32)}, {"samples": torch.zeros(1, 8, 16, 32), "type": "audio"}]
)
def test_latents_without_height_and_width_are_refused(graph, unet, sound):
    with pytest.raises(RuntimeError, match=r"UnsupportedError: a latent of the dims .* has no height and width"):
        graph.compare(unet, condition(1), sound, finish=False)


def test_each_image_of_a_batch_gets_its_own_phase(graph, unet):
    plan = {"preset": "paper", "switch": 3, "tail": 0}
    pair = graph.compare(unet, condition(1), latent(2), **plan)
    assert torch.equal(pair["finish"]["samples"], pair["stock"]["samples"])
    for i in range(2):
        alone = {"samples": torch.zeros(1, 4, 16, 16), "batch_index": [i]}
        single = graph.compare(unet, condition(1), alone, finish=False, **plan)
        assert torch.allclose(single["preview"]["samples"], pair["preview"]["samples"][i : i + 1], atol=1e-4)
    assert not torch.allclose(pair["preview"]["samples"][0], pair["preview"]["samples"][1], atol=1e-2)


def test_the_phase_of_an_image_does_not_depend_on_its_batch(graph, nodes, unet, monkeypatch):
    preview, made = import_module(_package(nodes) + ".preview"), []

    class Noted(preview.TwoCallPreview):
        def __init__(self, *args):
            super().__init__(*args)
            made.append(self)

    def choice(start, seed):
        plan = {"preset": "paper", "switch": 1, "tail": 1, "seed": seed, "finish": False}
        graph.compare(unet, condition(1), start, **plan)
        return made.pop().choice

    monkeypatch.setattr(preview, "TwoCallPreview", Noted)
    different = set()
    for seed in range(4):
        pair = choice(latent(2), seed)
        assert pair == choice({**latent(), "batch_index": [0]}, seed) + choice({**latent(), "batch_index": [1]}, seed)
        different.add(pair[0] != pair[1])
    assert True in different


def _package(nodes):
    """The integration under the name that ComfyUI's loader gave it."""
    return type(nodes.NODE_CLASS_MAPPINGS["CommutantPreviewSampler"]()).__module__.rsplit(".", 1)[0]


def _plan(nodes, head, *stages):
    names = import_module(_package(nodes).rsplit(".", 2)[0] + ".commutator")
    return names.Plan(head, tuple(names.Stage(*stage) for stage in stages))


def test_a_plan_with_coarse_steps_at_full_size(graph, nodes, unet):
    model, sizes = unet.clone(), []

    def noted(apply_model, options):
        sizes.append(options["input"].shape[-1])
        return apply_model(options["input"], options["timestep"], **options["c"])

    model.set_model_unet_function_wrapper(noted)
    noise, guider, sampler, sigmas, of = _request(graph, model, latent())
    preview = import_module(_package(nodes) + ".preview").preview
    made, finish = preview(noise, guider, sampler, sigmas, of, _plan(nodes, 3, (1, 2), (2, 3)))
    assert made["samples"].shape == (1, 4, 8, 8)
    assert made["samples"].isfinite().all()
    assert sizes == [16] * 5 + [8] * 3
    stock = graph.nodes.NODE_CLASS_MAPPINGS["SamplerCustomAdvanced"]
    plain, final = (stock.execute(noise, guider, by, sigmas, of).result[0]["samples"] for by in (sampler, finish))
    assert torch.equal(final, plain)
    assert len(sizes) == 8 + 9 + 5  # of the finish, three and the one at the switch are recorded


@pytest.mark.parametrize("stages", [[], [("3/2", 2), (2, 2)]])
def test_a_plan_without_one_low_resolution_is_refused(graph, nodes, unet, stages):
    preview = import_module(_package(nodes) + ".preview").preview
    with pytest.raises(ValueError, match=f"this plan has {len(stages)} resolutions below"):
        preview(*_request(graph, unet, latent()), _plan(nodes, 3, *stages))


def test_a_control_hint_is_seen_by_the_preview_at_its_own_size(graph, nodes, unet):
    net, sizes = control(), set()
    net.control_model.input_hint_block[0].register_forward_pre_hook(lambda _, args: sizes.add(args[0].shape[-2:]))
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    hints = torch.zeros(1, 128, 128, 3), torch.linspace(0, 1, 128).reshape(1, 1, 128, 1).expand(1, 128, 128, 3)
    made = []
    for hint in hints:
        positive, _ = apply(condition(1), condition(2), net, hint, 1.0, 0.0, 1.0)
        made.append(graph.compare(unet, positive, latent(), sampler="dpmpp_2m"))
        assert torch.equal(made[-1]["finish"]["samples"], made[-1]["stock"]["samples"])
    assert sizes == {(128, 128), (64, 64)}
    dark, ramp = (one["preview"]["samples"] for one in made)
    assert not torch.allclose(dark, ramp, atol=1e-2)


@pytest.mark.parametrize(
    "extra",
    [
        {"mask": torch.cat([torch.ones(1, 64, 128), torch.zeros(1, 64, 128)], 1), "mask_strength": 1.0},
        {"area": (8, 8, 8, 8), "strength": 1.0},
    ],
    ids=["mask", "area"],
)
def test_conditions_on_a_part_of_the_image(graph, unet, extra):
    both = condition(1) + condition(3, **extra)
    made, plain = graph.compare(unet, both, latent()), graph.compare(unet, condition(1), latent())
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])
    assert not torch.allclose(made["preview"]["samples"], plain["preview"]["samples"], atol=1e-3)


def test_an_area_covers_the_same_part_at_low_resolution(nodes):
    area = import_module(_package(nodes) + ".preview")._area
    assert area((8, 4, 8, 12), (16, 16), (8, 8)) == (4, 2, 4, 6)
    assert area((3, 8, 8, 1, 0, 8), (16, 16), (8, 8)) == (3, 4, 4, 1, 0, 4)  # time is left alone


def test_a_mask_over_the_noise_keeps_what_is_outside(graph, unet):
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    start = {"samples": torch.full((1, 4, 16, 16), 0.5), "noise_mask": mask}
    made = graph.compare(unet, condition(1), start)
    assert torch.equal(made["finish"]["samples"], made["stock"]["samples"])
    low = made["preview"]["samples"]
    assert torch.allclose(low[..., 6:], torch.full_like(low[..., 6:], 0.5), atol=1e-3)
    assert not torch.allclose(low[..., :3], torch.full_like(low[..., :3], 0.5), atol=1e-1)


def test_generators_and_the_guider_are_left_as_found_also_by_an_interrupt(graph, unet):
    import comfy.model_management
    import comfy.samplers

    before = comfy.samplers.KSAMPLER.sample, comfy.samplers.sampling_function, torch.randn, torch.randn_like
    torch.manual_seed(77)
    state = torch.get_rng_state()
    _finish_sampler(graph, unet, latent())
    assert torch.equal(torch.get_rng_state(), state)

    model, asked = unet.clone(), []

    def interrupting(apply_model, options):
        asked.append(1)
        if len(asked) == 5:
            raise comfy.model_management.InterruptProcessingException
        return apply_model(options["input"], options["timestep"], **options["c"])

    model.set_model_unet_function_wrapper(interrupting)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        _finish_sampler(graph, model, latent())
    assert torch.equal(torch.get_rng_state(), state)
    assert before == (
        comfy.samplers.KSAMPLER.sample, comfy.samplers.sampling_function, torch.randn, torch.randn_like
    )  # fmt: skip
    _finish_sampler(graph, unet, latent())  # and the next run is none the worse


def test_a_contact_sheet_has_a_place_for_each_image(nodes):
    sheet = nodes.NODE_CLASS_MAPPINGS["CommutantContactSheet"]
    images = torch.linspace(0, 1, 3).reshape(3, 1, 1, 1).expand(3, 32, 48, 3)
    (picture,) = sheet.execute(images, 2, "").result
    assert picture.shape == (1, 2 * (32 + 40) + 12, 2 * (48 + 12) + 12, 3)
    assert torch.allclose(picture[0, 12:44, 72:120], torch.full((32, 48, 3), 0.5), atol=0.01)
    with pytest.raises(ValueError, match="2 labels for 3 images"):
        sheet.execute(images, 2, "a\nb")
