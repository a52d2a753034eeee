"""A fixed global generator before every test, and a quiet Brownian tree."""

import pytest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1234)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # torchsde warns when float32 sigmas lie a rounding beyond the ends of its tree.
    for item in items:
        if "k_diffusion" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore:Should have t"))
