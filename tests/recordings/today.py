"""Everything that the recordings ask of the package, under names of their own: what changes when its names change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from commutant.adapters import k_diffusion
from commutant.adapters.diffusers import Previewer
from commutant.adapters.sheet import Cost, Preview
from commutant.benchmarks.k_diffusion_sampling import samplers as published_samplers
from commutant.commutator import (
    Guidance,
    Plan,
    RectifiedFlow,
    Stage,
    Tape,
    Transform,
    VarianceExploding,
    VariancePreserving,
    commutator_report,
    euler,
    preset,
)
from commutant.integrations import cli
from commutant.integrations.plans import PlanFile
from commutant.integrations.scenes import SCENES_CALL_DEFAULTS, load_scenes
from commutant.integrations.sheets.folder import SheetFolder
from commutant.integrations.sheets.record import ModelRecord, SheetRecord
from commutant.integrations.webui import accordion
from commutant.operators import (
    Affine,
    BlockMean,
    Flip,
    FourierCrop,
    FourierShift,
    Homography,
    OrthonormalSum,
    QuarterTurn,
    Resize,
    Roll,
    SpectralCrop,
    StridedSelection,
    Translate,
    Warp,
)

PIXEL_MOVES = {"translate": Translate(dx=16, dy=0), "rotate": Affine.rotation(8), "flip": Flip("horizontal")}
CELL_MOVES = {"roll": Roll(2, 3), "translate": Translate(2, 0), "rotate": Affine.rotation(20, fill="reflect")}
PATHS = {"flow": RectifiedFlow(), "exploding": VarianceExploding(), "preserving": VariancePreserving()}


def presets(steps: int) -> dict[str, Any]:
    """The named plans, for finals of `steps` steps."""
    return {name: preset(name, steps) for name in ("matched", "paper", "naive", "direct")}


def staged(head: int, steps: int | None = 3, operator: str = "spectral", scale: Any = 2, **stage: Any) -> Any:
    """A head and one low-resolution stage."""
    return Plan(head, (Stage(scale, steps, operator, **stage),))


def plans(steps: int) -> dict[str, Any]:
    """One plan of every kind that a diffusers pipeline takes, for finals of 6 to 10 steps."""
    last = Guidance("defect", 2, 1.0, "linear", "last")
    return {
        **presets(steps),
        "shown": Plan.live(4, name="shown"),
        "fewer": Plan.fewer(3),
        "fewer, order 2": Plan.fewer(4, order=2),
        "order 2": staged(2, order=2),
        "settle": staged(5).replaced(early_switch=0.2),
        "shown, settle": Plan.live(6, early_switch=0.2),
        "own schedule": Plan(0, (Stage(1, 2), Stage(2, 2))),
        "own schedule, order 2": Plan(0, (Stage(1, 3, order=2), Stage(2, 2, order=2))),
        "stages": Plan(2, (Stage(1, 2, order=2), Stage(2, 2, guidance=last))),
        "coarse end": Plan(2, (Stage(1, 3, order=2),)),
        "mean": staged(3, None, "mean"),
        "random selection": staged(2, None, "strided", selection="random", selection_seed=5),
        "anchor": staged(3, guidance=Guidance("anchor", 3, 0.8, "linear", "last")),
        "lagged": staged(3, guidance=Guidance("lagged", 2, 0.1, reference="last")),
        "exact": staged(3, guidance=Guidance("exact", 2, 0.1)),
    }


def in_between() -> Any:
    """A plan whose scale is no whole number."""
    return staged(2, 2, scale=Fraction(4, 3))


def loop_plans(switch: int) -> dict[str, Any]:
    """Plans that a sampler of the k-diffusion contract takes."""
    return {
        "mean": staged(switch, None, "mean"),
        "defect": staged(switch, None, "mean", guidance=Guidance("defect", 4, 1.0, "linear")),
        "argmin": staged(switch, None, "strided", selection="argmin"),
    }


def embedded() -> tuple[Any, dict[str, Any]]:
    """The model that ships with the package, and a short call of it."""
    pipe = load_scenes()
    pipe.set_progress_bar_config(disable=True)
    return pipe, {**SCENES_CALL_DEFAULTS, "height": 128, "width": 128, "num_inference_steps": 8}


def previews(
    pipe: Any,
    prompt: Any,
    seeds: Sequence[int],
    plan: Any,
    *,
    heads: int = 1,
    output: str | None = "latent",
    **call: Any,
) -> list[Any]:
    made = Previewer(pipe, head_batch_size=heads)
    if output is not None:
        call["output_type"] = output
    return list(made.preview(prompt, seeds=list(seeds), plan=plan, progress=False, **call))


def remade(pipe: Any, items: Sequence[Any], plan: Any) -> list[Any]:
    """The same images' previews by another plan."""
    return list(Previewer(pipe).with_plan(items, plan))


def finals(pipe: Any, items: Sequence[Any], *, batch: int = 1, output: str | None = "latent") -> list[Any]:
    return Previewer(pipe).finish(items, batch_size=batch, output_type=output)


def moves(pipe: Any, items: Sequence[Any], operator: Any, **how: Any) -> list[Any]:
    return Previewer(pipe).transform(items, operator, output_type="latent", **how)


def draws(pipe: Any, call: Mapping[str, Any]) -> bool:
    """Whether steps draw fresh noise, so that images cannot be moved."""
    from commutant.adapters.diffusers.schedulers import draws

    return draws(pipe.scheduler) or bool(call.get("eta"))


def result(item: Any) -> dict[str, np.ndarray]:
    """A preview's or a final's latent or picture, and its counted evaluations (high, low, full)."""
    image = item.image
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    return {"image": array, "cost": np.array([item.cost.high, item.cost.low, item.cost.full])}


def taped(tape: Any) -> dict[str, np.ndarray]:
    """The arrays of a tape, not its header."""
    out = {f"output {i}": _array(o) for i, o in enumerate(tape.outputs)}
    out |= {"noise": _array(tape.noise), "state": _array(tape.state), "times": np.array(tape.times)}
    return out if tape.rng is None else out | {"rng": _array(tape.rng)}


def tape_of(item: Any) -> Any:
    return item.tape


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


# Samplers of the k-diffusion contract.


def samplers() -> dict[str, Any]:
    return published_samplers()


def loop_preview(sampler: Any, model: Any, x: Any, levels: Any, plan: Any, path: str) -> tuple[dict[str, Any], Any]:
    """(arrays, tape)."""
    made = k_diffusion.preview(sampler, model, x, levels, plan, disable=True, path=PATHS[path])
    counts = np.array([made.evaluations.high, made.evaluations.low])
    return {"latent": _array(made.latent), "cost": counts}, made.tape


def loop_in_two_calls(sampler: Any, model: Any, x: Any, levels: Any, plan: Any) -> dict[str, Any]:
    """A preview whose low resolution has a model of its own: here the same one."""
    halves = k_diffusion.TwoCallPreview(plan)
    halves.high(sampler, model, x, levels, disable=True)
    return {"latent": _array(halves.low(model)), "levels": np.array(halves.low_levels)}


def loop_finish(sampler: Any, model: Any, tape: Any) -> np.ndarray:
    return _array(k_diffusion.finish(sampler, model, tape, disable=True))


def loop_move(sampler: Any, model: Any, x: Any, levels: Any, operator: Any, path: str, at: int) -> np.ndarray:
    how = {"at": at, "seeds": [5, 6], "disable": True, "path": PATHS[path]}
    return _array(k_diffusion.transform(sampler, model, x, levels, operator, **how))


def one_of_batch(tape: Any, index: int) -> Any:
    return k_diffusion.image_of(tape, index)


# Arrays without a framework: the reference sampler, the reports, the operators.


def reference(path: str, field: Any, noise: np.ndarray, times: Sequence[float]) -> Iterator[tuple[str, np.ndarray]]:
    """Previews of every plan, the finish and a moved image, by Euler steps in numpy."""
    for name, plan in plans(len(times) - 1).items():
        count = plan.steps if plan.own_schedule else len(times) - 1
        levels = np.interp(np.linspace(0, 1, count + 1), np.linspace(0, 1, len(times)), times).tolist()
        made = euler.preview(plan, PATHS[path], field, noise, levels)
        yield f"{name}/latent", np.asarray(made.latent)
        yield f"{name}/cost", np.array([made.high_evaluations, made.low_evaluations])
    yield "finish", np.asarray(euler.finish(PATHS[path], field, noise, times))
    if path == "preserving":  # asks for the prediction at pure noise, which is undefined
        return
    for name, operator in CELL_MOVES.items():
        move = Transform(operator, 3, Guidance("defect", 2, 1.0))
        yield f"move/{name}", np.asarray(euler.transform(move, PATHS[path], field, noise, times, range(len(noise))))


def reported(path: str, field: Any, states: Sequence[Any], times: Sequence[float]) -> dict[str, np.ndarray]:
    """Commutator norms on some states."""
    out = {}
    for name in ("mean", "spectral", "strided"):
        report = commutator_report(_operators()[name], field, PATHS[path], states, times)
        out |= {f"{name}/absolute": report.absolute, f"{name}/relative": report.relative}
    return out


def applied(x: np.ndarray) -> dict[str, np.ndarray]:
    """Every kind of operator on one array of 12 x 12 cells: forward, adjoint, and white noise carried along."""
    out = {}
    for name, operator in _operators().items():
        y = operator(x)
        out |= {f"{name}/forward": y, f"{name}/adjoint": operator.adjoint(y, x.shape)}
        out[f"{name}/noise"] = operator.noise_partner()(x, 7)
    return {name: np.asarray(array) for name, array in out.items()}


def _operators() -> dict[str, Any]:
    flow = np.random.default_rng(3).standard_normal((12, 12, 2))
    return {
        **CELL_MOVES,
        "mean": BlockMean(2),
        "spectral": SpectralCrop.by(2),
        "strided": StridedSelection(2, (1, 0)),
        "spectral 4/3": SpectralCrop.by(Fraction(4, 3)),
        "fourier crop": FourierCrop.by(2),
        "fourier shift": FourierShift(0.5, 1.25),
        "resize": Resize.by(Fraction(3, 2), "lanczos"),
        "area": Resize.by(Fraction(4, 3), "area"),
        "orthonormal sum": OrthonormalSum(3),
        "composed": BlockMean(2) @ Translate(2, 1),
        "scaled": 0.5 * BlockMean(3),
        "flip": Flip("vertical"),
        "quarter turn": QuarterTurn(1),
        "warp": Warp(flow),
        "homography": Homography(np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.2], [0.001, 0.0, 1.0]])),
    }


# Files: what this version writes and reads.

PROMPT = "a fox and a balloon"
STEPS = 6
CALL = {"height": 64, "width": 96, "num_inference_steps": STEPS, "max_sequence_length": 16}
TAPED = ("matched", "shown", "fewer", "settle")
SHEET = {"seeds": (3, 4), "finished": 3, "transform": "translate 16,0"}


def write_tape(item: Any, path: Path) -> None:
    item.tape.save(path)


def write_loop_tape(tape: Any, path: Path) -> None:
    tape.save(path)


def calibrate(model: Path, prompts: Path, out: Path) -> None:
    """`commutant calibrate`, as a user calls it."""
    line = ["calibrate", "--model", str(model), "--prompts", str(prompts), "--pairs", "2", "--steps", str(STEPS)]
    code = cli.main([*line, "--size", "96x64", "--budget", "0.6", "--no-caches", "--out", str(out)])
    assert code == 0


def read_tape(path: Path) -> Any:
    return Tape.load(path, framework="torch")


def plan_on(tape: Any) -> Any:
    """The plan that a tape says it was made by."""
    return Plan.from_dict(tape.header["plan"])


def taped_preview(tape: Any, plan: Any) -> Any:
    """The preview of a tape that was read from a file, as a finish takes it."""
    call = {**CALL, "prompt": PROMPT, "output_type": "latent"}
    return Preview(0, 3, None, tape, call, Cost(0, 0, 0), plan)


def same_model(pipe: Any, tape: Any) -> bool:
    """Whether a tape is of this pipeline: random weights may differ from machine to machine."""
    return bool(Previewer(pipe).fingerprint == tape.header["model"])


def write_sheet(pipe: Any, folder: Path) -> None:
    """A folder with two previews, a final and a moved image."""
    made = Previewer(pipe)
    call = {**CALL, "prompt": PROMPT}
    plan = plans(STEPS)["matched"]
    model = ModelRecord("pretrained", "tiny/flux", "float32", "cpu", made.fingerprint)
    sheet = SheetFolder.create(folder, SheetRecord(model, call, plan))
    items = previews(pipe, PROMPT, SHEET["seeds"], plan, output=None, **CALL)
    for item in items:
        sheet.add(item)
    (final,) = finals(pipe, items[:1], output=None)
    sheet.add_final(SHEET["finished"], final.image, final.cost)
    moved = made.transform(items[0], PIXEL_MOVES["translate"], at=2)
    sheet.add_transform(SHEET["finished"], moved.image, SHEET["transform"], 2, 0, moved.cost)


def read_sheet(folder: Path) -> tuple[Any, dict[int, Any]]:
    """(plan, previews by seed); everything that the folder names is checked to be there unchanged."""
    sheet = SheetFolder.open(folder)
    assert sheet.ready() == sheet.seeds
    assert sheet.finished(SHEET["finished"])
    assert sheet.transform(SHEET["finished"], SHEET["transform"], 2, 0) is not None
    return sheet.record.plan, {seed: sheet.load(seed) for seed in sheet.seeds}


def read_plan(path: Path) -> tuple[Any, int]:
    """(plan, steps of the finals) of a file that `calibrate` wrote."""
    file = PlanFile.load(path)
    return file.plan, file.steps


def calibrated() -> Any:
    """The plan that `calibrate` found for a tiny pipeline."""
    return Plan.fewer(2)


ACCORDION = ("preview", "matched", "4/3", 5, 2)


def written_infotext() -> dict[str, str]:
    """What the web UI's infotext says of a preview made with `ACCORDION`."""
    return accordion.Settings.read(*ACCORDION).infotext()


def read_infotext(said: Mapping[str, str]) -> tuple[Any, ...]:
    """The accordion's values after the program has parsed an infotext."""
    return tuple(accordion.from_infotext(field, said) for field in ("mode", "name", "scale", "switch", "corrections"))
