"""Sums by destination, against a loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import relative
from test_backends import BACKENDS, to_numpy

from commutant.operators.arrays import scatter_add


def by_loop(values, index, size):
    out = np.zeros((*values.shape[:-1], size))
    for position, target in enumerate(index):
        out[..., target] += values[..., position]
    return out


@st.composite
def scatters(draw):
    size, count = draw(st.integers(1, 6)), draw(st.integers(0, 12))
    index = np.array(draw(st.lists(st.integers(0, size - 1), min_size=count, max_size=count)), dtype=np.int64)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(size=(*draw(st.sampled_from([(), (2,), (2, 1, 3)])), count)), index, size


@pytest.mark.parametrize("library", ["numpy", *BACKENDS])
@settings(max_examples=25, deadline=None)
@given(scatter=scatters(), dtype=st.sampled_from(["float32", "float64"]))
def test_it_is_the_loop(library, scatter, dtype):
    xp = pytest.importorskip(library)
    values, index, size = scatter
    values = xp.asarray(values.astype(dtype))
    out = scatter_add(values, index, size)
    assert type(out) is type(values)
    assert out.dtype == values.dtype
    np.testing.assert_allclose(to_numpy(out), by_loop(to_numpy(values), index, size), rtol=1e-5, atol=1e-5)


def test_the_check_catches_a_lost_sum():
    """Plain assignment keeps the last of several values."""
    values, index = np.ones(3), np.array([0, 0, 1])
    lost = np.zeros(2)
    lost[index] = values
    assert relative(lost, by_loop(values, index, 2)) > 0.1 > relative(scatter_add(values, index, 2), [2, 1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_sums_do_not_stall(dtype):
    torch = pytest.importorskip("torch")
    values = torch.ones(5000, dtype=getattr(torch, dtype))
    assert scatter_add(values, np.zeros(5000, dtype=np.int64), 1).item() == pytest.approx(5000, rel=2**-8)


def test_torch_differentiates_and_compiles_it():
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    index = np.array([2, 0, 2])
    values = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = scatter_add(values, index, 3)
    (slope,) = torch.autograd.grad((out * torch.tensor([1.0, 2.0, 3.0])).sum(), values)
    assert slope.tolist() == [[3, 1, 3]] * 2
    compiled = torch.compile(lambda v: scatter_add(v, index, 3), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(values), out)
    assert scatter_add(torch.ones(2, 3, device="meta"), index, 3).shape == (2, 3)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 1], "numpy array of integers, not list"),
        (np.array([0.0, 1.0]), "integers"),
        (np.array([0]), "does not go with 2 values"),
        (np.array([0, 3]), "from 0 to 3, outside 0 to 2"),
        (np.array([-1, 0]), "outside"),
    ],
)
def test_refusals(index, message):
    with pytest.raises(ValueError, match=message):
        scatter_add(np.ones(2), index, 3)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="scatter_add needs a real floating dtype"):
        scatter_add(np.ones(2, dtype=int), np.array([0, 1]), 3)
