"""Products of one matrix per axis: the two matrices, the cutting into bands, and any two matrices as an operator."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import TOLERANCE, gradient, relative
from operator_cases import CASES

from commutant.operators import BlockMean, Kronecker, LinearOperator, OrthonormalSum, Resize, ShapeError, SpectralCrop
from commutant.operators.separable import BAND, Banded

generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@settings(max_examples=10, deadline=None)
@given(data=st.data(), rng=generators)
def test_axes_are_the_operator(case, data, rng):
    op, size = data.draw(case)
    axes, x = op.axes(size), rng.normal(size=size)
    if axes is not None:
        rows, columns = axes
        assert relative(rows @ x @ columns.T, op(x)) <= TOLERANCE
        assert relative(Kronecker(rows, columns)(x), op(x)) <= TOLERANCE


def test_which_operators_have_axes():
    for op in (BlockMean(2), OrthonormalSum(2), SpectralCrop((3, 3)), BlockMean(2).transposed()):
        assert op.axes((4, 4)) is not None
    assert (BlockMean(2) @ BlockMean(2)).axes((4, 4)) is None


@given(data=st.data(), rng=generators)
@settings(max_examples=30, deadline=None)
def test_bands_are_the_matrix(data, rng):
    """Any pattern of zeros, also rows of nothing but zeros; lengths on both sides of the cut."""
    shape = data.draw(st.tuples(st.integers(1, 3 * BAND), st.integers(1, 3 * BAND)))
    width = data.draw(st.integers(0, 2 * BAND))
    i, j = np.indices(shape)
    matrix = rng.normal(size=shape) * (abs(i * shape[1] / shape[0] - j) < width)
    banded = Banded.of(matrix)
    x = rng.normal(size=(2, shape[1], 3))
    assert banded.length == shape[0]
    np.testing.assert_allclose(banded.down(x), matrix @ x, atol=1e-12)
    np.testing.assert_allclose(banded.across(x.swapaxes(1, 2)), x.swapaxes(1, 2) @ matrix.T, atol=1e-12)


def test_a_band_is_cut_and_a_full_matrix_is_not():
    """What makes the check above one of several groups."""
    assert len(Banded.of(np.eye(200)).double) == 4
    assert len(Banded.of(np.ones((200, 200))).double) == 1
    assert sum(block.size for _, _, block in Banded.of(np.eye(200)).single) < 200 * 200 / 2


@pytest.mark.parametrize("target", [(150, 90), (400, 301)])
def test_a_long_resize_is_the_product_of_its_axes(target):
    op, size = Resize(target, "bicubic"), (260, 201)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, *size)), rng.normal(size=(2, *target))
    rows, columns = op.axes(size)
    assert relative(op(x), rows @ x @ columns.T) <= 1e-14 * max(size)
    assert relative(op.adjoint(y, size), rows.T @ y @ columns) <= 1e-14 * max(size)
    pytest.importorskip("torch")
    assert gradient(op, size, rng) <= TOLERANCE


def test_axes_cannot_be_spoilt():
    rows, _ = SpectralCrop((3, 3)).axes((5, 5))
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 2


@given(shape=st.tuples(*[st.integers(1, 5)] * 4), rng=generators)
@settings(max_examples=30, deadline=None)
def test_kronecker_by_index(shape, rng):
    h, w, height, width = shape
    rows, columns, x = rng.normal(size=(h, height)), rng.normal(size=(w, width)), rng.normal(size=(height, width))
    y = Kronecker(rows.tolist(), columns)(x)
    for i in range(h):
        for j in range(w):
            terms = (rows[i, a] * x[a, b] * columns[j, b] for a in range(height) for b in range(width))
            assert y[i, j] == pytest.approx(math.fsum(terms), abs=1e-12)


def test_kronecker_compares_by_value():
    op = Kronecker([[1.0, 0.0]], [[0.5, 0.5]])
    assert op == Kronecker(np.array([[1, -0.0]]), [[0.5, 0.5]]) == copy.deepcopy(op) == pickle.loads(pickle.dumps(op))
    assert hash(op) == hash(copy.copy(op))
    assert op != Kronecker([[1.0, 0.0]], [[0.5, 0.25]])
    assert not copy.deepcopy(op).rows.flags.writeable
    with pytest.raises(AttributeError):
        op.rows = op.columns


def test_kronecker_does_not_hold_on_to_what_it_was_given():
    rows = np.eye(2)
    op = Kronecker(rows, rows)
    rows[0, 0] = 5
    assert op(np.ones((2, 2))).tolist() == [[1, 1], [1, 1]]


def test_kronecker_finds_its_properties():
    mean = Kronecker(*BlockMean((2, 3)).axes((4, 9)))
    assert mean.gain == pytest.approx(BlockMean((2, 3)).gain, rel=1e-15)
    assert mean.preserves_constants
    assert not mean.keeps_size
    assert Kronecker([[0.0]], [[1.0]]).gain is None
    assert Kronecker([[1e-9, 1e-9]], [[1.0, 0.0], [1.0, 0.0]]).gain is None
    assert Kronecker(2 * np.eye(3), np.eye(2)).keeps_size
    assert not Kronecker(2 * np.eye(3), np.eye(2)).preserves_constants


def test_a_long_kronecker_has_a_short_name():
    op = Kronecker(np.ones((64, 128)), np.eye(8))
    assert repr(op).startswith("Kronecker(<64x128 rows ")
    assert len(repr(op)) < 80
    with pytest.raises(ShapeError, match="its matrices take images of 128 x 8") as caught:
        op(np.ones((8, 8)))
    assert caught.value.nearest == ((128, 8),)


def test_polar_factors_carry_what_a_blur_sees():
    """A blur passes every frequency, so its partner needs no fresh noise: the noise, without the blur's colour."""
    blur = 0.5 * np.eye(5) + 0.25 * (np.roll(np.eye(5), 1, 0) + np.roll(np.eye(5), -1, 0))
    partner, noise = Kronecker(blur, np.eye(3)).noise_partner(), np.random.default_rng(0).normal(size=(5, 3))
    assert partner.fresh_shape((5, 3)) == (0,)
    np.testing.assert_allclose(partner(noise), noise, atol=1e-12)


@pytest.mark.parametrize("value", [1.0, [1.0], [[]], [[1.0], [1.0, 2.0]], [[np.nan]], [["a"]], [[1j]], None])
def test_kronecker_refuses_what_is_no_matrix(value):
    with pytest.raises(ValueError, match="rows must be"):
        Kronecker(value, [[1.0]])


@pytest.mark.parametrize("rows", [np.zeros((2049, 2048)), [[1e30]]], ids=["too many values", "too large a value"])
def test_a_kronecker_writes_nothing_that_it_refuses_to_read(rows):
    op = Kronecker(rows, [[1.0]])
    with pytest.raises(ValueError, match=r"rows must have .* at most 4194304|rows must hold numbers of moderate size"):
        op.to_dict()
    with pytest.raises(ValueError, match="rows must"):
        (2 * op).to_dict()


@pytest.mark.parametrize("rows", [1, [], [[]], [1.0], [[1.0], [1.0, 2.0]], [[True]], [["1"]], [[1e300]], [[10**400]]])
def test_a_saved_kronecker_is_checked(rows):
    with pytest.raises(ValueError, match="rows must"):
        LinearOperator.from_dict({"operator": "Kronecker", "rows": rows, "columns": [[1.0]]})


def test_orthonormal_sum_by_index():
    x = np.random.default_rng(0).normal(size=(4, 9))
    y, back = OrthonormalSum((2, 3))(x), OrthonormalSum((2, 3)).adjoint(OrthonormalSum((2, 3))(x))
    for i in range(2):
        for j in range(3):
            at = [(2 * i + a, 3 * j + b) for a in range(2) for b in range(3)]
            assert y[i, j] == pytest.approx(math.fsum(x[p] for p in at) / math.sqrt(6), abs=1e-14)
            assert all(back[p] == pytest.approx(y[i, j] / math.sqrt(6), abs=1e-14) for p in at)
    assert OrthonormalSum(2).gain == 1
    assert OrthonormalSum(2).noise_partner().carrier == OrthonormalSum(2)
    assert not OrthonormalSum(2).preserves_constants
