"""A training that was stopped and resumed equals one that was not, to the last bit."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from commutant.integrations.scenes.compose import scene_from_seed  # noqa: E402
from commutant.integrations.scenes.training.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from commutant.integrations.scenes.training.flow import Trainer, fresh_model  # noqa: E402
from commutant.integrations.scenes.training.pool import layout_of, token_ids  # noqa: E402

SIDE = 64
STEPS = 4


def _pool() -> dict:
    scenes = [scene_from_seed(i) for i in range(12)]
    draw = torch.Generator().manual_seed(5)
    clip_ids, t5_ids = token_ids([scene.prompt for scene in scenes])
    layouts = [layout_of(scene, SIDE, SIDE) for scene in scenes]
    return {
        "latents": torch.randn(len(scenes), (SIDE // 16) ** 2, 64, generator=draw).bfloat16(),
        "clip_ids": clip_ids.short(),
        "t5_ids": t5_ids.short(),
        "kind": torch.stack([torch.from_numpy(kind) for kind, _ in layouts]),
        "offset": torch.stack([torch.from_numpy(offset) for _, offset in layouts]),
    }


def _trainer(muon: bool) -> Trainer:
    model = fresh_model(0, double=1, single=2, heads=1, head_dim=32)
    return Trainer(model, steps=STEPS, tokens=64, warmup=2, muon=muon, pools={f"{SIDE}x{SIDE}": _pool()})


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("muon", [False, True])
def test_resumed_equals_unbroken(tmp_path: Path, muon: bool) -> None:
    unbroken = _trainer(muon)
    for step in range(STEPS):
        unbroken.step(step)

    stopped = _trainer(muon)
    for step in range(STEPS // 2):
        stopped.step(step)
    save_checkpoint(tmp_path, STEPS // 2, stopped.modules, stopped.optimizers, seconds=1.5)

    resumed = _trainer(muon)
    start, notes = load_checkpoint(tmp_path, resumed.modules, resumed.optimizers)
    assert (start, notes) == (STEPS // 2, {"seconds": 1.5})
    for step in range(start, STEPS):
        resumed.step(step)

    for name in ("model", "average"):
        want, got = unbroken.modules[name].state_dict(), resumed.modules[name].state_dict()
        assert want.keys() == got.keys()
        assert all(torch.equal(want[key], got[key]) for key in want)
    fresh = _trainer(muon).model.state_dict()
    assert any(not torch.equal(fresh[key], value) for key, value in unbroken.model.state_dict().items())


def test_no_checkpoint_starts_at_zero(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", {}, {}) == (0, {})


def test_building_and_stepping_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    _trainer(muon=False).step(0)
    assert torch.equal(state, torch.get_rng_state())
