"""The commutator of an autoencoder with halving a picture: which map of latents makes the small picture's latent?

    python -m benchmarks.autoencoders                         # the embedded model's, on drawn scenes
    python -m benchmarks.autoencoders --taef2 FOLDER          # and TAEF2 (FLUX.2's latents), on photographs

E(picture) goes through each map and is held against E(reduced picture): the relative residual, and the PSNR of what the
decoder makes of it against the reduced picture. "pixels" decodes, reduces and encodes again; "ceiling" is E(reduced
picture) itself. Maps are fitted on other pictures than they are measured on: scenes of other seeds; photographs by
leaving out one picture at a time, all its crops with it.

FOLDER holds `encoder.safetensors` and `decoder.safetensors` of TAEF2 (github.com/madebyollin/taesd), keys by position.
Photographs are read from scikit-image, scikit-learn and matplotlib, those of them that are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from commutant.integrations.evaluation import psnr, sharpness
from commutant.operators import BlockMean, SpectralCrop, fit_resize

SIDE = 256  # of a crop; its half is what previews are compared at
PHOTOGRAPHS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
COLUMNS = ("map", "residual", "PSNR", "sharpness", "ridge")

Coder = Callable[[Tensor], Tensor]
Pair = tuple[Tensor, Tensor]  # high and low latents


@dataclass(frozen=True)
class Autoencoder:
    """Pictures (N, 3, H, W) from 0 to 1 to latents and back."""

    encode: Coder
    decode: Coder

    def batched(self, way: Coder, x: Tensor) -> Tensor:
        return torch.cat([way(part) for part in x.split(4)])

    def encoded(self, x: Tensor) -> Tensor:
        return self.batched(self.encode, x)

    def decoded(self, z: Tensor) -> Tensor:
        return self.batched(self.decode, z).clamp(0, 1)


def embedded() -> Autoencoder:
    """That of `scenes`."""
    from commutant.integrations.scenes import load_scenes

    vae = load_scenes().vae
    return Autoencoder(lambda x: vae.encode_mean(2 * x - 1), lambda z: vae.decode(z, return_dict=False)[0] / 2 + 0.5)


def taef2(folder: Path) -> Autoencoder:
    """TAEF2 from its weights: positions in its two lists of layers, all convolutions 3x3."""
    encoder, decoder = (
        {key: value.float() for key, value in load_file(folder / f"{part}.safetensors").items()}
        for part in ("encoder", "decoder")
    )

    def layer(weights: dict[str, Tensor], n: int, x: Tensor) -> Tensor:
        def conv(name: str, x: Tensor, **options: Any) -> Tensor:
            return F.conv2d(x, weights[f"{n}.{name}weight"], weights.get(f"{n}.{name}bias"), **options)

        if f"{n}.weight" in weights:
            return conv("", x, padding=1, stride=2 if weights is encoder and n in (2, 6, 10) else 1)
        if f"{n}.pool.0.weight" in weights:
            wide = F.group_norm(conv("pool.0.", x), 4, weights[f"{n}.pool.1.weight"], weights[f"{n}.pool.1.bias"])
            x = x + conv("pool.3.", F.relu(wide))
        y = F.relu(conv("conv.0.", x, padding=1))
        y = F.relu(conv("conv.2.", y, padding=1))
        return F.relu(conv("conv.4.", y, padding=1) + x)

    def encode(x: Tensor) -> Tensor:
        for n in range(15):
            x = layer(encoder, n, x)
        return x

    def decode(z: Tensor) -> Tensor:
        z = torch.tanh(z / 3) * 3
        for n in range(1, 20):
            if n == 2:
                z = F.relu(z)
            else:
                z = F.interpolate(z, scale_factor=2.0) if n in (6, 11, 16) else layer(decoder, n, z)
        return z

    return Autoencoder(encode, decode)


def scenes(count: int, first: int) -> Tensor:
    """Drawn scenes of seeds from `first` on."""
    from commutant.integrations.scenes.compose import render, scene_from_seed

    drawn = [np.asarray(render(scene_from_seed(first + i), SIDE, SIDE)) for i in range(count)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255


def photographs(crops: int) -> dict[str, Tensor]:
    """Up to `crops` crops of each photograph that an installed package brings, at places of a fixed seed."""
    found = {}
    for package, path in PHOTOGRAPHS:
        spec = importlib.util.find_spec(package)
        file = Path(spec.origin).parent / path if spec is not None and spec.origin else None
        if file is None or not file.exists():
            continue
        picture = np.asarray(Image.open(file).convert("RGB"))
        rng, (height, width) = np.random.default_rng(0), picture.shape[:2]
        places = rng.integers(0, (height - SIDE + 1, width - SIDE + 1), size=(crops, 2))
        cut = np.stack([picture[y : y + SIDE, x : x + SIDE] for y, x in places])
        found[file.stem] = torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255
    return found


def reduced(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


@dataclass
class Row:
    """Sums over what was measured for one map."""

    error: float = 0.0
    power: float = 0.0
    psnr: list[float] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    ridges: list[float] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        ridge = ", ".join(f"{r:g}" for r in sorted(set(self.ridges)))
        values = np.mean(self.psnr), np.mean(self.sharpness)
        return f"{(self.error / self.power) ** 0.5:.1%}", f"{values[0]:.2f}", f"{values[1]:.2f}", ridge


def measure(table: dict[str, Row], vae: Autoencoder, fitting: list[Pair], pictures: Tensor, high: Tensor) -> None:
    """Fit on pairs of latents, and add what every map does to the latents `high` of `pictures` to the table."""
    small = reduced(pictures)
    low = vae.encoded(small)
    maps: dict[str, Coder] = {"mean": BlockMean(2), "crop": SpectralCrop.by(2)}
    for cells in (2, 4, 6):
        fitted, report = fit_resize(fitting, cells=cells, held_out=[(high, low)])
        name = f"fitted {cells}x{cells}"
        maps[name] = fitted.affine
        table.setdefault(name, Row()).ridges.append(report.ridge)
    maps["pixels"] = lambda z: vae.encoded(reduced(vae.decoded(z)))
    maps["ceiling"] = lambda z: low
    wanted = small.permute(0, 2, 3, 1).numpy()
    for name, way in maps.items():
        made, row = way(high), table.setdefault(name, Row())
        row.error += float((made - low).double().square().sum())
        row.power += float(low.double().square().sum())
        shown = vae.decoded(made).permute(0, 2, 3, 1).numpy()
        row.psnr += [psnr(a, b) for a, b in zip(shown, wanted)]
        row.sharpness += [sharpness(a, b) for a, b in zip(shown, wanted)]


def left_out(vae: Autoencoder, pictures: dict[str, Tensor]) -> Iterator[tuple[list[Pair], Tensor, Tensor]]:
    """For each picture: pairs of latents of all others, its own crops, and their latents."""
    high = {name: vae.encoded(crops) for name, crops in pictures.items()}
    low = {name: vae.encoded(reduced(crops)) for name, crops in pictures.items()}
    for name, crops in pictures.items():
        yield [(high[other], low[other]) for other in pictures if other != name], crops, high[name]


def markdown(title: str, table: dict[str, Row]) -> str:
    order = ("mean", "crop", "fitted 2x2", "fitted 4x4", "fitted 6x6", "pixels", "ceiling")
    lines = ["| " + " | ".join((name, *table[name].cells())) + " |" for name in order]
    return "\n".join([title, "", "| " + " | ".join(COLUMNS) + " |", "|---|---:|---:|---:|---:|", *lines]) + "\n"


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taef2", type=Path, metavar="FOLDER", help="measure TAEF2, whose weights lie there")
    parser.add_argument("--crops", type=int, default=4, help="of each photograph")
    parser.add_argument("--scenes", type=int, default=48, help="to fit on, 0 for none; half as many are measured")
    options = parser.parse_args(arguments)

    table: dict[str, Row] = {}
    if options.scenes:
        vae = embedded()
        fitting, pictures = scenes(options.scenes, 40_000_000), scenes(options.scenes // 2, 41_000_000)
        pairs = [(vae.encoded(fitting), vae.encoded(reduced(fitting)))]
        measure(table, vae, pairs, pictures, vae.encoded(pictures))
        title = f"Embedded autoencoder, fitted on {len(fitting)} scenes, measured on {len(pictures)} others"
        print(markdown(title, table), flush=True)
    if options.taef2 is None:
        print("TAEF2: skipped, no --taef2 FOLDER with its weights")
        return
    vae, table, photos = taef2(options.taef2), {}, photographs(options.crops)
    if len(photos) < 3:
        parser.error(f"found {len(photos)} photographs, 3 are needed: pip install scikit-image scikit-learn matplotlib")
    for others, crops, high in left_out(vae, photos):
        measure(table, vae, others, crops, high)
    print(markdown(f"TAEF2, {options.crops} crops of each of {', '.join(photos)}, leaving one picture out", table))


if __name__ == "__main__":
    main()
