"""A small web UI: the contracts of A1111 and Forge that the extension lives by, and nothing else.

What is kept: image noise from generators of a fixed shape; a stand-in for `torch` in the samplers' module; samplers
probed by their signature; a denoiser that counts its calls and edits prompts by the count; hooks whose errors are
swallowed; the second hook of Forge's hires pass; settings, comments, infotexts and the gallery's generation info.
"""

import dataclasses
import json
import re
import sys
import types
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from . import fake_sampling
from .fake_denoising import ImageRNG, Sampler, TorchHijack
from .fake_state import PROGRAM

__all__ = ["PROGRAM", "TorchHijack"]

FACTOR = 8


@dataclass
class StableDiffusionProcessingTxt2Img:
    prompt: str = ""
    negative_prompt: str = ""
    styles: list = field(default_factory=list)
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0.0
    steps: int = 12
    sampler_name: str = "Euler"
    scheduler: str = "Automatic"
    cfg_scale: float = 5.0
    width: int = 128
    height: int = 64
    batch_size: int = 1
    n_iter: int = 1
    enable_hr: bool = False
    hr_scale: float = 2.0
    denoising_strength: float = 0.5
    do_not_save_grid: bool = False
    override_settings: dict = field(default_factory=dict)
    outpath_samples: str = ""
    outpath_grids: str = ""

    def __post_init__(self):
        self.comments, self.extra_generation_params = {}, {}
        self.is_hr_pass, self.is_api, self.iteration, self.closed = False, False, 0, False
        self.scripts, self._script_args, self.sd_model = None, (), PROGRAM.model
        self.sampler = self.rng = None
        self.refiner_checkpoint_info = None

    @property
    def script_args(self):
        return self._script_args

    @script_args.setter
    def script_args(self, value):
        self._script_args = value

    def comment(self, text):
        self.comments[text] = 1

    def close(self):
        self.closed = True

    def sample(self):
        self.sampler = Sampler(self.sampler_name)
        x = self.rng.next()
        self.scripts.process_before_every_sampling(self, x=x, noise=x, c=None, uc=None)
        samples = self.sampler.sample(self, x)
        if not self.enable_hr or PROGRAM.shared.state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = Sampler(self.sampler_name)
        samples = torch.nn.functional.interpolate(samples, scale_factor=self.hr_scale)
        self.rng = ImageRNG(samples.shape[1:], self.seeds)
        noise = self.rng.next()
        for _ in range(2):  # Forge calls the hook twice here
            self.scripts.process_before_every_sampling(self, x=samples, noise=noise, c=None, uc=None)
        samples = self.sampler.sample(self, samples + noise, start=self.steps // 2)
        self.is_hr_pass = False
        return samples


class Processed:
    def __init__(self, p, images, infotexts, first):
        self.images, self.infotexts, self.index_of_first_image = images, infotexts, first
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.all_seeds, self.latents = p.all_seeds, p.latents
        self.seed = p.all_seeds[0]

    def js(self):
        said = {"infotexts": self.infotexts, "index_of_first_image": self.index_of_first_image}
        return json.dumps(said | {"all_seeds": self.all_seeds})


def process_images(p):
    """The main loop: one image generation after another."""
    p.scripts.before_process(p)
    if p.seed == -1:
        p.seed = int(torch.randint(2**31, ()))
    count = p.batch_size * p.n_iter
    p.all_prompts = [p.prompt.replace("__colour__", f"colour {i}") for i in range(count)]
    p.all_negative_prompts, p.all_subseeds = [p.negative_prompt] * count, [0] * count
    p.all_seeds, p.latents = [p.seed + i for i in range(count)], []
    p.sd_model_name, p.sd_model_hash, p.sd_vae_name, p.sd_vae_hash = "small", "0123456789", None, None
    if p.enable_hr:
        p.extra_generation_params |= {"Denoising strength": p.denoising_strength, "Hires upscale": p.hr_scale}
    images, infotexts = [], []
    for n in range(p.n_iter):
        p.iteration = n
        here = slice(p.iteration * p.batch_size, (p.iteration + 1) * p.batch_size)
        p.seeds, p.subseeds, p.prompts = p.all_seeds[here], p.all_subseeds[here], p.all_prompts[here]
        p.rng = ImageRNG((4, p.height // FACTOR, p.width // FACTOR), p.seeds)
        p.cond = conditions(p.prompts[0], p.steps)
        torch.manual_seed(p.seeds[-1])
        with torch.inference_mode():
            samples = types.SimpleNamespace(samples=p.sample())
            p.scripts.post_sample(p, samples)
        for i, latent in enumerate(samples.samples):
            p.latents.append(latent)
            text = infotext(p, here.start + i)
            image = decoded(latent)
            image.info["parameters"] = text
            images.append(image)
            infotexts.append(text)
        if PROGRAM.shared.state.interrupted:
            break
    first = 0
    if len(images) > 1 and not p.do_not_save_grid:
        images, infotexts, first = [images[0].copy(), *images], [infotexts[0], *infotexts], 1
    processed = Processed(p, images, infotexts, first)
    p.scripts.postprocess(p, processed)
    return processed


def conditions(prompt, steps):
    """A prompt's schedule: `[a:b:0.5]` is a before half of the calls, and b after."""

    def value(text):
        return (sum(text.encode()) % 97) / 97 - 0.5

    found = re.fullmatch(r"(.*)\[(.*):(.*):([0-9.]+)\](.*)", prompt, re.DOTALL)
    if not found:
        return [(10**6, value(prompt))]
    before, one, two, when, after = found.groups()
    return [(int(float(when) * steps), value(before + one + after)), (10**6, value(before + two + after))]


def decoded(latent):
    """A picture FACTOR times the latent's size."""
    values = ((torch.tanh(latent[:3]) + 1) * 127).to(torch.uint8).numpy()
    return Image.fromarray(np.kron(np.moveaxis(values, 0, 2), np.ones((FACTOR, FACTOR, 1), dtype=np.uint8)))


def infotext(p, index):
    said = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Seed": p.all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model": "small",
        **p.extra_generation_params,
    }
    settings = ", ".join(f"{k}: {v}" for k, v in said.items() if v is not None)
    negative = f"\nNegative prompt: {p.all_negative_prompts[index]}" if p.all_negative_prompts[index] else ""
    return f"{p.all_prompts[index]}{negative}\n{settings}"


def parse_generation_parameters(text, skip_fields=None):
    """As the programs read an infotext: values that look like a size come apart."""
    *lines, last = text.strip().split("\n")
    said = {}
    for name, value in re.findall(r"\s*(\w[\w \-/]+):\s*([^,]*)(?:,|$)", last):
        size = re.match(r"^(\d+)x(\d+)$", value)
        if size:
            said |= {f"{name}-1": size[1], f"{name}-2": size[2]}
        else:
            said[name] = value
    negative = [line[16:].strip() for line in lines if line.startswith("Negative prompt:")]
    prompt = [line for line in lines if not line.startswith("Negative prompt:")]
    return said | {"Prompt": "\n".join(prompt), "Negative prompt": "\n".join(negative)}


class Script:
    """`scripts.Script`, as far as an always-visible script needs it."""

    args_from = args_to = None
    infotext_fields = paste_field_names = None

    def __init__(self):
        self.after = []

    def elem_id(self, name):
        return f"script_{name}"

    def on_after_component(self, callback, *, elem_id):
        self.after.append((elem_id, callback))

    def process_before_every_sampling(self, p, *args, **kwargs):
        """Fired before each sampling, the second pass of hires fix included."""


class ScriptRunner:
    """Calls the hooks and swallows what they raise, as the programs do; here the errors are kept for the tests."""

    def __init__(self, script):
        self.alwayson_scripts, self.inputs, self.errors = [script], [None], []
        script.args_from, script.args_to = 1, 6

    def _call(self, hook, *args, **kwargs):
        for script in self.alwayson_scripts:
            p = args[0]
            try:
                getattr(script, hook)(*args, *p.script_args[script.args_from : script.args_to], **kwargs)
            except Exception as error:
                self.errors.append(error)

    def before_process(self, p):
        self._call("before_process", p)

    def process_before_every_sampling(self, p, **kwargs):
        self._call("process_before_every_sampling", p, **kwargs)

    def post_sample(self, p, ps):
        self._call("post_sample", p, ps)

    def postprocess(self, p, processed):
        self._call("postprocess", p, processed)


def wrap_gradio_gpu_call(function, extra_outputs=None):
    """A job in the queue; an error becomes text below the gallery."""

    def run(*args):
        PROGRAM.jobs.append(args[0])
        try:
            return tuple(function(*args))
        except Exception as error:
            return (*extra_outputs, f"<div class='error'>{type(error).__name__}: {error}</div>")

    return run


def modules_for(folder):
    """The program's modules by name, as the extension imports them."""

    def module(name, **members):
        made = types.ModuleType(name)
        made.__dict__.update(members)
        return made

    from html import escape

    runner = types.SimpleNamespace(scripts_txt2img=None)
    parts = {
        "modules": module("modules", __path__=[]),
        "modules.shared": module("modules.shared", **vars(PROGRAM.shared)),
        "modules.paths": module("modules.paths", data_path=str(folder)),
        "modules.scripts": module("modules.scripts", Script=Script, AlwaysVisible=object(), **vars(runner)),
        "modules.processing": module(
            "modules.processing",
            StableDiffusionProcessingTxt2Img=StableDiffusionProcessingTxt2Img,
            process_images=process_images,
        ),
        "modules.infotext_utils": module(
            "modules.infotext_utils",
            parse_generation_parameters=parse_generation_parameters,
            get_override_settings=lambda said: [],
        ),
        "modules.call_queue": module("modules.call_queue", wrap_gradio_gpu_call=wrap_gradio_gpu_call),
        "modules.ui": module(
            "modules.ui", plaintext_to_html=lambda text, classname=None: f"<p class='{classname}'>{escape(text)}</p>"
        ),
        "modules.script_callbacks": module("modules.script_callbacks", on_ui_settings=lambda callback: None),
        "k_diffusion": module("k_diffusion", __path__=[]),
        "k_diffusion.sampling": fake_sampling,
    }
    for name, made in parts.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(parts[parent], child, made)
    return parts


def fresh():
    """The program as if just started."""
    PROGRAM.__init__()
    fake_sampling.torch = torch
    for name in ("shared",):
        if f"modules.{name}" in sys.modules:
            sys.modules[f"modules.{name}"].__dict__.update(vars(PROGRAM.shared))


def known_fields():
    return {f.name for f in dataclasses.fields(StableDiffusionProcessingTxt2Img)}
