"""Samplers that other people write: right ones, and ones that break a rule that previews rest on."""

from __future__ import annotations

from typing import Any

import torch

Callback = Any


def sample_lcm(model, x, sigmas, extra_args=None, callback=None, disable=None, noise_sampler=None):
    """Consistency sampling: fresh noise on every denoised answer."""
    draw = noise_sampler or (lambda sigma, sigma_next: torch.randn_like(x))
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = denoised + sigmas[i + 1] * draw(sigmas[i], sigmas[i + 1]) if sigmas[i + 1] > 0 else denoised
    return x


def sample_in_place(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Euler steps that write on their own latent and on the model's answer."""
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
        ratio = sigmas[i + 1] / sigmas[i]
        x.mul_(ratio).add_(denoised.mul_(1 - ratio))
    return x


def sample_own_generator(model, x, sigmas, extra_args=None, callback=None, disable=None, seed=7):
    """Consistency sampling with noise from a generator that the sampler seeds itself."""
    generator = torch.Generator(x.device).manual_seed(seed)

    def draw(sigma, sigma_next):
        return torch.randn(x.size(), dtype=x.dtype, device=x.device, generator=generator)

    return sample_lcm(model, x, sigmas, extra_args, callback, disable, draw)


def sample_restarting(model, x, sigmas, extra_args=None, callback=None, disable=None, below=1.0):
    """Euler steps; once below a noise level (an absolute one) it goes back up with fresh noise and repeats the step."""
    step = 0
    for i in range(len(sigmas) - 1):
        for again in range(2 if below / 2 < sigmas[i] < below else 1):
            if again:
                x = x + torch.randn_like(x) * (sigmas[i] ** 2 - sigmas[i + 1] ** 2) ** 0.5
            denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
            if callback is not None:
                callback({"x": x, "i": step, "sigma": sigmas[i], "denoised": denoised})
            step += 1
            x = denoised + sigmas[i + 1] / sigmas[i] * (x - denoised)
    return x


def sample_float32_matrices(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Euler steps as ComfyUI's uni_pc goes about it: it writes to its schedule, so as never to divide by zero, has its
    weights in float32 whatever the latent is in, and its callback names no level."""
    if sigmas[-1] == 0:
        sigmas[-1] = 0.001
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        ratio = float(sigmas[i + 1] / sigmas[i])
        x = torch.tensordot(torch.stack([x, denoised], dim=1), torch.tensor([ratio, 1 - ratio]), dims=([1], [0]))
        if callback is not None:
            callback({"x": x, "i": i, "denoised": denoised})
    return x


RIGHT = (sample_lcm, sample_in_place, sample_own_generator, sample_restarting)


def _euler(model, x, sigmas, extra_args, callback, change=None, announce=True, noise=None, copies=False):
    for i in range(len(sigmas) - 1):
        sigma = sigmas[i] * x.new_ones([x.shape[0]])
        denoised = model(x.clone() if copies else x, sigma, **(extra_args or {}))
        if callback is not None and announce:
            callback({"x": x, "i": i, "sigma": sigmas[i], "denoised": denoised})
        x = denoised + sigmas[i + 1] / sigmas[i] * (x - denoised)
        if change is not None:
            x = change(x)
        if noise is not None:
            x = x + sigmas[i + 1] * noise(x)
    return x


def sample_clamping(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Broken for replay: not linear."""
    return _euler(model, x, sigmas, extra_args, callback, change=lambda x: x.clamp(-1, 1))


def sample_smoothing(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Broken for replay: mixes pixels."""
    return _euler(model, x, sigmas, extra_args, callback, change=lambda x: x + 0.1 * x.roll(1, dims=-1) * x.shape[-1])


def sample_uniform_noise(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Broken for replay: noise that is not from randn."""
    return _euler(model, x, sigmas, extra_args, callback, noise=lambda x: torch.rand_like(x) - 0.5)


def sample_normal_in_place(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Broken for replay: normal noise by a way that is not answered."""
    return _euler(model, x, sigmas, extra_args, callback, noise=lambda x: torch.empty_like(x).normal_())


UNREPLAYABLE = (sample_clamping, sample_smoothing, sample_uniform_noise, sample_normal_in_place)


def sample_silent(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Never calls its callback."""
    return _euler(model, x, sigmas, extra_args, callback, announce=False)


def sample_copying(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Gives its model a copy of its latent: right, but nothing the model writes on it is seen."""
    return _euler(model, x, sigmas, extra_args, callback, copies=True)


def sample_with_info(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Returns more than the latent."""
    return _euler(model, x, sigmas, extra_args, callback), {"steps": len(sigmas) - 1}


def sample_euler_cfg_pp(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Named as the samplers that read the unguided prediction from inside their model."""
    return _euler(model, x, sigmas, extra_args, callback)
