"""Nodes that bring a test's values into a graph, and ComfyUI's engine to run one."""

import torch

STEPS = 9


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

        class Copy(Give):
            @classmethod
            def INPUT_TYPES(cls):
                return {"required": {"value": ("*", {})}}

            @classmethod
            def IS_CHANGED(cls, value):
                return float("nan")

            def run(self, value):
                return (value.clone(),)

        nodes.NODE_CLASS_MAPPINGS |= {"TestGive": Give, "TestKeep": Keep, "TestCopy": Copy}

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

    def compare(
        self,
        model,
        positive,
        latent,
        *,
        negative=None,
        sampler="euler",
        seed=5,
        finish=True,
        sampler_object=None,
        **plan,
    ):
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
            # A schedule of its own: stock uni_pc writes to the one that it is given.
            prompt["stock sigmas"] = _node("TestCopy", value=["sigmas", 0])
            prompt["stock"] = _node("SamplerCustomAdvanced", **common | {"sigmas": ["stock sigmas", 0]})
            prompt["finish"] = _node("SamplerCustomAdvanced", **common | {"sampler": ["preview", 1]})
            prompt["keep2"] = _node("TestKeep", key="stock", value=["stock", 0])
            prompt["keep3"] = _node("TestKeep", key="finish", value=["finish", 0])
        return self.run(
            prompt,
            model=model,
            positive=positive,
            negative=condition(2) if negative is None else negative,
            latent=latent,
            sampler=sampler_object,
        )

    def transformed(self, model, latent, *, sampler="euler", fresh=0, sampler_object=None, **movement):
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
        for key, source in (("transformed", "transform"), ("stock", "sampler")):
            prompt[key] = _node("SamplerCustomAdvanced", sampler=[source, 0], **common)
            prompt["keep " + key] = _node("TestKeep", key=key, value=[key, 0])
        kept = self.run(
            prompt, model=model, positive=condition(1), negative=condition(2), latent=latent, sampler=sampler_object
        )
        return kept["transformed"]["samples"], kept["stock"]["samples"]


def _node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def _give(key):
    return _node("TestGive", key=key)
