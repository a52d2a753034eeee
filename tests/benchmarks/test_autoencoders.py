"""What the benchmark of autoencoders measures, on one that is known on paper; and TAEF2's layers."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

import torch
from safetensors.torch import save_file

from commutant.benchmarks import autoencoders
from commutant.benchmarks.autoencoders import Autoencoder, left_out, measure, taef2


def shuffling() -> Autoencoder:
    """Blocks of 2 x 2 pixels as channels: linear and invertible."""
    return Autoencoder(lambda x: torch.pixel_unshuffle(x, 2) - 0.5, lambda z: torch.pixel_shuffle(z + 0.5, 2))


def test_a_linear_autoencoder_commutes_with_its_fitted_map():
    pictures = torch.rand(40, 1, 32, 32, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    vae, table = shuffling(), {}
    high, low = vae.encoded(pictures), vae.encoded(autoencoders.reduced(pictures))
    measure(table, vae, [(high[:30], low[:30])], pictures[30:], high[30:])
    residual = {name: (row.error / row.power) ** 0.5 for name, row in table.items()}
    assert residual["fitted 2x2"] < 1e-3 < 0.5 < residual["mean"]
    assert residual["pixels"] < 1e-6
    assert residual["ceiling"] == 0
    assert min(table["ceiling"].psnr) == 60 > max(table["mean"].psnr)
    assert "| fitted 2x2 | 0.0% |" in autoencoders.markdown("title", table)


def test_a_picture_left_out_is_not_fitted():
    pictures = {name: torch.full((2, 3, 16, 16), value) for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    for (name, own), (pairs, crops, high) in zip(pictures.items(), left_out(shuffling(), pictures)):
        assert torch.equal(crops, own)
        assert torch.equal(high, shuffling().encode(own))
        assert len(pairs) == 2, name
        assert not any(torch.equal(other, high) for other, _ in pairs)


def test_taef2_from_weights_by_position(tmp_path):
    """With all convolutions 0 but the first and the last, blocks pass on what is positive, and sizes are right."""
    first, last = torch.zeros(64, 3, 3, 3), torch.zeros(32, 64, 3, 3)
    first[0, 0, 1, 1] = last[5, 0, 1, 1] = 1
    down = torch.zeros(64, 64, 3, 3)
    down[0, 0, 1, 1] = 2
    encoder = {"0.weight": first, "14.weight": last} | {f"{n}.weight": down for n in (2, 6, 10)}
    decoder = {"1.weight": torch.zeros(64, 32, 3, 3), "19.weight": torch.zeros(3, 64, 3, 3)}
    decoder["1.weight"][0, 5, 1, 1] = decoder["19.weight"][2, 0, 1, 1] = 1
    decoder |= {f"{n}.weight": down for n in (7, 12, 17)}
    for part, blocks, pooled in (
        (encoder, (1, 3, 4, 5, 7, 8, 9, 11, 12, 13), (11, 12, 13)),
        (decoder, (3, 4, 5, 8, 9, 10, 13, 14, 15, 18), (3, 4, 5)),
    ):
        part |= {f"{n}.conv.{k}.weight": torch.zeros(64, 64, 3, 3) for n in blocks for k in (0, 2, 4)}
        part |= {f"{n}.pool.0.weight": torch.zeros(256, 64, 1, 1) for n in pooled}
        part |= {f"{n}.pool.3.weight": torch.zeros(64, 256, 1, 1) for n in pooled}
        part |= {f"{n}.pool.1.{name}": torch.ones(256) for n in pooled for name in ("weight", "bias")}
    for name, part in (("encoder", encoder), ("decoder", decoder)):
        save_file({key: value.contiguous().clone() for key, value in part.items()}, tmp_path / f"{name}.safetensors")
    vae = taef2(tmp_path)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    z = vae.encode(x)
    assert z.shape == (1, 32, 4, 4)
    torch.testing.assert_close(z[0, 5], 8 * x[0, 0, ::8, ::8])
    shown = vae.decode(z)
    assert shown.shape == x.shape
    torch.testing.assert_close(shown[0, 2, ::8, ::8], 8 * 3 * torch.tanh(z[0, 5] / 3))


def test_skipped_without_weights_and_photographs_of_what_is_installed(capsys, monkeypatch):
    photos = autoencoders.photographs(2)
    assert all(crops.shape == (2, 3, 256, 256) and 0 <= crops.min() <= crops.max() <= 1 for crops in photos.values())
    monkeypatch.setattr(autoencoders, "SIDE", 64)
    monkeypatch.setattr(autoencoders, "measure", lambda table, *_: table.update(dict.fromkeys(ROWS, one_row())))
    autoencoders.main(["--scenes", "2"])
    assert "TAEF2: skipped" in capsys.readouterr().out


ROWS = ("mean", "crop", "fitted 2x2", "fitted 4x4", "fitted 6x6", "pixels", "ceiling")


def one_row():
    return autoencoders.Row(1.0, 2.0, [20.0], [0.5])
