"""Finish selected and Finish all, on what a page sends."""

import json

import numpy as np
import pytest

from commutant.integrations.webui.buttons import DONE, Gallery, sendable

from . import fake_program


@pytest.fixture
def page(host):
    """Three previews and their grid, as the page holds them, and the handlers of the two buttons."""
    made = host.make("preview", sampler_name="Euler a", n_iter=3, seed=20)
    plain = [host.make("off", sampler_name="Euler a", seed=seed).images[0] for seed in (20, 21, 22)]
    buttons = host.module.Buttons(host.module.program, host.module.REQUESTS, lambda: host.script.args_from)
    return made, plain, buttons


def same(one, other):
    return one.size == other.size and np.array_equal(np.asarray(one), np.asarray(other))


def test_finish_selected_puts_the_final_behind_its_preview(page):
    made, plain, buttons = page
    images, info, shown, said = buttons.finish_selected("", list(made.images), 2, made.js())
    assert [image.size for image in images] == [(64, 32)] * 3 + [(128, 64), (64, 32)]
    assert same(images[3], plain[1])
    texts = json.loads(info)["infotexts"]
    assert texts[3] == plain[1].info["parameters"]
    assert texts[:3] + texts[4:] == made.infotexts
    assert json.loads(info)["all_seeds"] == [20, 21, 21, 22]
    assert "Seed: 21" in shown
    assert said == "<p class='comments'></p>"


def test_finish_all_finishes_what_has_no_final(page):
    made, plain, buttons = page
    images, info, *_ = buttons.finish_selected("", list(made.images), 2, made.js())
    images, info, *_ = buttons.finish_all("", images, -1, info)
    assert [image.size for image in images[1:]] == [(64, 32), (128, 64)] * 3
    assert all(same(images[2 + 2 * i], plain[i]) for i in range(3))
    again = buttons.finish_all("", images, -1, info)
    assert again[0] == images
    assert "no preview without its final" in again[3]


@pytest.mark.parametrize(
    ("index", "why"), [(-1, "select a preview"), (0, "no preview"), (9, "no preview"), (float("nan"), "select")]
)
def test_a_selection_that_is_no_preview(page, index, why):
    made, _, buttons = page
    images, info, _, said = buttons.finish_selected("", list(made.images), index, made.js())
    assert why in said
    assert (images, info) == (made.images, made.js())


@pytest.mark.parametrize("info", ["", "{}", "[]", "null", '{"infotexts": 3}', '{"infotexts": [1]}', "{" * 10**5, None])
def test_a_page_that_sends_anything(page, info):
    made, _, buttons = page
    for handler in (buttons.finish_selected, buttons.finish_all):
        images, sent, _, said = handler("", list(made.images), 1, info)
        assert images == made.images
        assert sent == info
        assert "Preview: " in said


def test_a_plain_image_is_no_preview(host, page):
    _, _, buttons = page
    made = host.make("off", prompt="Preview: matched, Preview scale: 2")
    assert "is no preview" in buttons.finish_selected("", list(made.images), 0, made.js())[3]


def test_a_preview_of_an_earlier_session_is_made_from_its_infotext(host, page):
    made, plain, buttons = page
    host.module.REQUESTS._by_infotext.clear()
    host.module.STORE.clear()
    images, _, _, said = buttons.finish_selected("", list(made.images), 1, made.js())
    assert same(images[2], plain[0])
    assert "of an earlier session" in said
    assert "Computed from the seed" in said


def test_an_earlier_session_s_tape_is_still_used(host, page):
    made, plain, buttons = page
    host.module.REQUESTS._by_infotext.clear()
    images, _, _, said = buttons.finish_selected("", list(made.images), 1, made.js())
    assert same(images[2], plain[0])
    assert "Computed from the seed" not in said


def test_what_the_page_says_now_does_not_matter(host, page):
    """The request is the preview's, whatever the user has typed since; our own controls too."""
    made, plain, buttons = page
    for control in host.script.controls:
        control.value = None
    images, *_ = buttons.finish_selected("", list(made.images), 3, made.js())
    assert same(images[4], plain[2])


def test_interrupting_leaves_the_rest(host, page):
    made, _, buttons = page
    state = host.program.shared.state

    def stop(denoiser, x):
        state.interrupted = len([d for d in host.program.denoisers if d.sizes and d.sizes[0] == 16]) > 5 + 1

    before = len(host.program.denoisers)
    host.program.fail_at = lambda denoiser, x: setattr(state, "interrupted", len(host.program.denoisers) > before + 1)
    images, info, _, said = buttons.finish_all("", list(made.images), -1, made.js())
    state.interrupted = False
    assert len(images) == len(made.images) + 1
    assert "Interrupted" in said
    assert len(json.loads(info)[DONE]) == 1


def test_errors_of_a_finish_are_shown_by_the_queue(host, page):
    made, _, buttons = page
    host.module.REQUESTS._by_infotext.clear()
    bad = json.dumps({"infotexts": ["x\nPreview: matched, Preview scale: 2, Steps: 12"], "index_of_first_image": 0})
    out = host.module.program.queued(buttons.finish_selected)("task(1)", [made.images[1]], 0, bad)
    assert "does not say its" in out[-1]


def test_images_go_back_without_being_saved_twice():
    image = fake_program.decoded(fake_program.torch.zeros(4, 2, 2))
    image.filename = "a.png?123"
    assert sendable((image, None)) is image
    assert image.already_saved_as == "a.png"
    assert sendable({"name": "b.png?4", "data": None, "is_file": True}) == "b.png"
    assert sendable([{"name": "c.png"}, "caption"]) == "c.png"
    assert sendable({"image": {"path": "d.png"}, "caption": None}) == "d.png"


def test_the_buttons_are_tied_once_all_parts_of_the_page_exist(host):
    from . import fake_gradio

    parts = {name: fake_gradio.Component() for name, _ in host.script.after}
    assert set(parts) == {"txt2img_gallery", "generation_info_txt2img", "html_info_txt2img", "html_log_txt2img"}
    made, found = [], fake_gradio.Component.click
    try:
        fake_gradio.Component.click = lambda self, **kwargs: made.append((self.value, kwargs))
        for i, (name, callback) in enumerate(host.script.after):
            assert (len(made) == 2) == (i == len(host.script.after))
            callback(type("On", (), {"component": parts[name]}))
    finally:
        fake_gradio.Component.click = found
    assert [label for label, _ in made] == ["Finish selected", "Finish all"]
    for _, tied in made:
        assert tied["inputs"][1] is parts["txt2img_gallery"]
        assert tied["outputs"][1] is parts["generation_info_txt2img"]
        assert "selected_gallery_index" in tied["js"]


def test_a_gallery_knows_its_grid():
    text = "a\nSteps: 1, Preview: matched, Preview scale: 2"
    info = {"infotexts": [text, text, "a\nSteps: 1"], "index_of_first_image": 1}
    gallery = Gallery.read(["grid.png", "one.png", "two.png"], json.dumps(info))
    assert [gallery.is_preview(i) for i in range(4)] == [False, True, False, False]
    assert gallery.previews() == [1]
