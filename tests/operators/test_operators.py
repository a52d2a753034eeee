"""Each operator against its definition in plain Python, and what is particular to it."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import partition

from commutant.operators import (
    BlockMean,
    Composed,
    LinearOperator,
    LinearPartner,
    OrthonormalSum,
    Scaled,
    SpectralCrop,
    StridedSelection,
    Translate,
    Whitened,
)

counts = st.tuples(st.integers(1, 4), st.integers(1, 4))
values = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def blocks(scale, out):
    """Output pixel and the input pixels of its block, by index."""
    for i, j in itertools.product(range(out[0]), range(out[1])):
        yield i, j, [[(scale[0] * i + a, scale[1] * j + b) for b in range(scale[1])] for a in range(scale[0])]


@given(scale=counts, out=counts, rng=values, data=st.data())
@settings(max_examples=40, deadline=None)
def test_strided_selection_by_index(scale, out, rng, data):
    py, px = data.draw(st.tuples(st.integers(0, scale[0] - 1), st.integers(0, scale[1] - 1)))
    op, by_index = StridedSelection(scale, (py, px)), StridedSelection(scale, py * scale[1] + px)
    assert op == by_index
    x = rng.normal(size=(out[0] * scale[0], out[1] * scale[1]))
    y, back = op(x), op.adjoint(op(x))
    for i, j, block in blocks(scale, out):
        assert y[i, j] == x[block[py][px]]
        for a, b in itertools.product(range(scale[0]), range(scale[1])):
            assert back[block[a][b]] == (y[i, j] if (a, b) == (py, px) else 0)


@given(scale=counts, out=counts, rng=values)
@settings(max_examples=40, deadline=None)
def test_block_mean_by_index(scale, out, rng):
    op, area = BlockMean(scale), scale[0] * scale[1]
    x = rng.normal(size=(out[0] * scale[0], out[1] * scale[1]))
    y, back = op(x), op.adjoint(op(x))
    for i, j, block in blocks(scale, out):
        pixels = [at for row in block for at in row]
        assert y[i, j] == pytest.approx(math.fsum(x[at] for at in pixels) / area, abs=1e-14)
        assert all(back[at] == y[i, j] / area for at in pixels)


def dct(line):
    """Orthonormal DCT-II, from its definition."""
    n = len(line)
    sums = [math.fsum(v * math.cos(math.pi * k * (2 * i + 1) / (2 * n)) for i, v in enumerate(line)) for k in range(n)]
    return [s * math.sqrt((1 if k == 0 else 2) / n) for k, s in enumerate(sums)]


def inverse_dct(line):
    n = len(line)
    weights = [math.sqrt((1 if k == 0 else 2) / n) for k in range(n)]
    return [
        math.fsum(w * c * math.cos(math.pi * k * (2 * i + 1) / (2 * n)) for k, (w, c) in enumerate(zip(weights, line)))
        for i in range(n)
    ]


def fitted(line, length):
    """The first coefficients, zeros after them."""
    return [*line, *[0.0] * length][:length]


@given(target=counts, size=counts, rng=values)
@settings(max_examples=30, deadline=None)
def test_spectral_crop_by_definition(target, size, rng):
    x = rng.normal(size=size)
    rows = [fitted(dct(line), target[1]) for line in x.tolist()]
    columns = [fitted(dct(line), target[0]) for line in zip(*rows)]
    back = [inverse_dct(line) for line in zip(*[inverse_dct(line) for line in columns])]
    wanted = np.array(back) * math.sqrt(math.prod(target) / math.prod(size))
    np.testing.assert_allclose(SpectralCrop(target)(x), wanted, atol=1e-13)


def test_spectral_crop_agrees_with_scipy_at_latent_size():
    from scipy.fft import dctn, idctn

    x = np.random.default_rng(0).normal(size=(4, 128, 96))
    kept = dctn(x, axes=(-2, -1), norm="ortho")[:, :80, :60]
    wanted = idctn(kept, axes=(-2, -1), norm="ortho") * math.sqrt(80 * 60 / (128 * 96))
    np.testing.assert_allclose(SpectralCrop((80, 60))(x), wanted, atol=1e-13)
    np.testing.assert_allclose(SpectralCrop.by(Fraction(8, 5))(x), wanted, atol=1e-13)


def test_spectral_crop_keeps_low_frequencies_and_stops_high_ones():
    """A cosine below the cut arrives as the same cosine, sampled coarser; one above it vanishes."""

    def wave(k, length):
        return np.cos(np.pi * k * (np.arange(length) + 0.5) / length)[None].repeat(length, 0)

    for k in (1, 7, 15):
        np.testing.assert_allclose(SpectralCrop((16, 16))(wave(k, 24)), wave(k, 16), atol=1e-13)
    for k in (16, 20, 23):
        np.testing.assert_allclose(SpectralCrop((16, 16))(wave(k, 24)), 0, atol=1e-13)


@given(scale=counts, out=counts)
@settings(max_examples=20, deadline=None)
def test_family_is_a_partition(scale, out):
    family = StridedSelection.family(scale)
    assert len(family) == len(set(family)) == scale[0] * scale[1]
    assert [op.phase for op in family] == sorted(op.phase for op in family)
    assert partition(family, (out[0] * scale[0], out[1] * scale[1])) == 0


def test_family_averages_to_the_block_mean():
    x = np.random.default_rng(0).normal(size=(2, 12, 18))
    family = StridedSelection.family((2, 3))
    np.testing.assert_allclose(sum(op(x) for op in family) / len(family), BlockMean((2, 3))(x), atol=1e-15)


def test_selection_is_a_view():
    x = np.arange(64.0).reshape(1, 8, 8)
    assert np.shares_memory(StridedSelection(2, 3)(x), x)
    torch = pytest.importorskip("torch")
    t = torch.from_numpy(x)
    y = StridedSelection(2, 3)(t)
    assert y.untyped_storage().data_ptr() == t.untyped_storage().data_ptr()
    y += 1
    assert t[0, 1, 1] == 10  # value 9 before


def test_selection_takes_any_dtype():
    x = np.arange(16).reshape(4, 4)
    assert StridedSelection(2, 1)(x).tolist() == [[1, 3], [9, 11]]
    assert StridedSelection(2, 1)(x > 5).dtype == bool
    assert StridedSelection(2, 1).adjoint(np.array([[5]])).tolist() == [[0, 5], [0, 0]]


def test_gains():
    assert StridedSelection(4).gain == 1
    assert BlockMean(2).gain == 0.5
    assert BlockMean((2, 8)).gain == 0.25
    assert SpectralCrop.by(2).gain == 0.5
    assert SpectralCrop.by(Fraction(4, 3)).gain == 0.75
    assert SpectralCrop((64, 48)).gain is None  # it depends on the input
    assert SpectralCrop((64, 48)).noise_gain((1, 4, 128, 96)) == 0.5
    assert SpectralCrop((64, 48)).noise_gain((128, 40)) is None  # it goes up in width
    assert not SpectralCrop((64, 48)).isotropic  # not on every size
    assert (BlockMean(2) @ SpectralCrop.by(2)).gain == 0.25
    assert (BlockMean(2) @ SpectralCrop((8, 8))).noise_gain((32, 32)) == 0.125
    assert (-2 * BlockMean(2)).gain == 1


def test_the_three_keep_constants():
    assert all(op.preserves_constants for op in (StridedSelection(2), BlockMean(2), SpectralCrop((4, 4))))
    assert not (2 * BlockMean(2)).preserves_constants


def test_arithmetic():
    a, b = BlockMean(2), StridedSelection(3, 4)
    x = np.random.default_rng(0).normal(size=(3, 12, 12))
    np.testing.assert_array_equal((a @ b)(x), a(b(x)))
    assert (a @ b) @ a == a @ (b @ a) == Composed(a, b, a)
    assert a @ b != b @ a
    np.testing.assert_array_equal((np.float32(0.5) * a)(x), 0.5 * a(x))
    assert a / 2 == a * 0.5 == Scaled(a, 0.5)
    np.testing.assert_array_equal((-a)(x), -a(x))
    for wrong in (lambda: a @ x, lambda: x @ a, lambda: a * "2", lambda: a * 1j):
        with pytest.raises(TypeError):
            wrong()


def test_composition_matrix_is_the_product():
    a, b = SpectralCrop((3, 2)), BlockMean(2)
    np.testing.assert_allclose((a @ b).matrix((8, 8)).toarray(), (a.matrix((4, 4)) @ b.matrix((8, 8))).toarray())


def test_noise_partners():
    assert StridedSelection(2).noise_partner() == LinearPartner(StridedSelection(2), StridedSelection(2))
    assert BlockMean(2).noise_partner().carrier == Whitened(BlockMean(2))
    x = np.random.default_rng(0).normal(size=(8, 8))
    np.testing.assert_allclose(BlockMean(2).noise_partner()(x), 2 * BlockMean(2)(x))
    assert np.array_equal(BlockMean(2).noise_partner()(x, 3), BlockMean(2).noise_partner()(x))  # a seed is not used
    np.testing.assert_allclose((-BlockMean(2)).noise_partner()(x), -2 * BlockMean(2)(x))  # same side as the signal


def test_no_noise_partner_without_isotropy():
    class Blur(BlockMean):
        gain = None

    with pytest.raises(ValueError, match="not isotropic"):
        Blur(2).noise_partner()
    assert (Blur(2) @ BlockMean(2)).gain is None
    assert (Blur(2) @ BlockMean(2)).noise_gain((8, 8)) is None


def test_operators_are_immutable_values():
    import copy
    import pickle

    ops = [StridedSelection(2, 1), BlockMean(2), SpectralCrop((2, 2)), SpectralCrop.by(2), 2 * BlockMean(2)]
    ops.append(ops[0] @ ops[1])
    assert len({*ops, *copy.deepcopy(ops), *pickle.loads(pickle.dumps(ops))}) == len(ops)
    for op in ops:
        with pytest.raises(AttributeError):
            op.scale = (3, 3)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: StridedSelection(0), ValueError, "scale must be at least 1, not 0"),
        (lambda: StridedSelection(2.0), TypeError, "scale must be an integer"),
        (lambda: StridedSelection(True), TypeError, "scale must be an integer"),
        (lambda: StridedSelection((2, 2, 2)), ValueError, "two for height and width"),
        (lambda: StridedSelection(2, 4), ValueError, "outside its 2 x 2 block"),
        (lambda: StridedSelection(2, (0, 2)), ValueError, "outside its 2 x 2 block"),
        (lambda: StridedSelection(2, -1), ValueError, "phase must be at least 0"),
        (lambda: BlockMean((2, 0)), ValueError, "scale must be at least 1"),
        (lambda: SpectralCrop(), TypeError, "target shape .* or a scale"),
        (lambda: SpectralCrop((2, 2), scale=2), TypeError, "one of the two"),
        (lambda: SpectralCrop((0, 2)), ValueError, "shape must be at least 1"),
        (lambda: SpectralCrop.by(1.5), TypeError, r"Fraction\(4, 3\)"),
        (lambda: SpectralCrop.by(Fraction(1, 2)), ValueError, "at least 1, not 1/2; to go up, give the target shape"),
        (lambda: Composed(BlockMean(2)), TypeError, "two or more"),
        (lambda: 0 * BlockMean(2), ValueError, "finite and not 0"),
        (lambda: math.nan * BlockMean(2), ValueError, "factor must be finite, not nan"),
    ],
)
def test_constructors_refuse(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_the_contract_is_abstract():
    with pytest.raises(TypeError):
        LinearOperator()


@pytest.mark.parametrize("fill", ["reflect", "edge", "zero"])
def test_what_one_factor_made_up_stays_unseen_under_the_next(fill):
    back = Translate(-3, 0, fill) @ Translate(3, 0, fill)
    assert np.array_equal(back.coverage((4, 8)), np.tile([1.0] * 5 + [0.0] * 3, (4, 1)))
    further = Translate(1, 0, fill) @ Translate(3, 0, fill)
    assert np.array_equal(further.coverage((4, 8)), np.tile([0.0] * 4 + [1.0] * 4, (4, 1)))
    halved = OrthonormalSum((1, 2)) @ Translate(3, 0, fill)  # a factor that does not keep constants carries it on
    assert np.allclose(halved.coverage((4, 8))[0], [0.0, 0.5, 1.0, 1.0])
