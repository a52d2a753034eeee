"""A generation in mode preview, and its finish, in a program with the contracts of A1111 and Forge."""

import inspect
import sys

import numpy as np
import pytest
import torch

from . import fake_program, fake_sampling

SAMPLERS = ["Euler", "Euler a", "Two step", "SDE", "Fast"]


def same(one, other):
    return one.size == other.size and bool(np.array_equal(np.asarray(one), np.asarray(other)))


def finish_is_plain(host, name, spoil=lambda store: None, **fields):
    """Whether the finish of a preview is the plain run's picture, and took its beginning from the tape."""
    plain = host.make("off", sampler_name=name, **fields)
    whole = len(host.program.denoisers[-1].calls)
    preview = host.make("preview", sampler_name=name, **fields)
    assert host.module.REQUESTS.of(preview.infotexts[0]) is not None, preview.comments
    spoil(host.module.STORE)
    image, infotext, comments = host.finish(preview.infotexts[0])
    rest = len(host.program.denoisers[-1].calls)
    return same(image, plain.images[0]) and infotext == plain.infotexts[0] and comments == "" and rest < whole


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_finish_is_the_plain_run(host, name):
    assert finish_is_plain(host, name)
    assert finish_is_plain(host, name, prompt="a [fox:balloon:0.5] at night", steps=14)


@pytest.mark.parametrize("name", SAMPLERS)
def test_that_check_sees_another_beginning(host, name):
    def spoil(store):
        (tape,) = store._tapes.values()
        with torch.inference_mode():
            tape.outputs[0].add_(0.5)

    try:
        equal = finish_is_plain(host, name, spoil)
    finally:
        host.module.STORE.clear()
    assert not equal


@pytest.mark.parametrize(("scale", "size"), [("2", (64, 32)), ("4", (32, 16)), ("4/3", (96, 48))])
def test_a_preview_is_smaller_and_its_infotext_is_the_final_s(host, scale, size):
    plain, preview = host.make("off"), host.make("preview", "matched", scale)
    assert preview.images[0].size == size
    said = fake_program.parse_generation_parameters(preview.infotexts[0])
    assert said.pop("Preview") == "matched"
    assert said.pop("Preview scale") == scale
    assert said == fake_program.parse_generation_parameters(plain.infotexts[0])


@pytest.mark.parametrize("name", ["matched", "paper", "naive", "direct"])
def test_every_preset_previews_a_batch_and_finishes_each_image(host, name):
    plain = host.make("off", sampler_name="Euler a", batch_size=2, n_iter=2)
    preview = host.make("preview", name, sampler_name="Euler a", batch_size=2, n_iter=2)
    assert [image.size for image in preview.images[1:]] == [(64, 32)] * 4
    for position in range(1, 5):
        image, infotext, comments = host.finish(preview.infotexts[position])
        assert same(image, plain.images[position])
        assert infotext == plain.infotexts[position]
        assert comments == ""


def steps_seen(host):
    """The counts at which the denoiser was asked, by the width of its latent."""
    denoiser = host.program.denoisers[-1]
    return {
        size: [c for c, s in zip(denoiser.calls, denoiser.sizes) if s == size] for size in sorted(set(denoiser.sizes))
    }


def test_the_denoiser_s_count_is_the_high_resolution_run_s(host):
    """Prompt editing goes by the count of calls: in the preview by noise level, in a finish as if all were made."""
    preview = host.make("preview", "naive", steps=12)
    assert steps_seen(host) == {16: [0, 1, 2, 3], 8: [4, 5, 6, 7, 8, 9, 10, 11]}
    host.finish(preview.infotexts[0])
    assert steps_seen(host) == {16: [4, 5, 6, 7, 8, 9, 10, 11]}
    host.make("preview", "matched", steps=18)  # a tail of three: the count leaps
    counts = steps_seen(host)
    assert counts == {16: [0, 1, 2, 3, 4], 8: [4, 8, 13]}


def test_that_check_sees_a_count_left_alone(host, monkeypatch):
    kind = sys.modules["commutant_webui_extension.integrations.webui.sampler"].ProgramDenoiser
    call = kind.__call__

    def uncounted(self, x, sigma, **kwargs):
        self.index = lambda x, sigma: None
        return call(self, x, sigma, **kwargs)

    monkeypatch.setattr(kind, "__call__", uncounted)
    host.make("preview", "matched", steps=12)
    assert steps_seen(host)[8][-1] <= 7


def test_the_program_sees_the_sampler_s_own_signature(host):
    seen = []

    def look(p):
        hook = host.runner.process_before_every_sampling

        def hooked(p, **kwargs):
            hook(p, **kwargs)
            seen.append(p.sampler.func)

        p.scripts = type("Runner", (), {"__getattr__": lambda self, name: getattr(host.runner, name)})()
        p.scripts.process_before_every_sampling = hooked

    host.make("preview", sampler_name="Euler a", before=look)
    assert seen[0] is not fake_sampling.sample_euler_ancestral
    assert inspect.signature(seen[0]) == inspect.signature(fake_sampling.sample_euler_ancestral)
    assert "eta" not in inspect.signature(lambda *args, **kwargs: None).parameters  # what an unwrapped one would say


def left_as_found(host, make):
    """Whether a generation leaves the samplers' `torch`, their functions and the global generator alone."""
    functions = dict(vars(fake_sampling))
    make()
    clean = type(fake_sampling.torch) is fake_program.TorchHijack
    changed = [k for k, v in vars(fake_sampling).items() if k != "torch" and functions.get(k) is not v]
    return clean and not changed


def test_nothing_stays_patched(host):
    assert left_as_found(host, lambda: host.make("preview", sampler_name="Euler a"))

    def broken(denoiser, x):
        if x.shape[-1] == 8:
            raise KeyError("an extension's error")

    host.program.fail_at = broken
    assert left_as_found(host, lambda: host.make("preview", sampler_name="Euler a"))


def test_that_check_sees_what_stays(host):
    def leave():
        host.make("preview", sampler_name="Euler a")
        fake_sampling.torch = torch

    assert not left_as_found(host, leave)


def test_a_preview_leaves_the_global_generator_where_it_found_it(host):
    states = []

    def watched(p):
        sample = p.sample

        def sampled():
            states.append(torch.get_rng_state())
            out = sample()
            states.append(torch.get_rng_state())
            return out

        p.sample = sampled

    for name in SAMPLERS:
        host.make("preview", sampler_name=name, before=watched)
    assert all(torch.equal(states[i], states[i + 1]) for i in range(0, len(states), 2))


def test_an_error_on_the_way_gives_the_plain_picture_and_a_comment(host):
    plain = host.make("off", sampler_name="Euler a")

    def once(denoiser, x):
        if x.shape[-1] == 8:
            raise KeyError("an extension's error")

    host.program.fail_at = once
    made = host.make("preview", sampler_name="Euler a")
    assert same(made.images[0], plain.images[0])
    assert made.infotexts == plain.infotexts
    assert "Preview failed, KeyError" in made.comments


def test_interrupting_gives_no_preview_to_finish(host):
    def stop(denoiser, x):
        host.program.shared.state.interrupted = denoiser.step > 3

    host.program.fail_at = stop
    made = host.make("preview", "naive", steps=12)
    assert "Preview" not in made.infotexts[0]
    assert host.module.REQUESTS.of(made.infotexts[0]) is None


def test_hires_fix_is_previewed_by_its_first_pass_only(host):
    plain = host.make("off", sampler_name="Euler a", enable_hr=True)
    preview = host.make("preview", sampler_name="Euler a", enable_hr=True)
    assert preview.images[0].size == (64, 32)
    assert preview.p.enable_hr
    assert "Hires upscale: 2.0" in preview.infotexts[0]
    image, infotext, _ = host.finish(preview.infotexts[0])
    assert image.size == (256, 128)
    assert same(image, plain.images[0])
    assert infotext == plain.infotexts[0]


def test_a_second_batch_that_fails_still_gets_its_second_pass(host):
    def at_low(denoiser, x):
        if x.shape[-1] == 8 and len(host.program.denoisers) > 1:
            raise KeyError("only later")

    host.program.fail_at = at_low
    made = host.make("preview", n_iter=2, enable_hr=True, do_not_save_grid=True)
    assert [image.size for image in made.images] == [(64, 32), (256, 128)]
    assert ["Preview: " in text for text in made.infotexts] == [True, False]


def test_prompts_are_finished_as_they_were_resolved(host):
    preview = host.make("preview", prompt="a __colour__ fox", n_iter=3, do_not_save_grid=True)
    plain = host.make("off", prompt="a __colour__ fox", n_iter=3, do_not_save_grid=True)
    image, infotext, _ = host.finish(preview.infotexts[2])
    assert same(image, plain.images[2])
    assert infotext.startswith("a colour 2 fox")


def test_the_same_request_in_mode_finish_takes_the_tape(host):
    """What an API client does."""
    plain = host.make("off", sampler_name="SDE")
    host.make("preview", sampler_name="SDE")
    made = host.make("finish", sampler_name="SDE")
    assert torch.equal(made.latents[0], plain.latents[0])
    assert len(host.program.denoisers[-1].calls) < len(host.program.denoisers[0].calls)
    assert made.comments == ""


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a dog"},
        {"seed": 6},
        {"steps": 13},
        {"cfg_scale": 6.0},
        {"sampler_name": "Euler"},
        {"scheduler": "Karras"},
        {"width": 160},
        {"negative_prompt": "blur"},
    ],
)
def test_another_request_never_takes_it(host, change):
    host.make("preview", sampler_name="Euler a")
    plain = host.make("off", **{"sampler_name": "Euler a"} | change)
    made = host.make("finish", **{"sampler_name": "Euler a"} | change)
    assert "Computed from the seed" in made.comments
    assert torch.equal(made.latents[0], plain.latents[0])


def test_a_tape_with_other_noise_is_not_used(host):
    host.make("preview")
    (tape,) = host.module.STORE._tapes.values()
    with torch.inference_mode():
        tape.noise.add_(1.0)
    plain, made = host.make("off"), host.make("finish")
    assert torch.equal(made.latents[0], plain.latents[0])
    assert "does not fit" in made.comments


def coarse_preset(monkeypatch):
    """The presets have coarse steps at full size before their low-resolution ones."""
    names = sys.modules["commutant_webui_extension.commutator"]
    guidance = names.Guidance("defect", steps=1, weight=1.0)
    plan = names.Plan(3, (names.Stage(1, 2), names.Stage(2, 2, guidance=guidance)))
    choice = sys.modules["commutant_webui_extension.integrations.plans"]
    monkeypatch.setattr(choice, "preset", lambda name, steps, scale: plan)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_plan_with_coarse_steps_at_full_size(host, monkeypatch, name):
    coarse_preset(monkeypatch)
    assert finish_is_plain(host, name)
    preview = host.make("preview", sampler_name=name)
    assert preview.images[0].size == (64, 32)
    if name == "Fast":  # makes its own schedule: every step that the head leaves, at low resolution
        assert steps_seen(host) == {16: [0, 1, 2, 3], 8: [3, 4, 5, 6, 7, 8, 9, 10, 11]}
    else:  # the head, two steps of 2.25 of the final's each, and the switch; then two more at half the size
        assert steps_seen(host) == {16: [0, 1, 2, 3, 5, 7], 8: [7, 9]}
