"""The always-visible script. Its hooks are called by the program, which swallows what they raise."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from modules import scripts

from . import program
from .accordion import INFOTEXT, PARTS, Settings, controls
from .buttons import Buttons
from .generation import Outcome, is_wrapped, wrap
from .requests import Request, Requests, request_for_image, request_of
from .sampler import refusal
from .tapes import TapeStore

STORE = TapeStore(program.data_folder())
REQUESTS = Requests()
UNKNOWN = "this version of the program is unknown to it"
TOO_OLD = "it needs A1111 1.10 or newer, or Forge: this program does not tell extensions when it samples"


@dataclass
class Job:
    """One generation: its settings and request, and which batches were previewed."""

    settings: Settings
    request: Request
    enable_hr: bool
    outcome: Outcome = field(default_factory=Outcome)
    batches: dict[int, bool] = field(default_factory=dict)


class PreviewScript(scripts.Script):
    """Preview instead of generate; finish what was picked."""

    commutant = True

    def title(self) -> str:
        return "Commutant"

    def show(self, is_img2img: bool) -> Any:
        return False if is_img2img else scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> Any:
        made, fields, connect = controls(gr, self.elem_id)
        self.infotext_fields = fields
        self.paste_field_names = list(INFOTEXT)
        parts: dict[str, Any] = {}
        buttons = Buttons(program, REQUESTS, lambda: self.args_from)

        def created(part: str, component: Any) -> None:
            parts[part] = component
            if len(parts) == len(PARTS):
                connect(parts, program.queued(buttons.finish_selected), program.queued(buttons.finish_all))

        for part in PARTS:
            self.on_after_component(lambda on, part=part: created(part, on.component), elem_id=part)
        return made

    def before_process(self, p: Any, *values: Any) -> None:
        """Read the accordion, before anything has changed `p`."""
        p.commutant = None
        try:
            settings = Settings.read(*values)
            if settings.mode != "off":
                if not program.is_current():
                    raise ValueError(TOO_OLD)
                STORE.memory = program.mebibytes("commutant_memory", 1024)
                STORE.disk = program.mebibytes("commutant_disk", 4096)
                p.commutant = Job(settings, request_of(p), bool(getattr(p, "enable_hr", False)))
        except ValueError as error:
            p.comment(f"Preview: {error}. Sampled without preview.")
        except Exception:
            traceback.print_exc()
            p.comment(f"Preview: {UNKNOWN}. Sampled without preview.")

    def process_before_every_sampling(self, p: Any, *values: Any, **_: Any) -> None:
        """Put the preview or the finish in the sampler's place, or comment why not."""
        job: Job | None = getattr(p, "commutant", None)
        if job is None or getattr(p, "is_hr_pass", False):
            return
        job.outcome.previewed = False
        try:
            if is_wrapped(p):
                return
            why = refusal(p)
            if why is None:
                wrap(p, job.settings, STORE, job.outcome)
                return
        except Exception:
            traceback.print_exc()
            why = UNKNOWN
        p.comment(f"Preview: {why}. Sampled without preview.")

    def post_sample(self, p: Any, ps: Any, *values: Any) -> None:
        job: Job | None = getattr(p, "commutant", None)
        if job is None:
            return
        job.batches[p.iteration] = job.outcome.previewed
        if hasattr(p, "enable_hr"):
            p.enable_hr = job.enable_hr  # a preview has left the second pass out

    def postprocess(self, p: Any, processed: Any, *values: Any) -> None:
        """Remember the request of each preview."""
        job: Job | None = getattr(p, "commutant", None)
        if job is None:
            return
        p.commutant = None
        first = processed.index_of_first_image
        for position, infotext in enumerate(processed.infotexts[first:]):
            if job.batches.get(position // p.batch_size, False) and position < len(p.all_seeds):
                REQUESTS.remember(infotext, request_for_image(job.request, p, position))


def _settings() -> None:
    """Two numbers on the program's settings page."""
    from modules import shared

    section = ("commutant", "Previews")
    for name, value, label in (
        ("commutant_memory", 1024, "Recorded beginnings kept in memory (MiB)"),
        ("commutant_disk", 4096, "Recorded beginnings kept on disk after that (MiB)"),
    ):
        info = shared.OptionInfo(value, label, gr.Number, {"precision": 0}, section=section)
        shared.opts.add_option(name, info)


def register() -> None:
    """Called each time the program loads its scripts: it forgets callbacks when the page is reloaded."""
    from modules import script_callbacks

    script_callbacks.on_ui_settings(_settings)
