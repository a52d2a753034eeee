"""Write a trained run as a diffusers pipeline folder in bf16.

python -m commutant.integrations.scenes.training.export --run RUN_FOLDER --autoencoder RUN/autoencoder
"""

import argparse
from pathlib import Path

import torch
from diffusers import FluxPipeline

from .. import WEIGHTS
from ..autoencoder import ScenesAutoencoder
from .checkpoint import load_checkpoint
from .network import ScenesFlow, clip_tokenizer, scheduler, share_capitals, t5_tokenizer


def assemble(flow: ScenesFlow, autoencoder: ScenesAutoencoder) -> FluxPipeline:
    """Put trained parts into an unmodified `FluxPipeline`."""
    return FluxPipeline(
        scheduler=scheduler(),
        vae=autoencoder,
        text_encoder=flow.text_encoder,
        tokenizer=clip_tokenizer(),
        text_encoder_2=flow.text_encoder_2,
        tokenizer_2=t5_tokenizer(),
        transformer=flow.transformer,
    )


def averaged_flow(run: Path) -> tuple[ScenesFlow, int]:
    """The weight average of the run's latest checkpoint and its step; raises FileNotFoundError if there is none."""
    with torch.random.fork_rng(devices=[]):
        flow = ScenesFlow()
    step, _ = load_checkpoint(run, {"average": flow}, {})
    if not step:
        raise FileNotFoundError(f"no checkpoint in {run}")
    share_capitals(flow.text_encoder_2)
    return flow.eval(), step


def save_weights(pipeline: FluxPipeline, folder: Path) -> None:
    """Save in bf16."""
    pipeline.vae.register_to_config(_name_or_path="")  # where it was trained is nobody's business
    pipeline.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)


def main() -> None:
    """Export the latest checkpoint's average."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--autoencoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    flow, step = averaged_flow(args.run)
    save_weights(assemble(flow, ScenesAutoencoder.from_pretrained(args.autoencoder)), args.out)
    print(f"step {step} -> {args.out}")


if __name__ == "__main__":
    main()
