"""The example workflows name nodes, inputs, outputs and choices that ComfyUI and this repository really have."""

import json
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / "docs" / "comfyui").glob("*.json"))
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def problems(nodes, workflow):
    """What is wrong with a workflow in the frontend's format, as a list of sentences."""
    found, by_id = [], {node["id"]: node for node in workflow["nodes"]}
    for node in workflow["nodes"]:
        kind = nodes.NODE_CLASS_MAPPINGS.get(node["type"])
        if kind is None:
            found.append(f"no node {node['type']}")
            continue
        inputs = kind.INPUT_TYPES()
        named = inputs.get("required", {}) | inputs.get("optional", {})
        found += [f"{node['type']} has no input {i['name']}" for i in node["inputs"] if i["name"] not in named]
        if [o["type"] for o in node["outputs"]] != list(kind.RETURN_TYPES):
            found.append(f"{node['type']} gives {kind.RETURN_TYPES}")
        widgets = [v for v in named.values() if isinstance(v[0], list) or v[0] in WIDGETS]
        extra = sum(bool(len(v) > 1 and v[1].get("control_after_generate")) for v in widgets)
        if len(node["widgets_values"]) != len(widgets) + extra:
            found.append(f"{node['type']} has {len(widgets) + extra} widgets, not {len(node['widgets_values'])}")
        wired = {i["name"] for i in node["inputs"] if i["link"] is not None}
        sockets = {k for k, v in inputs.get("required", {}).items() if v not in widgets}
        found += [f"{node['type']}: {name} is not connected" for name in sorted(sockets - wired)]
    for link, source, slot, target, place, kind in workflow["links"]:
        ends = by_id[source]["outputs"][slot]["type"], by_id[target]["inputs"][place]["type"]
        if ends != (kind, kind) or by_id[target]["inputs"][place]["link"] != link:
            found.append(f"link {link} joins {ends}")
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_an_example_workflow_fits_the_nodes(nodes, path):
    assert problems(nodes, json.loads(path.read_text())) == []


def test_a_wrong_workflow_is_noticed(nodes):
    workflow = json.loads(WORKFLOWS[0].read_text())
    node = next(n for n in workflow["nodes"] if n["type"] == "CommutantPreviewSampler")
    node["inputs"][0]["name"] = "noises"
    node["widgets_values"].pop()
    assert len(problems(nodes, workflow)) == 3


def test_there_are_workflows():
    assert {p.stem for p in WORKFLOWS} == {"contact-sheet", "preview-and-finish", "transform"}
