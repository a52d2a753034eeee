"""The fitted resize: the laws that hold on three dims, and its file."""

import contextlib
import json
import struct

import laws
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_numpy

from commutant.operators import BlockMean, FittedResize, ShapeError, SpectralCrop, check_adjoint
from commutant.operators import fitted as module

LAWS = [laws.adjoint, laws.linear, laws.matrix_equals_function, laws.leading_dims, laws.gradient]


@st.composite
def cases(draw):
    """(operator, input size); borders narrower than the neighbourhood included."""
    s = draw(st.integers(1, 3))
    k = s + 2 * draw(st.integers(0, 3))
    d, c = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = c, s * draw(st.integers(1, 4)), s * draw(st.integers(1, 4))
    return FittedResize(s, rng.normal(size=(d, c, k, k)), rng.normal(size=d)), size


def example(k=4, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return FittedResize(2, rng.normal(size=(channels, channels, k, k)), rng.normal(size=channels))


def slow(op, x):
    """The equation of the docstring, index by index."""
    c, height, width = x.shape
    s, k, d = op.scale, op.cells, len(op.bias)
    p = (k - s) // 2
    out = np.zeros((d, height // s, width // s))
    for o, i, j in np.ndindex(*out.shape):
        for q, a, b in np.ndindex(c, k, k):
            row, column = min(max(s * i + a - p, 0), height - 1), min(max(s * j + b - p, 0), width - 1)
            out[o, i, j] += op.weights[o, q, a, b] * x[q, row, column]
    return out


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@settings(max_examples=25, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_law(law, case, seed):
    if law is laws.gradient:
        pytest.importorskip("torch")
    assert law(*case, np.random.default_rng(seed)) <= laws.TOLERANCE


@settings(max_examples=15, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_equals_a_slow_oracle_to_the_borders(case, seed):
    op, size = case
    x = np.random.default_rng(seed).normal(size=size)
    assert laws.relative(op(x), slow(op, x)) <= laws.TOLERANCE
    assert laws.relative(op.affine(x), slow(op, x) + op.bias[:, None, None]) <= laws.TOLERANCE


def test_a_broken_adjoint_is_noticed():
    class ForgetsTheBorder(FittedResize):
        """Leaves out what was read beyond the border: right inside, and there alone."""

        def adjoint(self, y, shape=None):
            x = super().adjoint(y, shape)
            wide = y.copy()
            wide[..., 1:, :] = 0
            return x - 0.1 * super().adjoint(wide, shape)

    assert check_adjoint(example(), (2, 3, 8, 8)) < 1e-14
    broken = ForgetsTheBorder(2, example().weights)
    assert check_adjoint(broken, (2, 3, 8, 8)) > 1e-4
    assert laws.adjoint(broken, (3, 8, 8), np.random.default_rng(0)) > 1e-4


@pytest.mark.parametrize("k", [2, 4, 6])
@pytest.mark.parametrize("plain", [BlockMean(2), SpectralCrop.by(2)], ids=repr)
def test_of_a_plain_operator(plain, k):
    x = np.random.default_rng(0).normal(size=(3, 16, 16))
    op = FittedResize.of(plain, 3, 2, k)
    assert op.weights.sum((1, 2, 3)) == pytest.approx(np.ones(3))
    error = laws.relative(op(x), plain(x))
    assert error < 1e-14 if isinstance(plain, BlockMean) else 1e-3 < error < 0.6
    with pytest.raises(ValueError, match="does not make an image 4 times smaller"):
        FittedResize.of(plain, 3, 4, 4)


@pytest.mark.parametrize("library", ["torch", "array_api_strict", "jax.numpy"])
@pytest.mark.parametrize("k", [2, 4, 6])
def test_libraries_agree(library, k):
    xp = pytest.importorskip(library)
    op, x = example(k), np.random.default_rng(1).normal(size=(2, 1, 3, 8, 6)).astype(np.float32)
    other = xp.asarray(x)
    for got, wanted in (
        (op(other), op(x)),
        (op.affine(other), op.affine(x)),
        (op.adjoint(op(other), x.shape), op.adjoint(op(x))),
    ):
        assert type(got) is type(other)
        assert got.dtype == other.dtype
        np.testing.assert_allclose(np.asarray(got), wanted, atol=1e-5 * np.abs(wanted).max())


def test_array_api_strict_keeps_its_device():
    xp = pytest.importorskip("array_api_strict")
    device = xp.Device("device1")
    x = xp.ones((3, 4, 4), device=device)
    assert example().affine(x).device == example().adjoint(example()(x)).device == device


def test_torch_keeps_half_precision_under_autocast_and_compiles():
    torch = pytest.importorskip("torch")
    op, x = example(), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    half = op.affine(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), op.affine(x.bfloat16().double()), rtol=2**-8, atol=1e-3)
    assert op(torch.ones(3, 4, 4, device="meta")).device.type == "meta"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(op(x), op(x.clone()))
        y = op(x)
    assert torch.equal(y, op(x))
    torch._dynamo.reset()
    whole = torch.compile(lambda x: op.adjoint(op.affine(x)), fullgraph=True, backend="eager")
    for size in ((2, 3, 8, 8), (2, 3, 12, 8)):
        x = torch.randn(size, generator=torch.Generator().manual_seed(0), requires_grad=True)
        torch.testing.assert_close(whole(x), op.adjoint(op.affine(x)))
        whole(x).sum().backward()


def test_gradient_of_the_affine_map():
    torch = pytest.importorskip("torch")
    op, x = example(), torch.ones(3, 4, 4, dtype=torch.float64, requires_grad=True)
    y = op.affine(x)
    (slope,) = torch.autograd.grad((y * y.detach()).sum(), x)
    np.testing.assert_allclose(slope, op.adjoint(y.detach()))


def test_shapes_and_refusals():
    op = FittedResize(2, np.ones((5, 3, 4, 4)))
    assert op.out_shape((7, 3, 8, 6)) == (7, 5, 4, 3)
    assert op.in_shape((7, 5, 4, 3)) == (7, 3, 8, 6)
    with pytest.raises(ShapeError, match="nearest valid sizes") as raised:
        op(np.ones((3, 7, 6)))
    assert raised.value.nearest == ((6, 6), (8, 6))
    for call, shape, reason in (
        (op, (4, 8, 8), "there must be 3 channels"),
        (op, (8, 8), "at least three dims"),
        (op, (3, 0, 8), "positive multiples"),
        (op.adjoint, (3, 4, 4), "there must be 5 channels"),
        (op.adjoint, (5, 0, 4), "no input"),
    ):
        with pytest.raises(ShapeError, match=reason):
            call(np.ones(shape))
    with pytest.raises(ShapeError, match="no output for input shape"):
        op.adjoint(np.ones((5, 4, 4)), (3, 8, 10))
    assert op.adjoint(np.ones((2, 5, 4, 4)), (3, 8, 8)).shape == (2, 3, 8, 8)
    with pytest.raises(TypeError, match="real floating"):
        op(np.ones((3, 4, 4), dtype=int))
    for arguments, reason in (
        ((2, np.ones((3, 3, 5, 5))), "cannot be centred"),
        ((4, np.ones((3, 3, 2, 2))), "cannot be centred"),
        ((2, np.ones((3, 3, 4, 2))), "not of shape"),
        ((2, np.ones((3, 4, 4))), "not of shape"),
        ((2, np.ones((3, 3, 4, 4)), np.ones(2)), "bias must be 3 numbers"),
        ((2, np.full((3, 3, 4, 4), np.nan)), "finite"),
        ((0, np.ones((3, 3, 4, 4))), "at least 1"),
    ):
        with pytest.raises(ValueError, match=reason):
            FittedResize(*arguments)


def test_values_make_equality_and_repr():
    assert example() == example()
    assert hash(example()) == hash(example())
    assert example() != example(seed=1)
    assert example() != FittedResize(2, example().weights)
    assert repr(example()).startswith("FittedResize(2, <3x3x4x4 weights ")
    with pytest.raises(ValueError, match="read-only"):
        example().weights[:] = 0


# --- the file


def test_saved_and_loaded(tmp_path):
    op, path = example(), tmp_path / "a.safetensors"
    op.save(path)
    assert FittedResize.load(path) == op
    assert path.read_bytes() == op.to_bytes()
    example(seed=1).save(path)
    assert FittedResize.load(path) == example(seed=1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    example().save(path)

    def full(*_):
        raise OSError("no space left on device")

    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(module.os, broken, full)
            with pytest.raises(OSError, match="no space"):
                example(seed=1).save(path)
        assert FittedResize.load(path) == example()
        assert len(list(tmp_path.iterdir())) == 1


def file_of(head=None, tensors=None):
    """A file with a valid header and tensors but for what is given."""
    op = example()
    fields = {"format": module.FORMAT, "version": 1, "scale": 2, "digest": op._digest} | (head or {})
    fields = {name: value for name, value in fields.items() if value is not None}
    held = {"weights": op.weights.copy(), "bias": op.bias.copy()} | (tensors or {})
    return save_numpy(held, {"fitted_resize": json.dumps(fields)})


def claiming(shape):
    """A file whose header claims weights of `shape` in 16 bytes of data."""
    (length,) = struct.unpack("<Q", (data := file_of())[:8])
    header = json.loads(data[8 : 8 + length])
    header["weights"] |= {"shape": shape}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


HOSTILE = {
    "empty": b"",
    "short": b"abc",
    "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "length beyond its end": struct.pack("<Q", 2**60) + b"{}",
    "long header": struct.pack("<Q", 2**17) + b" " * 2**17,
    "no object": struct.pack("<Q", 2) + b"[]",
    "deep": struct.pack("<Q", 60_000) + b"[" * 60_000,
    "no metadata": save_numpy({"weights": np.ones((1, 1, 2, 2))}),
    "metadata of another": save_numpy({"weights": np.ones((1, 1, 2, 2))}, {"fitted_resize": "[]"}),
    "version": file_of({"version": 2}),
    "format": file_of({"format": "commutant-tape"}),
    "more fields": file_of({"then": "import os"}),
    "no scale": file_of({"scale": None}),
    "scale": file_of({"scale": 10**30}),
    "scale as text": file_of({"scale": "2"}),
    "scale as truth": file_of({"scale": True}),
    "digest": file_of({"digest": "0"}),
    "digest of another kind": file_of({"digest": [1]}),
    "another tensor": file_of(tensors={"code": np.ones(3)}),
    "infinite": file_of(tensors={"bias": np.array([0, np.inf, 0])}),
    "other values": file_of(tensors={"bias": np.ones(3)}),
    "integers": file_of(tensors={"bias": np.ones(3, dtype=np.int64)}),
    "other shape": file_of(tensors={"weights": np.ones((3, 3, 16))}),
    "claims terabytes": claiming([2**20, 2**20, 4, 4]),
    "claims a negative side": claiming([-1, 3, 4, 4]),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match=r"^x: "):
        FittedResize.load(tmp_path / "x")


def test_files_above_the_limits_are_refused(tmp_path, monkeypatch):
    assert FittedResize.from_bytes(file_of()) == example()
    monkeypatch.setattr(module, "MAX_FILE", 100)
    (tmp_path / "x").write_bytes(file_of())
    with pytest.raises(ValueError, match="more than 100 bytes"):
        FittedResize.load(tmp_path / "x")
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_VALUES", 100)
    with pytest.raises(ValueError, match="144 weights, more than 100"):
        FittedResize.from_bytes(file_of())
    with pytest.raises(ValueError, match="too large for a file"):
        example().to_bytes()


@settings(max_examples=100, deadline=None)
@given(where=st.integers(0, 2**20), flip=st.integers(1, 255), kept=st.floats(0, 1, exclude_max=True))
def test_changed_and_truncated_files(where, flip, kept):
    """White space and escapes in the header may change; no value may."""
    data, op = example().to_bytes(), example()
    changed = bytearray(data)
    changed[where % len(data)] ^= flip
    with contextlib.suppress(ValueError):
        assert FittedResize.from_bytes(bytes(changed)) == op
    with pytest.raises(ValueError):
        FittedResize.from_bytes(data[: int(kept * len(data))])
