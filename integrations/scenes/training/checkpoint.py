"""Training checkpoints as safetensors and JSON, no pickle: models, averages, optimizer states, written atomically."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor, nn, optim

from ....commutator.atomic import write_atomically


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write safetensors, whole or not at all."""
    write_atomically(path, save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}))


def _flatten(optimizer: optim.Optimizer, prefix: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, plain = {}, {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}/{index}/{key}"] = value
            else:
                plain[f"{index}/{key}"] = value
    return tensors, plain


def save_checkpoint(
    folder: Path, step: int, modules: dict[str, nn.Module], optimizers: dict[str, optim.Optimizer], **notes: Any
) -> None:
    """Save everything that `load_checkpoint` needs to go on after `step` optimizer steps.

    Two files named by the step, then `latest.json` that points at them; older files go last, so there is always one
    whole checkpoint. `notes` must be JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        states, plain[name] = _flatten(optimizer, name)
        tensors |= states
    file = f"step-{step:07d}.safetensors"
    write_tensors(folder / file, tensors)
    write_json(folder / "latest.json", {"step": step, "file": file, "plain": plain, "notes": notes})
    for old in folder.glob("step-*.safetensors"):
        if old.name != file:
            old.unlink()


def load_checkpoint(
    folder: Path, modules: dict[str, nn.Module], optimizers: dict[str, optim.Optimizer]
) -> tuple[int, dict[str, Any]]:
    """Restore modules and optimizers in place; return (step, notes), or (0, {}) if the folder holds no checkpoint.

    Hyperparameters (learning rate and so on) stay those of the given optimizers: a schedule may be revised on resuming.
    Raises RuntimeError if a module does not fit the stored tensors.
    """
    if not (folder / "latest.json").exists():
        return 0, {}
    index = json.loads((folder / "latest.json").read_text(encoding="utf-8"))
    tensors = load_file(str(folder / index["file"]))
    for name, module in modules.items():
        module.load_state_dict(_under(tensors, name))
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Any]] = {}
        for key, value in [*_under(tensors, name).items(), *index["plain"].get(name, {}).items()]:
            position, field = key.split("/", 1)
            state.setdefault(int(position), {})[field] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return index["step"], index["notes"]


def _under(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
