"""Drives a real Forge, headless, and prints what was seen as one line of JSON.

Run by test_forge.py in Forge's own interpreter, in Forge's folder, with the checkout of this project as an extension.
"""

import json
import os
import sys
import traceback
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
DETERMINISTIC = ("Euler", "DPM++ 2M", "Heun", "LMS", "DPM2", "DPM fast", "HeunPP2", "IPNDM", "IPNDM_V", "DEIS")
STOCHASTIC = (
    "Euler a",
    "DPM2 a",
    "DPM++ 2S a",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "DPM++ 3M SDE",
    "Restart",
    "LCM",
    "DDPM",
)
PLAIN = ("DPM adaptive", "DDIM", "DDIM CFG++", "PLMS", "UniPC")


def start(*flags):
    """Forge, initialised, its scripts loaded, its page built."""
    sys.argv = ["webui.py", "--skip-torch-cuda-test", "--always-cpu", "--skip-version-check", "--no-hashing", *flags]
    sys.path[:0] = [os.getcwd(), str(HERE)]
    from modules import initialize
    from modules_forge.initialization import initialize_forge

    initialize_forge()
    initialize.imports()
    initialize.initialize()
    import forge_model

    forge_model.install()
    import torch

    torch.set_num_threads(1)
    from modules import script_callbacks, shared, ui
    from modules_forge import main_entry

    shared.opts.data["samples_save"] = False
    shared.opts.data["live_previews_enable"] = False
    script_callbacks.before_ui_callback()
    demo = ui.create_ui()
    main_entry.refresh_model_loading_parameters()
    return demo


class Forge:
    """A started Forge."""

    def __init__(self):
        from modules import scripts

        self.runner = scripts.scripts_txt2img
        self.script = next(s for s in self.runner.alwayson_scripts if getattr(s, "commutant", False))
        self.host = sys.modules[type(self.script).__module__]

    def make(self, *values, **fields):
        """Processed results of one txt2img run, the accordion set to `values`."""
        from modules import processing

        settings = {"prompt": "a [fox:balloon:0.5] at night", "steps": 8, "width": 256, "height": 192, "seed": 7}
        p = processing.StableDiffusionProcessingTxt2Img(
            **{"sampler_name": "Euler", "scheduler": "Automatic", "cfg_scale": 5.0, "do_not_save_samples": True}
            | {"do_not_save_grid": True, "outpath_samples": "outputs", "outpath_grids": "outputs"}
            | settings
            | fields
        )
        p.is_api = True
        p.scripts = self.runner
        arguments = [getattr(control, "value", None) for control in self.runner.inputs]
        arguments[0] = 0
        start = self.script.args_from
        arguments[start : start + len(values)] = values
        p.script_args = tuple(arguments)
        with closing(p):
            processed = processing.process_images(p)
        processed.latents = list(p.latents_after_sampling)
        return processed

    def finish(self, infotext):
        """The image and comments of the preview with this infotext, as the button makes it."""
        request = self.host.REQUESTS.of(infotext)
        return self.host.program.final_of(request, self.script.args_from)


def same(one, other):
    import numpy as np

    return one.size == other.size and bool(np.array_equal(np.asarray(one), np.asarray(other)))


def sampler(forge, name, **fields):
    """One sampler: plain, previewed, finished."""
    import torch
    import k_diffusion.sampling as sampling

    plain = forge.make("off", sampler_name=name, **fields)
    patched, rng = sampling.torch, torch.get_rng_state()
    preview = forge.make("preview", sampler_name=name, **fields)
    seen = {"comments": preview.comments, "size": preview.images[0].size, "infotext": preview.infotexts[0]}
    seen["plain"] = same(preview.images[0], plain.images[0])
    if forge.host.REQUESTS.of(preview.infotexts[0]) is None:
        return seen
    image, infotext, comments = forge.finish(preview.infotexts[0])
    again = forge.make("finish", sampler_name=name, **fields)
    seen |= {
        "finish": same(image, plain.images[0]),
        "latent": torch.equal(again.latents[0], plain.latents[0]),
        "infotext_equal": infotext == plain.infotexts[0],
        "finish_comments": comments,
    }
    del patched, rng
    return seen


def infotext_round_trip(forge):
    """What "PNG info" would put back into the accordion."""
    from modules import infotext_utils

    made = forge.make("preview", "paper", "2", 3, 1)
    said = infotext_utils.parse_generation_parameters(made.infotexts[0], [])
    fields = [field for field in forge.runner.infotext_fields if field[0] in forge.script.controls]
    return {"infotext": made.infotexts[0], "restored": [target(said) for _, target in fields]}


def main():
    seen = {"samplers": {}, "errors": {}}
    start()
    forge = Forge()
    for name in (*DETERMINISTIC, *STOCHASTIC, *PLAIN):
        try:
            seen["samplers"][name] = sampler(forge, name)
        except Exception:
            seen["errors"][name] = traceback.format_exc(limit=-4)
    for check in (infotext_round_trip,):
        try:
            seen[check.__name__] = check(forge)
        except Exception:
            seen["errors"][check.__name__] = traceback.format_exc(limit=-4)
    print("SEEN " + json.dumps(seen))


if __name__ == "__main__":
    main()
