"""A real ComfyUI with this repository among its custom nodes. The path of its sources: environment variable COMFYUI."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

HOME = os.environ.get("COMFYUI")


def pytest_collection_modifyitems(items):
    if HOME is None:
        reason = "needs ComfyUI: .ci/comfyui makes an environment that has it, and runs these"
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def nodes(tmp_path_factory):
    """ComfyUI's `nodes` module after its own loader has loaded this repository, under another folder name."""
    assert HOME is not None
    sys.path.insert(0, HOME)
    sys.argv = sys.argv[:1]
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True
    import torch

    torch.set_num_threads(1)
    import nodes as comfy_nodes

    folder = tmp_path_factory.mktemp("custom_nodes") / "any-name.1"
    folder.symlink_to(Path(__file__).parents[2])
    extras = Path(HOME) / "comfy_extras" / "nodes_custom_sampler.py"

    async def load():
        assert await comfy_nodes.load_custom_node(str(extras), module_parent="comfy_extras")
        assert await comfy_nodes.load_custom_node(str(folder))

    asyncio.run(load())
    return comfy_nodes


@pytest.fixture(scope="module")
def graph(nodes):
    """Builds graphs of nodes and executes them."""
    from .worlds import Graph

    return Graph(nodes)


@pytest.fixture(scope="module")
def unet(nodes):
    """The model of a module's tests, unless it has one of its own."""
    from .small_models import sd15

    return sd15()
