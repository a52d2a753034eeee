"""The support page is what a fresh run writes, and a run of a broken sampler writes no "worked"."""

import pytest

from commutant.adapters.k_diffusion import UnsupportedError, replay
from commutant.benchmarks.k_diffusion_support import MEAN, PAGE, Row, constant, latent, levels, page, rows

from . import third_party
from .worlds import SAMPLERS, random_state_kept


def test_the_page_is_that_of_a_fresh_run():
    with random_state_kept():
        fresh = page(rows())
    assert PAGE.read_text() == fresh, "run `python -m benchmarks.k_diffusion_support`"
    assert "failed" not in fresh


def test_every_published_sampler_has_a_row():
    text = PAGE.read_text()
    assert len(SAMPLERS) == 13
    assert all(f"| `{name}` |" in text for name in SAMPLERS)


@pytest.mark.parametrize("sampler", third_party.UNREPLAYABLE, ids=lambda s: s.__name__)
def test_a_broken_sampler_is_seen_to_be_refused(sampler):
    row = next(line for line in page([Row("broken", sampler)]).splitlines() if line.startswith("| broken |"))
    preview, replay, finish, *_ = [cell.strip() for cell in row.split("|")[2:]]
    assert (preview, replay, finish) == ("refused (1)", "refused (1)", "worked")


def test_a_replay_that_arrives_elsewhere_is_seen_to_fail(monkeypatch):
    """A view that is off by a factor is refused where the run arrives; without that check the page says "failed"."""
    noise = replay.StageView.noise
    monkeypatch.setattr(replay.StageView, "noise", lambda self, eps: 1.01 * noise(self, eps))
    with pytest.raises(UnsupportedError, match="does not arrive"):
        Row("off", SAMPLERS["sample_euler"]).preview(constant, latent(), levels(), MEAN)
    monkeypatch.setattr(replay, "_require_arrival", lambda *_: None)
    assert "| off | worked | failed | worked | draws none |" in page([Row("off", SAMPLERS["sample_euler"])])
    assert "| off | worked | failed | worked | failed |" in page([Row("off", SAMPLERS["sample_euler_ancestral"])])
