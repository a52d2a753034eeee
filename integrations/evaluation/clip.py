"""The CLIP score as a taste, for a user who has the weights already. Nothing is ever downloaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ...errors import Refusal
from .metrics.pictures import Picture, checked
from .picking import Scorer

MODEL = "openai/clip-vit-large-patch14"


class ClipScore:
    """How well a picture fits a prompt: cosine of CLIP's embeddings of both, from -1 to 1.

    `clip(prompt)` is a `picking.Scorer`. Texts are cut at the model's length. Source: Radford et al. 2021, Hessel et
    al. 2021 (who scale it by 2.5 and clip it at 0, which keeps the order of all that is above).

    Args:
        model: a folder, or an id whose files are in the hub's cache; in transformers' layout, weights as safetensors.
            The repositories of open_clip's models have that layout too.
        device: of torch.

    Raises:
        Refusal: torch or transformers is not installed, or a file of the model is not on this machine.
    """

    def __init__(self, model: str | Path = MODEL, device: str = "cpu") -> None:
        for module in ("torch", "transformers"):
            if importlib.util.find_spec(module) is None:
                raise Refusal(f"the CLIP score needs {module}, which is not installed: pip install {module}")
        from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

        try:
            network = CLIPModel.from_pretrained(model, local_files_only=True, use_safetensors=True)
            self._tokenizer = CLIPTokenizer.from_pretrained(model, local_files_only=True)
            self._processor = CLIPImageProcessor.from_pretrained(model, local_files_only=True)
        except (OSError, ValueError) as error:
            raise Refusal(
                f"the CLIP score needs {model} on this machine, as safetensors with its tokenizer, and nothing is "
                f"downloaded: give a folder, or fetch it yourself with `hf download {model}`"
            ) from error
        self._model = network.eval().to(device)

    def __call__(self, prompt: str) -> Scorer:
        """The score of pictures for one prompt, whose text is embedded here, once."""
        import torch

        tokens = self._tokenizer([prompt], truncation=True, return_tensors="pt").to(self._model.device)
        with torch.no_grad():
            outputs = self._model.text_model(**tokens)
            text = self._model.text_projection(outputs.pooler_output)

        def score(picture: Picture) -> float:
            import torch

            pixels = self._processor(
                checked(picture), do_rescale=False, return_tensors="pt", input_data_format="channels_last"
            )
            with torch.no_grad():
                seen = self._model.vision_model(pixel_values=pixels["pixel_values"].to(self._model.device).float())
                image = self._model.visual_projection(seen.pooler_output)
            return float(torch.nn.functional.cosine_similarity(text, image)[0])

        return score
