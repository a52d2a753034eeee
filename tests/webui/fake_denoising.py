"""Noise, denoiser and sampler objects of the small program, after those of A1111 and Forge."""

import inspect
import types

import torch

from . import fake_sampling
from .fake_state import PROGRAM


class InterruptedException(BaseException):
    """As the programs raise it."""


class ImageRNG:
    """Noise of one shape, a generator for each image."""

    def __init__(self, shape, seeds):
        self.shape = tuple(shape)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def next(self):
        return torch.stack([torch.randn(self.shape, generator=g) for g in self.generators])


class TorchHijack:
    """Stands for `torch` in the samplers' module. Whatever shape is asked for, noise comes in the image's."""

    def __init__(self, p):
        self.rng = p.rng

    def __getattr__(self, name):
        return getattr(torch, name)

    def randn_like(self, x):
        return self.rng.next()


class CFGDenoiser:
    """Counts its calls; which prompt it follows depends on the count."""

    def __init__(self):
        self.step, self.calls, self.sizes = 0, [], []
        self.steps = self.total_steps = None
        self.inner_model = types.SimpleNamespace(sigmas=torch.linspace(0.03, 14.6, 1000))

    def __call__(self, x, sigma, *, cond, uncond, cond_scale, s_min_uncond=0.0, image_cond=None):
        if PROGRAM.shared.state.interrupted:
            raise InterruptedException
        self.calls.append(self.step)
        self.sizes.append(x.shape[-1])
        PROGRAM.fail_at(self, x)
        goal = next(value for end, value in cond if self.step < end)
        level = sigma.reshape(-1, 1, 1, 1)
        mean = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        self.step += 1
        return (torch.tanh(mean + goal) * level**2 + x) / (level**2 + 1)


SAMPLERS = {
    "Euler": "sample_euler",
    "Euler a": "sample_euler_ancestral",
    "Two step": "sample_two_step",
    "SDE": "sample_brownian",
    "Fast": "sample_fast",
    "Adaptive": "sample_adaptive",
    "By norm": "sample_by_norm",
    "Euler CFG++": "sample_euler_cfg_pp",
    "DDIM": "ddim",
}


def ddim(model, x, timesteps, extra_args=None, callback=None, disable=None, eta=0.0):
    """A sampler of the other kind, on timesteps."""
    return x


class Sampler:
    """`KDiffusionSampler`, for one image generation."""

    def __init__(self, name):
        self.func = getattr(fake_sampling, SAMPLERS[name], ddim)
        self.config = types.SimpleNamespace(options={"brownian_noise": True} if name == "SDE" else {})
        self.model_wrap_cfg = CFGDenoiser()
        self.sampler_extra_args = self.last_latent = None

    def sample(self, p, x, start=0):
        sigmas = torch.cat([torch.logspace(1.16, -1.5, p.steps), torch.zeros(1)])[start:]
        fake_sampling.torch = TorchHijack(p)
        parameters, extra = inspect.signature(self.func).parameters, {}
        if "n" in parameters:
            extra["n"] = p.steps
        if "sigma_min" in parameters:
            extra |= {"sigma_min": 0.03, "sigma_max": 14.6}
        if "sigmas" in parameters:
            extra["sigmas"] = sigmas
        if "timesteps" in parameters:
            extra["timesteps"] = torch.arange(p.steps)
        if "eta" in parameters:
            extra["eta"] = 1.0
        if self.config.options.get("brownian_noise"):
            extra["noise_sampler"] = _brownian(p, x)
        x = x * sigmas[0] if start == 0 else x
        self.last_latent = x
        self.sampler_extra_args = {"cond": p.cond, "uncond": None, "cond_scale": p.cfg_scale}
        self.model_wrap_cfg.steps = self.model_wrap_cfg.total_steps = p.steps
        PROGRAM.denoisers.append(self.model_wrap_cfg)
        try:
            return self.func(
                self.model_wrap_cfg, x, extra_args=self.sampler_extra_args, disable=False, callback=self.told, **extra
            )
        except InterruptedException:
            return self.last_latent

    def told(self, info):
        PROGRAM.heard.append(info["i"])


def _brownian(p, x):
    """Noise by the levels asked about, of the high-resolution shape, the same whenever it is asked."""

    def draw(sigma, sigma_next):
        seeds = [hash((seed, round(float(sigma), 5))) % 2**31 for seed in p.seeds]
        return torch.stack([torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds])

    return draw
