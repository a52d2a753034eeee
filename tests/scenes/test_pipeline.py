"""The shipped weights: an unmodified FluxPipeline runs them, the autoencoder is faithful, the folder is small."""

import inspect

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from diffusers import FluxPipeline  # noqa: E402

from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, WEIGHTS, WORDS, load_scenes  # noqa: E402
from commutant.integrations.scenes.autoencoder import ScenesAutoencoder  # noqa: E402
from commutant.integrations.scenes.classifier import found, load_classifier  # noqa: E402
from commutant.integrations.scenes.compose import render, scene_from_seed  # noqa: E402
from commutant.integrations.scenes.training.evaluate import score  # noqa: E402
from commutant.integrations.scenes.training.network import (  # noqa: E402
    SEQUENCE_LENGTH,
    PlainAttention,
    clip_tokenizer,
    scheduler,
    shift_of,
    t5_tokenizer,
)
from commutant.integrations.scenes.training.optimizers import BatchedMuon  # noqa: E402
from commutant.integrations.scenes.vocabulary import OBJECTS  # noqa: E402

FOLDER_LIMIT = 40 * 1024**2


@pytest.fixture(scope="module")
def pipe() -> FluxPipeline:
    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_weights_fit_the_limit() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= FOLDER_LIMIT


def test_the_pipeline_is_unmodified_and_runs(pipe: FluxPipeline) -> None:
    assert type(pipe) is FluxPipeline
    assert set(SCENES_CALL_DEFAULTS) <= set(inspect.signature(FluxPipeline.__call__).parameters)
    state = torch.get_rng_state()
    call = {**SCENES_CALL_DEFAULTS, "height": 128, "width": 128, "num_inference_steps": 2, "output_type": "np"}
    first, again = (
        pipe("a fox on a night background", generator=torch.Generator().manual_seed(0), **call).images for _ in range(2)
    )
    assert first.shape == (1, 128, 128, 3)
    assert np.isfinite(first).all()
    assert first.std() > 0.02
    np.testing.assert_array_equal(first, again)
    assert torch.equal(state, torch.get_rng_state())


def test_from_pretrained_loads_the_folder_too(pipe: FluxPipeline) -> None:
    loaded = FluxPipeline.from_pretrained(WEIGHTS)
    assert isinstance(loaded.vae, ScenesAutoencoder)
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        want = getattr(pipe, name).state_dict()
        got = getattr(loaded, name).state_dict()
        assert all(torch.equal(want[key], got[key].float()) for key in want if want[key].is_floating_point())


@pytest.mark.parametrize(("size", "floor"), [(256, 33.0), (128, 28.0)])
def test_autoencoder_round_trip(pipe: FluxPipeline, size: int, floor: float) -> None:
    images = np.stack([render(scene_from_seed((77, i)), size, size) for i in range(4)])
    want = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        latents = pipe.vae.encode(want).latent_dist.mode()
        got = pipe.vae.decode(latents, return_dict=False)[0]
    assert latents.shape == (4, 16, size // 8, size // 8)
    assert 0.5 < latents.std() < 2.0
    psnr = -10 * ((got.clamp(-1, 1) - want) / 2).square().mean(dim=(1, 2, 3)).log10().mean()
    assert psnr > floor


def test_autoencoder_refuses_odd_sizes(pipe: FluxPipeline) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        pipe.vae.encode(torch.zeros(1, 3, 60, 64))


def test_classifier_finds_what_is_drawn() -> None:
    scenes = [scene_from_seed((88, i)) for i in range(24)]
    images = np.stack([render(scene, 256, 256) for scene in scenes])
    wanted = torch.tensor([[word in scene.words for word in OBJECTS] for scene in scenes])
    seen = found(load_classifier(), images)
    assert score(seen, wanted)["recognised"] > 0.95
    assert score(~wanted, wanted)["recognised"] == 0.0


def test_every_word_is_one_token_and_ids_are_stable(pipe: FluxPipeline) -> None:
    for word in WORDS:
        assert len(clip_tokenizer()(word).input_ids) == 3
        assert len(t5_tokenizer()(word).input_ids) == 2
    text = "a picture of a cat, an apple and a Fox on a lavender background"
    assert pipe.tokenizer(text).input_ids == clip_tokenizer()(text).input_ids
    assert pipe.tokenizer_2(text).input_ids == t5_tokenizer()(text).input_ids
    assert pipe.tokenizer.model_max_length == pipe.tokenizer_2.model_max_length == SEQUENCE_LENGTH


@pytest.mark.parametrize("tokens", [48, 64, 144, 256])
def test_scheduler_shift_is_the_trained_one(tokens: int) -> None:
    config = scheduler().config
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    mu = config.base_shift + slope * (tokens - config.base_image_seq_len)
    assert np.exp(mu) == pytest.approx(shift_of(tokens))


def test_plain_attention_is_flux_attention(pipe: FluxPipeline) -> None:
    blocks = pipe.transformer
    draw = torch.Generator().manual_seed(1)
    inputs = {
        "hidden_states": torch.randn(1, 16, 64, generator=draw),
        "encoder_hidden_states": torch.randn(1, 24, 128, generator=draw),
        "pooled_projections": torch.randn(1, 128, generator=draw),
        "timestep": torch.tensor([0.4]),
        "img_ids": FluxPipeline._prepare_latent_image_ids(1, 4, 4, torch.device("cpu"), torch.float32),
        "txt_ids": torch.zeros(24, 3),
        "return_dict": False,
    }
    kept = blocks.attn_processors
    with torch.no_grad():
        want = blocks(**inputs)[0]
        try:
            blocks.set_attn_processor(PlainAttention())
            got = blocks(**inputs)[0]
        finally:
            blocks.set_attn_processor(kept)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_batched_muon_is_muon() -> None:
    draw = torch.Generator().manual_seed(2)
    shapes = [(32, 32), (64, 32), (32, 64), (32, 32)]
    start = [torch.randn(shape, generator=draw) for shape in shapes]
    gradients = [[torch.randn(shape, generator=draw) for shape in shapes] for _ in range(3)]
    ends = []
    for make in (torch.optim.Muon, BatchedMuon):
        parameters = [torch.nn.Parameter(tensor.clone()) for tensor in start]
        optimizer = make(parameters, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        for drawn in gradients:
            for parameter, gradient in zip(parameters, drawn):
                parameter.grad = gradient.clone()
            optimizer.step()
        ends.append(parameters)
    for want, got, before in zip(*ends, start):
        assert (want - got).abs().max() <= 0.02 * (want - before).abs().max()
