"""What works with each sampler of k-diffusion, tried on a small closed-form model: docs/support-k-diffusion.md.

python -m benchmarks.k_diffusion_support
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from commutant.adapters.k_diffusion import UnsupportedError, finish, preview, record
from commutant.commutator import Guidance, Plan, Stage, Transport, VarianceExploding
from commutant.operators import BlockMean

from .k_diffusion_sampling import samplers, sampling

PAGE = Path(__file__).resolve().parent.parent / "docs" / "support-k-diffusion.md"
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SHAPE = (2, 3, 8, 8)
STEPS = 7
MEAN = Plan(1, (Stage(2, operator="mean"),))
ROUNDING = 1e-6  # of the largest entry, in float64; dpm_fast computes its levels in float32


@dataclass(frozen=True)
class Row:
    """A sampler and the options of its calls, made anew for every call from its latent."""

    name: str
    sampler: Callable[..., Any]
    options: Callable[[torch.Tensor], dict[str, Any]] = lambda x: {}

    def preview(self, of: Any, x: torch.Tensor, sigmas: torch.Tensor, plan: Plan, callback: Any = None) -> Any:
        return preview(self.sampler, of, x, sigmas, plan, None, callback, True, **self.options(x))

    def plain(self, of: Any, x: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
        """The user's own call."""
        names = inspect.signature(self.sampler).parameters
        if "sigmas" in names:
            return self.sampler(of, x, sigmas, disable=True, **self.options(x))
        ends = {"sigma_min": float(sigmas[sigmas > 0].min()), "sigma_max": float(sigmas[0])}
        steps = {"n": len(sigmas) - 1} if "n" in names else {}
        return self.sampler(of, x, **ends, **steps, disable=True, **self.options(x))


INTRODUCTION = """# k-diffusion samplers: what works

Every cell is the result of a run: `python -m benchmarks.k_diffusion_support` writes this page, and a test compares it
with a fresh one. Samplers are those of k-diffusion 0.0.16, unmodified (0.1.1.post1 has the same file).

- **preview**: block means, and the best of four strided selections with an anchor, both from a switch at step 1.
- **exact replay**: the low-resolution run arrives at the transported state; through a selection bit for bit in float64,
  float32, float16 and bfloat16, through block means to rounding in float64.
- **finish**: `torch.equal` to the plain call, in the same four dtypes, and the global generator ends in the same state.
- **noise**: on a schedule that ends with noise left, and with a model that commutes with A, the preview is A of
  the plain call's result.
- **fewer steps**: a low-resolution stage of two steps. **stages**: two steps more at high resolution, two at half of
  it, two at a quarter. **live**: the denoised prediction of step two.
- **state guidance**: guidance kinds `exact` and `lagged`, which correct the sampler's own state.
"""


def latent(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return (10 * torch.randn(SHAPE, generator=generator, dtype=torch.float64)).to(dtype)


def levels() -> torch.Tensor:
    return sampling().get_sigmas_karras(STEPS, 0.05, 10.0)


def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Mixes neighbours, commutes with nothing."""
    near = torch.roll(x, 1, dims=-1) + torch.roll(x, 1, dims=-2)
    return (0.7 * torch.tanh(x / (1 + sigma.reshape(-1, 1, 1, 1))) + 0.2 * torch.sin(near) + 0.1).to(x.dtype)


def constant(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Commutes with every mean and selection."""
    return torch.full_like(x, 0.3)


def tried_preview(row: Row) -> str:
    selected = Plan(1, (Stage(2, None, "strided", "argmin", guidance=Guidance("anchor", 2, 0.5)),))
    for plan in (MEAN, selected):
        low = row.preview(model, latent(), levels(), plan).latent
        if tuple(low.shape) != (2, 3, 4, 4) or not bool(torch.isfinite(low).all()):
            return "failed"
    return "worked"


def tried_replay(row: Row) -> str:
    for plan, dtypes in ((Plan(1, (Stage(2, None, "strided"),)), DTYPES), (MEAN, DTYPES[:1])):
        for dtype in dtypes:
            states: list[Any] = []
            tape = row.preview(model, latent(dtype), levels(), plan, states.append).tape
            arrived = states[plan.head]
            sigma = float(arrived.get("sigma_hat", arrived["sigma"]))
            transport = Transport.of(plan.stages[0].candidates(Fraction(1))[0], VarianceExploding(), SHAPE, "matched")
            expected = transport.state(tape.state, sigma)
            same = torch.equal(arrived["x"], expected)
            if not (same if transport.gain == 1 else _close(arrived["x"], expected)):
                return "failed"
    return "worked"


def tried_finish(row: Row) -> str:
    for dtype in DTYPES:
        before = torch.get_rng_state()
        try:
            tape = row.preview(model, latent(dtype), levels(), MEAN).tape
        except UnsupportedError:
            tape = record(row.sampler, model, latent(dtype), levels(), 3, disable=True, **row.options(latent(dtype)))
        final, after = (
            finish(row.sampler, model, tape, disable=True, **row.options(latent(dtype))),
            torch.get_rng_state(),
        )
        torch.set_rng_state(before)
        expected = row.plain(model, latent(dtype), levels())
        if not torch.equal(final, expected) or not torch.equal(after, torch.get_rng_state()):
            return "failed"
    return "worked"


def tried_noise(row: Row) -> str:
    short = levels()[:5]
    if not float(row.plain(constant, torch.zeros(SHAPE), short).std()) > 1e-6:
        return "draws none"
    before = torch.get_rng_state()
    final = row.plain(constant, latent(), short)
    torch.set_rng_state(before)
    low = row.preview(constant, latent(), short, MEAN).latent
    return "worked" if _close(low, BlockMean(2)(final)) else "failed"


def tried_fewer(row: Row) -> str:
    row.preview(model, latent(), levels(), MEAN.with_last(steps=2))
    return "worked"


def tried_stages(row: Row) -> str:
    plan = Plan(1, (Stage(1, 2), Stage(2, 2, "mean"), Stage(4, 2, "mean")))
    return "worked" if tuple(row.preview(model, latent(), levels(), plan).latent.shape) == (2, 3, 2, 2) else "failed"


def tried_live(row: Row) -> str:
    answers: list[torch.Tensor] = []

    def heard(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        answers.append(model(x, sigma))
        return answers[-1].clone()

    shown = row.preview(heard, latent(), levels(), Plan.live(2)).latent
    return "worked" if torch.equal(shown, answers[-1]) else "failed"


def tried_guidance(row: Row) -> str:
    for kind in ("exact", "lagged"):
        row.preview(model, latent(), levels(), MEAN.with_last(guidance=Guidance(kind, 2, 0.1)))
    return "worked"


COLUMNS: dict[str, Callable[[Row], str]] = {
    "preview": tried_preview,
    "exact replay": tried_replay,
    "finish": tried_finish,
    "noise": tried_noise,
    "fewer steps": tried_fewer,
    "stages": tried_stages,
    "live": tried_live,
    "state guidance": tried_guidance,
}


def rows() -> list[Row]:
    """Every published sampler, and those with options that make them stochastic or give them their noise."""
    out = []
    for name, sampler in samplers().items():
        out.append(Row(f"`{name}`", sampler))
        parameters = inspect.signature(sampler).parameters
        if "s_churn" in parameters:
            out.append(Row(f"`{name}`, s_churn=2", sampler, lambda x: {"s_churn": 2.0}))
        if "eta" in parameters and parameters["eta"].default == 0 and name != "sample_dpm_adaptive":
            out.append(Row(f"`{name}`, eta=1", sampler, lambda x: {"eta": 1.0}))
        if "sde" in name:
            out.append(Row(f"`{name}`, a tree given as noise_sampler", sampler, _tree))
    return out


def page(table: Iterable[Row]) -> str:
    """The page: a row for each sampler, a note for each reason of a refusal."""
    state = torch.get_rng_state()
    notes: list[str] = []
    lines = ["| sampler | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in table:
        torch.manual_seed(0)
        lines.append(f"| {row.name} | " + " | ".join(_cell(tried, row, notes) for tried in COLUMNS.values()) + " |")
    torch.set_rng_state(state)
    reasons = [f"{i}. {note}" for i, note in enumerate(notes, 1)]
    return "\n".join([INTRODUCTION, *lines, "", "Refused, before the model is asked:", "", *reasons, ""])


def main() -> None:
    PAGE.write_text(page(rows()), encoding="utf-8")
    print(f"wrote {PAGE.name}")


def _cell(tried: Callable[[Row], str], row: Row, notes: list[str]) -> str:
    try:
        return tried(row)
    except UnsupportedError as refusal:
        note = str(refusal).replace(row.sampler.__name__, "the sampler")
    if note not in notes:
        notes.append(note)
    return f"refused ({notes.index(note) + 1})"


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return float((one - other).abs().max()) <= ROUNDING * float(other.abs().max())


def _tree(x: torch.Tensor) -> dict[str, Any]:
    return {"noise_sampler": sampling().BrownianTreeNoiseSampler(x, levels()[-2], levels()[0], seed=3)}


if __name__ == "__main__":
    main()
