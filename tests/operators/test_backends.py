"""The same operator in every array library: values, dtype, device, gradients, compilation."""

import importlib
import os
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_cases import CASES

import commutant
from commutant.operators import (
    Affine,
    BlockMean,
    Flip,
    FourierCrop,
    FourierShift,
    Homography,
    Kronecker,
    NoisePartner,
    OrthonormalSum,
    Permutation,
    QuarterTurn,
    Resize,
    Roll,
    SpectralCrop,
    StridedSelection,
    Translate,
    Warp,
    Whitened,
)
from commutant.operators.separable import SeparableOperator

# jax compiles every operation for every shape, which takes longer than all others together.
BACKENDS = ["torch", "array_api_strict", pytest.param("jax.numpy", marks=pytest.mark.slow), "cupy"]
OPERATORS = [
    StridedSelection(2, 3),
    BlockMean(2),
    SpectralCrop((5, 6)),
    SpectralCrop.by(Fraction(4, 3)),
    BlockMean(2) @ SpectralCrop.by(2),
    Whitened(BlockMean(2)),
    0.5 * BlockMean((1, 2)),
    OrthonormalSum(2),
    SpectralCrop((5, 15)),
    FourierCrop((5, 6)),
    FourierCrop.by(Fraction(3, 2)),
    Resize((7, 15), "lanczos"),
    Resize.by(2, "bicubic", antialias=False),
    Resize.by((2, 3)),
    FourierShift(0.5, -1.25),
    Translate(3, -2),
    Translate(-1, 2, "edge"),
    SpectralCrop.by(Fraction(4, 3)).transposed(),
    BlockMean(2).transposed(),
    Roll(3, -1),
    Flip("both"),
    QuarterTurn(1) @ QuarterTurn(2) @ QuarterTurn(1),
    Affine.rotation(30, fill="reflect"),
    Affine.zoom(0.7, "nearest", "zero"),
    Homography(((1, 0.1, 1), (0, 1, 0.5), (0.01, 0.02, 1)), fill="zero"),
]
FLOW = 3 * np.random.default_rng(0).normal(size=(12, 12, 2))
FIXED = [  # to one size
    Permutation(np.random.default_rng(0).permutation(144).reshape(12, 12)),
    Warp(FLOW),
    Warp(FLOW, "nearest", "reflect"),
    Warp(FLOW, fill="zero"),
]
WITH_FRESH_NOISE = [
    Translate(1, -2),
    BlockMean(2).transposed(),
    Resize((5, 9), "bicubic"),
    SpectralCrop((9, 3)),
    Kronecker([[1.0] * 6, [1.0] * 6], [[1.0] * 4]),
    FourierShift(0.5, 1.25),
    BlockMean(2) @ Translate(1, 1),
]
ROUNDING_ONCE = (BlockMean, OrthonormalSum, SeparableOperator, StridedSelection)


def to_numpy(a):
    return np.asarray(a.get() if hasattr(a, "get") else a)


@pytest.mark.parametrize("library", BACKENDS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@settings(max_examples=8, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["float32", "float64"]))
def test_libraries_agree(library, case, data, seed, dtype):
    xp = pytest.importorskip(library)
    op, size = data.draw(case)
    x = np.random.default_rng(seed).normal(size=(2, 1, *size)).astype(dtype)
    other = xp.asarray(x)  # jax may hold it as float32
    eps = 64 * np.finfo(to_numpy(other).dtype).eps
    forward = op(other)
    backward = op.adjoint(forward, x.shape)
    assert type(forward) is type(backward) is type(other)
    assert forward.dtype == backward.dtype == other.dtype
    np.testing.assert_allclose(to_numpy(forward), op(x), atol=eps * 8)
    np.testing.assert_allclose(to_numpy(backward), op.adjoint(op(x), x.shape), atol=eps * 8)


@pytest.mark.parametrize("library", BACKENDS)
@pytest.mark.parametrize("op", WITH_FRESH_NOISE, ids=repr)
def test_noise_partners_agree(library, op):
    """A seed means the same noise in every library, to rounding."""
    xp = pytest.importorskip(library)
    noise = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    partner = op.noise_partner()
    assert isinstance(partner, NoisePartner)
    drawn = partner(xp.asarray(noise), 7)
    assert type(drawn) is type(xp.asarray(noise))
    assert drawn.dtype == xp.float32
    np.testing.assert_allclose(to_numpy(drawn), partner(noise, 7), atol=1e-5)


@pytest.mark.parametrize("op", WITH_FRESH_NOISE, ids=repr)
def test_noise_partners_keep_half_precision(op):
    torch = pytest.importorskip("torch")
    noise, partner = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)), op.noise_partner()
    half = partner(noise.to(torch.bfloat16), 7)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), partner(noise, 7), rtol=0, atol=0.1)


@pytest.mark.parametrize("op", OPERATORS + FIXED, ids=repr)
def test_array_api_strict_keeps_its_device(op):
    xp = pytest.importorskip("array_api_strict")
    device = xp.Device("device1")
    x = xp.ones((2, 12, 12), device=device)
    assert op(x).device == op.adjoint(op(x), x.shape).device == device


@pytest.mark.parametrize("op", OPERATORS + FIXED, ids=repr)
def test_torch_meta_device(op):
    """Shapes can be worked out without memory, and no operator moves an array to the host."""
    torch = pytest.importorskip("torch")
    x = torch.ones(2, 12, 12, device="meta", dtype=torch.float32)
    assert op(x).device == op.adjoint(op(x), x.shape).device == x.device


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", OPERATORS + FIXED, ids=repr)
def test_half_precision_rounds_once(op, dtype):
    """Sums run in float32, so one operator is off by its final rounding, half a unit in the last place (eps / 2).

    An operator made of operators rounds once in each: here two roundings, within 2 eps of the largest value.
    """
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, dtype)
    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0)).to(dtype)
    for half, exact in ((op(x), op(x.double())), (op.adjoint(op(x), x.shape), op.adjoint(op(x).double(), x.shape))):
        assert half.dtype == dtype
        error, largest = (half.double() - exact).abs(), exact.abs().max()
        if isinstance(op, ROUNDING_ONCE):
            error = error / exact.abs().clamp_min(largest * 2**-6)
            assert error.max() <= 0.505 * torch.finfo(dtype).eps
        else:
            assert error.max() <= 2 * torch.finfo(dtype).eps * largest


def test_a_mean_over_many_pixels_does_not_drift_in_half_precision():
    """4096 ones and a bit: a float16 sum would stall at 2048."""
    torch = pytest.importorskip("torch")
    x = torch.full((64, 64), 1.001, dtype=torch.float16)
    assert BlockMean(64)(x).item() == x[0, 0].item()
    assert SpectralCrop((1, 1))(x).item() == pytest.approx(x[0, 0].item(), rel=2**-11)


def test_numpy_half_precision():
    x = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float16)
    for op in (BlockMean(2), SpectralCrop((4, 4)), StridedSelection(2)):
        assert op(x).dtype == op.adjoint(op(x), x.shape).dtype == np.float16


@pytest.mark.parametrize("op", [BlockMean(2), SpectralCrop((2, 2))], ids=repr)
def test_means_refuse_integers(op):
    with pytest.raises(TypeError, match="real floating dtype, not int64"):
        op(np.ones((4, 4), dtype=np.int64))
    with pytest.raises(TypeError, match="real floating dtype, not int64"):
        op.adjoint(np.ones((2, 2), dtype=np.int64), (4, 4))


def test_arrays_only():
    with pytest.raises((TypeError, AttributeError)):
        BlockMean(2)([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("op", OPERATORS + FIXED, ids=repr)
def test_autocast_does_not_lower_precision(op):
    """Samplers often run under autocast, which turns matrix products into half precision."""
    torch = pytest.importorskip("torch")
    x = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = op(x)
        assert (x @ x).dtype == torch.bfloat16  # the trap is set
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, op(x), rtol=0, atol=0)


@pytest.mark.parametrize("op", OPERATORS + FIXED, ids=repr)
def test_inference_mode_leaves_nothing_behind(op):
    """A first call under inference mode must not spoil a later gradient through cached tensors."""
    torch = pytest.importorskip("torch")
    with torch.inference_mode():
        op(torch.ones(12, 12))
    x = torch.ones(12, 12, requires_grad=True)
    op(x).square().sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("op", OPERATORS + FIXED, ids=repr)
def test_torch_compile_takes_it_whole(op):
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: op.adjoint(op(x), x.shape), fullgraph=True, backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The second one may be traced with symbolic sizes.
        for shape in ((2, 12, 12), (3, 12, 12) if op in FIXED else (2, 24, 12)):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
            torch.testing.assert_close(compiled(x), op.adjoint(op(x), x.shape))
            compiled(x).sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("op", OPERATORS + FIXED, ids=repr)
def test_torch_compile_to_machine_code(op):
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    x = torch.randn(2, 12, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.compile(op, fullgraph=True)(x), op(x))


def test_torch_functional_transforms():
    torch = pytest.importorskip("torch")
    x, v = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    for op in (StridedSelection(2, 1), BlockMean(2), SpectralCrop((3, 5))):
        _, slope = torch.func.jvp(op, (x,), (v,))
        torch.testing.assert_close(slope, op(v))
        torch.testing.assert_close(torch.func.vmap(op)(x), op(x))


def test_importing_and_using_operators_imports_no_framework():
    program = """
import sys, numpy
from commutant.operators import BlockMean, SpectralCrop, StridedSelection
x = numpy.ones((1, 8, 8))
for op in (BlockMean(2), SpectralCrop((4, 4)), StridedSelection(2)):
    op.adjoint(op(x), x.shape)
print([name for name in ("torch", "jax", "cupy", "diffusers") if name in sys.modules])
"""
    root = str(Path(commutant.__file__).parent.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_docstring_example_runs():
    import doctest

    result = doctest.testmod(importlib.import_module("commutant.operators"))
    assert result.attempted > 0 == result.failed
