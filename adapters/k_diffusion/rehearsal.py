"""Dry runs of a sampler on a tiny latent: at which noise levels it evaluates, and whether its replay is exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...operators import BlockMean
from ..errors import UnsupportedError
from .calling import Call, Model, Proxy, Stop, checked_sigmas, level
from .randomness import GivenNoise, SharedDraws, preserved, restore, state

NEAR = 1e-2  # a loop may round its sigmas to bfloat16 before it asks

POOL = BlockMean(2)
SIDE = 2  # of the tiny latent: one block, so that its low-resolution latent is a single cell
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the largest entry; a wrong replay is off by its own size


@dataclass(frozen=True)
class Walk:
    """The noise levels at which a sampler evaluates its model.

    Attributes:
        calls: one per model call, in order.
        starts: for every step, the index of its first call.
        end: the level at which the run ends.
    """

    calls: tuple[float, ...]
    starts: tuple[int, ...]
    end: float

    def first_call(self, step: int) -> int:
        """The call that begins `step`. ValueError where no step is left after it."""
        if not 0 <= step < len(self.starts):
            raise ValueError(
                f"the switch step must lie in 0..{len(self.starts) - 1} of this sampler's steps, got {step}"
            )
        return self.starts[step]

    def expected(self, call: int, asked: float) -> float:
        """The level of `call`. UnsupportedError where the sampler asks about another one, or calls too often."""
        level = self.calls[call] if call < len(self.calls) else float("inf")
        if not abs(asked - level) <= NEAR * level:
            raise UnsupportedError(f"call {call} asks about sigma {asked}, where sigma {level} was expected")
        return level

    @property
    def calls_once_a_step(self) -> bool:
        return self.starts == tuple(range(len(self.calls)))


def one_call_per_step(sigmas: torch.Tensor) -> Walk:
    """The walk of a loop that asks once at every entry of `sigmas` but the last."""
    levels = checked_sigmas(sigmas)
    return Walk(tuple(levels[:-1]), tuple(range(len(levels) - 1)), levels[-1])


@dataclass
class _Dry(Proxy):
    """A model that costs nothing: `answer(index, x)`. It notes every state and level it is asked about."""

    model: Model
    answer: Callable[[int, torch.Tensor], torch.Tensor]
    limit: int
    states: list[torch.Tensor] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    announced: list[float | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.model)

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if len(self.levels) == self.limit:
            raise Stop
        self.levels.append(level(sigma))
        self.states.append(x.detach().clone())
        return self.answer(len(self.levels) - 1, x)

    def step(self, info: dict[str, Any]) -> None:
        """The sampler's callback: a step began with the model call just made."""
        self.starts.append(len(self.levels) - 1)
        said = info.get("sigma_hat", info.get("sigma"))
        self.announced.append(None if said is None else float(said))


def _run(call: Call, model: Model, x: torch.Tensor, answer: Callable[[int, torch.Tensor], torch.Tensor]) -> _Dry:
    dry = _Dry(model, answer, 16 * len(call.sigmas) + 256)
    try:
        out = call.quiet().on_a_copy()(dry, x, dry.step)
    except Stop:
        raise UnsupportedError(f"{call.name} asked its model {dry.limit} times about a tiny latent") from None
    if not isinstance(out, torch.Tensor) or out.shape != x.shape:
        raise UnsupportedError(f"{call.name} returns {type(out).__name__}, not the latent alone: switch that off")
    dry.states.append(out)
    return dry


def walk_of(call: Call, model: Model, x: torch.Tensor) -> Walk:
    """The walk of `call` on latents of the dtype and device of `x`, from a dry run.

    Raises UnsupportedError where the sampler's callbacks do not tell where its steps begin.
    """
    tiny = _zeros(x, x.dtype)
    call = call.with_noise(lambda _: lambda *args, **kwargs: torch.zeros_like(tiny))
    with preserved(x.device):
        dry = _run(call, model, tiny, lambda i, y: torch.zeros_like(y))
    rising = all(a < b for a, b in pairwise(dry.starts))
    if not dry.starts or not rising or dry.starts[0] != 0:
        raise UnsupportedError(
            f"{call.name} does not call its callback once after the first model call of every step: where a step "
            "begins is unknown; use CommutantDenoiser in a loop of your own"
        )
    for start, said in zip(dry.starts, dry.announced, strict=True):
        if said is not None and abs(said - dry.levels[start]) > 1e-2 * max(said, dry.levels[start]):
            raise UnsupportedError(
                f"{call.name} announces a step at sigma {said} after asking its model about {dry.levels[start]}"
            )
    return Walk(tuple(dry.levels), tuple(dry.starts), float(call.sigmas[-1]) if call.follows_sigmas else _last(call))


def require_replayable(call: Call, model: Model, x: torch.Tensor) -> None:
    """UnsupportedError unless transported answers and noise lead the sampler to transported states.

    A rehearsal: the whole run on one 2 x 2 block with arbitrary answers, then on its mean with the means of those
    answers and of the noise. Every state the second run asks about must be the mean of the first's.
    """
    dtype = _precision(call, model, x)
    start = _zeros(x, dtype)
    tiny = torch.randn_like(start) * call.sigmas[0].to(dtype)
    low = POOL(tiny).clone()
    cells = torch.arange(tiny.numel(), dtype=dtype, device=x.device).reshape(tiny.shape)
    given: list[GivenNoise] = []

    def remembered(_: Any) -> Any:
        given.append(GivenNoise(lambda *args, **kwargs: torch.randn_like(tiny)))
        return given[0].high

    began = state(x.device)
    high = _run(call.with_noise(remembered), model, tiny.clone(), lambda _, y: torch.sin(cells + 0.3 * y))
    answers = [torch.sin(cells + 0.3 * y) for y in high.states[:-1]]
    restore(began, x.device)
    with SharedDraws(POOL, tiny, low):
        replay = call.with_noise(lambda _: given[0].low(POOL))
        try:
            seen = _run(replay, model, low, lambda i, y: POOL(answers[i]) if i < len(answers) else torch.zeros_like(y))
        except UnsupportedError:
            seen = None
    if seen is None or seen.levels != high.levels:
        raise UnsupportedError(
            f"{call.name} chooses its noise levels by the values of the latent (adaptive steps): a low-resolution run "
            "cannot follow it; use a sampler with fixed steps. Its high-resolution finish still works: `record` it"
        )
    for expected, arrived in zip(high.states, seen.states, strict=True):
        scale = float(expected.abs().max().clamp_min(1e-30))
        if not float((POOL(expected) - arrived).abs().max()) <= TOLERANCE[dtype] * scale:
            raise UnsupportedError(
                f"{call.name} is not linear in its latent, the model's answers and its noise, pixel by pixel, or draws "
                "noise otherwise than by torch.randn_like, torch.randn or noise_sampler: it cannot be replayed at low "
                "resolution. Its high-resolution finish still works: `record` it"
            )


class _Seeds(TorchFunctionMode):
    """Notices a draw that makes, or comes from, a generator of the sampler's own."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.seen = self.seen or func is torch.randint or kwargs.get("generator") is not None
        return func(*args, **kwargs)


def seeds_itself(call: Call, model: Model, x: torch.Tensor) -> bool:
    """Whether the sampler makes random generators of its own, as a Brownian tree does."""
    with preserved(x.device), _Seeds() as seeds:
        _run(call, model, _zeros(x, x.dtype), lambda i, y: torch.zeros_like(y))
    return seeds.seen


def require_unstirred(call: Call, model: Model, x: torch.Tensor) -> None:
    """UnsupportedError for a run that draws fresh noise. From zero, with zero answers, a run without any stays at zero;
    to watch for draws instead would not do: some samplers draw noise that they then multiply by zero."""
    with preserved(x.device):
        dry = _run(call, model, _zeros(x, x.dtype), lambda i, y: torch.zeros_like(y))
    if any(bool(y.count_nonzero()) for y in dry.states):
        raise UnsupportedError(
            f"{call.name} draws fresh noise in its steps, which cannot be separated from the signal in a transform; "
            "use a deterministic sampler (euler, heun, dpmpp_2m)"
        )


def require_first_order(call: Call, walk: Walk, model: Model, x: torch.Tensor) -> None:
    """UnsupportedError unless every step is Euler's, `x' = r x + (1 - r) answer` with r = sigma' / sigma, as it is in
    these coordinates on both paths: only such a step is made second order by an extrapolated answer."""
    refusal = UnsupportedError(
        f"order=2 makes Euler steps second order, and {call.name} takes other steps (of an order of its own, or with "
        "noise): use order=1 with it, or sample_euler"
    )
    if not walk.calls_once_a_step:
        raise refusal
    dtype = _precision(call, model, x)
    start = torch.randn_like(_zeros(x, dtype)) * call.sigmas[0].to(dtype)
    cells = torch.arange(start.numel(), dtype=dtype, device=x.device).reshape(start.shape)
    call = call.with_noise(lambda _: lambda *args, **kwargs: torch.randn_like(start))
    dry = _run(call, model, start.clone(), lambda _, y: torch.sin(cells + 0.3 * y))
    for (before, after), (now, then) in zip(pairwise(dry.states), pairwise((*walk.calls, walk.end)), strict=True):
        expected = then / now * before + (1.0 - then / now) * torch.sin(cells + 0.3 * before)
        scale = float(torch.maximum(before.abs(), expected.abs()).max())
        if not float((after - expected).abs().max()) <= TOLERANCE[dtype] * scale:
            raise refusal


def require_correctable(call: Call, walk: Walk, model: Model, x: torch.Tensor, kind: str) -> None:
    """UnsupportedError unless a state corrected in place, inside a model call, becomes the sampler's own state."""
    out = "use guidance kind 'anchor' or 'defect', which correct the answers"
    if not walk.calls_once_a_step:
        raise UnsupportedError(
            f"guidance kind {kind!r} corrects the state once a step, and {call.name} asks its model more often; {out}"
        )
    dtype = _precision(call, model, x)
    start = _zeros(x, dtype)
    call = call.with_noise(lambda _: lambda *args, **kwargs: torch.zeros_like(start))
    began = state(x.device)

    def edited(i: int, y: torch.Tensor) -> torch.Tensor:
        if i == 0:
            y.add_(1.0)
        return torch.zeros_like(y)

    shifted = _run(call, model, start + 1.0, lambda i, y: torch.zeros_like(y))
    restore(began, x.device)
    corrected = _run(call, model, start, edited)
    pairs = zip(shifted.states[1:], corrected.states[1:], strict=True)
    if not all(torch.allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]) for a, b in pairs):
        raise UnsupportedError(
            f"guidance kind {kind!r} corrects the state, and {call.name} gives its model a copy of it; {out}"
        )


def _precision(call: Call, model: Model, x: torch.Tensor) -> torch.dtype:
    """The finest in which the sampler runs: some (uni_pc, sa_solver) multiply the answers by matrices of float32."""
    if x.device.type == "mps":
        return torch.float32
    start = _zeros(x, torch.float64)
    call = call.with_noise(lambda _: lambda *args, **kwargs: torch.zeros_like(start))
    try:
        with preserved(x.device):
            _run(call, model, start, lambda i, y: torch.zeros_like(y))
    except RuntimeError:  # torch's, of unlike dtypes; one of another cause comes again in float32
        return torch.float32
    return torch.float64


def _zeros(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros((x.shape[0], *[1] * (x.ndim - 3), SIDE, SIDE), dtype=dtype, device=x.device)


def _last(call: Call) -> float:
    return float(call.sigmas[call.sigmas > 0].min())
