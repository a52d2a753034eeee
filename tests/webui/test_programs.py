"""The extension in a real Forge and a real A1111, with models of random weights.

    FORGE_DIR=/path/to/forge A1111_DIR=/path/to/a1111 pytest -m forge

The program's own interpreter is `FORGE_PYTHON` or `A1111_PYTHON`, or `venv/bin/python` in its folder. The checkout of
this project becomes an extension of it for as long as the tests run, unless it is one already.
"""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from . import clicks
from .conftest import ROOT

pytestmark = pytest.mark.forge
HERE = Path(__file__).resolve().parent
PLAIN = ("DPM adaptive", "DDIM", "DDIM CFG++", "PLMS", "UniPC")


@pytest.fixture(scope="module", params=["forge", "a1111"])
def program(request, tmp_path_factory):
    """Its name, folder and interpreter, the extension and a checkpoint's file in place."""
    name = request.param
    folder = Path(os.environ.get(f"{name.upper()}_DIR", ""))
    if not os.environ.get(f"{name.upper()}_DIR") or not (folder / "modules" / "processing.py").is_file():
        pytest.skip(f"{name.upper()}_DIR names no checkout")
    own = folder / "venv" / "bin" / "python"
    python = os.environ.get(f"{name.upper()}_PYTHON") or (str(own) if own.exists() else sys.executable)
    link = folder / "extensions" / "commutant"
    made = not link.exists()
    if made:
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(ROOT)
    checkpoint = tmp_path_factory.mktemp("models") / "small.safetensors"
    checkpoint.write_bytes(struct.pack("<Q", 2) + b"{}")
    yield name, folder, python, str(checkpoint)
    if made:
        link.unlink()


def environment(tmp):
    return {**os.environ, "OMP_NUM_THREADS": "1", "GRADIO_TEMP_DIR": str(tmp), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def seen(program, tmp_path_factory):
    """What the driver saw."""
    _, folder, python, checkpoint = program
    result = tmp_path_factory.mktemp("seen") / "seen.json"
    run = subprocess.run(
        [python, str(HERE / "program_driver.py"), checkpoint, str(result)],
        cwd=folder,
        env=environment(tmp_path_factory.mktemp("gradio")),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert result.exists(), run.stdout[-2000:] + run.stderr[-2000:]
    found = json.loads(result.read_text())
    assert found["errors"] == {}
    return found


def test_every_sampler_with_fixed_steps_is_previewed_and_finished(seen):
    previewed = {name: made for name, made in seen["samplers"].items() if name not in PLAIN}
    assert len(previewed) >= 15
    for name, made in previewed.items():
        assert (made["size"], made["comments"], made["finish_comments"]) == ([128, 96], "", ""), name
        assert made["finish"], name
        assert made["latent"], name
        assert made["infotext_equal"], name
        assert made["calls"][1] < made["calls"][0], name


@pytest.mark.parametrize("name", PLAIN)
def test_other_samplers_make_the_plain_picture_and_say_why(seen, name):
    made = seen["samplers"][name]
    assert made["plain"]
    assert "Sampled without preview" in made["comments"]


def test_every_scheduler(seen):
    assert len(seen["schedulers"]) >= 10
    assert set(map(tuple, seen["schedulers"].values())) == {(True, "")}


def test_every_preset(seen):
    assert seen["presets"] == {
        "matched 4/3": ["", [192, 144], True, ""],
        "paper 2": ["", [128, 96], True, ""],
        "naive 4": ["", [64, 48], True, ""],
        "direct 2": ["", [128, 96], True, ""],
    }


def test_batches(seen):
    made = seen["batches"]
    assert made["one_by_one"] == [True] * 4
    assert made["variation"]
    assert max(made["in_pairs"]) <= 2  # of 255: batched kernels round otherwise
    assert made["said"] == [""]
    assert made["seeds"] == ["7", "8", "9", "10"]


def test_the_buttons(seen):
    low, high = [128, 96], [256, 192]
    made = seen["buttons"]
    assert made["after_one"] == [low, low, high, low]
    assert made["after_all"] == [low, high] * 3
    assert made["finals"] == [True] * 3
    assert made["infotexts"] == [1, 0] * 3


def test_hires_fix(seen):
    made = seen["hires"]
    assert (made["preview"], made["final"]) == ([128, 96], [384, 288])
    assert made["equal"]
    assert made["infotext_equal"]
    assert "Hires upscale: 1.5" in made["infotext"]


def test_an_infotext_comes_back_into_the_accordion(seen):
    assert seen["infotext_round_trip"]["restored"] == ["preview", "paper", "2", 3, 1]


def test_a_tape_that_is_gone_costs_time_only(seen):
    spilled, changed, forgotten = (seen["lost"][name] for name in ("spilled", "changed", "forgotten"))
    assert spilled[0] > 0
    assert spilled[1:] == [True, ""]
    for made in (changed, forgotten):
        assert made[0]
        assert "Computed from the seed" in made[1]


def test_refusals(seen):
    for name, (plain, comments) in seen["refused"].items():
        assert plain, name
        assert "Sampled without preview" in comments, name


def test_nothing_stays_patched(seen):
    assert seen["left_behind"] == [True, "k_diffusion.sampling"]


def test_the_api(seen):
    made = seen["api"]
    assert made["status"] == [200, 200, 200]
    assert made["sizes"] == [[256, 192], [128, 96], [256, 192]]
    assert made["equal"]
    assert "Preview scale: 2" in made["infotexts"][0]
    assert made["infotexts"][1]
    assert made["in_png"]


def test_a_lora_in_the_prompt(seen):
    made = seen["lora"]
    assert made["counts"]
    assert made["equal"]
    assert made["said"][:2] == ["", ""]
    assert "Computed from the seed" in made["said"][2]


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_other_families(seen, family):
    if family not in seen:
        pytest.skip("A1111 has no Flux")
    assert len(seen[family]) >= 2
    for name, (size, equal, calls, comments) in seen[family].items():
        assert (size, equal, comments) == ([128, 96], True, ""), name
        assert calls[1] < calls[0], name


def test_in_a_browser(program, tmp_path):
    """The click path on the program's own page."""
    pytest.importorskip("playwright")
    if clicks.chromium() is None:
        pytest.skip("no Chromium is installed")
    name, folder, python, checkpoint = program
    port = clicks.free_port()
    log = (tmp_path / "log").open("w")
    command = [python, str(HERE / "program_server.py"), str(port), checkpoint]
    server = subprocess.Popen(command, cwd=folder, env=environment(tmp_path), stdout=log, stderr=subprocess.STDOUT)
    try:
        clicks.wait_for(f"http://127.0.0.1:{port}", server, 180)
        with clicks.opened(f"http://127.0.0.1:{port}", tmp_path / "profile") as page:
            page.locator("#txt2img_prompt textarea").fill("a [fox:balloon:0.5] at night")
            for field, value in (("steps", 12), ("width", 256), ("height", 192), ("batch_count", 3)):
                page.locator(f"#txt2img_{field} input[type=number]").fill(str(value))
            clicks.open_accordion(page)
            clicks.choose_preview(page)
            clicks.generate(page, 4)
            low, high = (128, 96), (256, 192)
            assert clicks.sizes(page)[1:] == [low] * 3
            clicks.select(page, 2)
            clicks.finish_selected(page)
            clicks.wait_for_images(page, 5)
            assert clicks.sizes(page)[1:] == [low, low, high, low]
            if os.environ.get("WEBUI_PICTURES"):
                page.locator("#txt2img_results .progressDiv").wait_for(state="detached")
                page.mouse.wheel(0, 200)
                page.screenshot(path=os.path.join(os.environ["WEBUI_PICTURES"], f"{name}.png"))
            clicks.finish_all(page)
            clicks.wait_for_images(page, 7)
            assert clicks.sizes(page)[1:] == [low, high] * 3
    finally:
        server.terminate()
        server.wait(20)
        log.close()
