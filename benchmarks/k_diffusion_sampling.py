"""`k_diffusion.sampling` as it was published, without what the rest of that package asks for.

`import k_diffusion` needs torchvision, CLIP and more; its samplers need torchsde, torchdiffeq, scipy, tqdm and one
function of `k_diffusion/utils.py`. So the installed folder is given an empty package of another name (`k_diffusion`
itself stays untouched for whoever looks for it), and `utils.py`, which imports torchvision at its top and uses it in
image functions that no sampler calls, finds a placeholder there while it is imported. Nothing
of the samplers is stubbed.

    pip install 'commutant[k-diffusion]'
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PACKAGE = "published_k_diffusion"
HIDDEN = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def available() -> bool:
    return all(find_spec(name) is not None for name in ("k_diffusion", "torchsde", "torchdiffeq"))


def sampling() -> Any:
    """The module. ImportError where the packages above are not installed."""
    spec = find_spec("k_diffusion")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("k-diffusion is not installed: " + (__doc__ or "").strip().splitlines()[-1].strip())
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules[PACKAGE] = package
    with _placeholders():
        return import_module(f"{PACKAGE}.sampling")


def samplers() -> dict[str, Any]:
    """Every sampler of the module by name."""
    module = sampling()
    return {name: getattr(module, name) for name in sorted(dir(module)) if name.startswith("sample_")}


@contextmanager
def _placeholders() -> Iterator[None]:
    found = {name: sys.modules.get(name) for name in HIDDEN}
    if found["torchvision"] is None:
        for name in HIDDEN:
            sys.modules[name] = ModuleType(name)
        setattr(sys.modules["torchvision.transforms"], "functional", sys.modules[HIDDEN[2]])  # noqa: B010
    try:
        yield
    finally:
        for name, module in found.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
