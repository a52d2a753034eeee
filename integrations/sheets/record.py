"""What `sheet.json` says, as values: how a sheet was made, what lies in it, what is finished.

The file comes from outside as far as a reader knows: every field is checked, and file names are not followed but
compared with the only names that a seed may have, so that no entry can point out of the folder.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...adapters.sheet import Cost
from ...commutator import Plan, Stage
from ...errors import SheetError

FORMAT = "commutant-sheet"
VERSION = 2  # 1, of release 0.1, is read too: it calls transforms "moved"
SOURCES = ("embedded", "pretrained")
LARGEST_SEED = 2**63 - 1
LONGEST_HOW = 200
MOST_PREVIEWS = 10_000
_LARGEST_SIDE, _MOST_STEPS, _MOST_COUNTED, _MOST_SECONDS = 99_999, 10_000, 2**53, 1e12
_DEEPEST = 20  # of lists and objects in an argument


@dataclass(frozen=True)
class ModelRecord:
    """How the model was loaded: enough to load it again and to tell whether it is the same one.

    Attributes:
        source: "embedded", or "pretrained" with `name` a local folder or a hub id.
        fingerprint: of weights, configuration, dtype and device type. Empty where it is not known yet.
    """

    source: str
    name: str | None
    dtype: str
    device: str
    fingerprint: str = ""

    @property
    def title(self) -> str:
        return self.name if self.name is not None else "embedded model"


@dataclass(frozen=True)
class FinalRecord:
    """A finished image and what the finish cost."""

    image: str
    sha256: str
    cost: Cost


@dataclass(frozen=True)
class TransformRecord:
    """A transformed image of a seed, and what it cost.

    Attributes:
        how: the transform as the command line says it, like "translate 32,0". at: the step it was made at.
        noise_seed: of the fresh noise for what came into view.
    """

    image: str
    sha256: str
    how: str
    at: int
    noise_seed: int
    cost: Cost


@dataclass(frozen=True)
class PreviewRecord:
    """One preview of the sheet: its files and its cost.

    Attributes:
        image_sha256: of the preview's file; None in sheets of releases that did not record it.
        head: of the plan that a refined preview was made by; None where that is the sheet's own.
    """

    seed: int
    image: str
    tape: str
    tape_sha256: str
    cost: Cost
    image_sha256: str | None = None
    final: FinalRecord | None = None
    transforms: tuple[TransformRecord, ...] = ()
    head: int | None = None


@dataclass(frozen=True)
class SheetRecord:
    """A whole sheet.

    Attributes:
        call: keyword arguments of the plain pipeline call, without seed.
        head_batch: how many heads ran together; 1 makes a finish equal to the plain call of one seed.
    """

    model: ModelRecord
    call: Mapping[str, Any]
    plan: Plan
    head_batch: int = 1
    previews: tuple[PreviewRecord, ...] = ()

    @property
    def prompt(self) -> str:
        return str(self.call["prompt"])

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(p.seed for p in self.previews)

    @property
    def cost(self) -> Cost:
        """The sum over all previews, finishes left out."""
        return sum((p.cost for p in self.previews), Cost(0, 0, 0))

    def entry(self, seed: int) -> PreviewRecord:
        """The preview of a seed. SheetError says which seeds there are."""
        for preview in self.previews:
            if preview.seed == seed:
                return preview
        there = f"it holds {ranges(self.seeds)}" if self.previews else "it holds no previews yet"
        raise SheetError(f"no preview of seed {seed} in this sheet: {there}")

    def plan_of(self, entry: PreviewRecord) -> Plan:
        """The plan that a preview was made by: the sheet's, or that with a longer head."""
        return self.plan if entry.head is None else self.plan.replaced(head=entry.head, name=self.plan.name)

    def final_of(self, seed: int) -> FinalRecord | None:
        """The final of a seed, if the sheet holds one."""
        return next((p.final for p in self.previews if p.seed == seed), None)

    def with_entry(self, entry: PreviewRecord) -> SheetRecord:
        """A copy that holds `entry`, in seed order."""
        others = [p for p in self.previews if p.seed != entry.seed]
        return dataclasses.replace(self, previews=tuple(sorted([*others, entry], key=lambda p: p.seed)))

    def differences(self, other: SheetRecord) -> list[str]:
        """What keeps two sheets from being one request, in words. A fingerprint not known yet agrees with any."""
        kinds = {"source": "model", "name": "model", "dtype": "dtype", "device": "device"}
        found = [word for key, word in kinds.items() if getattr(self.model, key) != getattr(other.model, key)]
        prints = (self.model.fingerprint, other.model.fingerprint)
        if all(prints) and prints[0] != prints[1] and not found:
            found.append("model weights")
        arguments = sorted({*self.call, *other.call})
        found += [key.replace("_", " ") for key in arguments if self.call.get(key) != other.call.get(key)]
        found += [f"plan {word}" for word in _plan_differences(self.plan, other.plan)]
        if self.head_batch != other.head_batch:
            found.append("head batch")
        return list(dict.fromkeys(found))

    def to_json(self) -> str:
        """The text of `sheet.json`; `from_json` is its inverse."""
        data = dataclasses.asdict(dataclasses.replace(self, call=dict(self.call)))
        data["plan"] = self.plan.to_dict()
        head = {"format": FORMAT, "version": VERSION}
        return json.dumps({**head, **data}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> SheetRecord:
        """A sheet from untrusted text. SheetError names the field that is missing, unknown or out of range."""
        try:
            data = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
            text.encode("utf-8")
            json.dumps(data, ensure_ascii=False).encode("utf-8")  # an escape may stand for half a character
        except (ValueError, RecursionError) as error:
            raise SheetError(f"sheet.json is not readable as JSON ({error})") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise SheetError("sheet.json is no commutant sheet")
        if data.get("version") not in (1, VERSION):
            raise SheetError(
                f"sheet.json has version {data.get('version')!r}; this release reads versions 1 and {VERSION}"
            )
        _keys(data, {"format", "version", *(f.name for f in dataclasses.fields(cls))}, "sheet")
        try:
            plan = Plan.from_dict(data["plan"])
        except (ValueError, TypeError) as error:
            raise SheetError(f"sheet.json: {error}") from None
        entries = _typed(data["previews"], list, "previews")
        if len(entries) > MOST_PREVIEWS:
            raise SheetError(f"sheet.json: a sheet holds at most {MOST_PREVIEWS} previews, got {len(entries)}")
        previews = tuple(_preview(_of_first_version(p) if data["version"] == 1 else p) for p in entries)
        if len({p.seed for p in previews}) != len(previews):
            raise SheetError("sheet.json: a seed appears twice")
        head_batch = _count(data["head_batch"], "head_batch", most=MOST_PREVIEWS)
        return cls(_model(data["model"]), checked_call(data["call"]), plan, head_batch, previews)


def _plan_differences(mine: Plan, theirs: Plan) -> list[str]:
    """The fields that two plans differ in, in words; not their names."""
    found = _different(mine, theirs, {"head", "early_switch"})
    if len(mine.stages) != len(theirs.stages):
        return [*found, "stages"]
    names = {f.name for f in dataclasses.fields(Stage)}
    return found + [word for a, b in zip(mine.stages, theirs.stages) for word in _different(a, b, names)]


def _different(mine: Any, theirs: Any, names: set[str]) -> list[str]:
    return [name.replace("_", " ") for name in sorted(names) if getattr(mine, name) != getattr(theirs, name)]


def file_names(seed: int, head: int | None = None) -> dict[str, str]:
    """The files of a seed, refined to a longer `head` or not; with `transform_name`, no others are ever written.

    A refinement has names of its own: until `sheet.json` names them, those before it are whole.
    """
    rung = f"{seed}" if head is None else f"{seed}-{head}"
    return {"image": f"preview-{rung}.png", "tape": f"tape-{rung}.safetensors", "final": f"final-{seed}.png"}


def transform_name(seed: int, number: int) -> str:
    """The file of the `number`-th transformed image of a seed, counted from 1."""
    return f"transform-{seed}-{number}.png"


def ranges(seeds: tuple[int, ...] | list[int]) -> str:
    """Seeds as people write them: (0, 1, 2, 7) -> "0-2, 7". Only three and more in a row become a range."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 2 else ", ".join(map(str, r)) for r in runs)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if math.isfinite(value := float(text)):
        return value
    raise ValueError(f"{text[:40]} is too large")


def _typed(value: Any, kind: type, where: str) -> Any:
    # bool is an int in Python, and no field of a sheet is one.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SheetError(f"sheet.json: {where} must be of type {kind.__name__}, got {value!r:.60}")
    return value


def _keys(data: Any, names: set[str], where: str) -> dict[str, Any]:
    data = _typed(data, dict, where)
    if set(data) != names:
        odd = sorted(set(data) ^ names)
        raise SheetError(f"sheet.json: {where} must have exactly the fields {sorted(names)}; see {odd[:4]}")
    return data


def _fields(data: Any, kind: type, where: str) -> dict[str, Any]:
    return _keys(data, {f.name for f in dataclasses.fields(kind)}, where)


def _count(value: Any, where: str, least: int = 1, most: int = _MOST_COUNTED) -> int:
    if _typed(value, int, where) < least:
        raise SheetError(f"sheet.json: {where} must be at least {least}, got {value}")
    if value > most:
        raise SheetError(f"sheet.json: {where} must be at most {most}")
    return int(value)


def _model(data: Any) -> ModelRecord:
    data = _fields(data, ModelRecord, "model")
    for key in ("source", "dtype", "device", "fingerprint"):
        if not _typed(data[key], str, f"model {key}"):
            raise SheetError(f"sheet.json: model {key} is empty")
    if data["source"] not in SOURCES:
        raise SheetError(f"sheet.json: model source must be one of {SOURCES}, got {data['source']!r:.60}")
    if (data["name"] is None) != (data["source"] == "embedded"):
        raise SheetError("sheet.json: a pretrained model has a name, the embedded one has none")
    if data["name"] is not None:
        _typed(data["name"], str, "model name")
    return ModelRecord(**data)


def checked_call(data: Any) -> dict[str, Any]:
    """The arguments of a plain pipeline call as a sheet may hold them.

    Text stands only in prompts: elsewhere a pipeline may take it for the address of a picture and fetch that.

    Raises:
        SheetError: no prompt, sizes or steps that no run has, text outside prompts, deep nesting.
    """
    data = _typed(data, dict, "call")
    _typed(data.get("prompt"), str, "call prompt")
    for key, most in {"height": _LARGEST_SIDE, "width": _LARGEST_SIDE, "num_inference_steps": _MOST_STEPS}.items():
        _count(data.get(key), f"call {key}", most=most)
    for key, value in data.items():
        if not key.isidentifier() or key in ("self", "generator", "latents") or key.startswith("callback"):
            raise SheetError(f"a sheet holds no argument {key!r:.60}")
        if not (key.startswith(("prompt", "negative_prompt")) and isinstance(value, str)):
            _plain(value, key)
    return dict(data)


def _plain(value: Any, key: str, depth: int = _DEEPEST) -> None:
    if depth == 0:
        raise SheetError(f"{key} is nested more than {_DEEPEST} deep")
    if isinstance(value, str) and not re.fullmatch(r"[\w+-]{0,64}", value):
        raise SheetError(f"{key} holds the text {value!r:.60}; in an argument of a sheet only a name may stand")
    for entry in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _plain(entry, key, depth - 1)


def _cost(data: Any, where: str) -> Cost:
    data = _fields(data, Cost, where)
    for key, value in data.items():
        if key in ("high", "low", "full"):
            _count(value, f"{where} {key}", least=0)
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_SECONDS:
            raise SheetError(f"sheet.json: {where} {key} must be a time in seconds, got {value!r:.60}")
    return Cost(**data)


def _sha256(value: Any, where: str) -> str:
    text = _typed(value, str, where)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise SheetError(f"sheet.json: {where} must be a SHA-256 in hex, got {value!r:.70}")
    return str(text)


def _of_first_version(data: Any) -> Any:
    """An entry of a sheet of version 1, in today's form; one that is none is left to the checks."""
    if not isinstance(data, dict):
        return data
    rest = {key: value for key, value in data.items() if key != "moved"}
    return {"image_sha256": None, **rest, "transforms": data.get("moved", []), "head": None}


def _preview(data: Any) -> PreviewRecord:
    data = _fields(data, PreviewRecord, "preview")
    seed = _count(data["seed"], "preview seed", least=0, most=LARGEST_SEED)
    head = None if data["head"] is None else _count(data["head"], f"head of preview {seed}", most=_MOST_STEPS)
    where, names = f"preview {seed}", file_names(seed, head)
    for key in ("image", "tape"):
        _name(data[key], names[key], where)
    final = data["final"]
    if final is not None:
        final = _fields(final, FinalRecord, f"final {seed}")
        _name(final["image"], names["final"], f"final {seed}")
        final = FinalRecord(final["image"], _sha256(final["sha256"], f"final {seed}"), _cost(final["cost"], where))
    digest = _sha256(data["tape_sha256"], f"{where} tape_sha256")
    seen = None if data["image_sha256"] is None else _sha256(data["image_sha256"], f"{where} image_sha256")
    listed = _typed(data["transforms"], list, f"{where} transforms")
    transforms = tuple(_transform(t, seed, number) for number, t in enumerate(listed, start=1))
    files = data["image"], data["tape"], digest
    return PreviewRecord(seed, *files, _cost(data["cost"], where), seen, final, transforms, head)


def _transform(data: Any, seed: int, number: int) -> TransformRecord:
    where = f"transform {number} of seed {seed}"
    data = _fields(data, TransformRecord, where)
    if data["image"] != f"moved-{seed}-{number}.png":  # its name in release 0.1
        _name(data["image"], transform_name(seed, number), where)
    how = _typed(data["how"], str, f"{where} how")
    if not how.isprintable() or len(how) > LONGEST_HOW:
        raise SheetError(f"sheet.json: how of {where} must be one short line")
    at, noise_seed = (_count(data[key], f"{where} {key}", least=0) for key in ("at", "noise_seed"))
    return TransformRecord(
        data["image"], _sha256(data["sha256"], where), how, at, noise_seed, _cost(data["cost"], f"{where} cost")
    )


def _name(value: Any, expected: str, where: str) -> None:
    if value != expected:
        raise SheetError(f"sheet.json: the file of {where} must be {expected!r}, got {value!r:.60}")
