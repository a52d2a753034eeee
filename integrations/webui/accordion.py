"""The accordion "Preview": its controls in gradio 3 and 4, what their values mean, and their way through an infotext.

Values come from a browser, an API client or an infotext, and are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from ...commutator import Plan
from ...commutator.plan import DEFAULT_SAMPLER_PRESET, SAMPLER_PRESETS
from ..plans import chosen_plan

MODES = ("off", "preview", "finish")  # "finish" is for buttons and API clients: the final of a request, from its tape
SCALES = ("2", "3", "4", "3/2", "4/3")
MOST_STEPS = 150
INFOTEXT = ("Preview", "Preview scale", "Preview switch", "Preview corrections")
# The page's own functions, where it has them: the selected gallery image, and the progress bar of a job.
JS = """(task, gallery, index, info) => {
    const job = typeof randomId === 'function' ? randomId() : '';
    const place = (id) => gradioApp().getElementById(id);
    if (job && typeof requestProgress === 'function') {
        requestProgress(job, place('txt2img_gallery_container'), place('txt2img_gallery'), () => {});
    }
    return [job, gallery, typeof selected_gallery_index === 'function' ? selected_gallery_index() : -1, info];
}"""
PARTS = ("txt2img_gallery", "generation_info_txt2img", "html_info_txt2img", "html_log_txt2img")


@dataclass(frozen=True)
class Settings:
    """The values of the accordion.

    Args:
        mode: "off", "preview" or "finish".
        name: of a preset.
        scale: high over low resolution, as text.
        switch: high-resolution steps; 0 for the preset's.
        corrections: corrected model answers; -1 for the preset's, 0 for none.
    """

    mode: str = "off"
    name: str = DEFAULT_SAMPLER_PRESET
    scale: str = "2"
    switch: int = 0
    corrections: int = -1

    @classmethod
    def read(cls, *values: Any) -> Settings:
        """From the controls, in order; what is left out is as by default. ValueError names what cannot be used."""
        if len(values) > 5:
            raise ValueError(f"the Preview accordion has 5 values, got {len(values)}")
        found = dict(zip(("mode", "name", "scale", "switch", "corrections"), values))
        return cls(
            _one_of("mode", found.get("mode", "off"), MODES),
            _one_of("preset", found.get("name", DEFAULT_SAMPLER_PRESET), SAMPLER_PRESETS),
            _one_of("scale", str(found.get("scale", "2")), SCALES),
            _whole("switch", found.get("switch", 0), 0),
            _whole("corrections", found.get("corrections", -1), -1),
        )

    def plan(self, steps: int, *, tail: bool = True) -> Plan:
        """The plan for a final of `steps` steps. ValueError where there is none.

        `tail` False: one low-resolution step for each that remains, for samplers that cannot take fewer.
        """
        return chosen_plan(
            steps,
            self.name,
            Fraction(self.scale),
            head=self.switch or None,
            tail=None if tail else 0,
            corrections=None if self.corrections < 0 else self.corrections,
        )

    def infotext(self) -> dict[str, str]:
        """What a preview adds to its infotext. No value looks like a size: "2x" would be torn apart when it is read."""
        parameters = {"Preview": self.name, "Preview scale": self.scale}
        if self.switch:
            parameters["Preview switch"] = str(self.switch)
        if self.corrections >= 0:
            parameters["Preview corrections"] = str(self.corrections)
        return parameters


def from_infotext(field: str, parameters: Mapping[str, Any]) -> Any:
    """The value of the accordion's control `field` from a parsed infotext; the default where it has none.

    An infotext may come from anywhere: a value that the accordion does not offer counts as missing.
    """
    try:
        if field == "mode":
            return "preview" if parameters.get("Preview") in SAMPLER_PRESETS else "off"
        if field == "name":
            return _one_of("Preview", parameters["Preview"], SAMPLER_PRESETS)
        if field == "scale":
            return _one_of("Preview scale", str(parameters["Preview scale"]), SCALES)
        if field == "switch":
            return _whole("Preview switch", parameters["Preview switch"], 0)
        return _whole("Preview corrections", parameters["Preview corrections"], -1)
    except (KeyError, ValueError):
        return getattr(Settings(), field)


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r:.80}")
    return value


def _whole(what: str, value: Any, least: int) -> int:
    text = str(value).strip().removesuffix(".0")
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 5) or not least <= int(text) <= MOST_STEPS:
        raise ValueError(f"{what} must be a whole number from {least} to {MOST_STEPS}, got {value!r:.80}")
    return int(text)


def controls(gr: Any, element: Callable[[str], str]) -> tuple[list[Any], list[tuple[Any, Any]], Callable[..., None]]:
    """Make the controls inside a gradio block.

    Returns:
        The controls in the order of `Settings.read`; pairs of a control and the function that reads its value from a
        parsed infotext; and `connect(parts, selected, all)`, which gives the buttons their handlers of
        `(task, gallery, index, info)`, once there are components for all `PARTS` of the page.
    """
    default = Settings()
    with gr.Accordion("Preview", open=False, elem_id=element("accordion")):
        with gr.Row():
            mode = gr.Radio(["off", "preview"], value="off", label="Mode", elem_id=element("mode"))
            name = gr.Dropdown(list(SAMPLER_PRESETS), value=default.name, label="Preset", elem_id=element("preset"))
            scale = gr.Dropdown(list(SCALES), value=default.scale, label="Scale", elem_id=element("scale"))
        with gr.Row():
            switch = _slider(gr, 0, 0, "Switch (steps at full size, 0: the preset's)", element("switch"))
            corrections = _slider(gr, -1, -1, "Corrections (-1: the preset's, 0: none)", element("corrections"))
        with gr.Row():
            selected = gr.Button("Finish selected", elem_id="commutant_finish_selected")
            everything = gr.Button("Finish all", elem_id="commutant_finish_all")
        # Places for what the page's script puts in: the job's name and the selected image.
        task = gr.Textbox(visible=False, elem_id=element("task"))
        index = gr.Number(value=-1, visible=False, elem_id=element("index"))

    made = [mode, name, scale, switch, corrections]
    fields = [(control, partial(from_infotext, field)) for control, field in zip(made, Settings.__dataclass_fields__)]

    def connect(parts: Mapping[str, Any], finish_selected: Any, finish_all: Any) -> None:
        script = {"_js" if gr.__version__.startswith("3.") else "js": JS}
        for button, handler in ((selected, finish_selected), (everything, finish_all)):
            button.click(
                fn=handler,
                inputs=[task, parts["txt2img_gallery"], index, parts["generation_info_txt2img"]],
                outputs=[parts[part] for part in PARTS],
                show_progress=False,
                **script,
            )

    return made, fields, connect


def _slider(gr: Any, least: int, value: int, label: str, elem_id: str) -> Any:
    return gr.Slider(minimum=least, maximum=MOST_STEPS, step=1, value=value, label=label, elem_id=elem_id)
