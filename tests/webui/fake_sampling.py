"""Samplers of the k-diffusion contract that draw their noise from this module's `torch`, as those of the web UIs do."""

import torch

real_torch = torch  # what this module's `torch` was before a program put something in its place


def _loop(model, x, sigmas, extra_args, callback, step):
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * x.new_ones(len(x)), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})
        x = step(i, x, denoised)
    return x


def sample_euler(model, x, sigmas, extra_args=None, callback=None, disable=None, s_churn=0.0):
    """Euler steps. Draws noise at every step and uses none, as the original does without churn."""

    def step(i, x, denoised):
        torch.randn_like(x)
        return x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])

    return _loop(model, x, sigmas, extra_args, callback, step)


def sample_euler_ancestral(model, x, sigmas, extra_args=None, callback=None, disable=None, eta=1.0, noise_sampler=None):
    """Euler steps to a lower level and noise back up."""
    draw = noise_sampler or (lambda sigma, sigma_next: torch.randn_like(x))

    def step(i, x, denoised):
        now, after = sigmas[i], sigmas[i + 1]
        up = min(after, eta * (after**2 * (now**2 - after**2) / now**2) ** 0.5)
        down = (after**2 - up**2) ** 0.5
        x = x + (x - denoised) / now * (down - now)
        return x + draw(now, after) * up if after > 0 else x

    return _loop(model, x, sigmas, extra_args, callback, step)


def sample_two_step(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A multistep solver: it remembers the last answer."""
    last = []

    def step(i, x, denoised):
        used = 1.5 * denoised - 0.5 * last[-1] if last else denoised
        last.append(denoised)
        return x + (x - used) / sigmas[i] * (sigmas[i + 1] - sigmas[i])

    return _loop(model, x, sigmas, extra_args, callback, step)


def sample_brownian(model, x, sigmas, extra_args=None, callback=None, disable=None, eta=1.0, noise_sampler=None):
    """Takes the program's noise sampler, which knows the levels."""
    assert noise_sampler is not None
    return sample_euler_ancestral(model, x, sigmas, extra_args, callback, disable, eta, noise_sampler)


def sample_fast(model, x, sigma_min, sigma_max, n, extra_args=None, callback=None, disable=None):
    """Makes its own schedule from three numbers."""
    sigmas = torch.cat([torch.linspace(sigma_max, sigma_min, n), torch.zeros(1)]).to(x)
    return sample_two_step(model, x, sigmas, extra_args, callback, disable)


def sample_adaptive(model, x, sigma_min, sigma_max, extra_args=None, callback=None, disable=None):
    """Steps as long as the picture changes."""
    raise AssertionError("not run by the tests of previews")


def sample_by_norm(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Looks like any other, but scales its step by the picture: only a rehearsal tells."""

    def step(i, x, denoised):
        push = 1.0 / (1.0 + float(x.norm()))
        return x + (1 + push) * (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i])

    return _loop(model, x, sigmas, extra_args, callback, step)


def sample_euler_cfg_pp(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """By its name."""
    return sample_euler(model, x, sigmas, extra_args, callback, disable)
