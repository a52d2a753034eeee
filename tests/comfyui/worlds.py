"""Tiny random models in ComfyUI's own classes, nodes that bring them into a graph, and its engine to run one."""

import torch

STEPS = 9


def sd15():
    """A model of Stable Diffusion 1.5's class with one small block, random, float32."""
    import comfy.model_base
    import comfy.supported_models

    return _patcher(comfy.supported_models.SD15(_unet()), comfy.model_base.BaseModel)


def control():
    """A ControlNet for `sd15()`, random, with a hint of three channels."""
    import comfy.cldm.cldm
    import comfy.controlnet

    config = {key: value for key, value in _unet().items() if key not in ("out_channels", "dtype")}
    net = _random(comfy.cldm.cldm.ControlNet(hint_channels=3, dtype=torch.float32, **config))
    return comfy.controlnet.ControlNet(net, load_device=torch.device("cpu"))


def _unet():
    return {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 32,
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "num_heads": 4,
        "num_head_channels": -1,
        "use_spatial_transformer": True,
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "context_dim": 32,
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
        "dtype": torch.float32,
    }


def flux():
    """A model of FLUX's class with one block of each kind, random, float32."""
    import comfy.model_base
    import comfy.supported_models

    config = {
        "image_model": "flux",
        "in_channels": 16,
        "out_channels": 16,
        "patch_size": 2,
        "vec_in_dim": 16,
        "context_in_dim": 32,
        "hidden_size": 64,
        "mlp_ratio": 2.0,
        "num_heads": 2,
        "depth": 1,
        "depth_single_blocks": 1,
        "axes_dim": [8, 12, 12],
        "theta": 10000,
        "qkv_bias": True,
        "guidance_embed": False,
        "dtype": torch.float32,
    }
    return _patcher(comfy.supported_models.Flux(config), comfy.model_base.Flux)


def _patcher(config, kind):
    from comfy.model_patcher import ModelPatcher

    config.set_inference_dtype(torch.float32, None)
    return ModelPatcher(_random(kind(config, device="cpu")), torch.device("cpu"), torch.device("cpu"))


def _random(model):
    torch.manual_seed(1)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn_like(parameter) * (0.1 if parameter.ndim > 1 else 0.02))
    return model


def condition(seed, width=32, **extra):
    """A random prompt in ComfyUI's form."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            torch.randn(1, 7, width, generator=generator),
            {"pooled_output": torch.randn(1, 16, generator=generator), **extra},
        ]
    ]


class Server:
    """What the engine tells its progress to."""

    client_id = None
    last_node_id = None
    last_prompt_id = None

    def send_sync(self, *args, **kwargs):
        pass


class Graph:
    """Runs a prompt in ComfyUI's engine; values that no node makes come from a node of the test."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.kept, self.given = {}, {}
        given, kept = self.given, self.kept

        class Give:
            RETURN_TYPES, FUNCTION, CATEGORY = ("*",), "run", "test"

            @classmethod
            def INPUT_TYPES(cls):
                return {"required": {"key": ("STRING", {})}}

            @classmethod
            def IS_CHANGED(cls, key):
                return float("nan")

            def run(self, key):
                return (given[key],)

        class Keep(Give):
            RETURN_TYPES, OUTPUT_NODE = (), True

            @classmethod
            def INPUT_TYPES(cls):
                return {"required": {"key": ("STRING", {}), "value": ("*", {})}}

            @classmethod
            def IS_CHANGED(cls, key, value):
                return float("nan")

            def run(self, key, value):
                kept[key] = value
                return ()

        nodes.NODE_CLASS_MAPPINGS |= {"TestGive": Give, "TestKeep": Keep}

    def run(self, prompt, **given):
        """The values kept by the prompt's TestKeep nodes. RuntimeError with the engine's message where it failed."""
        from execution import PromptExecutor

        self.given.update(given)
        self.kept.clear()
        executor = PromptExecutor(Server(), cache_args={"lru": 0, "ram": 0})
        ends = [key for key, node in prompt.items() if node["class_type"] == "TestKeep"]
        executor.execute(prompt, "test", execute_outputs=ends)
        if not executor.success:
            event, data = executor.status_messages[-1]
            raise RuntimeError(f"{event}: {data.get('exception_type')}: {data.get('exception_message')}")
        return dict(self.kept)

    def compare(self, model, positive, latent, *, sampler="euler", seed=5, finish=True, sampler_object=None, **plan):
        """The preview, its finish and the stock run of the same request: one prompt, one engine."""
        options = {"preset": "matched", "scale": 2, "switch": 3, "tail": 0} | plan
        prompt = {
            "model": _give("model"),
            "positive": _give("positive"),
            "negative": _give("negative"),
            "latent": _give("latent"),
            "noise": _node("RandomNoise", noise_seed=seed),
            "sampler": _give("sampler") if sampler_object else _node("KSamplerSelect", sampler_name=sampler),
            "sigmas": _node("BasicScheduler", model=["model", 0], scheduler="normal", steps=STEPS, denoise=1.0),
            "guider": _node("CFGGuider", cfg=3.0, **{k: [k, 0] for k in ("model", "positive", "negative")}),
        }
        common = {k: [k, 0] for k in ("noise", "guider", "sampler", "sigmas")} | {"latent_image": ["latent", 0]}
        prompt["preview"] = _node("CommutantPreviewSampler", **common, **options)
        prompt["keep"] = _node("TestKeep", key="preview", value=["preview", 0])
        if finish:
            prompt["stock"] = _node("SamplerCustomAdvanced", **common)
            prompt["finish"] = _node("SamplerCustomAdvanced", **common | {"sampler": ["preview", 1]})
            prompt["keep2"] = _node("TestKeep", key="stock", value=["stock", 0])
            prompt["keep3"] = _node("TestKeep", key="finish", value=["finish", 0])
        return self.run(
            prompt,
            model=model,
            positive=positive,
            negative=condition(2),
            latent=latent,
            sampler=sampler_object,
        )

    def moved(self, model, latent, *, sampler="euler", fresh=0, sampler_object=None, **movement):
        """What the stock node makes with a *Transform Sampler*, and without."""
        options = {"right": 0, "down": 0, "rotate": 0.0, "zoom": 1.0, "flip": "none", "at": 3, "seed": fresh} | movement
        prompt = {
            "model": _give("model"),
            "positive": _give("positive"),
            "negative": _give("negative"),
            "latent": _give("latent"),
            "noise": _node("RandomNoise", noise_seed=5),
            "sampler": _give("sampler") if sampler_object else _node("KSamplerSelect", sampler_name=sampler),
            "transform": _node("CommutantTransformSampler", sampler=["sampler", 0], **options),
            "sigmas": _node("BasicScheduler", model=["model", 0], scheduler="normal", steps=STEPS, denoise=1.0),
            "guider": _node("CFGGuider", cfg=3.0, **{k: [k, 0] for k in ("model", "positive", "negative")}),
        }
        common = {k: [k, 0] for k in ("noise", "guider", "sigmas")} | {"latent_image": ["latent", 0]}
        for key, source in (("moved", "transform"), ("stock", "sampler")):
            prompt[key] = _node("SamplerCustomAdvanced", sampler=[source, 0], **common)
            prompt["keep " + key] = _node("TestKeep", key=key, value=[key, 0])
        kept = self.run(
            prompt, model=model, positive=condition(1), negative=condition(2), latent=latent, sampler=sampler_object
        )
        return kept["moved"]["samples"], kept["stock"]["samples"]


def _node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def _give(key):
    return _node("TestGive", key=key)
