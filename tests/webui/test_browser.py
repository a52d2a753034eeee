"""The accordion in a real browser: preview, select, finish. Needs gradio, playwright and Chromium.

pytest -m browser tests/webui
"""

import os
import subprocess
import sys

import pytest

from . import clicks
from .conftest import ROOT

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The small page, served with the installed gradio."""
    pytest.importorskip("gradio")
    pytest.importorskip("playwright")
    if clicks.chromium() is None:
        pytest.skip("no Chromium is installed")
    port = clicks.free_port()
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    environment["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("gradio"))
    log = open(tmp_path_factory.mktemp("host") / "log", "w+")  # noqa: SIM115
    command = [sys.executable, "-m", "tests.webui.gradio_host", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        clicks.wait_for(url, server, 120)
    except RuntimeError:
        log.seek(0)
        pytest.fail(log.read()[-2000:])
    yield url
    server.terminate()
    server.wait(20)
    log.close()


@pytest.fixture
def page(address, tmp_path):
    with clicks.opened(address, tmp_path / "profile") as page:
        yield page


def picture(page, name):
    """A screenshot, where somebody asked for one."""
    folder = os.environ.get("WEBUI_PICTURES")
    if folder:
        page.screenshot(path=os.path.join(folder, name))


def test_preview_select_finish(page):
    clicks.open_accordion(page)
    clicks.choose_preview(page)
    clicks.generate(page, 4)
    assert clicks.sizes(page) == [(128, 96)] * 4
    clicks.select(page, 2)
    clicks.finish_selected(page)
    clicks.wait_for_images(page, 5)
    assert clicks.sizes(page) == [(128, 96)] * 3 + [(256, 192), (128, 96)]
    picture(page, "page.png")
    clicks.finish_all(page)
    clicks.wait_for_images(page, 7)
    assert clicks.sizes(page) == [(128, 96)] + [(128, 96), (256, 192)] * 3


def test_off_generates_and_finish_says_why_not(page):
    """That the check above sees a page on which nothing was previewed."""
    clicks.generate(page, 4)
    assert clicks.sizes(page) == [(256, 192)] * 4
    clicks.open_accordion(page)
    clicks.finish_all(page)
    page.get_by_text("there is no preview without its final").wait_for()
    assert clicks.sizes(page) == [(256, 192)] * 4


def test_an_infotext_restores_the_accordion(page):
    clicks.open_accordion(page)
    text = "a fox\nSteps: 12, Seed: 5, Preview: paper, Preview scale: 4, Preview switch: 3, Preview corrections: 2"
    page.locator("#pasted textarea").fill(text)
    page.locator("#paste").click()
    page.wait_for_function("() => document.querySelector('#script_switch input').value === '3'")
    assert page.get_by_role("radio", name="preview").is_checked()
    assert page.locator("#script_corrections input").first.input_value() == "2"
    assert page.locator("#script_preset input").input_value() == "paper"
    assert page.locator("#script_scale input").input_value() == "4"
