"""Plans read from files: every field of untrusted JSON values is checked, and what version 0.1 wrote is understood."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .plan import MOST_STAGES, Guidance, Plan, Stage


def plan_of(data: Any) -> Plan:
    """A plan from untrusted JSON values. ValueError names what is missing, unknown or out of range."""
    if isinstance(data, Mapping) and "switch" in data:
        data = _upgraded(data)
    values = _exactly("a plan", data, {f.name for f in dataclasses.fields(Plan)})
    _whole(values, "plan", ("head",))
    if not isinstance(values["name"], str):
        raise ValueError(f"plan field 'name' must be a string, got {values['name']!r}")
    _number(values, "plan", "early_switch")
    if not isinstance(values["stages"], Sequence) or isinstance(values["stages"], (str, bytes)):
        raise ValueError(f"plan field 'stages' must be a list, got {values['stages']!r:.80}")
    if len(values["stages"]) > MOST_STAGES:
        raise ValueError(f"plan field 'stages' holds {len(values['stages'])}, at most {MOST_STAGES} are allowed")
    values["stages"] = tuple(_stage(stage) for stage in values["stages"])
    return Plan(**values)


def _upgraded(data: Mapping[str, Any]) -> dict[str, Any]:
    """A plan as version 0.1 wrote it, in today's form; its values are checked by whoever reads it.

    ValueError where version 0.1 made what no plan of today makes.
    """
    names = {
        *("name", "switch", "head_steps", "operator", "scale", "selection", "selection_seed", "time", "tail"),
        *("guidance", "order", "settle"),
    }
    old = _exactly("a plan of version 0.1", data, names)
    _whole(old, "plan", ("switch", "order"), optional=("head_steps", "tail"))
    guidance = old["guidance"]
    if isinstance(guidance, Mapping) and guidance.get("reference") == "head":
        guidance = {**guidance, "reference": "last"}
    low = {key: old[key] for key in ("operator", "scale", "selection", "selection_seed", "time", "order")}
    stage = {**low, "steps": old["tail"], "guidance": guidance}
    coarse = {"scale": "1", "operator": None, "selection": "first", "selection_seed": 0, "time": "matched"}
    coarse |= {"guidance": None, "order": old["order"]}
    made: dict[str, Any] = {"name": old["name"], "early_switch": old["settle"]}
    switch, own, tail = old["switch"], old["head_steps"], old["tail"]
    if own is None:
        return {**made, "head": switch + 1, "stages": []} if tail == 0 else {**made, "head": switch, "stages": [stage]}
    if tail == 0 and switch == own - 1:
        return {**made, "head": 0, "stages": [{**coarse, "steps": own}]}
    if tail in (None, own - switch) and tail != 0 and switch > 0:
        return {**made, "head": 0, "stages": [{**coarse, "steps": switch}, {**stage, "steps": own - switch}]}
    raise ValueError(
        f"plan of version 0.1: a coarse head of {switch} of {own} steps with tail {tail} is no plan of this version; "
        "make the preview again, with stages"
    )


def _stage(data: Any) -> Stage:
    values = _exactly("a stage", data, {f.name for f in dataclasses.fields(Stage)})
    _whole(values, "stage", ("selection_seed", "order"), optional=("steps",))
    for key in ("selection", "time", "scale"):
        if not isinstance(values[key], str):
            raise ValueError(f"stage field {key!r} must be a string, got {values[key]!r:.80}")
    if values["operator"] is not None and not isinstance(values["operator"], str):
        raise ValueError(f"stage field 'operator' must be a string or null, got {values['operator']!r:.80}")
    if values["guidance"] is not None:
        values["guidance"] = _guidance(values["guidance"])
    # Digits only, and few, since Fraction("1e999999999") would compute all of them.
    if not re.fullmatch(r"[0-9]{1,4}(/[0-9]{1,4})?", values["scale"]):
        raise ValueError(f"stage field 'scale' must be a fraction like '2' or '4/3', got {values['scale']!r:.80}")
    return Stage(**values)


def _guidance(data: Any) -> Guidance:
    values = _exactly("field 'guidance'", data, {f.name for f in dataclasses.fields(Guidance)})
    _whole(values, "guidance", ("steps",))
    if type(values["weight"]) not in (int, float):
        raise ValueError(f"guidance field 'weight' must be a number, got {values['weight']!r}")
    return Guidance(**values)


def _exactly(what: str, data: Any, fields: set[str]) -> dict[str, Any]:
    """`data` as a dict with exactly these fields; ValueError names the missing and the unknown ones."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} must be an object with the fields {sorted(fields)}")
    missing, unknown = fields - set(data), set(data) - fields
    if missing or unknown:
        raise ValueError(f"{what} lacks the fields {sorted(missing)} and has unknown ones {sorted(map(repr, unknown))}")
    return dict(data)


def _whole(values: Mapping[str, Any], what: str, keys: Sequence[str], optional: Sequence[str] = ()) -> None:
    for key in (*keys, *optional):
        if not (type(values[key]) is int or (key in optional and values[key] is None)):
            raise ValueError(f"{what} field {key!r} must be a whole number, got {values[key]!r:.80}")


def _number(values: Mapping[str, Any], what: str, key: str) -> None:
    if values[key] is not None and type(values[key]) not in (int, float):
        raise ValueError(f"{what} field {key!r} must be a number, got {values[key]!r:.80}")
