"""The CLIP score on a tiny random model: the same each time, about the picture and the prompt, and never fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from commutant.errors import Refusal
from commutant.integrations.evaluation.clip import ClipScore
from commutant.integrations.scenes import WEIGHTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    if not WEIGHTS.exists():
        pytest.skip("the embedded model's tokenizer is not in this checkout")
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    text = {
        **small,
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "max_position_embeddings": 24,
    }
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(text_config=text, vision_config={**small, "image_size": 32, "patch_size": 8}, projection_dim=8)
    )
    path = tmp_path_factory.mktemp("clip")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def test_the_score(folder: Path) -> None:
    import torch
    from PIL import Image
    from transformers import CLIPModel, CLIPProcessor

    rng, clip = np.random.default_rng(0), ClipScore(folder)
    fox, ball = clip("a fox on a night background"), clip("a ball, beach background")
    eight_bit = [rng.integers(0, 256, (48, 40, 3), dtype=np.uint8) for _ in range(3)]
    pictures = [p / 255.0 for p in eight_bit]
    values = [fox(p) for p in pictures]
    assert values == [ClipScore(folder)("a fox on a night background")(p) for p in pictures]
    assert len({*values, *(ball(p) for p in pictures)}) == 6
    # As transformers' own processor and forward pass have it, from 8-bit images.
    inputs = CLIPProcessor.from_pretrained(folder)(
        text=["a fox on a night background"],
        images=[Image.fromarray(p) for p in eight_bit],
        return_tensors="pt",
    )
    with torch.no_grad():
        model = CLIPModel.from_pretrained(folder).eval()
        out = model(**inputs)
    expected = (out.image_embeds @ out.text_embeds.T).squeeze(1).numpy()
    np.testing.assert_allclose(values, expected, atol=2e-3)


def test_what_is_not_here_is_refused_by_name(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refusal, match=r"needs nobody/no-such-model on this machine.*nothing is downloaded"):
        ClipScore("nobody/no-such-model")
    with pytest.raises(Refusal, match="as safetensors"):
        ClipScore(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Refusal, match="needs torch, which is not installed"):
        ClipScore(folder)
