"""The accordion "Preview" and its buttons, in gradio 3 and 4."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...commutator import PRESETS
from .settings import MOST_STEPS, SCALES, Settings, restored

# The page's own functions, where it has them: which gallery image is selected, and the progress bar of a job.
JS = """(task, gallery, index, info) => {
    const job = typeof randomId === 'function' ? randomId() : '';
    const place = (id) => gradioApp().getElementById(id);
    if (job && typeof requestProgress === 'function') {
        requestProgress(job, place('txt2img_gallery_container'), place('txt2img_gallery'), () => {});
    }
    return [job, gallery, typeof selected_gallery_index === 'function' ? selected_gallery_index() : -1, info];
}"""
PARTS = ("txt2img_gallery", "generation_info_txt2img", "html_info_txt2img", "html_log_txt2img")


def controls(gr: Any, element: Callable[[str], str]) -> tuple[list[Any], list[tuple[Any, Any]], Callable[..., None]]:
    """Inside a gradio block: the controls in the order of `Settings.read`, what an infotext restores, and a function
    that ties the buttons to the page: `tie(parts, selected, all)`, with components for `PARTS` and two handlers of
    `(task, gallery, index, info)`."""
    default = Settings()
    with gr.Accordion("Preview", open=False, elem_id=element("accordion")):
        with gr.Row():
            mode = gr.Radio(["off", "preview"], value="off", label="Mode", elem_id=element("mode"))
            name = gr.Dropdown(list(PRESETS), value=default.name, label="Preset", elem_id=element("preset"))
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
    fields = [(control, _restore(field)) for control, field in zip(made, Settings.__dataclass_fields__)]

    def tie(parts: Mapping[str, Any], finish_selected: Any, finish_all: Any) -> None:
        script = {"_js" if gr.__version__.startswith("3.") else "js": JS}
        for button, handler in ((selected, finish_selected), (everything, finish_all)):
            button.click(
                fn=handler,
                inputs=[task, parts["txt2img_gallery"], index, parts["generation_info_txt2img"]],
                outputs=[parts[part] for part in PARTS],
                show_progress=False,
                **script,
            )

    return made, fields, tie


def _slider(gr: Any, least: int, value: int, label: str, elem_id: str) -> Any:
    return gr.Slider(minimum=least, maximum=MOST_STEPS, step=1, value=value, label=label, elem_id=elem_id)


def _restore(field: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda said: restored(field, said)
