"""Previews and finishes of a diffusers pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, overload

from ...commutator import DEFAULT_PRESET, Guidance, Plan, preset
from ...operators import LinearOperator
from ..errors import Interrupted, UnsupportedError
from ..sheet import Final, Preview, Sheet
from .caches import cache_config
from .families import Family, family_of
from .fingerprint import fingerprint
from .finish import check_tape, finish_batch
from .layout import Layout, probed_layout, size_of
from .lock import held, holding
from .preview import Maker
from .request import Request, check_plan, check_size, checked
from .schedulers import binding_of
from .transform import Move, check_draws, transform_batch


class Previewer:
    """Low-resolution previews of a pipeline's images, and finishes that are bit-identical to its plain calls.

    Args:
        pipe: a supported pipeline with a supported scheduler (docs/support.md).
        batch_size: how many previews share one low-resolution call.
        head_batch_size: how many high-resolution heads share one call. With 1 a finish equals the plain call of its
            seed bit for bit. Larger batches can be faster on a GPU; a finish then equals, bit for bit, what the plain
            call of that batch computed for the head, continued; against the single-seed call it differs by rounding.
        cache_bytes: host memory that one sheet may use for what a transformer's cache (`enable_cache`) remembered at
            the switch. A preview beyond it is finished from the start, as is one whose tape was read from a file.

    Threads may share a pipeline: one waits while another makes something (a generator of `stream` lets others in
    between two previews). A plain call of it from another thread meanwhile is refused there, with a BusyError.

    Raises:
        UnsupportedError: pipeline or scheduler that previews cannot drive.
    """

    def __init__(
        self, pipe: Any, *, batch_size: int = 4, head_batch_size: int = 1, cache_bytes: int = 2 * 2**30
    ) -> None:
        family_of(pipe)
        if batch_size < 1 or head_batch_size < 1:
            raise ValueError("batch sizes must be at least 1")
        self.pipe = pipe
        self.batch_size = batch_size
        self.head_batch_size = head_batch_size
        self.cache_bytes = cache_bytes
        self._layouts: dict[tuple[int, ...], Layout] = {}

    @property
    def fingerprint(self) -> str:
        """Identifies the pipeline and all settings that change what it computes; see fingerprint.py."""
        with held(self.pipe):
            return fingerprint(self.pipe)

    def preview(self, prompt: Any = None, **arguments: Any) -> Sheet:
        """All previews of a request. Arguments as for `stream`; returns a `Sheet`."""
        *_, sheet = self._held(self._sheets(prompt, **arguments))  # the same sheet each time, the last time whole
        return sheet

    def stream(self, prompt: Any = None, **arguments: Any) -> Iterator[Preview]:
        """Previews one by one, as they are ready.

        Args:
            prompt: a string, or one string per image; None with `prompt_embeds`.
            seeds: whole numbers, one image each (CPU generators); or
            generator: a torch.Generator, or one per image. Generators given are read, not advanced.
            plan: a `Plan` or the name of a preset (`commutator.preset`); scale: high over low resolution, for presets.
            progress: show one bar for the sheet; the pipeline's own bars run inside as its settings say.
            call: every other argument of the plain pipeline call (height and width of the final, in pixels).
                `callback_on_step_end` is called for the head's steps and the tail's, with the state at that resolution.

        Raises:
            UnsupportedError: before any model evaluation, with the reason and the nearest valid choice.
        """
        shown = 0
        for sheet in self._held(self._sheets(prompt, **arguments)):
            yield from sheet.previews[shown:]
            shown = len(sheet)

    def _held(self, sheets: Iterator[Sheet]) -> Iterator[Sheet]:
        """The same, the pipeline held while the next one is made."""
        while True:
            with held(self.pipe):
                sheet = next(sheets, None)
            if sheet is None:
                return
            yield sheet

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
        if plan in ("fewer", "live"):  # at the final's own size
            wanted = Fraction(1)
        if isinstance(plan, Plan) and scale not in (None, plan.scale):
            raise ValueError(f"the plan has scale {plan.scale}; give a plan of other stages instead of scale={scale}")
        request = checked(self.pipe, prompt, seeds, generator, wanted, call)
        the_plan = plan if isinstance(plan, Plan) else self._suited(preset(plan, request.steps, wanted), request)
        check_plan(the_plan, request, self.pipe)
        yield from self._made(request, the_plan, progress)

    @holding
    def with_plan(self, previews: Sequence[Preview], plan: Plan | str, *, progress: bool = False) -> Sheet:
        """Previews of the same images by another plan. What their tapes hold is not evaluated again.

        Args:
            previews: of one request, in any number: they differ in prompt and seed only.
            plan: a `Plan` or the name of a preset. One with a schedule of its own at high resolution
                evaluates all of it.

        The costs returned count what was evaluated here. Raises as `finish` and `stream` do.
        """
        family, model = family_of(self.pipe), self.fingerprint
        for preview in previews:
            check_tape(preview, model, getattr(self.pipe, family.denoiser))
        request = Request.of_previews(self.pipe, previews)
        scale = previews[0].plan.scale if previews[0].plan.scale > 1 else 2
        the_plan = plan if isinstance(plan, Plan) else self._suited(preset(plan, request.steps, scale), request)
        check_size(family.size_unit(self.pipe), the_plan.scale, request.height, request.width, type(self.pipe).__name__)
        check_plan(the_plan, request, self.pipe)
        *_, sheet = self._made(request, the_plan, progress, previews)
        return sheet

    @holding
    def refine(
        self,
        previews: Preview | Sequence[Preview],
        plan: Plan | str | None = None,
        *,
        head: int | None = None,
        progress: bool = False,
    ) -> Preview | list[Preview]:
        """Previews of the same images from longer heads: nearer to their finals, and nothing is evaluated twice.

        The recorded head of each grows to the plan's and a preview is made from there. A finish continues the longest
        head that was recorded, so what a refinement costs at high resolution is saved by the finish.

        Args:
            plan: a `Plan` or the name of a preset; the preview's own unless given.
            head: D of that plan, in steps of the final.
            progress: show a bar.

        The costs of the returned previews count what was evaluated here. Raises as `finish` and `stream` do, and
        ValueError for a plan whose head is on a schedule of its own, which is no beginning of the final.
        """
        items = [previews] if isinstance(previews, Preview) else list(previews)
        made: list[Preview] = []
        for preview in items:
            wanted = preview.plan if plan is None else plan
            if isinstance(wanted, Plan) and head is not None:
                wanted = wanted.replaced(head=head, name=wanted.name)
            elif head is not None:
                raise ValueError(
                    "head= goes with a Plan or with the preview's own: give preset(...).replaced(head=...)"
                )
            if isinstance(wanted, Plan) and not wanted.resumes:
                raise ValueError(
                    f"plan {wanted.name!r} records nothing that a final continues: give a plan with a head"
                )
            (refined,) = self.with_plan([preview], wanted, progress=progress)
            longest = max((refined.tape, preview.tape), key=lambda tape: tape.recorded)
            made.append(dataclasses.replace(refined, index=preview.index, tape=longest))
        return made[0] if isinstance(previews, Preview) else made

    @holding
    def suited(self, plan: Plan, prompt: Any = None, **call: Any) -> Plan:
        """A plan as this pipeline can run it: what `preview` makes of a preset's name.

        Coarse steps have order 1 where the scheduler has an order of its own, and a spectral crop takes the place of
        "pixels" where the pipeline's autoencoder takes and gives no single pictures. The preset "staged" becomes
        "matched" under a transformer's cache, which remembers one run, and with schedulers whose history serves one
        spacing of steps (PNDM). Arguments and errors as of
        `stream`; nothing is evaluated.
        """
        return self._suited(plan, checked(self.pipe, prompt, [0], None, plan.scale, call))

    def _suited(self, plan: Plan, request: Request) -> Plan:
        binding, cached = binding_of(self.pipe.scheduler), cache_config(getattr(self.pipe, request.family.denoiser))
        if plan.name == "staged" and (cached is not None or not binding.changes_spacing):
            return preset("matched", request.steps, plan.scale)
        if not binding.first_order:
            plan = plan.replaced(stages=[stage.replaced(order=1) for stage in plan.stages], name=plan.name)
        if all(stage.operator != "pixels" for stage in plan.stages):
            return plan
        try:
            check_plan(plan, request, self.pipe)
            Maker(self.pipe, request, plan, "", self.head_batch_size, self._layouts).check()
        except UnsupportedError:
            changed = [s.replaced(operator="spectral") if s.operator == "pixels" else s for s in plan.stages]
            return plan.replaced(stages=changed, name=plan.name)
        return plan

    def _made(
        self, request: Request, plan: Plan, progress: bool, known: Sequence[Preview] | None = None
    ) -> Iterator[Sheet]:
        sheet = Sheet(plan, self.fingerprint)
        self._check_batch(request.family, self.head_batch_size, "head_batch_size")
        maker = Maker(
            self.pipe, request, plan, sheet.model, self.head_batch_size, self._layouts, self.cache_bytes, known=known
        )
        count = len(request.prompts)
        with _bar("previews", count, progress) as bar:
            for start in range(0, count, self.batch_size):
                try:
                    made = maker.previews(range(start, min(start + self.batch_size, count)))
                except Interrupted:
                    sheet.interrupted = True
                    yield sheet
                    return
                sheet.previews += made
                bar.update(len(made))
                yield sheet

    @overload
    def finish(
        self, previews: Preview, *, batch_size: int = 1, progress: bool = False, output_type: str | None = None
    ) -> Final: ...
    @overload
    def finish(
        self,
        previews: Sequence[Preview],
        *,
        batch_size: int = 1,
        progress: bool = False,
        output_type: str | None = None,
    ) -> list[Final]: ...
    @holding
    def finish(
        self,
        previews: Preview | Sequence[Preview],
        *,
        batch_size: int = 1,
        progress: bool = False,
        output_type: str | None = None,
    ) -> Final | list[Final]:
        """The final of one preview, or of each of several: `final.image` is what the plain pipeline call makes.

        Evaluations on the tape are not made again.

        Args:
            batch_size: finishes several in one call, which equals the plain call of the same batch when the heads were
                evaluated in that batch too.
            progress: show a bar. output_type: in place of the request's ("latent" leaves the image undecoded).

        Raises:
            TapeError: a tape of another model, prompt or size, or one that does not lead to the recorded state.
            Interrupted: a callback stopped the run.
        """
        items = [previews] if isinstance(previews, Preview) else list(previews)
        family, model = family_of(self.pipe), self.fingerprint
        self._check_batch(family, min(batch_size, len(items)), "batch_size")
        for preview in items:
            check_tape(preview, model, getattr(self.pipe, family.denoiser))
        finals: list[Final] = []
        with _bar("finals", len(items), progress) as bar:
            for start in range(0, len(items), batch_size):
                part = items[start : start + batch_size]
                finals += finish_batch(self.pipe, family.denoiser, part, output_type)
                bar.update(len(part))
        return finals[0] if isinstance(previews, Preview) else finals

    @overload
    def transform(
        self,
        previews: Preview,
        operator: LinearOperator,
        *,
        at: int | None = None,
        guidance: Guidance | str | None = "default",
        seed: int = 0,
        batch_size: int = 1,
        output_type: str | None = None,
        progress: bool = False,
    ) -> Final: ...
    @overload
    def transform(
        self,
        previews: Sequence[Preview],
        operator: LinearOperator,
        *,
        at: int | None = None,
        guidance: Guidance | str | None = "default",
        seed: int = 0,
        batch_size: int = 1,
        output_type: str | None = None,
        progress: bool = False,
    ) -> list[Final]: ...
    @holding
    def transform(
        self,
        previews: Preview | Sequence[Preview],
        operator: LinearOperator,
        *,
        at: int | None = None,
        guidance: Guidance | str | None = "default",
        seed: int = 0,
        batch_size: int = 1,
        output_type: str | None = None,
        progress: bool = False,
    ) -> Final | list[Final]:
        """The final of one preview, or of each of several, transformed by `operator` while it forms.

        Not a resampled picture: the run is moved at step `at` and continued at full resolution, so that what comes into
        view, and the detail, is the model's own.

        Args:
            operator: keeps the size, in pixels of the final: Translate, Roll, Flip, Warp, Affine, Homography, or a
                composition. It acts on latents, so translations are whole latent cells (usually 8 pixels).
            at: the step D that the run is transformed at; 2/5 of the steps unless given. Early: new content is free to
                form; late: closer to the transformed image. Steps before it come from the tape as far as it goes.
            guidance: corrections after it; "default", or None. seed: of the fresh noise for what comes into view.
            batch_size, output_type, progress: as for `finish`.

        Raises:
            UnsupportedError: before any evaluation, for an operator that has no counterpart on the latents.
            TapeError, Interrupted: as `finish`. ValueError: `at` outside the run.
        """
        items = [previews] if isinstance(previews, Preview) else list(previews)
        family, model = family_of(self.pipe), self.fingerprint
        binding = binding_of(self.pipe.scheduler)
        finals: list[Final] = []
        self._check_batch(family, min(batch_size, len(items)), "batch_size")
        for preview in items:
            check_tape(preview, model, getattr(self.pipe, family.denoiser))
            check_draws(self.pipe.scheduler, preview.call)
        memo: dict[Any, Any] = {}
        moves = [Move.of(operator, p.tape.header["steps"], at, guidance, seed) for p in items]
        layouts = [self._layout_of(preview, memo) for preview in items]
        # All of them first: refused before any is made.
        made = [m.on(layout, p.tape.header, binding) for m, layout, p in zip(moves, layouts, items)]
        with _bar("transforms", len(items), progress) as bar:
            for start in range(0, len(items), batch_size):
                part = items[start : start + batch_size]
                finals += transform_batch(
                    self.pipe, family.denoiser, part, made[start], moves[start].seed, layouts[start], memo, output_type
                )
                bar.update(len(part))
        return finals[0] if isinstance(previews, Preview) else finals

    def _check_batch(self, family: Family, count: int, name: str) -> None:
        """UnsupportedError for several high-resolution runs in one call under a cache: it remembers a batch as one."""
        config = cache_config(getattr(self.pipe, family.denoiser))
        if count > 1 and config is not None:
            raise UnsupportedError(
                f"{name}={count} with {type(config).__name__}: a cache remembers a batch as one and may decide for all "
                f"of it at once, so its members could not be finished singly; use {name}=1"
            )

    def _layout_of(self, preview: Preview, memo: dict[Any, Any]) -> Layout:
        key = size_of(preview.call)
        if key not in self._layouts:
            self._layouts[key] = probed_layout(self.pipe, preview.call, memo)
        return self._layouts[key]


def _bar(what: str, total: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=what, unit="image", disable=not shown)
