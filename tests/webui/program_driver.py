"""Drives a real Forge or A1111, headless, and writes what was seen to a JSON file.

    cd FORGE && venv/bin/python .../tests/webui/program_driver.py CHECKPOINT RESULT [CHECK ...]

Run by test_programs.py in the program's own interpreter, in its folder, with the checkout of this project as an
extension. CHECKPOINT is any safetensors file: the small model takes its place. RESULT is the file to write.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import program_session
from program_session import Counted, Program, same, start

DETERMINISTIC = ("Euler", "DPM++ 2M", "Heun", "LMS", "DPM2", "DPM fast", "HeunPP2", "IPNDM", "IPNDM_V", "DEIS")
STOCHASTIC = (
    "Euler a",
    "DPM2 a",
    "DPM++ 2S a",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "DPM++ 3M SDE",
    "Restart",
    "LCM",
    "DDPM",
)
PLAIN = ("DPM adaptive", "DDIM", "DDIM CFG++", "PLMS", "UniPC")


def sampler(program, name, **fields):
    """One sampler: plain, previewed, finished by the button's way and by the API's."""
    import torch

    with Counted() as whole:
        plain = program.make("off", sampler_name=name, **fields)
    found = torch.get_rng_state()
    preview = program.make("preview", sampler_name=name, **fields)
    seen = {"comments": preview.comments, "size": preview.images[0].size, "infotext": preview.infotexts[0]}
    seen["plain"] = same(preview.images[0], plain.images[0])
    if program.host.REQUESTS.of(preview.infotexts[0]) is None:
        return seen
    image, infotext, comments = program.finish(preview.infotexts[0])
    torch.set_rng_state(found)
    with Counted() as rest:
        again = program.make("finish", sampler_name=name, **fields)
    return seen | {
        "finish": same(image, plain.images[0]),
        "latent": torch.equal(again.latents[0], plain.latents[0]),
        "infotext_equal": infotext == plain.infotexts[0],
        "finish_comments": comments,
        "calls": [len(whole), len(rest)],
    }


def infotext_round_trip(program):
    """What "PNG info" would put back into the accordion."""
    from modules import infotext_utils

    made = program.make("preview", "paper", "2", 3, 1)
    said = infotext_utils.parse_generation_parameters(made.infotexts[0], [])
    fields = [field for field in program.runner.infotext_fields if field[0] in program.script.controls]
    return {"infotext": made.infotexts[0], "restored": [target(said) for _, target in fields]}


def schedulers(program):
    """Every scheduler of the program with one sampler: finish equal, and what was said."""
    from modules import sd_schedulers

    seen = {}
    for scheduler in sd_schedulers.schedulers:
        made = sampler(program, "Euler a", scheduler=scheduler.label)
        seen[scheduler.label] = [made.get("latent"), made["comments"]]
    return seen


def presets(program):
    """Every preset and another scale: preview's size, finish equal."""
    plain = program.make("off", sampler_name="Euler a")
    seen = {}
    for name, scale in (("matched", "4/3"), ("paper", "2"), ("naive", "4"), ("direct", "2")):
        made = program.make("preview", name, scale, sampler_name="Euler a", width=256, height=192)
        image, _, said = program.finish(made.infotexts[0])
        seen[f"{name} {scale}"] = [made.comments, list(made.images[0].size), same(image, plain.images[0]), said]
    return seen


def batches(program):
    """Two batches of two: each image's own seed, the page's two buttons, and the grid left alone."""
    plain = [program.make("off", seed=seed).images[0] for seed in (7, 8, 9, 10)]
    varied = {"subseed": 3, "subseed_strength": 0.4}
    variation = program.make("preview", n_iter=2, **varied)
    second = program.make("off", n_iter=2, **varied).images[1]
    one = program.make("preview", n_iter=4)
    finished = [program.finish(text) for text in one.infotexts]
    two = program.make("preview", "paper", n_iter=2, batch_size=2)
    pairs = [program.finish(text) for text in two.infotexts]
    whole = program.make("off", n_iter=2, batch_size=2)
    return {
        "variation": same(program.finish(variation.infotexts[1])[0], second),
        "one_by_one": [same(made[0], image) for made, image in zip(finished, plain)],
        "in_pairs": [_difference(made[0], image) for made, image in zip(pairs, whole.images)],
        "said": sorted({made[2] for made in finished + pairs}),
        "seeds": [text.split("Seed: ")[1].split(",")[0] for text in two.infotexts],
    }


def buttons(program):
    """Finish selected, then Finish all, on the page's own values."""
    handlers = program.host.Buttons(program.host.program, program.host.REQUESTS, lambda: program.script.args_from)
    made = program.make("preview", n_iter=3, seed=20)
    plain = [program.make("off", seed=seed).images[0] for seed in (20, 21, 22)]
    images, info = list(made.images), made.js()
    images, info, _, said = handlers.finish_selected("", images, 1, info)
    after_one = [list(image.size) for image in images]
    images, info, _, more = handlers.finish_all("", images, -1, info)
    _, _, _, none = handlers.finish_all("", images, -1, info)
    _, _, _, grid = handlers.finish_selected("", images, 1, info)
    return {
        "after_one": after_one,
        "after_all": [list(image.size) for image in images],
        "finals": [same(images[2 * i + 1], plain[i]) for i in range(3)],
        "infotexts": [text.count("Preview scale") for text in json.loads(info)["infotexts"]],
        "said": [said, more, none, grid],
    }


def hires(program):
    """With hires fix: the preview is of the first pass, the finish is the plain run, second pass included."""
    fields = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6, "hr_cfg": 5.0}
    fields |= {"hr_second_pass_steps": 4, "hr_additional_modules": ["Use same choices"]}
    plain, preview = program.make("off", **fields), program.make("preview", **fields)
    image, infotext, said = program.finish(preview.infotexts[0])
    return {
        "preview": list(preview.images[0].size),
        "final": list(image.size),
        "equal": same(image, plain.images[0]),
        "infotext_equal": infotext == plain.infotexts[0],
        "said": [preview.comments, said],
        "infotext": preview.infotexts[0],
    }


def lost(program):
    """A tape that is gone, one that was spilled, one that was changed on disk, and a request of an earlier session."""
    plain = program.make("off", sampler_name="Euler a", seed=31)
    store, text = program.host.STORE, program.make("preview", sampler_name="Euler a", seed=31).infotexts[0]
    from modules import shared

    seen = {}
    shared.opts.data["commutant_memory"] = 0
    program.make("preview", sampler_name="Euler a", seed=32)  # pushes the first out of memory
    del shared.opts.data["commutant_memory"]
    seen["spilled"] = [len(store._files()), same(program.finish(text)[0], plain.images[0]), program.finish(text)[2]]
    for path in store._files():
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    image, _, said = program.finish(text)
    seen["changed"] = [same(image, plain.images[0]), said]
    program.host.REQUESTS._by_infotext.clear()
    store.clear()
    request = program.host.program.request_from(text)
    image, _, said = program.host.program.final_of(request, program.script.args_from)
    seen["forgotten"] = [same(image, plain.images[0]), said]
    return seen


def refused(program):
    """A mask, a refiner, an odd size and nonsense from a client: plain pictures with a comment."""
    from modules import sd_models

    plain = program.make("off")
    seen = {}
    kind = type(program.script)
    before = kind.before_process
    for name, change in (
        ("mask", {"image_mask": plain.images[0]}),
        ("refiner", {"refiner_checkpoint_info": next(iter(sd_models.checkpoints_list.values()))}),
    ):
        kind.before_process = lambda self, p, *v, change=change: (before(self, p, *v), p.__dict__.update(change))
        try:
            made = program.make("preview")
        finally:
            kind.before_process = before
        seen[name] = [same(made.images[0], plain.images[0]), made.comments]
    odd = program.make("off", width=264)
    made = program.make("preview", width=264)
    seen["odd size"] = [same(made.images[0], odd.images[0]), made.comments]
    made = program.make("preview", "no such preset")
    seen["nonsense"] = [same(made.images[0], plain.images[0]), made.comments]
    return seen


def left_behind(program):
    """What is not as it was after a preview: k-diffusion's torch, the samplers' functions, the grid of options."""
    import k_diffusion.sampling as sampling
    from modules import sd_samplers_common

    program.make("preview", sampler_name="Euler a")
    return [type(sampling.torch) is sd_samplers_common.TorchHijack, sampling.sample_euler.__module__]


def api(program):
    """Over HTTP: /sdapi/v1/txt2img with alwayson_scripts, plain, preview and finish."""
    import base64
    import io

    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from modules.api.api import Api
    from modules.call_queue import queue_lock
    from PIL import Image

    app = FastAPI()
    Api(app, queue_lock)
    client = TestClient(app)

    def post(*values):
        request = {"prompt": "a fox", "steps": 8, "width": 256, "height": 192, "seed": 11, "sampler_name": "Euler a"}
        request |= {"cfg_scale": 5, "alwayson_scripts": {"Commutant": {"args": list(values)}}} if values else {}
        answer = client.post("/sdapi/v1/txt2img", json=request)
        data = answer.json()
        image = Image.open(io.BytesIO(base64.b64decode(data["images"][0])))
        return image, json.loads(data["info"])["infotexts"][0], answer.status_code

    plain, preview, final = post("off"), post("preview", "matched", "2"), post("finish")
    return {
        "status": [plain[2], preview[2], final[2]],
        "sizes": [list(made[0].size) for made in (plain, preview, final)],
        "equal": same(plain[0], final[0]),
        "infotexts": [preview[1], final[1] == plain[1]],
        "in_png": "Preview scale: 2" in preview[0].info.get("parameters", ""),
    }


def sdxl(program):
    """SDXL: two text encoders, and the picture's size among the conditions."""
    if program_session.name() == "forge":
        import forge_model

        forge_model.install(forge_model.small_sdxl)
    else:
        import a1111_model

        a1111_model.install(Path(sys.argv[1]).with_name("small-xl.safetensors"), a1111_model.small_sdxl)
        from modules import shared

        assert shared.sd_model.is_sdxl
    seen = {}
    for name in ("Euler a", "DPM++ 2M SDE"):
        made = sampler(program, name, prompt="a large balloon", negative_prompt="blur")
        seen[name] = [made.get("size"), made.get("latent"), made.get("calls"), made["comments"]]
    return seen


def flux(program):
    """Flux in Forge: noise levels that are times, latents of 16 channels, patches of 2 x 2."""
    import forge_model

    forge_model.install(forge_model.small_flux)
    seen = {}
    for name in ("Euler", "DPM++ 2M", "Euler a", "Heun"):
        made = sampler(program, name, scheduler="Simple", cfg_scale=1.0, prompt="a balloon", negative_prompt="blur")
        seen[name] = [made.get("size"), made.get("latent"), made.get("calls"), made["comments"]]
    return seen


def lora(program):
    """A LoRA in the prompt: it counts, the finish has it, and another strength is another beginning."""
    import torch
    from modules import shared
    from safetensors.torch import save_file

    torch.manual_seed(1)
    key = "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_v"
    path = os.path.join(shared.cmd_opts.lora_dir, "commutant-test.safetensors")
    weights = {f"{key}.lora_up.weight": torch.randn(64, 4), f"{key}.lora_down.weight": torch.randn(4, 64)}
    os.makedirs(shared.cmd_opts.lora_dir, exist_ok=True)
    save_file({**weights, f"{key}.alpha": torch.tensor(4.0)}, path)
    try:
        sys.modules["networks"].list_available_networks()
        bare = program.make("off", prompt="a fox")
        plain = program.make("off", prompt="a fox <lora:commutant-test:1>")
        preview = program.make("preview", prompt="a fox <lora:commutant-test:1>")
        image, _, said = program.finish(preview.infotexts[0])
        weaker = program.make("finish", prompt="a fox <lora:commutant-test:0.3>")
        return {
            "counts": not same(bare.images[0], plain.images[0]),
            "equal": same(image, plain.images[0]),
            "said": [preview.comments, said, weaker.comments],
        }
    finally:
        os.unlink(path)


def _difference(one, other):
    import numpy as np

    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int)).max())


CHECKS = (
    infotext_round_trip,
    presets,
    batches,
    buttons,
    hires,
    lost,
    refused,
    left_behind,
    api,
    schedulers,
    lora,
    sdxl,  # from here on with other models
)
FORGE_CHECKS = (flux,)


def main():
    seen = {"samplers": {}, "errors": {}}
    checkpoint, result, *wanted = sys.argv[1:]
    start(checkpoint, "--api")
    if program_session.name() == "forge":  # it works in a thread of its own, and what the API asks for waits for it
        from threading import Thread

        from modules_forge import main_thread

        Thread(target=main_thread.loop, daemon=True).start()
    program = Program()

    def note(into, name, check, *arguments):
        try:
            into[name] = check(program, *arguments)
        except Exception:
            seen["errors"][name] = traceback.format_exc(limit=-4)

    from modules import sd_samplers

    offered = [s.name for s in sd_samplers.all_samplers]
    for name in (*DETERMINISTIC, *STOCHASTIC, *PLAIN) if not wanted or "samplers" in wanted else ():
        if name in offered:
            note(seen["samplers"], name, sampler, name)
    for check in CHECKS + (FORGE_CHECKS if program_session.name() == "forge" else ()):
        if not wanted or check.__name__ in wanted:
            note(seen, check.__name__, check)
    Path(result).write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
