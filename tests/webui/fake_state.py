"""What the tests look at in the small program of `fake_program.py`: its settings, its state, what it has done."""

import types


class Options:
    """`shared.opts`."""

    def __init__(self):
        self.sd_model_checkpoint, self.data_labels = "small", {}

    def add_option(self, name, info):
        self.data_labels[name] = info


class State:
    def __init__(self):
        self.interrupted = self.skipped = self.stopping_generation = False


class Program:
    """What the tests look at."""

    def __init__(self):
        self.denoisers, self.heard, self.jobs = [], [], []
        self.model = types.SimpleNamespace(
            sd_checkpoint_info=types.SimpleNamespace(title="small", filename="small.safetensors"), is_sd3=False
        )
        self.shared = types.SimpleNamespace(opts=Options(), state=State(), OptionInfo=lambda *a, **k: (a, k))
        self.fail_at = lambda denoiser, x: None


PROGRAM = Program()
