"""A page with the extension in it, on whatever gradio is installed: `python -m tests.webui.gradio_host PORT`.

The page is small, its parts have the names they have in A1111 and Forge, and what it generates is the small program's.
"""

import json
import sys
import tempfile

import gradio as gr

from . import fake_program
from .conftest import load

PAGE = """() => {
    window.gradioApp = () => document;
    window.selected_gallery_index = () => {
        const small = '#txt2img_gallery .thumbnails > .thumbnail-item.thumbnail-small';
        return Array.from(document.querySelectorAll(small)).findIndex((one) => one.classList.contains('selected'));
    };
}"""
CALL = "_js" if gr.__version__.startswith("3.") else "js"


def page(script, runner):
    """The page as gradio Blocks."""
    with gr.Blocks(title="txt2img") as blocks:
        with gr.Row():
            prompt = gr.Textbox("a [fox:balloon:0.5] at night", label="Prompt", elem_id="txt2img_prompt")
            count = gr.Slider(1, 8, value=3, step=1, label="Batch count", elem_id="txt2img_batch_count")
            generate = gr.Button("Generate", elem_id="txt2img_generate", variant="primary")
        with gr.Row():
            with gr.Column():
                script.controls = script.ui(False)
                pasted = gr.Textbox(label="Infotext", elem_id="pasted", lines=3)
                paste = gr.Button("Paste", elem_id="paste")
            with gr.Column(elem_id="txt2img_results"), gr.Group(elem_id="txt2img_gallery_container"):
                made = {
                    "txt2img_gallery": gr.Gallery(
                        label="Output", elem_id="txt2img_gallery", columns=4, preview=True, object_fit="contain",
                        **({"type": "pil"} if CALL == "js" else {}),
                    ),
                    "html_info_txt2img": gr.HTML(elem_id="html_info_txt2img"),
                    "html_log_txt2img": gr.HTML(elem_id="html_log_txt2img"),
                    "generation_info_txt2img": gr.Textbox(visible=False, elem_id="generation_info_txt2img"),
                }  # fmt: skip
        for name, callback in script.after:
            callback(type("On", (), {"component": made[name]}))
        runner.inputs = [None, *script.controls]

        def run(prompt, count, *values):
            p = fake_program.StableDiffusionProcessingTxt2Img(
                prompt=prompt, n_iter=int(count), seed=5, width=256, height=192
            )
            p.scripts, p.script_args = runner, (0, *values)
            processed = fake_program.process_images(p)
            return processed.images, processed.js(), processed.infotexts[0], processed.comments

        generate.click(
            run,
            inputs=[prompt, count, *script.controls],
            outputs=[
                made["txt2img_gallery"],
                made["generation_info_txt2img"],
                made["html_info_txt2img"],
                made["html_log_txt2img"],
            ],
        )

        def restored(text):
            said = fake_program.parse_generation_parameters(text)
            return [restore(said) for _, restore in script.infotext_fields]

        paste.click(
            restored,
            inputs=[pasted],
            outputs=[control for control, _ in script.infotext_fields],
        )
        blocks.load(None, None, None, **{CALL: PAGE})
    return blocks


def main(port):
    folder = tempfile.mkdtemp()
    sys.modules.update(fake_program.modules_for(folder))
    script = load().PreviewScript()
    runner = fake_program.ScriptRunner(script)
    sys.modules["modules.scripts"].scripts_txt2img = runner
    blocks = page(script, runner)
    print(json.dumps({"gradio": gr.__version__}), flush=True)
    blocks.queue().launch(server_name="127.0.0.1", server_port=port, quiet=True, show_api=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
