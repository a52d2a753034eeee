"""Previews and finishes of a diffusers pipeline."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch

from ...commutator import DEFAULT_PRESET, Head, Plan, Tape, TapeError, Transport, preset
from ..sheet import Cost, Final, Preview, Sheet
from .call import run
from .callbacks import for_head, for_tail
from .errors import InterruptedByUser, UnsupportedError
from .families import family_of
from .fingerprint import fingerprint
from .layout import Layout, positions
from .loops import PATH, FinishLoop, HeadLoop, ProbeLoop, TailLoop
from .request import Request, checked, restored


class Previewer:
    """Low-resolution previews of a pipeline's images, and finishes that are bit-identical to its plain calls.

    Args:
        pipe: FluxPipeline or StableDiffusion3Pipeline with a FlowMatchEuler scheduler.
        batch_size: how many previews share one low-resolution call.
        head_batch_size: how many high-resolution heads share one call. With 1 a finish equals the plain call of its
            seed bit for bit. Larger batches can be faster on a GPU; a finish then equals, bit for bit, what the plain
            call of that batch computed for the head, continued; against the single-seed call it differs by rounding.

    Raises:
        UnsupportedError: pipeline or scheduler that previews cannot drive.
    """

    def __init__(self, pipe: Any, *, batch_size: int = 4, head_batch_size: int = 1) -> None:
        family_of(pipe)
        if batch_size < 1 or head_batch_size < 1:
            raise ValueError("batch sizes must be at least 1")
        self.pipe = pipe
        self.batch_size = batch_size
        self.head_batch_size = head_batch_size
        self._layouts: dict[tuple[int, int], Layout] = {}

    @property
    def fingerprint(self) -> str:
        """Identifies the pipeline's weights, configuration, dtype and device kind."""
        return fingerprint(self.pipe)

    def preview(self, prompt: Any = None, **arguments: Any) -> Sheet:
        """All previews of a request. Arguments as for `stream`; returns a `Sheet`."""
        *_, sheet = self._sheets(prompt, **arguments)  # the same sheet each time, the last time whole
        return sheet

    def stream(self, prompt: Any = None, **arguments: Any) -> Iterator[Preview]:
        """Previews one by one, as they are ready.

        Args:
            prompt: a string, or one string per image; None with `prompt_embeds`.
            seeds: whole numbers, one image each (CPU generators); or
            generator: a torch.Generator, or one per image. Generators given are read, not advanced.
            plan: a `Plan` or the name of a preset; scale: high over low resolution (presets only).
            progress: show one bar for the sheet; the pipeline's own bars run inside as its settings say.
            call: every other argument of the plain pipeline call (height and width of the final, in pixels).
                `callback_on_step_end` is called for the head's steps and the tail's, with the state at that resolution.

        Raises:
            UnsupportedError: before any model evaluation, with the reason and the nearest valid choice.
        """
        shown = 0
        for sheet in self._sheets(prompt, **arguments):
            yield from sheet.previews[shown:]
            shown = len(sheet)

    def _sheets(
        self,
        prompt: Any,
        *,
        seeds: Any = None,
        generator: Any = None,
        plan: Plan | str = DEFAULT_PRESET,
        scale: Fraction | int | None = None,
        progress: bool = True,
        **call: Any,
    ) -> Iterator[Sheet]:
        """The same sheet again and again, each time longer by one batch."""
        wanted = plan.scale if isinstance(plan, Plan) else Fraction(2 if scale is None else scale)
        if isinstance(plan, Plan) and scale not in (None, plan.scale):
            raise ValueError(f"the plan has scale {plan.scale}; give plan.replaced(scale=...) instead of scale={scale}")
        request = checked(self.pipe, prompt, seeds, generator, wanted, call)
        the_plan = plan if isinstance(plan, Plan) else preset(plan, request.steps, wanted)
        _check_plan(the_plan, request)
        memo: dict[Any, Any] = {}
        sheet = Sheet(the_plan, self.fingerprint)
        count = len(request.prompts)
        with _bar(count, progress) as bar:
            for start in range(0, count, self.batch_size):
                indices = range(start, min(start + self.batch_size, count))
                try:
                    made = self._batch(request, the_plan, indices, sheet.model, memo)
                except InterruptedByUser:
                    sheet.interrupted = True
                    yield sheet
                    return
                sheet.previews += made
                bar.update(len(made))
                yield sheet

    def _batch(
        self, request: Request, plan: Plan, indices: Sequence[int], model: str, memo: dict[Any, Any]
    ) -> list[Preview]:
        began = time.perf_counter()
        height, width = request.height, request.width
        low_height, low_width = int(height / plan.scale), int(width / plan.scale)
        high = self._layout(request, height, width, memo)
        low = self._layout(request, low_height, low_width, memo)
        gain = _fitting_gain(plan, high, low)

        heads, loops = [], []
        for at in range(0, len(indices), self.head_batch_size):
            part = indices[at : at + self.head_batch_size]
            loop = self._head(request, plan, part, memo)
            assert loop.head is not None
            heads += [(loop.head, b) for b in range(len(part))]
            loops.append(loop)
        together = _collated([h for h, b in heads if b == 0], high)
        dtype = heads[0][0].state.dtype
        tail = TailLoop(plan, together, low, dtype, gain)
        images = self._tail(request, plan, indices, tail, (low_height, low_width), memo)

        share = 1.0 / len(indices)
        high_rows = sum(loop.gate.rows for loop in loops)
        per_evaluation = (high_rows / plan.high_evaluations) if high_rows else tail.gate.rows / len(tail.evaluations)
        cost = Cost(
            high=round(high_rows * share),
            low=round(tail.gate.rows * share),
            full=round(request.steps * per_evaluation * share),
            high_seconds=sum(loop.gate.seconds for loop in loops) * share,
            low_seconds=tail.gate.seconds * share,
            seconds=(time.perf_counter() - began) * share,
        )
        made = []
        for position, (index, (head, b)) in enumerate(zip(indices, heads)):
            tape = self._tape(request, plan, index, head, b, model)
            call = request.batch([index])
            made.append(Preview(index, request.seeds[index], images[position], tape, call, cost, plan))
        return made

    def _head(self, request: Request, plan: Plan, indices: Sequence[int], memo: dict[Any, Any]) -> HeadLoop:
        loop = HeadLoop(plan)
        call = request.batch(indices, generator=request.generators(indices), output_type="latent")
        if plan.head_steps is not None:
            call["num_inference_steps"] = plan.head_steps
        call |= for_head(request.call)
        run(self.pipe, request.family.denoiser, call, loop, memo=memo)
        if loop.head is None:
            raise InterruptedByUser
        return loop

    def _tail(
        self,
        request: Request,
        plan: Plan,
        indices: Sequence[int],
        loop: TailLoop,
        size: tuple[int, int],
        memo: dict[Any, Any],
    ) -> Any:
        def noise(shape: tuple[int, ...]) -> torch.Tensor:
            first = loop.first_state()
            if shape != tuple(first.shape):
                raise UnsupportedError(f"the pipeline drew noise of {shape} where latents are {tuple(first.shape)}")
            return first

        call = request.batch(indices, height=size[0], width=size[1])
        if "sigmas" in call:
            call["sigmas"] = None
        call["num_inference_steps"] = len(loop.evaluations)
        call |= for_tail(request.call, loop, plan.switch)
        out, _ = run(self.pipe, request.family.denoiser, call, loop, memo=memo, noise=noise)
        if not loop.complete:
            raise InterruptedByUser
        return out.images

    def _layout(self, request: Request, height: int, width: int, memo: dict[Any, Any]) -> Layout:
        if (height, width) not in self._layouts:
            loop = ProbeLoop()
            call = request.batch([0], height=height, width=width, output_type="latent")
            call |= {"callback_on_step_end": None}
            _, drawn = run(self.pipe, request.family.denoiser, call, loop, memo=memo, noise=positions)
            if loop.sample is None or drawn is None or drawn.shape is None:
                raise UnsupportedError(f"{type(self.pipe).__name__} draws no noise that previews could follow")
            self._layouts[height, width] = Layout.probed(drawn.shape, loop.sample, type(self.pipe).__name__)
        return self._layouts[height, width]

    def _tape(self, request: Request, plan: Plan, index: int, head: Head, b: int, model: str) -> Tape:
        outputs = () if plan.head_steps is not None else tuple(o[b : b + 1].cpu() for o in head.outputs)
        header = {
            "model": model,
            "prompt": _prompt_hash(request.batch([index])),
            "seed": request.seeds[index],
            "size": [request.height, request.width],
            "steps": request.steps,
            "switch": plan.switch,
            "scheduler": type(self.pipe.scheduler).__name__,
            "rng_device": request.rng_device,
            "plan": plan.to_dict(),
        }
        noise, state = head.noise[b : b + 1].cpu(), head.state[b : b + 1].cpu()
        return Tape(outputs, noise, state, head.times, header, request.rng[index])

    def finish(self, previews: Preview | Sequence[Preview], *, batch_size: int = 1, progress: bool = False) -> Any:
        """The final image of one preview, or of each of several: what the plain pipeline call gives for that seed.

        Evaluations on the tape are not made again. `batch_size` finishes several in one call, which equals the plain
        call of the same batch when the heads were evaluated in that batch too.

        Raises:
            TapeError: a tape of another model, prompt or size, or one that does not lead to the recorded state.
        """
        if isinstance(previews, Preview):
            return self.resume([previews])[0].image
        return [final.image for final in self.resume(previews, batch_size=batch_size, progress=progress)]

    def resume(
        self,
        previews: Sequence[Preview],
        *,
        batch_size: int = 1,
        progress: bool = False,
        output_type: str | None = None,
    ) -> list[Final]:
        """As `finish`, with the counted cost of each; `output_type` overrides the request's ("latent" for latents)."""
        family, model = family_of(self.pipe), self.fingerprint
        for preview in previews:
            self._check_tape(preview, model)
        finals: list[Final] = []
        with _bar(len(previews), progress) as bar:
            for start in range(0, len(previews), batch_size):
                part = previews[start : start + batch_size]
                finals += self._resumed(family.denoiser, part, output_type)
                bar.update(len(part))
        return finals

    def _resumed(self, denoiser: str, part: Sequence[Preview], output_type: str | None) -> list[Final]:
        began = time.perf_counter()
        tapes = [p.tape for p in part]
        recorded = tapes[0].recorded
        if any(t.recorded != recorded or t.header["size"] != tapes[0].header["size"] for t in tapes):
            raise ValueError("previews finished in one batch need tapes of one size and length; use batch_size=1")
        outputs = [torch.cat([t.outputs[i] for t in tapes]) for i in range(recorded)]
        noise, state = torch.cat([t.noise for t in tapes]), torch.cat([t.state for t in tapes])
        loop = FinishLoop(outputs, noise, state, tapes[0].header["switch"])
        call = _merged([p.call for p in part])
        made = [restored(t.rng, t.header["rng_device"]) for t in tapes if t.rng is not None]
        if len(made) != len(part):
            raise TapeError("the tape holds no generator state: it cannot be finished")
        call["generator"] = made[0] if len(made) == 1 else made
        if output_type is not None:
            call["output_type"] = output_type
        out, _ = run(self.pipe, denoiser, call, loop)
        share = 1.0 / len(part)
        evaluated = max(1, tapes[0].header["steps"] - recorded)
        cost = Cost(
            high=round(loop.gate.rows * share),
            low=0,
            full=round(loop.gate.rows * share * tapes[0].header["steps"] / evaluated),
            high_seconds=loop.gate.seconds * share,
            seconds=(time.perf_counter() - began) * share,
        )
        return [Final(image, cost) for image in out.images]

    def _check_tape(self, preview: Preview, model: str) -> None:
        header = preview.tape.header
        if header.get("model") != model:
            raise TapeError(
                "the tape was recorded with another model (weights, configuration, dtype or kind of device differ); "
                "load the model that made the sheet"
            )
        if header.get("prompt") != _prompt_hash(preview.call):
            raise TapeError("the tape belongs to another prompt or to other settings than the preview says")
        if header.get("size") != [preview.call["height"], preview.call["width"]]:
            raise TapeError("the tape was recorded at another size than the preview says")


def _check_plan(plan: Plan, request: Request) -> None:
    """ValueError where plan and request do not fit."""
    if plan.head_steps is not None and request.call.get("sigmas") is not None:
        raise UnsupportedError("a coarse head (head_steps) makes its own schedule; leave out sigmas=")
    limit = plan.head_steps or request.steps
    if plan.switch >= limit:
        raise ValueError(
            f"the plan switches after {plan.switch} steps, the run has {limit}: choose switch below {limit}"
        )


def _fitting_gain(plan: Plan, high: Layout, low: Layout) -> float:
    operator = plan.operators()[0]
    shape = (1, *high.grid)
    if tuple(operator.out_shape(shape)) != (1, *low.grid):
        raise UnsupportedError(
            f"{operator!r} maps latents {high.grid} to {tuple(operator.out_shape(shape)[1:])}, the pipeline makes "
            f"{low.grid} at the low resolution"
        )
    return Transport.of(operator, PATH, shape, plan.time).gain


def _collated(heads: Sequence[Head], layout: Layout) -> Head:
    """Heads recorded in the solver's layout as one batch of spatial arrays."""

    def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return layout.spatial(torch.cat(list(parts)))

    first = heads[0]
    states = tuple(joined([h.states[i] for h in heads]) for i in range(len(first.states)))
    outputs = tuple(joined([h.outputs[i] for h in heads]) for i in range(len(first.outputs)))
    return Head(first.times, first.switch, states, outputs, joined([h.state for h in heads]))


def _merged(calls: Sequence[Any]) -> dict[str, Any]:
    """One batched call from single ones that differ in nothing but the prompt."""
    out = dict(calls[0])
    if len(calls) == 1:
        return out
    for key in out:
        values = [c.get(key) for c in calls]
        if isinstance(out[key], str) and (key.startswith("prompt") or key.startswith("negative_prompt")):
            out[key] = values
        elif isinstance(out[key], torch.Tensor):
            out[key] = torch.cat(values)
        elif any(v is not values[0] and v != values[0] for v in values):
            raise ValueError(f"previews finished in one batch differ in {key!r}; use batch_size=1")
    return out


def _prompt_hash(call: Any) -> str:
    """SHA-256 over everything that a plain call gets, size and generator aside; tensors and functions by type only."""
    plain = {k: v for k, v in call.items() if k not in ("height", "width", "generator", "output_type")}
    plain.pop("callback_on_step_end", None)
    plain.pop("callback_on_step_end_tensor_inputs", None)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=lambda v: type(v).__name__).encode()).hexdigest()


def _bar(total: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="previews", unit="image", disable=not shown)
