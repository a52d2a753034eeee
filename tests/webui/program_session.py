"""A started Forge or A1111, headless, with a small model, and the counting of what its denoiser is asked."""

import dataclasses
import os
import sys
import threading
from contextlib import closing


def name():
    """Which program this folder holds."""
    return "forge" if os.path.isdir("modules_forge") else "a1111"


def start(checkpoint, *flags):
    """The program, initialised with the small model, its scripts loaded, its page built."""
    sys.path.insert(0, os.getcwd())
    (_start_forge if name() == "forge" else _start_a1111)(checkpoint, flags)
    import torch

    torch.set_num_threads(1)
    from modules import script_callbacks, ui

    quiet()
    script_callbacks.before_ui_callback()
    demo = ui.create_ui()
    if name() == "forge":
        from modules_forge import main_entry

        main_entry.refresh_model_loading_parameters()
    return demo


def quiet():
    """Nothing is saved, and nothing is decoded on the way."""
    from modules import shared

    shared.opts.data["samples_save"] = False
    shared.opts.data["live_previews_enable"] = False


def _start_forge(checkpoint, flags):
    import forge_model

    sys.argv = ["webui.py", *forge_model.FLAGS, "--ckpt", checkpoint, *flags]
    from modules import initialize
    from modules_forge.initialization import initialize_forge

    initialize_forge()
    initialize.imports()
    initialize.initialize()
    forge_model.install()


def _start_a1111(checkpoint, flags):
    import a1111_model

    sys.argv = ["webui.py", *a1111_model.FLAGS, "--ckpt", checkpoint, *flags]
    from modules import initialize

    initialize.imports()
    a1111_model.write(checkpoint)
    initialize.initialize()
    # It loads its model in a thread; a generation meanwhile would load it a second time, into the first one's hands.
    for thread in threading.enumerate():
        if "load_model" in thread.name:
            thread.join()


class Program:
    """The started program."""

    def __init__(self):
        import torch
        from modules import processing, scripts

        self.runner = scripts.scripts_txt2img
        self.script = next(s for s in self.runner.alwayson_scripts if getattr(s, "commutant", False))
        self.host = sys.modules[type(self.script).__module__]
        self.latents = []
        self.known = {f.name for f in dataclasses.fields(processing.StableDiffusionProcessingTxt2Img) if f.init}
        told = self.runner.post_sample

        def post_sample(p, ps):
            self.latents.extend(torch.as_tensor(latent).clone() for latent in ps.samples)
            told(p, ps)

        self.runner.post_sample = post_sample

    def make(self, *values, **fields):
        """Processed results of one txt2img run, the accordion set to `values`."""
        from modules import processing

        settings = {"prompt": "a [fox:balloon:0.5] at night", "steps": 8, "width": 256, "height": 192, "seed": 7}
        settings |= {"sampler_name": "Euler", "scheduler": "Automatic", "cfg_scale": 5.0, "do_not_save_samples": True}
        settings |= {"do_not_save_grid": True, "outpath_samples": "outputs", "outpath_grids": "outputs"}
        wanted = settings | fields
        p = processing.StableDiffusionProcessingTxt2Img(**{k: v for k, v in wanted.items() if k in self.known})
        p.is_api = True
        p.scripts = self.runner
        arguments = [getattr(control, "value", None) for control in self.runner.inputs]
        arguments[0] = 0
        start = self.script.args_from
        arguments[start : start + len(values)] = values
        p.script_args = tuple(arguments)
        self.latents = []
        with closing(p):
            processed = processing.process_images(p)
        processed.latents = self.latents
        return processed

    def finish(self, infotext):
        """The image and comments of the preview with this infotext, as the button makes it."""
        request = self.host.REQUESTS.of(infotext)
        return self.host.program.final_of(request, self.script.args_from)


def same(one, other):
    import numpy as np

    return one.size == other.size and bool(np.array_equal(np.asarray(one), np.asarray(other)))


class Counted:
    """A block in which the calls of the program's denoiser are counted, by the height of their latents."""

    def __enter__(self):
        from modules import sd_samplers_cfg_denoiser as module

        self.kind, self.forward, self.heights = module.CFGDenoiser, module.CFGDenoiser.forward, []

        def counted(denoiser, x, *args, **kwargs):
            self.heights.append(x.shape[-2])
            return self.forward(denoiser, x, *args, **kwargs)

        self.kind.forward = counted
        return self.heights

    def __exit__(self, *_):
        self.kind.forward = self.forward
