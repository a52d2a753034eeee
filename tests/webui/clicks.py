"""What a person does on the page, through playwright: the same in Forge, and on the small page of `gradio_host.py`."""

import shutil
import socket
import time
import urllib.request
from contextlib import contextmanager

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
OURS = "[id^=script_][id$=_accordion]"
GALLERY = "#txt2img_gallery"
SMALL = f"{GALLERY} .thumbnails > .thumbnail-item.thumbnail-small"


def chromium():
    """The installed browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(url, process, seconds):
    """Until the server answers. RuntimeError when it ends or never does."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError("the server does not answer")


@contextmanager
def opened(url, profile):
    """The page in a headless browser with a profile of its own; console errors are collected on it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        context = play.chromium.launch_persistent_context(
            str(profile),
            executable_path=chromium(),
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1280, "height": 1000},
        )
        page = context.pages[0]
        page.goto(url)
        page.wait_for_selector("#txt2img_generate", timeout=60_000)
        page.set_default_timeout(60_000)
        yield page
        context.close()


def open_accordion(page):
    page.locator(f"{OURS} .label-wrap").first.click()
    page.locator(OURS).get_by_role("radio", name="preview").wait_for(state="visible")


def choose_preview(page):
    page.locator(OURS).get_by_role("radio", name="preview").check()


def generate(page, count):
    """Click Generate; wait until the gallery holds `count` images."""
    page.locator("#txt2img_generate").click()
    wait_for_images(page, count)


def wait_for_images(page, count):
    page.wait_for_function("([s, n]) => document.querySelectorAll(s).length === n", arg=[SMALL, count])


def select(page, position):
    """Click the thumbnail at `position`."""
    page.locator(SMALL).nth(position).click()
    page.wait_for_function(
        "([s, n]) => document.querySelectorAll(s)[n].classList.contains('selected')", arg=[SMALL, position]
    )


def finish_selected(page):
    page.locator("#commutant_finish_selected").click()


def finish_all(page):
    page.locator("#commutant_finish_all").click()


def sizes(page):
    """Width and height of the gallery's images, as the browser loaded them."""
    script = """async (selector) => {
        const images = Array.from(document.querySelectorAll(selector + ' img'));
        await Promise.all(images.map((one) => one.decode()));
        return images.map((one) => [one.naturalWidth, one.naturalHeight]);
    }"""
    return [tuple(size) for size in page.evaluate(script, SMALL)]
